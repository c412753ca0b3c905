"""Writes ../models/NAME or, given a folder, FOLDER/models/NAME: tiny random models with what transformers makes of them.

Run with torch 2.11.0 and transformers 4.57.1: `python models.py [FOLDER] [NAME ...]`. Each folder holds `config.json`,
`model.safetensors` and `expected.json`: log-probabilities, entropies, greedy tokens and gradient norms, computed in f64
from the f32 weights by transformers' eager attention. A NAME that is not listed below is a folder that is already there:
its weights and token ids stay, what is expected of them is computed anew. `python models.py long` writes ../long_rows.json: rows of
`phi3-longrope` that are longer than in its pre-training, and so have the long factors. With transformers 5.24.0: the names of `LATER`, which are committed too.

transformers computes norms, rotary frequencies and the softmax of attention in f32 even for f64 models, which is wrong by
up to 9e-6 here. Below, f32 means f64 while the expected numbers are computed, so they are exact to some 1e-12
(`"exact": true`).
"""

import json
import pathlib
import sys
import tempfile

import safetensors.torch
import torch
import transformers

# Rows of 40 tokens: longer than the windows and the original lengths below.
VOCAB, ROWS, LENGTH, PROMPT, NEW = 71, 2, 40, 8, 16
SMALL = dict(
    vocab_size=VOCAB, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, head_dim=6, max_position_embeddings=128, rms_norm_eps=1e-6, rope_theta=10000.0,
    initializer_range=0.25, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=32)
YARN_FULL = dict(
    rope_type="yarn", factor=8.0, original_max_position_embeddings=16, beta_fast=16.0, beta_slow=2.0,
    attention_factor=1.3,
)
LLAMA3 = dict(
    rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32,
)

GEMMA = dict(
    num_hidden_layers=4, head_dim=10, hidden_activation="gelu_pytorch_tanh", query_pre_attn_scalar=7, rope_theta=50000.0,
    rope_local_base_freq=300.0, tie_word_embeddings=True,
)

GEMMA2 = dict(
    num_hidden_layers=4, head_dim=10, hidden_activation="gelu_pytorch_tanh", query_pre_attn_scalar=7, rope_theta=50000.0,
    attn_logit_softcapping=5.0, final_logit_softcapping=3.0, tie_word_embeddings=True,
)
LONGROPE = dict(type="longrope", short_factor=[1.0, 1.1, 1.3], long_factor=[1.0, 2.0, 4.0])
# Rows are longer than the chunks of 64 tokens in which gated delta-nets are computed.
QWEN3_5 = dict(
    initializer_range=0.15, head_dim=16, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=6, linear_value_head_dim=8,
    rope_parameters=dict(rope_type="default", rope_theta=50000.0, partial_rotary_factor=0.25))
OLMO = dict(pad_token_id=0, rope_theta=500000.0)

# Name: (model type, changes to SMALL).
MODELS = {
    "llama-wide-heads": ("llama", dict(head_dim=10)),
    "llama-biases": ("llama", dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    "llama-one-kv-head": ("llama", dict(num_key_value_heads=1)),
    "llama-no-grouping": ("llama", dict(num_key_value_heads=4)),
    "llama-linear-rope": ("llama", dict(rope_scaling=dict(rope_type="linear", factor=4.0))),
    "llama-yarn": ("llama", dict(rope_scaling=YARN, head_dim=16)),
    "llama3-wide-heads": ("llama", dict(rope_scaling=LLAMA3, head_dim=16, rope_theta=500000.0)),
    "mistral": ("mistral", dict(head_dim=8)),
    "mistral-sliding": ("mistral", dict(sliding_window=7)),
    "qwen2-sliding": ("qwen2", dict(use_sliding_window=True, sliding_window=9, max_window_layers=1)),
    "qwen2-yarn": ("qwen2", dict(rope_scaling=YARN_FULL, head_dim=8)),
    "qwen3-biases": ("qwen3", dict(attention_bias=True, head_dim=16)),
    "qwen3-sliding": ("qwen3", dict(use_sliding_window=True, sliding_window=5, max_window_layers=2)),
    "qwen3-yarn": ("qwen3", dict(rope_scaling=YARN, head_dim=16, tie_word_embeddings=True)),
    "gemma3": ("gemma3_text", GEMMA | dict(sliding_window=7, layer_types=["sliding_attention", "full_attention"] * 2)),
    "gemma3-biases": ("gemma3_text", GEMMA | dict(
        attention_bias=True, tie_word_embeddings=False, num_key_value_heads=4, sliding_window=5, sliding_window_pattern=3,
        rope_scaling=dict(rope_type="linear", factor=8.0))),
    "smollm3": ("smollm3", dict(no_rope_layer_interval=2, tie_word_embeddings=True)),
    "smollm3-sliding": ("smollm3", dict(
        no_rope_layers=[1, 0, 0], use_sliding_window=True, sliding_window=6, attention_bias=True, mlp_bias=True)),
    "olmo2": ("olmo2", OLMO),
    "olmo2-biases": ("olmo2", OLMO | dict(attention_bias=True, num_key_value_heads=4)),
    "granite": ("granite", dict(
        embedding_multiplier=3.0, residual_multiplier=0.4, attention_multiplier=0.3, logits_scaling=1.7, tie_word_embeddings=True)),
    "granite-biases": ("granite", dict(
        embedding_multiplier=12.0, residual_multiplier=0.22, logits_scaling=2.0, attention_bias=True, mlp_bias=True)),
    "phi3": ("phi3", dict(hidden_size=32, head_dim=8, partial_rotary_factor=0.75, sliding_window=9)),
    "phi3-longrope": ("phi3", dict(
        hidden_size=32, head_dim=8, partial_rotary_factor=0.75, rope_scaling=LONGROPE, original_max_position_embeddings=64,
        max_position_embeddings=256, tie_word_embeddings=True)),
    "gemma2": ("gemma2", GEMMA2 | dict(sliding_window=7)),
    "gemma2-uncapped": ("gemma2", GEMMA2 | dict(
        sliding_window=5, attn_logit_softcapping=None, final_logit_softcapping=None, attention_bias=True,
        tie_word_embeddings=False)),
    "olmo3": ("olmo3", OLMO | dict(num_hidden_layers=4, sliding_window=7, rope_scaling=YARN)),
    "exaone4": ("exaone4", dict(
        num_hidden_layers=4, head_dim=8, sliding_window=7, sliding_window_pattern=2, rope_theta=50000.0)),
    "seed-oss": ("seed_oss", dict(attention_bias=True, attention_out_bias=False, head_dim=8)),
    "hunyuan": ("hunyuan_v1_dense", dict(
        head_dim=8, tie_word_embeddings=True, rope_scaling=dict(type="dynamic", factor=1.0, alpha=50.0))),
    "hunyuan-biases": ("hunyuan_v1_dense", dict(head_dim=8, attention_bias=True)),
    "internlm3": ("internlm3", dict(
        rope_parameters=dict(rope_type="dynamic", factor=6.0, rope_theta=50000.0), attention_bias=False, mlp_bias=False)),
    "mimo": ("mimo", dict(head_dim=8, rope_theta=640000.0)),
    "qwen3_5": ("qwen3_5_text", QWEN3_5 | dict(num_hidden_layers=4)),
    "mistral-unwindowed": ("mistral", dict(head_dim=8, sliding_window=None)),
    # The factor counts, not the ratio of the lengths.
    "qwen2-yarn-ratio": ("qwen2", dict(
        rope_scaling=dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=64), head_dim=8, max_position_embeddings=64)),
    # Without windows, all layers rotate.
    "exaone4-unwindowed": ("exaone4", dict(
        num_hidden_layers=3, head_dim=8, sliding_window=None, layer_types=["full_attention"] * 3, rope_theta=50000.0)),
}
# Models of several kinds of input, whose language model alone is computed: name, and the text model as above.
WHOLE = {
    "gemma3-images": ("gemma3", GEMMA | dict(
        num_hidden_layers=2, sliding_window=7, layer_types=["sliding_attention", "full_attention"])),
    "mistral3-images": ("mistral3", dict(num_hidden_layers=2, head_dim=8, sliding_window=None, rope_theta=50000.0, model_type="mistral")),
    "qwen3_5-images": ("qwen3_5", QWEN3_5 | dict(
        num_hidden_layers=2, layer_types=["linear_attention", "full_attention"], tie_word_embeddings=True,
        linear_num_key_heads=1, linear_num_value_heads=3, attention_bias=True, model_type="qwen3_5_text")),
}
# Families that transformers 5 alone has; name them to write them.
LATER = ["qwen3_5", "qwen3_5-images", "internlm3"]
# Families that transformers does not have, with those whose classes their own code inherits from unchanged. Their files hold further
# tensors, which nothing uses.
HEIRS = {"mimo": ("qwen2", "MiMoForCausalLM", "model.mtp_layers.0.token_layernorm.weight")}
# How llama.cpp's converter stores families: the architecture, if it is not the `model_type`; whether the two rows of a rotary pair become
# neighbors; whether norms grow by 1; and names of tensors that it changes first.
GGUF = {
    "llama": dict(paired=True), "mistral": dict(architecture="llama", paired=True), "internlm3": dict(architecture="llama", paired=True),
    "smollm3": dict(paired=True), "granite": dict(paired=True), "mimo": dict(architecture="qwen2"), "olmo3": dict(architecture="olmo2"),
    "gemma2": dict(shifted=True), "gemma3_text": dict(architecture="gemma3", shifted=True),
    "hunyuan_v1_dense": dict(architecture="hunyuan-dense"),
    "qwen3_5_text": dict(architecture="qwen35", shifted=True, renamed={"dt_bias": "dt_proj.bias"}),
}
# These are committed; the others are for a folder of one's own.
COMMITTED = [
    "llama-biases", "llama-one-kv-head", "llama-linear-rope", "llama-yarn", "llama3-wide-heads", "mistral", "mistral-sliding",
    "mistral-unwindowed", "qwen2-sliding", "qwen2-yarn", "qwen2-yarn-ratio", "qwen3-sliding", "gemma3", "smollm3", "olmo2", "granite", "phi3", "phi3-longrope", "gemma2",
    "olmo3", "exaone4", "exaone4-unwindowed", "seed-oss", "gemma3-images", "mistral3-images", "hunyuan", "mimo",
]


def create(folder, name, seed):
    """Writes the model, and returns what `expect` needs."""
    kind, changes = MODELS[name]
    settings = SMALL | changes
    if kind == "qwen2" and "head_dim" not in changes:
        settings.pop("head_dim")
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(HEIRS[kind][0] if kind in HEIRS else kind, **settings)
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.float32)
    path = folder / "models" / name
    save(model, model.parameters(), path)
    if kind in HEIRS:
        rename(path, kind)
    return path, torch.randint(3, VOCAB, (ROWS, length(name))), PROMPT, NEW, f"seed {seed}"


def length(name):
    return 70 if name.startswith("qwen3_5") else LENGTH


def rename(path, kind):
    """Gives a folder the name of a family that transformers does not have."""
    _, class_name, further = HEIRS[kind]
    config = json.loads((path / "config.json").read_text()) | {"model_type": kind, "architectures": [class_name]}
    (path / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = safetensors.torch.load_file(path / "model.safetensors")
    tensors[further] = torch.ones(config["hidden_size"])
    safetensors.torch.save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


def family(path):
    """The `model_type` of a folder's language model."""
    config = json.loads((path / "config.json").read_text())
    return config.get("text_config", config)["model_type"]


def read_config(path):
    """The configuration of a folder, of heirs that of the family they inherit from."""
    settings = json.loads((path / "config.json").read_text())
    kind = settings.pop("model_type")
    if kind in HEIRS:
        return transformers.AutoConfig.for_model(HEIRS[kind][0], **settings)
    return transformers.AutoConfig.from_pretrained(path)


def save(model, parameters, path):
    """Saves a model after noise on its norms and biases, which begin as ones and zeros."""
    with torch.no_grad():
        for parameter in parameters:
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(path)
    (path / "generation_config.json").unlink(missing_ok=True)


def create_whole(folder, name, seed):
    """As `create`, of a model that reads images too."""
    torch.manual_seed(seed)
    kind, changes = WHOLE[name]
    text = SMALL | changes
    if kind == "gemma3":
        vision = dict(
            hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8)
        config = transformers.Gemma3Config(
            text_config=text, vision_config=vision, mm_tokens_per_image=4, boi_token_index=3, eoi_token_index=4,
            image_token_index=5, tie_word_embeddings=True)
        config._attn_implementation = "eager"
        model = transformers.Gemma3ForConditionalGeneration(config).to(torch.float32)
    elif kind == "mistral3":
        vision = dict(
            model_type="pixtral", hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, head_dim=4, image_size=16,
            patch_size=4)
        config = transformers.Mistral3Config(text_config=text, vision_config=vision, image_token_index=5)
        config._attn_implementation = "eager"
        model = transformers.Mistral3ForConditionalGeneration(config).to(torch.float32)
    else:
        vision = dict(
            depth=1, hidden_size=8, intermediate_size=8, num_heads=2, out_hidden_size=text["hidden_size"], patch_size=4,
            num_position_embeddings=4)
        config = transformers.Qwen3_5Config(
            text_config=text, vision_config=vision, image_token_id=3, video_token_id=4, vision_start_token_id=5,
            vision_end_token_id=6, tie_word_embeddings=True)
        config._attn_implementation = "eager"
        model = transformers.Qwen3_5ForConditionalGeneration(config).to(torch.float32)
    path = folder / "models" / name
    save(model, model.model.language_model.parameters(), path)
    return path, torch.randint(7 if kind == "qwen3_5" else 6, VOCAB, (ROWS, length(name))), PROMPT, NEW, f"seed {seed}"


def again(folder, name):
    """What `expect` needs for a folder that is already there."""
    path = folder / "models" / name
    old = json.loads((path / "expected.json").read_text())
    return path, torch.tensor(old["ids"]), len(old["greedy_prompt"]), len(old["greedy"]), "weights as they were"


def narrow_no_more():
    """Makes f32 mean f64, so that transformers does not round on the way."""
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)


def exact_model(path, weights):
    """The model of a folder in f64."""
    config = read_config(path)
    further = {further for *_, further in HEIRS.values()}
    weights = {key: value for key, value in weights.items() if key not in further}
    if hasattr(config, "text_config"):
        config = config.text_config
        # `language_model.` in front of all in transformers 4, within in transformers 5.
        names = {key: key.replace("model.language_model.", "model.").removeprefix("language_model.") for key in weights}
        weights = {names[key]: value for key, value in weights.items() if "language_model." in key or key == "lm_head.weight"}
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float64)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all(key == "lm_head.weight" for key in missing), (missing, unexpected)
    model.tie_weights()
    assert all(tensor.dtype == torch.float64 for tensor in model.state_dict().values())
    return model.eval()


def expect(weights, path, ids, prompt, new, about):
    """Writes `expected.json`."""
    model = exact_model(path, weights)
    logp = model(ids).logits.log_softmax(-1)
    token_logps = logp[:, :-1].gather(-1, ids[:, 1:, None]).squeeze(-1)
    (-token_logps.mean()).backward()
    grad_norms = {key: value.grad.norm().item() for key, value in model.named_parameters()}
    greedy = ids[:1, :prompt]
    with torch.no_grad():
        for _ in range(new):
            greedy = torch.cat([greedy, model(greedy, use_cache=False).logits[:, -1:].argmax(-1)], 1)
    expected = {
        "about": f"tests/golden/gen/models.py, float64, transformers {transformers.__version__}, {about}",
        "exact": True,
        "ids": ids.tolist(),
        "token_logps": token_logps.tolist(),
        "last_logps": logp[:, -1].tolist(),
        "entropy": (-(logp.exp() * logp).sum(-1)).tolist(),
        "greedy_prompt": ids[0, :prompt].tolist(),
        "greedy": greedy[0, prompt:].tolist(),
        "grad_norms": grad_norms,
    }
    (path / "expected.json").write_text(json.dumps(expected))


def long_rows(golden, name="phi3-longrope", length=90, prompt=66, new=12):
    """Writes `long_rows.json`. The greedy prompt is longer than the original length, too, so that the factors never change."""
    path = golden / "models" / name
    weights = safetensors.torch.load_file(path / "model.safetensors")
    torch.manual_seed(7)
    ids = torch.randint(3, VOCAB, (2, length))
    weights = {key: value.double() for key, value in weights.items()}
    narrow_no_more()
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        (out / "config.json").write_text((path / "config.json").read_text())
        expect(weights, out, ids, prompt, new, f"weights of {name}")
        (golden / "long_rows.json").write_text((out / "expected.json").read_text())


if __name__ == "__main__":
    if sys.argv[1:] == ["long"]:
        sys.exit(long_rows(pathlib.Path(__file__).parent.parent))
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent
    names = sys.argv[2:] or [
        name for name in ([*MODELS, *WHOLE] if len(sys.argv) > 1 else COMMITTED) if name not in LATER]
    cases = [
        create(folder, name, 1 + list(MODELS).index(name)) if name in MODELS
        else create_whole(folder, name, 101) if name in WHOLE
        else again(folder, name) for name in names
    ]
    weights = [safetensors.torch.load_file(path / "model.safetensors") for path, *_ in cases]
    weights = [{key: value.double() for key, value in tensors.items()} for tensors in weights]
    narrow_no_more()
    for tensors, case in zip(weights, cases):
        expect(tensors, *case)
