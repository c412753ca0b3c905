"""The transformers side of vs_transformers: reads one line per run from stdin and answers with one JSON line.

Arguments: the model folder, the precision (float32 or bfloat16), and a JSON file of the tasks' settings. `decode`, `score`
and `backward` take sizes behind their names.
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
    scored = scored_tokens(ids)
    for part in ids.split(settings["micro_batch"]):
        logp = logprobs(model, part, scored)
        with torch.no_grad():
            entropy = -(logp.exp() * logp).sum(-1).mean()
        (-logp.gather(-1, part[:, -scored:, None]).sum() / (len(ids) * scored)).backward()
    optimizer.step()
    optimizer.zero_grad()
    return ids.numel()


class Started(transformers.StoppingCriteria):
    """The time when every row has its first token."""

    time = None

    def __call__(self, ids, scores, **_):
        self.time = self.time or time.perf_counter()
        return torch.zeros(len(ids), dtype=torch.bool, device=device)


def words(row, length):
    """The words of a row, the same on every side."""
    model = models.get("generate") or models["train"][0]
    vocab = model.config.vocab_size - 1
    return [1 + (31 * row + 97 * at) % vocab for at in range(length)]


def run_decode(rows, prompt, new):
    ids, started = torch.tensor([words(0, prompt)] * rows, device=device), Started()
    models["generate"].generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
        pad_token_id=0, eos_token_id=None, max_new_tokens=new,
        stopping_criteria=transformers.StoppingCriteriaList([started]),
    )
    return rows * (new - 1), time.perf_counter() - started.time


def run_score(rows, length):
    ids = torch.tensor([words(row, length) for row in range(rows)], device=device)
    with torch.no_grad():
        logprobs(models["generate"], ids, length - 1).gather(-1, ids[:, 1:, None]).sum().item()
    return rows * (length - 1)


def run_backward(rows, length):
    """Log-probabilities, entropy and gradients of one micro-batch."""
    model, _ = models["train"]
    ids = torch.tensor([words(row, length) for row in range(rows)], device=device)
    logp = logprobs(model, ids, length - 1)
    with torch.no_grad():
        entropy = -(logp.exp() * logp).sum(-1).mean()
    (-logp.gather(-1, ids[:, 1:, None]).mean()).backward()
    model.zero_grad(set_to_none=False)
    return ids.numel()


def run_step():
    """A training step: completions, their log-probabilities under a reference policy, a gradient."""
    generated = run_generate()
    ids = torch.tensor(settings["rows"], device=device)
    with torch.no_grad():
        for part in ids.split(settings["micro_batch"]):
            logprobs(models["train"][0], part, scored_tokens(ids))
    return generated + run_train()


def scored_tokens(ids):
    """Tokens of a row that are scored: its completion, or all behind the first."""
    return settings.get("completion", ids.shape[1] - 1)


def logprobs(model, part, scored):
    """Of every word of the vocabulary at the last tokens, which the head is left to."""
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = model(part, logits_to_keep=scored + 1).logits[:, :-1].float()
    return logits.log_softmax(-1)


for line in sys.stdin:
    task, *sizes = line.split()
    if task in ("train", "step", "backward") and "train" not in models:
        model = load(torch.float32).train()
        models["train"] = (model, torch.optim.AdamW(model.parameters(), lr=1e-6, fused=device != "cpu" or None))
    if task == "step":
        # It samples from the weights that it trains, and no part of them drops out.
        models["generate"] = models["train"][0]
    elif task not in ("train", "backward") and "generate" not in models:
        models["generate"] = load(dtype).eval()
    start = time.perf_counter()
    tokens = globals()[f"run_{task}"](*map(int, sizes))
    if device != "cpu":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    if isinstance(tokens, tuple):
        tokens, seconds = tokens
    if device == "cpu":
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    else:
        free, total = torch.cuda.mem_get_info(device)
        peak = (total - free) / 2**30
    print(json.dumps({"tokens": tokens, "seconds": seconds, "peak_gib": peak}), flush=True)
