"""Loads whole folders that hint-policy saved, and compares them with the `expected_tokens.json` in each.

    python reload_tokenizers.py FOLDER [OUT]

Compares ids of texts, without and with what is added to plain texts, a prompt by the chat template and the tokens that end a
completion; the model takes a forward pass. A test of hint-policy runs this (`HINT_TRANSFORMERS_PYTHON`), with transformers 4.57 and 5.
`digest.txt` in each folder stands for the bytes of its other files, apart from the weights. It is added to the file OUT, by version and name; `HINT_BLESS=1`
gives `reloaded_tokenizers.json`.
"""

import json
import pathlib
import sys

import torch
import transformers

loaded = {}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    expected = json.loads((path / "expected_tokens.json").read_text())
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    for text, ids in zip(expected["texts"], expected["encoded"], strict=True):
        found = [tokenizer.encode(text, add_special_tokens=special) for special in (False, True)]
        assert found == ids, (path, text, found, ids)
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], tokenize=False, add_generation_prompt=True)
    assert prompt == expected["prompt"], (path, prompt)
    ends = transformers.GenerationConfig.from_pretrained(path).eos_token_id
    ends = sorted(ends if isinstance(ends, list) else [ends])
    assert ends == expected["stop_tokens"], (path, ends)
    model, report = transformers.AutoModelForCausalLM.from_pretrained(path, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys")), (path, report)
    assert model(torch.tensor([[1, 2, 3]])).logits.isfinite().all(), path
    print(transformers.__version__, path.name, expected["name"], "loads")
    loaded[expected["name"]] = {"digest": (path / "digest.txt").read_text()}
if sys.argv[2:]:
    out = pathlib.Path(sys.argv[2])
    known = json.loads(out.read_text()) if out.exists() else {}
    out.write_text(json.dumps(known | {transformers.__version__: loaded}, indent=1, sort_keys=True) + "\n")
