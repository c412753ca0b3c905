"""Small tokenizers with settings that change ids silently, and what transformers makes of texts with them.

    python tests/golden/gen/tokenizer_files.py

Writes ../tokenizers.json. transformers 4.57 and 5 give the same file. They disagree on the `former` cases, which 4.57 alone writes and 5 leaves
as they are.
"""

import json
import os
import pathlib
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import transformers  # noqa: E402

VOCAB = ["a", "b", "c", "d", "e", "x", "Ġ", "<", "|", ">", "s", "/", "i", "m", "_", "n", "t", "r", "Ċ", "ab", "Ġa"]
COUNT = len(VOCAB)
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BASE = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": BYTE_LEVEL, "post_processor": None, "decoder": BYTE_LEVEL,
    "model": {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
        "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": {token: index for index, token in enumerate(VOCAB)}, "merges": ["a b", "Ġ a"],
    },
}
FAST = {"tokenizer_class": "PreTrainedTokenizerFast"}
ENDS = FAST | {"bos_token": "<s>", "eos_token": "</s>"}


def token(content, **flags):
    return dict(content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True) | flags


def added(*tokens):
    return {"added_tokens": [{"id": COUNT + index} | token for index, token in enumerate(tokens)]}


def bos(content, index):
    special, text = {"SpecialToken": {"id": content, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    return {"post_processor": {
        "type": "TemplateProcessing", "single": [special, text], "pair": [special, text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {content: {"id": content, "ids": [index], "tokens": [content]}}}}


BOTH = added(token("<s>"), token("</s>"))
LLAMA = {"tokenizer_class": "LlamaTokenizerFast"}
GPT2 = {"tokenizer_class": "GPT2TokenizerFast", "bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>"}
NAMED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<s>"}
LISTED = {"added_tokens_decoder": {str(COUNT): token("<s>"), str(COUNT + 1): token("</s>")}}


def prefixed(adds):
    return {"pre_tokenizer": BYTE_LEVEL | {"add_prefix_space": adds}}


# Name: (changes to tokenizer.json, other files).
CASES = {
    "a role that is a token": ({"model": BASE["model"] | {"vocab": BASE["model"]["vocab"] | {"<im>": COUNT}}}, {
        "tokenizer_config.json": FAST | {"eos_token": "<im>"}}),
    "a role that is no token": ({}, {"tokenizer_config.json": FAST | {"eos_token": "<im>"}}),
    "a role as an object": ({}, {"tokenizer_config.json": FAST | {"pad_token": token("<pad>", lstrip=True) | {"__type": "AddedToken"}}}),
    "a pad token that is missing": (BOTH, {"tokenizer_config.json": FAST | {"eos_token": "</s>", "pad_token": "<pad>"}}),
    "more special tokens": (BOTH, {"tokenizer_config.json": ENDS | {"additional_special_tokens": ["<im>", "<t>"]}}),
    "named special tokens": (BOTH, {"tokenizer_config.json": ENDS | {"extra_special_tokens": {"image_token": "<im>"}}}),
    "special by the configuration": (added(token("<s>", special=False), token("</s>")), {
        "tokenizer_config.json": ENDS | {"added_tokens_decoder": {str(COUNT): token("<s>"), str(COUNT + 1): token("</s>")}}}),
    "strips by the configuration": (BOTH, {"tokenizer_config.json": ENDS | {
        "added_tokens_decoder": {str(COUNT): token("<s>", lstrip=True, rstrip=True)}}}),
    "strips": (added(token("<s>", lstrip=True), token("</s>", rstrip=True)), {"tokenizer_config.json": FAST}),
    "single words": (added(token("<s>", single_word=True), token("ab", single_word=True)), {"tokenizer_config.json": FAST}),
    "not normalized": (added(token("<S>")) | {"normalizer": {"type": "Lowercase"}}, {"tokenizer_config.json": FAST}),
    "split special tokens": (BOTH, {"tokenizer_config.json": ENDS | {"split_special_tokens": True}}),
    "added_tokens.json": (BOTH, {"tokenizer_config.json": ENDS, "added_tokens.json": {"<im>": COUNT + 2}}),
    "bos by the post-processor": (BOTH | bos("<s>", COUNT), {"tokenizer_config.json": ENDS}),
    "bos by the post-processor, switched off in vain": (BOTH | bos("<s>", COUNT), {
        "tokenizer_config.json": ENDS | {"add_bos_token": False}}),
    "a space before the text of GPT-2 by a key": (prefixed(False), {"tokenizer_config.json": GPT2 | {"add_prefix_space": True}}),
    "no space before the text of GPT-2": (prefixed(True), {"tokenizer_config.json": GPT2}),
    "a space before the text, in step": (prefixed(True), {"tokenizer_config.json": FAST | {"add_prefix_space": True}}),
    "bos switched on in vain": (BOTH, {"tokenizer_config.json": ENDS | {"add_bos_token": True, "add_eos_token": True}}),
}
# As CASES. transformers 4.57 follows the class, and 5 the `tokenizer.json`.
FORMER = {
    "bos of a class": (BOTH, {"tokenizer_config.json": LLAMA | NAMED}),
    "bos of a class, switched off": (BOTH, {"tokenizer_config.json": LLAMA | NAMED | {"add_bos_token": False}}),
    "both ends of a class": (BOTH, {"tokenizer_config.json": LLAMA | NAMED | {"add_eos_token": True}}),
    "bos of a class that names none": (BOTH, {"tokenizer_config.json": LLAMA}),
    "bos that the list alone has": ({}, {"tokenizer_config.json": LLAMA | NAMED | LISTED}),
    "bos of the model's family": (BOTH, {"tokenizer_config.json": NAMED, "config.json": {"model_type": "llama"}}),
    "bos of the model's family, without a configuration": (BOTH, {"config.json": {"model_type": "llama"}}),
    "bos of the class of the model": (BOTH, {
        "tokenizer_config.json": NAMED, "config.json": {"model_type": "qwen2", "tokenizer_class": "LlamaTokenizer"}}),
    "no bos of the model's family": (BOTH, {"tokenizer_config.json": FAST | NAMED, "config.json": {"model_type": "llama"}}),
    "a space before the text by a key": (prefixed(False), {"tokenizer_config.json": FAST | {"add_prefix_space": True}}),
    "no space before the text without a key": (prefixed(True), {"tokenizer_config.json": FAST}),
    "no space before the text by a key": (prefixed(True), {"tokenizer_config.json": FAST | {"add_prefix_space": False}}),
}
TEXTS = ["ab a", "<s>ab</s>", " <s> a </s> b", "<im>a<t>", "ab <pad>", "xab ab", "<S>a", "<s>"]


def outcome(changes, files):
    with tempfile.TemporaryDirectory() as folder:
        files = {"config.json": {"model_type": "llama"}} | files | {"tokenizer.json": BASE | changes}
        for name, content in files.items():
            pathlib.Path(folder, name).write_text(json.dumps(content))
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        encoded = [[tokenizer.encode(text, add_special_tokens=special) for special in (False, True)] for text in TEXTS]
        plain = [tokenizer.decode(ids, skip_special_tokens=True) for ids, _ in encoded]
    return {"encoded": encoded, "plain": plain}


def described(cases):
    return [{"name": name, "changes": changes, "files": files} | outcome(changes, files) for name, (changes, files) in cases.items()]


if __name__ == "__main__":
    out = pathlib.Path(__file__).parent.parent / "tokenizers.json"
    former = described(FORMER) if transformers.__version__.startswith("4.") else json.loads(out.read_text())["former"]
    found = {"base": BASE, "texts": TEXTS, "cases": described(CASES), "former": former}
    out.write_text(json.dumps(found, ensure_ascii=False) + "\n")
