"""Writes ../adamw.json: torch.optim.AdamW over 50 steps, in f64. Run with torch 2.11.0."""

import json
import pathlib

import torch


def run(lr, betas, eps, weight_decay, seed):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)
    matrix, vector = draw(3, 4).requires_grad_(), draw(5).requires_grad_()
    start = {"matrix": matrix.tolist(), "vector": vector.tolist()}
    optimizer = torch.optim.AdamW(
        [{"params": [matrix], "weight_decay": weight_decay}, {"params": [vector], "weight_decay": 0.0}],
        lr=lr, betas=betas, eps=eps, foreach=False, fused=False,
    )
    gradients, checkpoints = [], {}
    for step in range(1, 51):
        matrix.grad, vector.grad = draw(3, 4), draw(5)
        gradients.append({"matrix": matrix.grad.tolist(), "vector": vector.grad.tolist()})
        optimizer.step()
        if step in (1, 2, 10, 50):
            checkpoints[str(step)] = {"matrix": matrix.tolist(), "vector": vector.tolist()}
    config = {"learning_rate": lr, "beta1": betas[0], "beta2": betas[1], "epsilon": eps, "weight_decay": weight_decay}
    return {"name": f"adamw-{seed}", "input": {"config": config, "start": start, "gradients": gradients}, "expected": checkpoints}


cases = [
    run(1e-3, (0.9, 0.999), 1e-8, 0.0, 1),
    run(1e-2, (0.9, 0.95), 1e-6, 0.1, 2),
]
path = pathlib.Path(__file__).parent.parent / "adamw.json"
document = {"generator": "tests/golden/gen/adamw.py", "torch": torch.__version__.split("+")[0], "seed": "1, 2", "cases": cases}
path.write_text(json.dumps(document) + "\n")
