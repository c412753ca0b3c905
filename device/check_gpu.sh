#!/usr/bin/env bash
# Checks and measures a real GPU in one call of under eight minutes, on a machine with Python, torch 2.11 (CUDA 13) and, for
# the comparison, transformers, but no Rust.
#
#   here:   device/check_gpu.sh pack            # builds, strips and compresses three programs into .gpu/ (under 60 MB)
#   there:  bash device/check_gpu.sh            # in a copy of this tree with .gpu/; OUT=FOLDER keeps the logs
#
# Every part has a limit of its own, and none stops the next. All parts together end after 470 seconds: a part that has no
# time left is named. `summary.md` in the logs is what docs/performance.md wants to have; the last lines name what failed.
#
#   PYTHON=PATH     the Python with torch (python3); VLLM=PATH: one of an environment with vLLM, for its tokens/s as well
#   PROGRAMS=DIR    takes the programs from there, instead of those in .gpu/
#   EMULATOR=FILE   the emulated device in place of a GPU: leaves out what it says nothing about, such as speed
set -uo pipefail
cd "$(dirname "$0")/.."
. device/common.sh

if [ "${1:-}" = pack ]; then
  set -e
  cargo build --release --locked --package hint-device --package hint-rl
  built=$(cargo build --release --locked --package hint-policy --bench vs_transformers --message-format=json |
    python3 -c 'import json, sys; print([m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable")][-1])')
  for name in hint-device hint-rl; do pack .gpu $name target/release/$name; done
  pack .gpu vs_transformers "$built"
  size=$(du -sm .gpu | cut -f1)
  echo "$size MB in .gpu"
  [ "$size" -lt 60 ]
  exit
fi

prepare .gpu hint-device hint-rl vs_transformers
# The emulated device replaces a library of the programs, but not of Python. Builds for development take longer.
real=1
if [ -n "${EMULATOR:-}" ]; then real= deadline=3600; fi

# part NAME SECONDS COMMAND...: runs, shows the last lines, remembers a failure. `gpu` before the command: on the device.
part() {
  local name=$1 limit=$2 left=$((deadline - SECONDS)) preload=
  shift 2
  if [ -z "$real" ]; then limit=$((limit * 20)); fi
  if [ "$limit" -gt "$left" ]; then limit=$left; fi
  if [ "$limit" -lt 5 ]; then
    failed+=("$name: no time")
    return
  fi
  if [ "$1" = gpu ]; then
    shift
    preload=${EMULATOR:-}
  fi
  echo "== $name (at $SECONDS s)"
  timeout "$limit" env ${preload:+LD_PRELOAD="$preload"} "$@" > "$logs/$name.log" 2>&1
  local code=$?
  tail -n 12 "$logs/$name.log"
  if [ $code -ne 0 ]; then failed+=("$name: $code"); fi
}

if [ -n "$real" ]; then
  nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | tee "$logs/card.log"
fi
# 1. Operators that replace several others: each is tried on the GPU, and named here if its numbers are not right.
part fast-paths 15 gpu "$work/hint-device" fast-paths
# 2. Every golden model: scores, gradients and samples on the GPU against the CPU, in f32, f64 and bf16.
part models 45 gpu "$work/hint-device" models tests/golden/models
# 3. What libtorch chooses, and what a new length costs.
if [ -n "$real" ]; then part probe 85 "$python" device/gpu_probe.py "$logs/probe.json"; fi
# 4. Runs: the default (bf16), f32, without fast paths, adapters with dropout and checkpointing, and a resumed run.
run() { local name=$1; shift; part "$name" 20 gpu "$work/hint-rl" train --device cuda --steps 4 --held-out 20 "$@" --out "$work/$name"; }
run bf16
run f32 --compute f32
run plain --without-fast-path all
run lora --compute tf32 --method hint --lora rank=4,dropout=0.1 --gradient-checkpointing
part resume 20 gpu "$work/hint-rl" train --resume "$work/f32" --method hint --steps 6 --device cuda
part cpu 30 "$work/hint-rl" train --device cpu --compute f32 --steps 4 --held-out 20 --out "$work/cpu"
# 5. The same curve on both devices. One token that is drawn otherwise parts them, so a difference is a finding.
part curves 10 "$python" - "$work" <<'P'
import json, sys
read = lambda name: [json.loads(line) for line in open(f"{sys.argv[1]}/{name}/hint/metrics.jsonl")]
rows = [(a, b) for a, b in zip(read("f32"), read("cpu")) if "loss" in a and "loss" in b]
assert rows, "no step in common"
for a, b in rows:
    print("step", a["step"], {key: abs(a[key] - b[key]) for key in ("loss", "grad_norm")})
P
# 6. Tokens/s next to transformers and vLLM, and the shares of the card's bandwidth and of its products as the probe measured
# them. Both sides train on micro-batches of the same size, as large as the card holds for transformers.
if [ -n "$real" ] && "$python" -c 'import transformers' 2> /dev/null; then
  cat > "$work/model.py" <<'P'
import sys, torch
from transformers import AutoModelForCausalLM, Qwen2Config
folder, name = sys.argv[1:]
sizes = {
    "small": dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3),
    "large": dict(vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2),
}
config = Qwen2Config(**sizes[name], rms_norm_eps=1e-6, rope_theta=1e6, max_position_embeddings=32768, tie_word_embeddings=True)
torch.manual_seed(1)
with torch.device("cuda"):
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
P
  mebibytes=$(nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits | head -n 1)
  micro_batch=$([ "$mebibytes" -gt 120000 ] && echo 32 || { [ "$mebibytes" -gt 60000 ] && echo 16 || echo 4; })
  rates=$("$python" -c '
import json, sys
rates = json.load(open(sys.argv[1]))["rates"]
print("--bandwidth", rates["copy_tbps"] * 1e3, "--peak", rates["bf16_tflops"])' "$logs/probe.json")
  for name in large small; do
    part "model-$name" 25 "$python" "$work/model.py" "$work/$name" "$name"
    batch=256 limit=85 vllm=
    if [ $name = large ]; then batch=64 vllm=${VLLM:-}; fi
    if [ -n "$vllm" ]; then limit=140; fi
    # shellcheck disable=SC2086
    part "speed-$name" $limit "$work/vs_transformers" run --model "$work/$name" --device cuda --batch $batch --runs 3 \
      --tasks generate,train --precisions bfloat16 --rows 64 --micro-batch "$micro_batch" --own-micro-batch "$micro_batch" \
      --transformers "$(command -v "$python")" ${vllm:+--vllm "$vllm"} $rates
  done
fi
# 7. The embedded example: on CPUs, HINT has an accuracy of 0.980 after it (README.md).
# shellcheck disable=SC2046
part accuracy 90 gpu "$work/hint-rl" train --method hint --seed 0 --device cuda $([ -n "$real" ] || echo --steps 2 --held-out 20) \
  --out "$work/accuracy"

{
  echo "torch $version, $(cat "$logs/card.log" 2> /dev/null)"
  for name in large small; do
    [ -f "$logs/speed-$name.log" ] && echo "model $name" && grep -h '^| \|reaches' "$logs/speed-$name.log"
  done
  grep -h peak_memory_bytes "$work"/bf16/*/timings.jsonl | tail -n 1
  grep -ho '"accuracy_after": [0-9.]*' "$work/accuracy/summary.json" 2> /dev/null
  for name in fast-paths models curves; do cat "$logs/$name.log" 2> /dev/null; done
  tail -n 100 "$logs/probe.log" 2> /dev/null
} > "$logs/summary.md"
finish
