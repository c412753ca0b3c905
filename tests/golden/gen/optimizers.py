"""Writes ../{sgd,adafactor,muon}.json: torch.optim over 50 steps, in f64. Run with torch 2.11.0."""

import json
import pathlib

import torch

SHAPES = {"wide": (3, 5), "tall": (6, 2), "vector": (4,)}
FOLDER = pathlib.Path(__file__).parent.parent


def run(name, make, config, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    parameters = {key: draw(shape).to(dtype).requires_grad_() for key, shape in SHAPES.items()}
    start = {key: value.tolist() for key, value in parameters.items()}
    optimizers = make(parameters)
    gradients, expected = [], {}
    for step in range(1, 51):
        for key, shape in SHAPES.items():
            parameters[key].grad = draw(shape).to(dtype)
        gradients.append({key: value.grad.tolist() for key, value in parameters.items()})
        for optimizer in optimizers:
            optimizer.step()
        if step in (1, 2, 10, 50):
            expected[str(step)] = {key: value.tolist() for key, value in parameters.items()}
    return {"name": name, "input": {"config": config, "start": start, "gradients": gradients}, "expected": expected}


def split(parameters, weight_decay):
    matrices = [value for value in parameters.values() if value.dim() >= 2]
    vectors = [value for value in parameters.values() if value.dim() < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def sgd(lr, momentum, nesterov, weight_decay, seed):
    make = lambda p: [torch.optim.SGD(split(p, weight_decay), lr=lr, momentum=momentum, nesterov=nesterov, foreach=False)]
    config = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    return run(f"sgd-{seed}", make, {"learning_rate": lr, "algorithm": {"type": "sgd", **config}}, seed)


def adafactor(lr, beta2_decay, epsilon, d, weight_decay, seed):
    make = lambda p: [torch.optim.Adafactor(split(p, weight_decay), lr=lr, beta2_decay=beta2_decay, eps=(None, epsilon), d=d, foreach=False)]
    config = {"beta2_decay": beta2_decay, "epsilon": epsilon, "clip_threshold": d, "weight_decay": weight_decay}
    return run(f"adafactor-{seed}", make, {"learning_rate": lr, "algorithm": {"type": "adafactor", **config}}, seed)


def muon(lr, momentum, nesterov, weight_decay, scale, seed):
    def make(p):
        matrices = [value for value in p.values() if value.dim() == 2]
        vectors = [value for value in p.values() if value.dim() < 2]
        return [
            torch.optim.Muon(matrices, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, adjust_lr_fn=scale),
            torch.optim.AdamW(vectors, lr=lr, weight_decay=0.0, foreach=False, fused=False),
        ]

    config = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay, "scale": scale}
    return run(f"muon-{seed}", make, {"learning_rate": lr, "algorithm": {"type": "muon", **config}}, seed)


def write(name, seeds, cases):
    document = {"generator": "tests/golden/gen/optimizers.py", "torch": torch.__version__.split("+")[0], "seed": seeds, "cases": cases}
    (FOLDER / f"{name}.json").write_text(json.dumps(document) + "\n")


write("sgd", "1, 2, 3", [sgd(1e-2, 0.0, False, 0.0, 1), sgd(1e-2, 0.9, False, 0.1, 2), sgd(1e-2, 0.95, True, 0.1, 3)])
write("adafactor", "1, 2", [adafactor(1e-2, -0.8, 1e-3, 1.0, 0.0, 1), adafactor(0.3, -0.7, 1e-2, 1.5, 0.1, 2)])
# torch iterates in bf16, which would hide an error of a per cent: its own code runs in f64 here.
torch.Tensor.bfloat16 = lambda tensor: tensor.double().clone()
write("muon", "1, 2", [muon(1e-2, 0.95, True, 0.1, "original", 1), muon(1e-2, 0.9, False, 0.0, "match_rms_adamw", 2)])
