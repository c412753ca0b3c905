"""Test vectors of llama.cpp for byte-level BPE by the name of the pre-tokenizer, with as much of the vocabularies as they need.

    python tests/golden/gen/pre_tokenizers.py FOLDER > tests/golden/pre_tokenizers.json

FOLDER is `models` of a checkout of llama.cpp (MIT license), which holds `ggml-vocab-NAME.gguf`, `.gguf.inp` and `.gguf.out`. Of a
vocabulary the tokens and merges stay that occur anywhere in the texts, so that every text has the same tokens as with all of them.
"""

import json
import pathlib
import struct
import sys

NAMES = ["deepseek-llm", "deepseek-coder"]
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


def reduced(folder, name):
    keys = metadata((folder / f"ggml-vocab-{name}.gguf").read_bytes())
    texts = (folder / f"ggml-vocab-{name}.gguf.inp").read_text().split("\n__ggml_vocab_test__\n")
    lines = (folder / f"ggml-vocab-{name}.gguf.out").read_text().splitlines()
    letters = byte_level()
    written = "\0".join("".join(letters[byte] for byte in text.encode()) for text in texts)
    tokens = keys["tokenizer.ggml.tokens"]
    occurs = lambda token: len(token) == 1 and token in letters.values() or token in written  # noqa: E731
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


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    print(json.dumps([reduced(folder, name) for name in NAMES], ensure_ascii=False))
