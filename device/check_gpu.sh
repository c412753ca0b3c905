#!/usr/bin/env bash
# Checks a real GPU in one call, in under ten minutes, on a machine with Python and torch 2.11 (CUDA 13), but no Rust.
#
#   here:   device/check_gpu.sh pack            # builds, strips and compresses two programs into .gpu/ (under 20 MB)
#   there:  bash device/check_gpu.sh            # in a copy of this tree with .gpu/; OUT=FOLDER keeps the logs
#
# Every part has a limit of its own, and none stops the next. The last lines name what failed.
set -uo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = pack ]; then
  set -e
  cargo build --release --locked --package hint-device --package hint-rl
  mkdir -p .gpu
  for name in hint-device hint-rl; do
    strip -o ".gpu/$name" "target/release/$name"
    xz -9 --force ".gpu/$name"
  done
  du -sh .gpu
  exit
fi

work=$(mktemp -d)
logs=${OUT:-$work/logs}
mkdir -p "$logs"
for name in hint-device hint-rl; do
  xz -dc ".gpu/$name.xz" > "$work/$name" && chmod +x "$work/$name"
done
# The programs look where they were built; here libtorch is that of Python.
LD_LIBRARY_PATH=$(python3 -c 'import os, torch; print(os.path.join(os.path.dirname(torch.__file__), "lib"))')
export LD_LIBRARY_PATH RUST_BACKTRACE=0
failed=()

# part NAME SECONDS COMMAND...: runs, shows the last lines, remembers a failure.
part() {
  local name=$1 limit=$2
  shift 2
  echo "== $name (at $SECONDS s)"
  timeout "$limit" "$@" > "$logs/$name.log" 2>&1
  local code=$?
  tail -n 12 "$logs/$name.log"
  if [ $code -ne 0 ]; then failed+=("$name: $code"); fi
}

nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | tee "$logs/card.log"
# 1. Every golden model: scores, gradients and samples on the GPU against the CPU, in f32, f64 and bf16.
part models 120 "$work/hint-device" models tests/golden/models
# 2. Memory of training on rows of two lengths, for attention without a fused kernel.
part memory 60 "$work/hint-device" memory
# 3. Runs: the default (bf16), f32, TF32, adapters with dropout, checkpointing, evaluation, and a resumed run.
run() { local name=$1; shift; part "$name" 60 "$work/hint-rl" train --device cuda --steps 4 --held-out 20 "$@" --out "$work/$name"; }
run bf16
run f32 --compute f32
run tf32 --compute tf32 --method hint
run lora --method hint --lora rank=4,dropout=0.1 --gradient-checkpointing
part resume 60 "$work/hint-rl" train --resume "$work/f32" --method hint --steps 6 --device cuda
part cpu 90 "$work/hint-rl" train --device cpu --compute f32 --steps 4 --held-out 20 --out "$work/cpu"
# 4. The same curve on both devices.
part curves 20 python3 - "$work" <<'P'
import json, sys
read = lambda name: [json.loads(line) for line in open(f"{sys.argv[1]}/{name}/hint/metrics.jsonl")]
rows = [(a, b) for a, b in zip(read("f32"), read("cpu")) if "loss" in a and "loss" in b]
worst = {key: max(abs(a[key] - b[key]) for a, b in rows) for key in ("loss", "grad_norm")}
print("steps", len(rows), "largest differences of GPU and CPU in f32:", worst)
assert rows and worst["loss"] < 1e-3, worst
P
grep -h peak_memory_bytes "$work"/bf16/*/timings.jsonl | tail -n 1
echo "done at $SECONDS s, logs in $logs"
for line in "${failed[@]:-}"; do [ -z "$line" ] || echo "FAILED $line"; done
[ ${#failed[@]} -eq 0 ]
