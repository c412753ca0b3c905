"""Checks that transformers loads the configurations that hint-policy writes.

    python tests/golden/gen/saved_configs.py tests/golden/saved_configs.json

Each entry of the file is a `config.json` of a model of that family, as the test
`folders::files_of_all_families_are_written_as_transformers_reads_them` writes it. Run it with transformers
4.57 and with 5: it makes a model of each configuration and takes one forward pass.
"""

import json
import pathlib
import sys
import tempfile

import torch
import transformers

for family, config in json.loads(pathlib.Path(sys.argv[1]).read_text()).items():
    if family not in transformers.CONFIG_MAPPING:
        print(transformers.__version__, "has no", family)
        continue
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "config.json").write_text(json.dumps(config))
        read = transformers.AutoConfig.from_pretrained(folder)
        model = transformers.AutoModelForCausalLM.from_config(read).eval()
        assert type(model).__name__ == config["architectures"][0]
        logits = model(torch.arange(12).unsqueeze(0)).logits
        assert logits.shape == (1, 12, config["vocab_size"]) and logits.isfinite().all()
    print(transformers.__version__, family, "loads")
