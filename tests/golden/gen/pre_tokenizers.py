"""Test vectors of llama.cpp for byte-level BPE by the name of the pre-tokenizer, with as much of the vocabularies as they need.

    python tests/golden/gen/pre_tokenizers.py FOLDER RANKS > tests/golden/pre_tokenizers.json
    python tests/golden/gen/pre_tokenizers.py words > tests/golden/pre_tokenizer_words.json

FOLDER is `models` of a checkout of llama.cpp (MIT license), which holds `ggml-vocab-NAME.gguf`, `.gguf.inp` and `.gguf.out`. Some
names have no `.gguf` there, but a public list of tokens by rank, which RANKS holds: `tokenizer.model` of Llama 3 and 4 as
`llama3.model` and `llama4.model` (llama-models 0.3.0), `qwen.tiktoken` (dashscope 2.0.2), `tekken_240718.json` (mistral-common
1.13.1). Of a vocabulary the tokens and merges stay that occur anywhere in the texts, so that every text has the same tokens as with
all of them.

`words` cuts the same texts, and more, by the expressions that llama.cpp has for each name, where it quotes the expression of the
model's own tokenizer by that one. It needs the package regex.
"""

import base64
import json
import pathlib
import struct
import sys

NAMES = ["deepseek-llm", "deepseek-coder", "gpt-2", "mpt", "refact", "starcoder"]
# The files of ranks.
RANKED = {
    "llama-bpe": "llama3.model", "smaug-bpe": "llama3.model", "llama4": "llama4.model", "qwen2": "qwen.tiktoken",
    "deepseek-r1-qwen": "qwen.tiktoken", "tekken": "tekken_240718.json"}
PLAIN = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def metadata(data):
    """The metadata of a GGUF file."""
    at = 8

    def plain(code):
        nonlocal at
        at += struct.calcsize(code)
        return struct.unpack_from("<" + code, data, at - struct.calcsize(code))[0]

    def text():
        nonlocal at
        length = plain("Q")
        at += length
        return data[at - length:at].decode()

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            kind, count = plain("I"), plain("Q")
            return [value(kind) for _ in range(count)]
        return plain(PLAIN[kind])

    plain("Q")
    return {text(): value(plain("I")) for _ in range(plain("Q"))}


def byte_level():
    """How byte-level BPE writes each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(rest)}


def ranked(path, name, occurs):
    """The metadata for tokens by rank, with the merges of the tokens that occur."""
    if path.suffix == ".json":
        listed = json.loads(path.read_text())
        first, size = listed["config"]["default_num_special_tokens"], listed["config"]["default_vocab_size"]
        known = {base64.b64decode(token["token_bytes"]): first + token["rank"] for token in listed["vocab"]}
        known = {token: rank for token, rank in known.items() if rank < size}
    else:
        lines = (line.split() for line in path.read_text().splitlines())
        known = {base64.b64decode(token): int(rank) for token, rank in lines}
    letters = byte_level()
    written = lambda token: "".join(letters[byte] for byte in token)  # noqa: E731
    tokens = [f"<{index}>" for index in range(max(known.values()) + 1)]
    merges = []
    for token, rank in sorted(known.items(), key=lambda pair: pair[1]):
        tokens[rank] = written(token)
        if len(token) == 1 or not occurs(tokens[rank]):
            continue
        # The two that are left when all pairs of a lower rank are merged.
        pieces = [bytes([byte]) for byte in token]
        while len(pieces) > 2:
            ranks = [known.get(one + two, rank) for one, two in zip(pieces, pieces[1:])]
            if min(ranks) == rank:
                break
            at = ranks.index(min(ranks))
            pieces[at:at + 2] = [pieces[at] + pieces[at + 1]]
        if len(pieces) == 2:
            merges.append(" ".join(written(piece) for piece in pieces))
    return {
        "tokenizer.ggml.pre": name, "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.token_type": [1] * len(tokens)}


def reduced(folder, ranks, name):
    texts = (folder / f"ggml-vocab-{name}.gguf.inp").read_text().split("\n__ggml_vocab_test__\n")
    lines = (folder / f"ggml-vocab-{name}.gguf.out").read_text().splitlines()
    letters = byte_level()
    written = "\0".join("".join(letters[byte] for byte in text.encode()) for text in texts)
    occurs = lambda token: len(token) == 1 and token in letters.values() or token in written  # noqa: E731
    if name in RANKED:
        keys = ranked(ranks / RANKED[name], name, occurs)
    else:
        keys = metadata((folder / f"ggml-vocab-{name}.gguf").read_bytes())
    tokens = keys["tokenizer.ggml.tokens"]
    texts = texts[:len(lines)]
    expected = [[int(token) for token in line.split()] for line in lines]
    kept = sorted({index for index, token in enumerate(tokens) if occurs(token)} | {index for ids in expected for index in ids})
    place = {index: at for at, index in enumerate(kept)}
    merges = [merge for merge in keys["tokenizer.ggml.merges"] if occurs(merge.replace(" ", ""))]
    return {
        "pre": keys["tokenizer.ggml.pre"], "tokens": [tokens[index] for index in kept],
        "kinds": [keys["tokenizer.ggml.token_type"][index] for index in kept], "merges": merges, "texts": texts,
        "ids": [[place[index] for index in ids] for ids in expected],
    }


# Names that llama.cpp treats alike, so that vectors of one hold for all, and the expressions that cut texts one after the other.
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
LLAMA3 = CONTRACTIONS + (
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = CONTRACTIONS + (
    r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SEED = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT4O = TEKKEN.replace(r"\p{M}]+|", r"\p{M}]+" + CONTRACTIONS + "?|").replace(
    r"\p{M}]*|", r"\p{M}]*" + CONTRACTIONS + "?|").replace(r"|\p{N}|", r"|\p{N}{1,3}|")
DEEPSEEK3 = [
    r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]
EXPRESSIONS = {
    ("gpt-2", "phi-2", "exaone4", "olmo", "mpt", "trillion", "mellum", "a.x-4.0"): [GPT2],
    ("smollm", "starcoder", "refact", "command-r", "exaone", "codeshell", "minerva-7b"): [r"\p{N}", GPT2],
    # These keep a word whole that is a token.
    ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2", "midm-2.0"): [LLAMA3],
    ("smaug-bpe", "dbrx"): [LLAMA3],
    ("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"): [QWEN2],
    ("qwen35",): [QWEN35],
    ("seed-coder",): [SEED],
    ("tekken",): [TEKKEN],
    ("gpt-4o", "llama4"): [GPT4O],
    ("deepseek-coder",): [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
    ("deepseek-v3", "hunyuan-dense"): DEEPSEEK3,
}
TEXTS = [
    "don't DON'T we'LL I’m", "camelCase HTTPServer ÀÉîô straẞe ǅ ʰa", "x=12345.67e-8; y=1,000,000", "a\t b\n\n  c \r\n d  ",
    "नमस्ते दुनिया ไทยแลนด์ עִבְרִית العربية", "日本語ひらがなカタカナ 中文字符 한국어", "½ ² Ⅷ ٣٤٥ 𝟙𝟚", "///path/to\n//comment\n", "🎉👩‍👩‍👧 ✓…—«»",
    "   leading", "trailing   ", "e\u0301 n\u0303o", "_snake_case__ $x^2$ \\frac{1}{2}", "\u00a0nbsp\u3000wide\u200b"]


def cut(text, expressions):
    """The words of a text: what the first expression finds, and what lies between, cut by the next."""
    import regex

    words = [text]
    for expression in expressions:
        pieces = []
        for word in words:
            at = 0
            for found in regex.finditer(expression, word):
                pieces += [word[at:found.start()], found.group()]
                at = found.end()
            pieces.append(word[at:])
        words = [piece for piece in pieces if piece]
    return words


def words():
    known = json.loads((pathlib.Path(__file__).parent.parent / "pre_tokenizers.json").read_text())
    texts = TEXTS + [text for text in known[0]["texts"] if text]
    rules = [dict(names=names, words=[cut(text, expressions) for text in texts]) for names, expressions in EXPRESSIONS.items()]
    return dict(texts=texts, rules=rules)


if __name__ == "__main__":
    if sys.argv[1:] == ["words"]:
        found = words()
    else:
        folder, ranks = map(pathlib.Path, sys.argv[1:])
        found = [reduced(folder, ranks, name) for name in [*NAMES, *RANKED]]
    print(json.dumps(found, ensure_ascii=False))
