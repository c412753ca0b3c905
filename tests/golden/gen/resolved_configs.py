"""Writes ../resolved_configs.json: what transformers reads from a `config.json`, above all where keys are missing.

    python tests/golden/gen/resolved_configs.py [check]

Run it with transformers 4.57.6, then with 5.24.0, which adds the families that it alone has. With `check` it compares with the
file in place of writing it: the two versions read the same. The configurations are those of `saved_configs.json`, which hint-policy
writes, and the smallest ones of each family there, with and without the keys of windows. Each becomes a model that takes a
forward pass. Tests of hint-policy compare what it reads from the same configurations.
"""

import json
import pathlib
import sys
import tempfile

import torch
import transformers

from models import HEIRS, family

GOLDEN = pathlib.Path(__file__).parent.parent
OUT = GOLDEN / "resolved_configs.json"
BASE = dict(
    vocab_size=10, hidden_size=16, intermediate_size=8, num_hidden_layers=4, num_attention_heads=4, max_position_embeddings=64,
    num_key_value_heads=2)
FULL = ["full_attention"] * 4
LONG = dict(type="longrope", short_factor=[1.0, 1.5], long_factor=[2.0, 3.0])
# Changes to BASE, beside none.
CHANGES = {
    "mistral": [dict(sliding_window=None), dict(sliding_window=5)],
    "phi3": [
        dict(sliding_window=None), dict(sliding_window=5), dict(rope_scaling=LONG, max_position_embeddings=8192),
        dict(rope_scaling=LONG, original_max_position_embeddings=16)],
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
IDS = ["bos_token_id", "eos_token_id"]
FLAGS = ["tie_word_embeddings", "attention_bias", "mlp_bias", "attention_out_bias"]


def configs():
    """All configurations, by name."""
    saved = json.loads((GOLDEN / "saved_configs.json").read_text())
    for kind in dict.fromkeys(config["model_type"] for config in saved.values()):
        for index, change in enumerate([{}, *CHANGES.get(kind, [])]):
            yield f"{kind} {index}", dict(model_type=kind, **BASE) | change
    for name, config in saved.items():
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


def rotated(config, model):
    """Whether each layer rotates queries and keys, as seen in a forward pass."""
    code, begun, found = sys.modules[type(model).__module__], [], set()
    rotate = code.apply_rotary_pos_emb

    def seen(*args, **kwargs):
        found.add(len(begun) - 1)
        return rotate(*args, **kwargs)

    for layer in model.model.layers:
        layer.register_forward_pre_hook(lambda *_: begun.append(None))
    code.apply_rotary_pos_emb = seen
    logits = model(torch.arange(9).unsqueeze(0)).logits
    code.apply_rotary_pos_emb = rotate
    assert logits.shape == (1, 9, config.vocab_size) and logits.isfinite().all()
    # A gated delta-net has nothing to rotate.
    types = getattr(config, "layer_types", None) or FULL[:1] * len(begun)
    return [layer in found or kind == "linear_attention" for layer, kind in enumerate(types)]


def resolved(config, model):
    """What counts for the forward pass: windows and rotation layer by layer, numbers as floats."""
    window, types = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    # Without a list, all layers have the window.
    types = types or ["sliding_attention"] * config.num_hidden_layers
    result = {"windows": [float(window) if window and kind == "sliding_attention" else None for kind in types]}
    result["rotates"] = rotated(config, model)
    theta, share = rotary(config)
    result["rope_theta"], result["partial_rotary_factor"] = float(theta), float(share or 1.0)
    for key in NUMBERS:
        if hasattr(config, key):
            value = getattr(config, key)
            result[key] = None if value is None else float(value)
    if result.get("head_dim") is None:
        result["head_dim"] = float(config.hidden_size // config.num_attention_heads)
    for key in IDS:
        value = getattr(config, key, None)
        result[key] = value if isinstance(value, list) else [] if value is None else [value]
    scaling = getattr(config, "rope_scaling", None) or {}
    if "longrope" in (scaling.get("type"), scaling.get("rope_type")):
        result["original_max_position_embeddings"] = float(config.original_max_position_embeddings)
    for key in FLAGS:
        if hasattr(config, key):
            result[key] = bool(getattr(config, key))
    return result


def create(config, name, settings):
    """A model of the configuration, of the class that it names."""
    if not name.startswith("saved"):
        # Defaults may lie beyond the vocabulary, or be none.
        config.pad_token_id = None
        config.head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    kind, classes = settings["model_type"], settings.get("architectures", [])
    for path in (GOLDEN / "models").iterdir():
        # As transformers names it, which computes InternLM 3 by Llama's class.
        classes = classes + (json.loads((path / "config.json").read_text())["architectures"] if family(path) == kind else [])
    assert kind in HEIRS or type(model).__name__ in classes, name
    return model


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
        model = create(config, name, settings)
        case = dict(name=name, version=version, config=settings, resolved=resolved(config, model))
        if not name.startswith("saved"):
            # Published files have the other keys, on whose defaults versions differ.
            same = ("windows", "rotates", *IDS, "original_max_position_embeddings")
            case["resolved"] = {key: case["resolved"][key] for key in same if key in case["resolved"]}
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
