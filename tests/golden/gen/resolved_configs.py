"""Writes ../resolved_configs.json: what transformers reads from a `config.json`, above all where keys are missing.

    python tests/golden/gen/resolved_configs.py [check]

Run it with transformers 4.57.6, then with 5.24.0, which adds the families that it alone has. With `check` it compares with the
file in place of writing it: the two versions read the same. The configurations are the smallest ones of each family, with and
without the keys of windows, and those of `saved_configs.json`, which hint-policy writes; of these a model is made, too, that takes
a forward pass. Tests of hint-policy compare what it reads from the same configurations.
"""

import json
import pathlib
import sys
import tempfile

import torch
import transformers

from models import HEIRS

GOLDEN = pathlib.Path(__file__).parent.parent
OUT = GOLDEN / "resolved_configs.json"
BASE = dict(
    vocab_size=10, hidden_size=16, intermediate_size=8, num_hidden_layers=4, num_attention_heads=4, max_position_embeddings=64,
    num_key_value_heads=2)
FAMILIES = [
    "llama", "qwen2", "qwen3", "mistral", "gemma3_text", "smollm3", "olmo2", "granite", "phi3", "gemma2", "olmo3", "exaone4",
    "seed_oss", "hunyuan_v1_dense", "internlm3", "mimo", "qwen3_5_text"]
FULL = ["full_attention"] * 4
# Changes to BASE, beside none.
CHANGES = {
    "mistral": [dict(sliding_window=None), dict(sliding_window=5)],
    "phi3": [dict(sliding_window=None), dict(sliding_window=5)],
    "qwen2": [dict(use_sliding_window=True, max_window_layers=1), dict(use_sliding_window=True, sliding_window=None)],
    "qwen3": [dict(use_sliding_window=True, max_window_layers=2), dict(use_sliding_window=True, sliding_window=5, max_window_layers=0)],
    "smollm3": [dict(use_sliding_window=True), dict(use_sliding_window=True, sliding_window=5, no_rope_layers=[1, 0, 1, 0])],
    "exaone4": [
        dict(sliding_window=None, layer_types=FULL), dict(layer_types=FULL), dict(sliding_window=5, sliding_window_pattern=2)],
    "gemma2": [dict(sliding_window=5)],
    "gemma3_text": [dict(sliding_window=5, layer_types=FULL)],
    "olmo3": [dict(sliding_window=5)],
    "seed_oss": [dict(attention_out_bias=True), dict(attention_bias=False)],
    "internlm3": [dict(qkv_bias=True, bias=True)],
    "llama": [dict(bias=True, qkv_bias=True), dict(mlp_bias=True, bias=False)],
}
NUMBERS = [
    "head_dim", "num_key_value_heads", "rms_norm_eps", "max_position_embeddings", "query_pre_attn_scalar", "attn_logit_softcapping",
    "final_logit_softcapping", "embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling",
    "linear_num_key_heads", "linear_num_value_heads", "linear_key_head_dim", "linear_value_head_dim", "linear_conv_kernel_dim"]
FLAGS = ["tie_word_embeddings", "attention_bias", "mlp_bias", "attention_out_bias"]


def configs():
    """All configurations, by name."""
    for family in FAMILIES:
        for index, change in enumerate([{}, *CHANGES.get(family, [])]):
            yield f"{family} {index}", dict(model_type=family, **BASE) | change
    for name, config in json.loads((GOLDEN / "saved_configs.json").read_text()).items():
        yield f"saved {name}", config


def read(settings):
    """The configuration as transformers reads it from a folder; none if this version lacks the family."""
    kind = settings["model_type"]
    kind = HEIRS[kind][0] if kind in HEIRS else kind
    if kind not in transformers.CONFIG_MAPPING:
        return None
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "config.json").write_text(json.dumps(settings | dict(model_type=kind)))
        return transformers.AutoConfig.from_pretrained(folder)


def rotary(config):
    """Base of the rotary frequencies of layers without a window, and share of a head that is rotated."""
    parameters = getattr(config, "rope_parameters", None) or {}
    parameters = parameters.get("full_attention", parameters)
    theta = parameters.get("rope_theta", getattr(config, "rope_theta", None))
    return theta, parameters.get("partial_rotary_factor", getattr(config, "partial_rotary_factor", 1.0))


def resolved(config):
    """What counts for the forward pass: windows and rotation layer by layer, numbers as floats."""
    kind, layers = config.model_type, config.num_hidden_layers
    window, types = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    if kind in ("mistral", "phi3"):
        types = ["sliding_attention"] * layers
    types = types or FULL[:1] * layers
    result = {"windows": [float(window) if window and kind == "sliding_attention" else None for kind in types]}
    # As in the attention of these families.
    if kind == "smollm3":
        result["rotates"] = [bool(rotates) for rotates in config.no_rope_layers]
    elif kind == "exaone4":
        result["rotates"] = [window is None or kind == "sliding_attention" for kind in types]
    else:
        result["rotates"] = [True] * layers
    theta, share = rotary(config)
    result["rope_theta"], result["partial_rotary_factor"] = float(theta), float(share or 1.0)
    for key in NUMBERS:
        if hasattr(config, key):
            value = getattr(config, key)
            result[key] = None if value is None else float(value)
    if result.get("head_dim") is None:
        result["head_dim"] = float(config.hidden_size // config.num_attention_heads)
    for key in FLAGS:
        if hasattr(config, key):
            result[key] = bool(getattr(config, key))
    return result


def forward(config, name, settings):
    """Makes a model of a saved configuration and takes a forward pass."""
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    # transformers 5 computes InternLM 3 by Llama's class.
    other = settings["model_type"] in HEIRS or settings["model_type"] == "internlm3"
    assert other or type(model).__name__ == settings["architectures"][0], name
    logits = model(torch.arange(12).unsqueeze(0)).logits
    assert logits.shape == (1, 12, settings["vocab_size"]) and logits.isfinite().all(), name


if __name__ == "__main__":
    check, version = "check" in sys.argv[1:], transformers.__version__
    old = {case["name"]: case for case in json.loads(OUT.read_text())} if OUT.exists() else {}
    cases, differ = [], 0
    for name, settings in configs():
        config = read(settings)
        if config is None:
            print(version, "has no", settings["model_type"])
            cases.extend([old[name]] if name in old else [])
            continue
        case = dict(name=name, version=version, config=settings, resolved=resolved(config))
        if name.startswith("saved"):
            forward(config, name, settings)
        else:
            # Published files have the other keys, on whose defaults versions differ.
            case["resolved"] = {key: case["resolved"][key] for key in ("windows", "rotates")}
        known = old.get(name)
        if check:
            keys = case["resolved"].keys() & known["resolved"].keys()
            found = {key: (case["resolved"][key], known["resolved"][key]) for key in keys}
            found = {key: pair for key, pair in found.items() if pair[0] != pair[1]}
            differ += bool(found or known["config"] != settings)
            if found or known["config"] != settings:
                print(version, name, found or "another configuration")
        elif known and known["config"] == settings and known["version"] < version:
            case = known
        cases.append(case)
    assert not differ, f"{differ} configurations differ"
    if not check:
        OUT.write_text(json.dumps(cases, indent=1) + "\n")
    print(version, len(cases), "configurations")
