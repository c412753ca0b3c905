"""Loads saved models in transformers and compares their log-probabilities with `expected.json` in their folders.

    python reload.py FOLDER [OUT]

Every folder in FOLDER holds what hint-policy wrote, the `expected.json` of the model it was made from, and `digest.txt`, which stands for
the bytes of the other files. A test of hint-policy runs this; see `HINT_TRANSFORMERS_PYTHON` there. Run it with transformers 4.57 and
with 5. A family that transformers does not have is loaded as the one it inherits from (`HEIRS` of models.py). The largest errors are
added to the file OUT with the digests, by version and model; `HINT_BLESS=1` gives `reloaded.json`.
"""

import json
import pathlib
import sys

import torch
import transformers

import models

found = {}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    expected = json.loads((path / "expected.json").read_text())
    config = json.loads((path / "config.json").read_text())
    kind = config["model_type"]
    if kind not in [*transformers.CONFIG_MAPPING, *models.HEIRS]:
        print(f"{transformers.__version__} {path.name}: no {kind} in this version")
        continue
    inherited = {"config": models.read_config(path)} if kind in models.HEIRS else {}
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float64, attn_implementation="eager", output_loading_info=True, **inherited)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), (path, report)
    ids = torch.tensor(expected["ids"])
    with torch.no_grad():
        logp = model.eval()(ids).logits.double().log_softmax(-1)
    logp = logp[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
    error = (logp - torch.tensor(expected["token_logps"], dtype=torch.float64)).abs().max().item()
    print(f"{transformers.__version__} {path.name}: {error:.1e}")
    # transformers computes norms, rotary frequencies, the softmax of attention and the delta rule in f32.
    assert error < (3e-4 if "linear_num_key_heads" in config else 3e-5), (path, error)
    found[path.name] = {"error": float(f"{error:.1e}"), "digest": (path / "digest.txt").read_text()}
if sys.argv[2:]:
    out = pathlib.Path(sys.argv[2])
    known = json.loads(out.read_text()) if out.exists() else {}
    out.write_text(json.dumps(known | {transformers.__version__: found}, indent=1, sort_keys=True) + "\n")
