"""Writes ../adapters/NAME: low-rank adapters that PEFT made for models of ../models, and what it computes with them.

Run with torch 2.11.0, transformers 4.57 and peft: `python lora.py [NAME ...]`; `qwen3_5-all` and `internlm3-all`, which have to
be named, with transformers 5.24.0. `expected.json` names the version of peft. Each folder holds PEFT's `adapter_config.json` and
`adapter_model.safetensors`, and `expected.json`: base model, token ids, log-probabilities and gradient norms of the
adapters, in f64 throughout (see models.py).

`python lora.py check MODEL ADAPTER OUT` is the other direction: it loads the folder MODEL with the folder ADAPTER in PEFT, in f32,
and writes the log-probabilities of the ids 3, 4, …, 42 to OUT; a test of hint-policy compares (see `HINT_PEFT_PYTHON` there).

`python lora.py read` does so for all adapters of ../written_adapters.json, of which `config` is what hint-policy writes. It makes their
tensors by a rule that the test follows, too, and writes names, shapes and log-probabilities there, with the largest difference between
versions of transformers. Run it with 4.57.6 and with 5.24.0.
"""

import json
import pathlib
import sys
import tempfile
import warnings

import peft
import safetensors.torch
import torch
import transformers

import models

ALL = dict(r=2, lora_alpha=3, target_modules="all-linear")
ADAPTERS = {
    "qwen3-attention": ("qwen3", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])),
    "olmo2-patterns": ("olmo2", dict(
        r=2, lora_alpha=6, rank_pattern={"q_proj": 3, "^model.layers.0.mlp.gate_proj": 4}, alpha_pattern={"layers.1.mlp.down_proj": 9},
        target_modules=["q_proj", "down_proj", "gate_proj"], modules_to_save=["lm_head", "post_attention_layernorm"])),
    "phi3-all": ("phi3", dict(r=3, lora_alpha=5, target_modules="all-linear")),
    "gemma3-all": ("gemma3", dict(r=3, lora_alpha=5, use_rslora=True, target_modules="all-linear", lora_dropout=0.1)),
    "qwen3_5-all": ("qwen3_5", ALL),
    "llama-one-kv-head-all": ("llama-one-kv-head", ALL),
}


def others(folder):
    """One more for each other family, on the first of its models."""
    families = {models.family(folder / base) for base, _ in ADAPTERS.values()}
    found = {}
    for path in sorted(folder.iterdir()):
        kind = models.family(path)
        if kind not in families:
            families.add(kind)
            found[f"{path.name}-all"] = (path.name, ALL)
    return found


def write(golden, name, weights):
    base, settings = ADAPTERS[name]
    path, ids = golden / "adapters" / name, torch.arange(3, 43)[None]
    torch.manual_seed(5)
    model = models.exact_model(golden / "models" / base, weights)
    model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **settings), autocast_adapter_dtype=False).eval()
    # Values that f32 holds, so that the files lose nothing.
    for key, value in model.named_parameters():
        if value.requires_grad:
            noise = torch.randn_like(value) * 0.2
            value.data = (noise if "lora_" in key else value.data + noise).to(torch.half).double()
    logp = model(ids).logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
    (-logp.mean()).backward()
    grad_norms = {
        key.replace(".modules_to_save.default", "").replace(".default", ""): value.grad.norm().item() for key, value in model.named_parameters() if value.requires_grad
    }
    model.save_pretrained(path)
    (path / "README.md").unlink(missing_ok=True)
    config = json.loads((path / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"../../models/{base}"
    config["target_modules"] = sorted(config["target_modules"])
    (path / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    tensors = safetensors.torch.load_file(path / "adapter_model.safetensors")
    single = {key: value.to(SINGLE) for key, value in tensors.items()}
    safetensors.torch.save_file(single, path / "adapter_model.safetensors", metadata={"format": "pt"})
    expected = {
        "about": f"tests/golden/gen/lora.py, float64, peft {peft.__version__}", "base": base, "ids": ids[0].tolist(),
        "token_logps": logp[0].tolist(), "grad_norms": grad_norms,
    }
    (path / "expected.json").write_text(json.dumps(expected) + "\n")


def logprobs(model, adapter):
    """Log-probabilities of a folder with an adapter in PEFT, and the adapted model; none if this version lacks the family."""
    if json.loads((pathlib.Path(model) / "config.json").read_text())["model_type"] not in transformers.CONFIG_MAPPING:
        return None
    model = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(model, adapter).eval()
    ids = torch.arange(3, 43)[None]
    with torch.no_grad():
        logp = model(ids).logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
    return logp[0].tolist()


def check(model, adapter, out):
    found = logprobs(model, adapter)
    if found is not None:
        pathlib.Path(out).write_text(json.dumps(found))


def fill(case, base):
    """The tensors of an adapter: a wave for each, on top of the base's weight for modules that are saved in whole."""
    tensors = {}
    for index, (name, shape) in enumerate(sorted(case["shapes"].items())):
        count = torch.Size(shape).numel()
        wave = ((torch.arange(count, dtype=torch.float64) * 0.7 + index).sin() * 0.1).view(shape).float()
        own = None if ".lora_" in name else base[name.removeprefix("base_model.model.")]
        tensors[name] = wave if own is None else own.float() + wave
    return tensors


def shapes(case, model):
    """Names and shapes of the adapter that PEFT makes of the description."""
    settings = {key: value for key, value in case["config"].items() if key != "peft_type"}
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(model))
        model = peft.get_peft_model(model, peft.LoraConfig(**settings))
    return {key: list(value.shape) for key, value in peft.get_peft_model_state_dict(model, save_embedding_layers=False).items()}


def read(golden):
    path = golden / "written_adapters.json"
    cases = json.loads(path.read_text())
    for name, case in cases.items():
        model = golden / "models" / case["base"]
        if json.loads((model / "config.json").read_text())["model_type"] not in transformers.CONFIG_MAPPING:
            print(transformers.__version__, "has no", case["base"])
            continue
        case["shapes"] = shapes(case, model)
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "adapter_config.json").write_text(json.dumps(case["config"]))
            tensors = fill(case, safetensors.torch.load_file(model / "model.safetensors"))
            safetensors.torch.save_file(tensors, pathlib.Path(folder) / "adapter_model.safetensors", metadata={"format": "pt"})
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = logprobs(model, folder)
            assert not any("missing" in str(one.message) for one in caught), (name, [str(one.message) for one in caught])
        known = case.get("token_logps", found)
        error = max(abs(a - b) for a, b in zip(found, known, strict=True))
        print(transformers.__version__, peft.__version__, name, f"{error:.1e}")
        assert error < 2e-5, (name, error)
        case["token_logps"] = known
        case["versions"] = sorted({*case.get("versions", []), f"peft {peft.__version__}, transformers {transformers.__version__}"})
    path.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        check(*sys.argv[2:5])
    elif sys.argv[1:] == ["read"]:
        read(pathlib.Path(__file__).parent.parent)
    else:
        SINGLE, golden = torch.float32, pathlib.Path(__file__).parent.parent
        ADAPTERS |= others(golden / "models")
        names = sys.argv[1:] or [name for name in ADAPTERS if ADAPTERS[name][0] not in models.LATER]
        files = [golden / "models" / ADAPTERS[name][0] / "model.safetensors" for name in names]
        weights = [safetensors.torch.load_file(file) for file in files]
        weights = [{key: value.double() for key, value in tensors.items()} for tensors in weights]
        models.narrow_no_more()
        for name, tensors in zip(names, weights):
            write(golden, name, tensors)
