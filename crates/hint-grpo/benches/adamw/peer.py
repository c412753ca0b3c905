"""The torch side of the adamw bench: reads `KIND COUNT` from stdin and answers with the milliseconds of a step.

Arguments: the shapes of a layer as a list of lists, the number of layers, and the number of threads.
"""

import json
import sys
import time

import torch

shapes, layers, threads = json.loads(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
KINDS = {"foreach": {"foreach": True}, "fused": {"fused": True}, "loop": {"foreach": False, "fused": False}}
optimizers = {}


def optimizer(kind):
    if kind not in optimizers:
        parameters = [torch.nn.Parameter(torch.ones(shape)) for _ in range(layers) for shape in shapes]
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        optimizers[kind] = torch.optim.AdamW(parameters, lr=1e-6, weight_decay=0.01, **KINDS[kind])
    return optimizers[kind]


for line in sys.stdin:
    kind, count = line.split()
    step = optimizer(kind).step
    start = time.perf_counter()
    for _ in range(int(count)):
        step()
    print((time.perf_counter() - start) * 1e3 / int(count), flush=True)
