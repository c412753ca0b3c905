"""The transformers side of vs_transformers: reads one line per run from stdin and answers with one JSON line.

Arguments: the model folder, the precision (float32 or bfloat16), and a JSON file of the tasks' settings.
"""

import json
import resource
import sys
import time

import torch
import transformers

folder, precision, settings = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3]))
torch.set_num_threads(settings["threads"])
transformers.logging.set_verbosity_error()
dtype = getattr(torch, precision)
device = settings["device"]
if device != "cpu":
    # It plans a kernel for every new shape; our side leaves it out as well.
    torch.backends.cuda.enable_cudnn_sdp(False)
load = lambda dtype: transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device)
models = {}


class Lengths(transformers.StoppingCriteria):
    """Ends each row after as many new tokens as it should have."""

    def __init__(self, start, lengths):
        self.start, self.lengths = start, torch.tensor(lengths, device=device)

    def __call__(self, ids, scores, **_):
        return ids.shape[1] - self.start >= self.lengths


def generate(prompts, lengths):
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    models["generate"].generate(
        input_ids=ids, attention_mask=mask, do_sample=True, temperature=0.9, top_k=0, top_p=1.0, pad_token_id=0,
        eos_token_id=None, max_new_tokens=max(lengths),
        stopping_criteria=transformers.StoppingCriteriaList([Lengths(longest, lengths)]),
    )
    return sum(lengths)


def run_generate():
    return generate(settings["prompts"], settings["lengths"])


def run_ragged():
    size, requests = settings["batch"], list(zip(settings["ragged_prompts"], settings["ragged_lengths"]))
    return sum(generate(*map(list, zip(*requests[at : at + size]))) for at in range(0, len(requests), size))


def run_train():
    model, optimizer = models["train"]
    ids = torch.tensor(settings["rows"], device=device)
    for part in ids.split(settings["micro_batch"]):
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = model(part).logits[:, :-1].float()
        logp = logits.log_softmax(-1)
        with torch.no_grad():
            entropy = -(logp.exp() * logp).sum(-1).mean()
        (-logp.gather(-1, part[:, 1:, None]).sum() / ids[:, 1:].numel()).backward()
    optimizer.step()
    optimizer.zero_grad()
    return ids.numel()


for line in sys.stdin:
    task = line.strip()
    if task == "train" and task not in models:
        model = load(torch.float32).train()
        models[task] = (model, torch.optim.AdamW(model.parameters(), lr=1e-6, fused=device != "cpu" or None))
    elif task != "train" and "generate" not in models:
        models["generate"] = load(dtype).eval()
    start = time.perf_counter()
    tokens = globals()[f"run_{task}"]()
    if device != "cpu":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    if device == "cpu":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    else:
        free, total = torch.cuda.mem_get_info(device)
        peak = (total - free) / 2**30
    print(json.dumps({"tokens": tokens, "seconds": seconds, "peak_gib": peak}), flush=True)
