#!/usr/bin/env python3
"""Side by side: this crate's verifier and Math-Verify 0.9 on the same file of labeled pairs.

    python3 crates/hint-reward/benches/side_by_side.py FILE.jsonl [--repeat N] [--list]

Each line of FILE has `gold`, `answer` and `equal`. Installs Math-Verify into a virtual environment of its own in the
cache folder (`$XDG_CACHE_HOME` or `~/.cache`, then `hint-rl/math-verify`) the first time, builds the example
`verify_pairs` in release mode, and prints one table: accuracy, false positives, false negatives, pairs per second on one
core, median and slowest pair. `--list` also prints each pair the two judge differently from the label.

Both are timed inside their own process, one pair after the other, after one warm-up pass for Math-Verify (so that imports
and parser tables are not counted); the best of N passes counts for each.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parents[3]

PEER = r"""
import json, logging, sys, time
from math_verify import parse, verify
logging.disable(logging.CRITICAL)
rows = [json.loads(line) for line in open(sys.argv[1]) if line.strip()]
repeat = int(sys.argv[2])
best = None
for turn in range(repeat + 1):
    verdicts, times = [], []
    for row in rows:
        start = time.perf_counter()
        try:
            verdict = bool(verify(parse(row["gold"]), parse(row["answer"])))
        except Exception:
            verdict = False
        times.append((time.perf_counter() - start) * 1e6)
        verdicts.append(verdict)
    if turn > 0 and (best is None or sum(times) < sum(best)):
        best = times
print(json.dumps({"verdicts": verdicts, "micros": best}))
"""


def peer_python() -> pathlib.Path:
    """The interpreter of an environment with Math-Verify, made on first use."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    env = cache / "hint-rl" / "math-verify" / "env"
    python = env / "bin" / "python"
    if not (env / ".complete").exists():
        if not python.exists():
            venv.create(env, with_pip=True)
        command = [python, "-m", "pip", "install", "-q", "math-verify[antlr4_13_2]==0.9.0"]
        subprocess.run(command, check=True)
        (env / ".complete").touch()
    return python


def ours(path: pathlib.Path, repeat: int) -> dict:
    build = ["cargo", "build", "--release", "-q", "-p", "hint-reward", "--example", "verify_pairs"]
    subprocess.run(build, check=True, cwd=ROOT)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    best = None
    for _ in range(repeat):
        command = [target / "release" / "examples" / "verify_pairs", path]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        records = [json.loads(line) for line in lines[:-1]]
        times = [record["micros"] for record in records]
        if best is None or sum(times) < sum(best):
            best = times
    return {"verdicts": [record["verdict"] == "correct" for record in records], "micros": best}


def theirs(path: pathlib.Path, repeat: int) -> dict:
    command = [peer_python(), "-c", PEER, path, str(repeat)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    path = options.file.resolve()
    rows = [json.loads(line) for line in open(path) if line.strip()]
    results = {"hint-reward": ours(path, options.repeat), "Math-Verify 0.9": theirs(path, options.repeat)}
    print(f"{len(rows)} pairs of {path.name}, one core, best of {options.repeat}")
    print("| | " + " | ".join(results) + " |")
    print("|---" * (len(results) + 1) + "|")
    table = {name: {} for name in results}
    for name, result in results.items():
        wrong = [(v, row["equal"]) for v, row in zip(result["verdicts"], rows) if v != row["equal"]]
        times = sorted(result["micros"])
        table[name] = {
            "accuracy": f"{1 - len(wrong) / len(rows):.4f}",
            "false positives": sum(v for v, _ in wrong),
            "false negatives": sum(e for _, e in wrong),
            "pairs per second": f"{len(rows) / sum(times) * 1e6:.0f}",
            "median": f"{times[len(times) // 2]:.1f} us",
            "slowest": f"{times[-1]:.0f} us",
        }
    for key in next(iter(table.values())):
        print(f"| {key} | " + " | ".join(str(table[name][key]) for name in results) + " |")
    mine, peer = (sum(result["micros"]) for result in results.values())
    print(f"throughput ratio {peer / mine:.0f}")
    if options.list:
        for index, row in enumerate(rows):
            for name, result in results.items():
                if result["verdicts"][index] != row["equal"]:
                    kind = "false negative" if row["equal"] else "false positive"
                    print(f"{name}: {index}: {kind}: {row['answer']!r} against {row['gold']!r}")


if __name__ == "__main__":
    sys.exit(main())
