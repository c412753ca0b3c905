"""Writes ../gguf_names.json: the names of tensors and keys in GGUF files, by gguf-py.

    python tests/golden/gen/gguf_names.py

Run with gguf 0.19 (of llama.cpp), and what models.py needs. For each family: how its files are stored (`GGUF` of models.py). For each
golden model: the architecture of its files, and the name there of each parameter, with N for the layer. Tests of hint-policy write such
files, which its reader loads.
"""

import json
import pathlib
import re
import struct

import gguf

from models import GGUF, family

GOLDEN = pathlib.Path(__file__).parent.parent


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
    families, models = {}, {}
    for path in sorted((GOLDEN / "models").iterdir()):
        kind = family(path)
        stored = dict(architecture=kind, paired=False, shifted=False, renamed={}) | GGUF.get(kind, {})
        renamed = stored.pop("renamed")
        families[kind] = stored
        config = json.loads((path / "config.json").read_text())
        layers = config.get("text_config", config)["num_hidden_layers"]
        table = gguf.get_tensor_name_map(by_name[stored["architecture"]], layers)
        tensors = {}
        for name in names(path / "model.safetensors"):
            # The converter takes the language model's path out, too.
            inner = name.replace("language_model.", "").replace("model.model.", "model.")
            known = inner
            for old, new in renamed.items():
                known = known.replace(old, new)
            found = table.get_name(known, try_suffixes=(".weight", ".bias"))
            if found:
                tensors[re.sub(r"\.\d+\.", ".N.", inner)] = re.sub(r"\.\d+\.", ".N.", found)
        models[path.name] = dict(architecture=stored["architecture"], tensors=tensors)
    (GOLDEN / "gguf_names.json").write_text(json.dumps(dict(families=families, models=models, keys=keys()), indent=1) + "\n")
