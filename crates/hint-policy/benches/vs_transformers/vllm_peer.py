"""The vLLM side of vs_transformers: reads one line per run from stdin and answers with one JSON line.

Arguments: the model folder, the precision (float32 or bfloat16), and a JSON file of the tasks' settings. On a CPU, vLLM
takes its threads from the cores that it is bound to: as many as the settings say.
"""

import json
import os
import resource
import sys
import time

folder, precision, settings = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3]))
os.environ["VLLM_CPU_KVCACHE_SPACE"] = "2"
os.environ["VLLM_CPU_OMP_THREADS_BIND"] = f"0-{settings['threads'] - 1}"
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
os.environ["HF_HUB_OFFLINE"] = "1"
# The answers go where stdout went; what vLLM prints goes to stderr.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

from vllm import LLM, SamplingParams  # noqa: E402

engine = LLM(
    model=folder, dtype=precision, skip_tokenizer_init=True, max_model_len=1024, enforce_eager=True, seed=1,
    max_num_seqs=settings["batch"], disable_log_stats=True,
)


def generate(prompts, lengths):
    """Equal prompts that follow each other are one request of several completions."""
    requests = []
    for prompt, length in zip(prompts, lengths):
        if requests and requests[-1][0] == prompt and requests[-1][1] == length:
            requests[-1][2] += 1
        else:
            requests.append([prompt, length, 1])
    outputs = engine.generate(
        [{"prompt_token_ids": prompt} for prompt, _, _ in requests],
        [SamplingParams(n=n, temperature=0.9, max_tokens=length, ignore_eos=True, detokenize=False)
         for _, length, n in requests],
        use_tqdm=False,
    )
    return sum(len(completion.token_ids) for output in outputs for completion in output.outputs)


for line in sys.stdin:
    task = line.strip()
    names = {"generate": ("prompts", "lengths"), "ragged": ("ragged_prompts", "ragged_lengths")}[task]
    start = time.perf_counter()
    tokens = generate(*(settings[name] for name in names))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"tokens": tokens, "seconds": seconds, "peak_gib": peak}), file=answers, flush=True)
