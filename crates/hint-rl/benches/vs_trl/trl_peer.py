"""TRL's side of vs_trl: takes one step of GRPOTrainer for each line of stdin, and answers with one JSON line.

Arguments: the model folder, the precision, and a JSON file of the work. `float32` and `bfloat16` have f32 weights, the latter
under autocast; `bfloat16-weights` has weights, gradients and moments in bf16.
"""

import json
import math
import os
import resource
import sys
import tempfile
import time

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false")
# The answers go where stdout went; what TRL prints goes to stderr.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import tokenizers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from datasets import Dataset  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

folder, precision, work = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3]))
torch.set_num_threads(work["threads"])
transformers.logging.set_verbosity_error()
prompts, group = work["prompts"], work["group"]
rows = len(prompts) * group
# TRL's micro-batches are equally large.
micro_batch = math.gcd(work["micro_batch"], rows)
# Of each row of a batch, in which the completions of a prompt follow each other: its length, and its prompt.
lengths = torch.tensor(work["lengths"]).repeat_interleave(group)
rows_of_prompts = torch.tensor(prompts).repeat_interleave(group, dim=0)
# Ends a completion, and appears nowhere else in one; OTHER stands for it there.
END, OTHER = 0, 1


class Numbers(transformers.PreTrainedTokenizerFast):
    """A prompt is written as its place, and completions have no text."""

    def __call__(self, text, **_):
        return {"input_ids": [prompts[int(place)] for place in text]}

    def batch_decode(self, sequences, **_):
        return [""] * len(sequences)


class Lengths(transformers.StoppingCriteria):
    """Ends each row after as many new tokens as it should have."""

    def __init__(self, start):
        self.start = start

    def __call__(self, ids, scores, **_):
        return ids.shape[1] - self.start >= lengths


class Steps(transformers.TrainerCallback):
    """Waits for a line before each step, and answers after it."""

    def on_step_begin(self, args, state, control, **_):
        if not sys.stdin.readline():
            os._exit(0)
        self.started, self.sampling, self.tokens = time.perf_counter(), 0.0, 0

    def on_step_end(self, args, state, control, **_):
        answer = {
            "tokens": self.tokens,
            "seconds": time.perf_counter() - self.started,
            "sampling": self.sampling,
            "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
        print(json.dumps(answer), file=answers, flush=True)


def every_other(prompts, completion_ids, **_):
    """The first completion of a group is right, the second one is not, and so on. Counts the tokens that TRL took."""
    taken = [len(ids) for ids in completion_ids]
    assert taken == lengths.tolist(), f"completions of {taken} tokens"
    steps.tokens += sum(taken)
    return [float(row % group % 2 == 0) for row in range(len(prompts))]


steps = Steps()
dtype = torch.bfloat16 if precision == "bfloat16-weights" else torch.float32
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
assert all(parameter.dtype == dtype for parameter in model.parameters())
sample = model.generate


def generate(input_ids, **options):
    """Completions of the wanted lengths."""
    width = input_ids.shape[1]
    # So the lengths are those of the rows, and a step samples all rows at once.
    assert torch.equal(input_ids, rows_of_prompts), "the rows of a batch have another order"
    started = time.perf_counter()
    ids = sample(input_ids=input_ids, stopping_criteria=transformers.StoppingCriteriaList([Lengths(width)]), **options)
    assert ids.shape == (rows, width + int(lengths.max())), f"{ids.shape} tokens were sampled"
    completions = ids[:, width:]
    # Nothing is sampled for a row that has ended.
    ended = torch.arange(completions.shape[1]) >= lengths[:, None]
    assert (completions[ended] == END).all(), "a row is longer than it should be"
    completions[completions == END] = OTHER
    completions[torch.arange(rows), lengths - 1] = END
    steps.sampling += time.perf_counter() - started
    return ids


model.generate = generate
words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<end>": END, "<other>": OTHER}, unk_token="<other>"))
tokenizer = Numbers(tokenizer_object=words, eos_token="<end>", pad_token="<end>", unk_token="<other>")
with tempfile.TemporaryDirectory() as out:
    config = GRPOConfig(
        output_dir=out, use_cpu=True, bf16=precision != "float32", gradient_checkpointing=False, disable_tqdm=True,
        report_to=[], save_strategy="no", logging_strategy="no", seed=1, shuffle_dataset=False,
        dataloader_pin_memory=False, max_steps=work["steps"], learning_rate=work["learning_rate"],
        lr_scheduler_type="constant", per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=rows // micro_batch, num_generations=group, max_completion_length=int(lengths.max()),
        temperature=1.0, beta=0.0, loss_type="grpo",
        # No token ends a row; `generate` above does.
        generation_kwargs={"eos_token_id": -1},
    )
    dataset = Dataset.from_list([{"prompt": str(place)} for _ in range(work["steps"]) for place in range(len(prompts))])
    trainer = GRPOTrainer(
        model=model, reward_funcs=every_other, args=config, train_dataset=dataset, processing_class=tokenizer,
        callbacks=[steps],
    )
    trainer.eos_token_ids = [END]
    trainer.train()
