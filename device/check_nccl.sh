#!/usr/bin/env bash
# Checks NCCL on a machine with GPUs in one call of under eight minutes. The machine needs Python and torch 2.11 (CUDA 13),
# but no Rust. No real GPU has run it yet.
#
#   here:   device/check_nccl.sh pack           # builds, strips and compresses two programs into .gpu/nccl/
#   there:  bash device/check_nccl.sh           # in a copy of this tree with .gpu/nccl/; OUT=FOLDER keeps the logs
#
# With two GPUs or more, two ranks have one each. With one GPU, NCCL refuses two ranks. Then the check is that the program
# says so, and that the run goes over Gloo. Every part has a limit of its own, and none stops the next. The last lines name
# what failed.
#
#   PYTHON=PATH     the Python with torch (python3)
#   PROGRAMS=DIR    takes the programs from there, instead of those in .gpu/nccl/
#   EMULATOR=FILE   the emulated device in place of GPUs, which takes NCCL's place as well: both checks, of two GPUs and of one
set -uo pipefail
cd "$(dirname "$0")/.."
. device/common.sh

if [ "${1:-}" = pack ]; then
  set -e
  cargo build --release --locked --package hint-device --package hint-rl --features hint-device/nccl,hint-rl/nccl
  for name in hint-device hint-rl; do pack .gpu/nccl $name target/release/$name; done
  du -sm .gpu/nccl
  exit
fi

prepare .gpu/nccl hint-device hint-rl
# The emulated device replaces a library of the programs, but not of Python. Builds for development take longer.
device=()
slow=1
if [ -n "${EMULATOR:-}" ]; then
  device=(env "LD_PRELOAD=$EMULATOR" EMULATOR_DEVICES=2)
  slow=5 deadline=3600
fi
port=29600

# both NAME SECONDS COMMAND...: the command as rank 0 and as rank 1. RANK and PORT in its words are theirs. The exit statuses of
# the two are in `codes`. With `second` set, rank 1 is killed after so many seconds.
both() {
  local name=$1 limit=$(($2 * slow)) left=$((deadline - SECONDS)) rank word
  shift 2
  port=$((port + 10))
  codes=(124 124)
  if [ "$limit" -gt "$left" ]; then limit=$left; fi
  if [ "$limit" -lt 5 ]; then
    failed+=("$name: no time")
    return 1
  fi
  echo "== $name (at $SECONDS s)"
  local ids=() limits=("$limit" "${second:-$limit}")
  for rank in 0 1; do
    local words=()
    for word in "$@"; do
      word=${word//RANK/$rank}
      words+=("${word//PORT/$port}")
    done
    env RANK=$rank WORLD_SIZE=2 LOCAL_RANK="$(local_rank $rank)" LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 \
      MASTER_PORT=$port timeout -s KILL "${limits[$rank]}" "${words[@]}" > "$logs/$name.$rank.log" 2>&1 &
    ids+=($!)
  done
  for rank in 0 1; do
    wait "${ids[$rank]}"
    codes[rank]=$?
  done
  tail -n 6 "$logs/$name.0.log"
}
# good NAME...: as `both`, and both must end well.
good() {
  both "$@" && [ "${codes[*]}" != "0 0" ] && failed+=("$1: statuses ${codes[*]}")
}
# says NAME TEXT: the first rank has said it.
says() {
  grep -qF -- "$2" "$logs/$1.0.log" 2> /dev/null || failed+=("$1: does not say \`$2\`")
}
# train STEPS ARGS...: the command line of a run.
train() { echo "${device[@]}" "$work/hint-rl" train --device cuda --held-out 20 --seed 3 --steps "$@"; }
over_nccl="tensors travel from GPU to GPU, over NCCL"
over_gloo="tensors of GPUs travel through host memory, over Gloo"

if [ -n "${EMULATOR:-}" ]; then
  gpus=2
else
  nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | tee "$logs/card.log"
  nvidia-smi topo -m > "$logs/topology.log" 2>&1
  gpus=$(nvidia-smi -L | wc -l)
fi
echo "$gpus GPUs"
if [ "$gpus" -ge 2 ]; then
  local_rank() { echo "$1"; }
  exchange="${device[*]} $work/hint-device --device cuda:RANK collectives --rank RANK --world-size 2 --port PORT"
  # shellcheck disable=SC2086
  {
    # 1. The bits of NCCL are those of Gloo, for every kind of tensor; the rate of both.
    good collectives 90 $exchange
    # 2. A rank is killed while the GPUs exchange numbers: the other one names it, and its GPU is free again.
    both killed 60 $exchange --kill 1 && [ "${codes[0]}" -ne 0 ] && failed+=("killed: status ${codes[0]}")
    # 3. Runs over NCCL and Gloo, with adapters, and by torchrun.
    good nccl 60 $(train 4 --backend nccl --method hint --out "$work/nccl")
    says nccl "$over_nccl"
    good auto 60 $(train 4 --method grpo --out "$work/auto" --lora rank=4)
    says auto "$over_nccl"
    good gloo 60 $(train 4 --backend gloo --method hint --out "$work/gloo")
    says gloo "$over_gloo (as asked for)"
    echo "== torchrun (at $SECONDS s)"
    timeout $((90 * slow)) "$python" -m torch.distributed.run --nproc-per-node 2 --master-port 29590 --no-python \
      $(train 4 --backend nccl --method hint --out "$work/torchrun") > "$logs/torchrun.0.log" 2>&1 || failed+=("torchrun: $?")
    says torchrun "$over_nccl"
    # 4. A rank is killed in a run: the other one ends with an error that names it.
    second=$((25 + 5 * slow)) both dying 90 $(train 100000 --backend nccl --method hint --out "$work/dying")
    says dying "rank 1 has ended"
  }
  # 5. The same curve. Sums of several workers are the same bits; kernels of GPUs may differ from run to run, those of the
  # emulated device do not.
  "$python" - "$work" "${EMULATOR:+exact}" <<'P' | tee "$logs/curves.log" || failed+=("curves")
import json, sys
read = lambda name: [json.loads(line) for line in open(f"{sys.argv[1]}/{name}/hint/metrics.jsonl")]
rows = [(a, b) for a, b in zip(read("nccl"), read("gloo")) if "loss" in a and "loss" in b]
assert rows, "no step in common"
differences = [{key: abs(a[key] - b[key]) for key in ("loss", "grad_norm")} for a, b in rows]
for (a, _), of in zip(rows, differences):
    print("step", a["step"], of)
assert not sys.argv[2] or not any(sum(of.values()) for of in differences), "the curves differ"
P
fi
if [ "$gpus" -eq 1 ] || [ -n "${EMULATOR:-}" ]; then
  local_rank() { echo 0; }
  # shellcheck disable=SC2046
  {
    good shared 60 $(train 4 --method hint --out "$work/shared")
    says shared "$over_gloo (each of the ranks 0, 1 cannot use NCCL: it needs a GPU of its own, and shares one)"
    both refused 60 $(train 4 --backend nccl --method hint --out "$work/refused")
    says refused "--backend nccl does not work here"
  }
fi

finish
