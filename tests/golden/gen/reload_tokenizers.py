"""Loads whole folders that hint-policy saved, and compares them with the `expected_tokens.json` in each.

    python reload_tokenizers.py FOLDER

Compares ids of texts, without and with what is added to plain texts, a prompt by the chat template and the tokens that end a
completion; the model takes a forward pass. A test of hint-policy runs this (`HINT_TRANSFORMERS_PYTHON`), with transformers 4.57 and 5.
"""

import json
import pathlib
import sys

import torch
import transformers

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
