"""Writes ../gguf_names.json: the names of tensors and keys in GGUF files, by gguf-py.

    python tests/golden/gen/gguf_names.py

Run with gguf 0.19 (of llama.cpp). For each golden model: the architecture of its GGUF files, and the name there of each
parameter, with N for the layer. Tests of hint-policy compare the files that they write, which its reader loads.
"""

import json
import pathlib
import re
import struct

import gguf

GOLDEN = pathlib.Path(__file__).parent.parent
# Families whose files have the architecture of another one; the others are found by their `model_type`.
ARCHITECTURES = {
    "mistral": "llama", "internlm3": "llama", "mimo": "qwen2", "olmo3": "olmo2", "gemma3_text": "gemma3", "gemma3": "gemma3",
    "hunyuan_v1_dense": "hunyuan-dense", "qwen3_5_text": "qwen35", "qwen3_5": "qwen35",
}


def names(path):
    """The tensors of a safetensors file."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        return [name for name in json.loads(file.read(size)) if name != "__metadata__"]


def keys():
    """All keys of metadata."""
    groups = [value for name, value in vars(gguf.Keys).items() if isinstance(value, type)]
    texts = [text for group in groups for text in vars(group).values() if isinstance(text, str)]
    return sorted(text for text in texts if text.startswith("{arch}."))


if __name__ == "__main__":
    by_name = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
    models = {}
    for path in sorted((GOLDEN / "models").iterdir()):
        config = json.loads((path / "config.json").read_text())
        kind = ARCHITECTURES.get(config["model_type"], config["model_type"])
        layers = config.get("text_config", config)["num_hidden_layers"]
        table = gguf.get_tensor_name_map(by_name[kind], layers)
        tensors = {}
        for name in names(path / "model.safetensors"):
            # The converter takes the language model's path out, too.
            inner = name.replace("language_model.", "").replace("model.model.", "model.")
            # As the converter renames it.
            known = inner.replace("dt_bias", "dt_proj.bias")
            stored = table.get_name(known, try_suffixes=(".weight", ".bias"))
            if stored:
                tensors[re.sub(r"\.\d+\.", ".N.", inner)] = re.sub(r"\.\d+\.", ".N.", stored)
        models[path.name] = dict(architecture=kind, tensors=tensors)
    (GOLDEN / "gguf_names.json").write_text(json.dumps(dict(models=models, keys=keys()), indent=1) + "\n")
