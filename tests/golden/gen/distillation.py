"""Writes ../{distillation,teacher_average}.json: TRL's experimental `sdpo` and `sdft` trainers, in f64.

Run with torch 2.11.0, transformers 5.24, datasets, accelerate and trl 1.16.0. The trainers' own methods compute the losses. They are
given what they read of a trainer, and the logits in place of a model.
"""

import collections
import dataclasses
import json
import pathlib
import types

import accelerate
import torch
import trl
from trl.experimental.sdft import sdft_trainer
from trl.experimental.sdft.sdft_trainer import SDFTTrainer
from trl.experimental.sdpo import sdpo_trainer
from trl.experimental.sdpo.sdpo_trainer import SDPOTrainer
from trl.experimental.sdpo.teacher_sync import SyncTeacherModelCallback

accelerate.Accelerator(cpu=True)
ROWS, LENGTH, VOCABULARY = 2, 4, 6
METHODS = ("_compute_policy_loss", "_compute_self_distillation_loss", "_log_self_distillation_metric")
FOLDER = pathlib.Path(__file__).parent.parent


def trainer(kind, settings):
    """A trainer of which nothing but the loss is there."""
    self = types.SimpleNamespace(
        args=types.SimpleNamespace(distillation_is_clip=2.0, **settings),
        loss_type="grpo",
        importance_sampling_level="token",
        epsilon_low=0.2,
        epsilon_high=0.2,
        use_teacher_server=False,
        teacher_model=None,
        current_gradient_accumulation_steps=1,
        _name=kind.__name__,
        model=types.SimpleNamespace(training=True),
        accelerator=types.SimpleNamespace(gather=lambda value: value),
        _metrics=collections.defaultdict(lambda: collections.defaultdict(list)),
    )
    for name in METHODS:
        if hasattr(kind, name):
            setattr(self, name, getattr(kind, name).__get__(self))
    return self


def case(kind, module, seed, mode, alpha, topk, tail, weight=1.0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: 1.5 * torch.randn(*shape, generator=generator, dtype=torch.float64)
    student, teacher = draw(ROWS, LENGTH, VOCABULARY).requires_grad_(), draw(ROWS, LENGTH, VOCABULARY)
    lengths = torch.tensor([2, LENGTH])
    mask = (torch.arange(LENGTH) < lengths.unsqueeze(1)).double()
    completions = torch.randint(VOCABULARY, (ROWS, LENGTH), generator=generator)
    advantages = torch.tensor([1.0, -0.5], dtype=torch.float64)
    self = trainer(
        kind,
        dict(
            distillation_mode=mode,
            distillation_alpha=alpha,
            distillation_topk=topk,
            distillation_add_tail=tail,
            distillation_weight=weight,
        ),
    )
    given = dict(
        completion_ids=completions, completion_mask=mask, loss_mask=mask, student_logits=student, teacher_logits=teacher
    )
    known = {field.name for field in dataclasses.fields(module.DistillationLogits)}
    given = module.DistillationLogits(**{key: value for key, value in given.items() if key in known})
    inputs = {"completion_ids": completions, "completion_mask": mask, "advantages": advantages}
    self._compute_teacher_student_logits = lambda *_: given
    loss = self._compute_self_distillation_loss(self.model, inputs, given)
    if weight != 1.0:
        loss = kind.compute_loss(self, self.model, inputs)
    loss.backward()
    short = kind.__name__.removesuffix("Trainer").lower()
    return {
        "name": f"{short}-{mode}-{alpha}-{topk}-{tail}-{weight}",
        "input": {
            "config": {"mode": mode, "alpha": alpha, "topk": topk, "add_tail": tail, "weight": weight},
            "student": student.detach().flatten(1).tolist(),
            "teacher": teacher.flatten(1).tolist(),
            "completions": [row[:length].tolist() for row, length in zip(completions, lengths)],
            "advantages": advantages.tolist(),
        },
        "expected": {"loss": loss.item(), "gradient": student.grad.flatten(1).tolist()},
    }


def average():
    """Three updates of the average that teaches."""
    generator = torch.Generator().manual_seed(5)
    model, teacher = torch.nn.Linear(3, 2).double(), torch.nn.Linear(3, 2).double()
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    args = types.SimpleNamespace(teacher_sync_steps=1, teacher_update_rate=0.05)
    callback = SyncTeacherModelCallback(teacher)
    with torch.no_grad():
        teacher.weight.copy_(draw(2, 3))
    start, steps = teacher.weight.tolist(), []
    for step in range(3):
        with torch.no_grad():
            model.weight.copy_(draw(2, 3))
        callback.on_step_end(args, types.SimpleNamespace(global_step=step), None, model=model)
        steps.append({"model": model.weight.tolist(), "teacher": teacher.weight.tolist()})
    return {"name": "average", "input": {"update_rate": 0.05, "start": start}, "expected": steps}


def write(name, seed, cases):
    document = {
        "generator": "tests/golden/gen/distillation.py",
        "torch": torch.__version__.split("+")[0],
        "trl": trl.__version__,
        "seed": seed,
        "cases": cases,
    }
    (FOLDER / name).write_text(json.dumps(document) + "\n")


cases = []
for alpha in (0.0, 0.3, 1.0):
    for topk, tail in ((1, True), (3, True), (3, False), (VOCABULARY, False)):
        cases.append(case(SDPOTrainer, sdpo_trainer, len(cases), "topk_logits", alpha, topk, tail))
for alpha in (0.0, 0.5):
    cases.append(case(SDFTTrainer, sdft_trainer, len(cases), "topk_logits", alpha, 4, False))
cases.append(case(SDPOTrainer, sdpo_trainer, len(cases), "topk_logits", 1.0, 3, True, weight=0.25))
cases.append(case(SDPOTrainer, sdpo_trainer, len(cases), "sampled_token", 1.0, None, False))
write("distillation.json", "the index of the case", cases)
write("teacher_average.json", 5, [average()])
