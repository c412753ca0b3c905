"""Writes crates/hint-policy/tests/gguf_blocks.json: random blocks and their values. Run with the package gguf."""

import json
import pathlib

import gguf
import numpy as np

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
# Where the f16 scales of a block lie: random bytes there could be NaN.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
generator = np.random.default_rng(7)
cases = []
for name in TYPES:
    kind = gguf.GGMLQuantizationType[name]
    _, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = generator.integers(0, 256, (2, size), dtype=np.uint8)
    for at in SCALES[name]:
        scales = generator.uniform(-0.1, 0.1, 2).astype(np.float16)
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(2, 2)
    values = gguf.quants.dequantize(blocks, kind)
    cases.append({
        "name": name, "kind": int(kind), "bytes": blocks.ravel().tolist(),
        "expected": [float(f"{value:.9g}") for value in values.ravel()],
    })
path = pathlib.Path(__file__).parents[3] / "crates/hint-policy/tests/gguf_blocks.json"
document = {"generator": "tests/golden/gen/gguf_blocks.py", "seed": 7, "cases": cases}
path.write_text(json.dumps(document) + "\n")
