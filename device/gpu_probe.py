"""What libtorch does on this GPU for the shapes of hint-rl; a line of JSON for each question. Under a minute and a half.

    python3 gpu_probe.py [FILE]      FILE gets answer by answer. Without a GPU the shapes are small, and CUDA's questions left out.

Shapes are those of SmolLM2-135M (256 rows) and Qwen2.5-1.5B (64 rows). `docs/performance.md` has the place for the answers.
"""

import json
import os
import sys
import time
import traceback

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
BF16 = torch.bfloat16
# Rows, heads of keys, queries to each, width, positions, layers, hidden, inner, vocabulary.
MODELS = (
    {"smollm2": (256, 3, 3, 64, 256, 30, 576, 1536, 49152), "qwen2.5-1.5b": (64, 2, 6, 128, 256, 28, 1536, 8960, 151936)}
    if GPU else {"small": (4, 2, 3, 32, 48, 2, 96, 128, 500)}
)
NAMES = {int(SDPBackend.MATH.value): "math", int(SDPBackend.FLASH_ATTENTION.value): "flash",
         int(SDPBackend.EFFICIENT_ATTENTION.value): "efficient", int(SDPBackend.CUDNN_ATTENTION.value): "cudnn"}
answers = {}


def question(function):
    try:
        answers[function.__name__] = function()
    except Exception as error:
        answers[function.__name__] = f"failed: {error!r}"[:500]
        traceback.print_exc()
    print(function.__name__, json.dumps(answers[function.__name__]), flush=True)
    if len(sys.argv) > 1:
        # A probe that is cut off keeps the answers before.
        with open(sys.argv[1] + ".part", "w") as file:
            json.dump(answers, file, indent=1)
        os.replace(sys.argv[1] + ".part", sys.argv[1])


def wait():
    if GPU:
        torch.cuda.synchronize()


def milliseconds(work, runs=20, before=3):
    for _ in range(before):
        work()
    wait()
    start = time.perf_counter()
    for _ in range(runs):
        work()
    wait()
    return (time.perf_counter() - start) / runs * 1e3


def normal(*shape, kind=BF16, scale=1.0):
    return (torch.randn(*shape, device=DEVICE) * scale).to(kind)


@question
def versions():
    found = {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}
    if GPU:
        free, total = torch.cuda.mem_get_info()
        found |= {"gpu": torch.cuda.get_device_name(), "capability": torch.cuda.get_device_capability(),
                  "cuda": torch.version.cuda, "free_gib": round(free / 2**30, 1), "total_gib": round(total / 2**30, 1)}
    return found


@question
def rates():
    """What the device can do: TFLOP/s of large products, TB/s of copies."""
    rows, inner, out = (8192, 1536, 8960) if GPU else (64, 64, 64)
    left, right, found = torch.randn(rows, inner, device=DEVICE), torch.randn(inner, out, device=DEVICE), {}
    for name, precision, kind in (("f32", "highest", torch.float32), ("tf32", "high", torch.float32), ("bf16", "highest", BF16)):
        torch.set_float32_matmul_precision(precision)
        x, y = left.to(kind), right.to(kind)
        found[f"{name}_tflops"] = round(2 * rows * inner * out / milliseconds(lambda: x @ y) / 1e9, 1)
    torch.set_float32_matmul_precision("highest")
    source = torch.zeros(1 << (30 if GPU else 20), device=DEVICE, dtype=torch.uint8)
    target = torch.empty_like(source)
    found["copy_tbps"] = round(2 * source.numel() / milliseconds(lambda: target.copy_(source)) / 1e9, 2)
    return found


@question
def backend_chosen():
    """The kernel that libtorch chooses by itself for decoding and for training, without cuDNN as our programs run."""
    torch.backends.cuda.enable_cudnn_sdp(False)
    found = {}
    for name, (rows, heads, each, width, positions, *_) in MODELS.items():
        for kind in (BF16, torch.float32):
            query, keys = normal(rows, heads, each, width, kind=kind), normal(rows, heads, positions - 5, width, kind=kind)
            mask = torch.zeros(rows, 1, 1, positions - 5, device=DEVICE, dtype=kind)
            row, narrow = normal(2, heads * each, 64, width, kind=kind).requires_grad_(), normal(2, heads, 64, width, kind=kind)
            for what, chosen in (
                ("decode, equal lengths", torch._fused_sdp_choice(query, keys, keys)),
                ("decode, a mask", torch._fused_sdp_choice(query, keys, keys, mask)),
                ("train", torch._fused_sdp_choice(row, narrow, narrow, None, 0.0, True, enable_gqa=True)),
            ):
                found[f"{name}, {str(kind)[6:]}, {what}"] = NAMES.get(int(chosen), int(chosen))
    return found


@question
def cost_of_a_new_length():
    """Milliseconds of the first call at each of six new lengths, as decoding makes them: a kernel that plans shows here."""
    found = {}
    for name, (rows, heads, each, width, positions, *_) in MODELS.items():
        query, keys = normal(rows, heads, each, width), normal(rows, heads, positions, width)
        for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
            try:
                with sdpa_kernel([backend]):
                    def at(length):
                        return milliseconds(lambda: sdpa(query, keys[:, :, :length], keys[:, :, :length]), 1, 0)
                    found[f"{name}, {NAMES[int(backend.value)]}"] = [round(at(positions - left), 2) for left in range(8, 2, -1)]
            except RuntimeError as error:
                found[f"{name}, {NAMES[int(backend.value)]}"] = str(error).splitlines()[0][:120]
    return found


@question
def decode_attention():
    """One layer's attention to a ragged cache: with a mask, and by lengths (`seqused_k`). Error against f64, milliseconds."""
    found = {}
    for name, (rows, heads, each, width, positions, *_) in MODELS.items():
        query, keys, values = normal(rows, heads, each, width), *(normal(rows, positions, heads, width) for _ in range(2))
        lens = torch.randint(1, positions + 1, (rows,), device=DEVICE, dtype=torch.int32)
        beyond = torch.arange(positions, device=DEVICE)[None, None, None] >= lens[:, None, None, None]
        mask = torch.zeros(rows, 1, 1, positions, device=DEVICE, dtype=BF16).masked_fill(beyond, float("-inf"))
        turned = keys.transpose(1, 2), values.transpose(1, 2)
        with sdpa_kernel([SDPBackend.MATH]):
            exact = sdpa(query.double(), *(one.double() for one in turned), mask.double())
        masked = lambda: sdpa(query, *turned, mask)
        found[f"{name}, mask"] = {"error": float((masked() - exact).abs().max()), "ms": round(milliseconds(masked), 4)}
        if not GPU:
            continue
        ends = lambda step: torch.arange(rows + 1, device=DEVICE, dtype=torch.int32) * step
        # The queries of a head of keys are the tokens of a short row.
        as_rows = query.transpose(1, 2).reshape(rows * each, heads, width).contiguous()
        flat = keys.reshape(rows * positions, heads, width), values.reshape(rows * positions, heads, width)
        by_length = lambda: torch.ops.aten._flash_attention_forward(
            as_rows, *flat, ends(each), ends(positions), each, positions, 0.0, False, False, scale=width**-0.5, seqused_k=lens)[0]
        error = (by_length().view(rows, each, heads, width).transpose(1, 2) - exact).abs().max()
        found[f"{name}, lengths"] = {"error": float(error), "ms": round(milliseconds(by_length), 4)}
    return found


@question
def decode_step():
    """A whole step out of the operations of our decoder with and without its fast paths, each also as a CUDA graph: what graphs
    would bring. Milliseconds, kernels, tokens/s, TB/s of weights and cache."""
    torch.backends.cuda.enable_cudnn_sdp(False)
    found = {}
    for name, (rows, heads, each, width, positions, layers, hidden, inner, vocab) in MODELS.items():
        queries, seen = heads * each, positions * 3 // 5
        weight = lambda out, inputs: normal(out, inputs, scale=0.02)
        shapes = {"qkv": ((queries + 2 * heads) * width, hidden), "out": (hidden, queries * width), "gate": (inner, hidden),
                  "up": (inner, hidden), "down": (hidden, inner)}
        model = [{part: weight(*shape) for part, shape in shapes.items()} for _ in range(layers)]
        table = weight(vocab, hidden)
        keys, values = (torch.zeros(layers, rows, heads, positions, width, device=DEVICE, dtype=BF16) for _ in range(2))
        turns = torch.polar(torch.ones(positions, 1, width // 2, device=DEVICE), torch.rand(positions, 1, width // 2, device=DEVICE))
        row, tokens = torch.arange(rows, device=DEVICE), torch.randint(0, vocab, (rows,), device=DEVICE)
        at = torch.full((rows,), seen - 1, device=DEVICE)
        tiny, place = torch.full([1], 1e-3, device=DEVICE), heads * positions
        # As the decoder lays out its cache: a head of keys is `positions` long, and a place `heads` of them.
        by_index = lambda cache: cache.as_strided((rows * place - (heads - 1) * positions, heads, width), (width, positions * width, 1))
        ends = torch.arange(rows + 1, device=DEVICE, dtype=torch.int32)
        used = (at + 1).int()

        def plain_norm(x):
            return (x / torch.linalg.norm(x, 2, [-1], True, dtype=torch.float32).hypot(tiny)).to(BF16)

        def masked(query, keys, values):
            return sdpa(query.view(rows, heads, each, width), keys[:, :, :seen], values[:, :, :seen]).reshape(rows, -1)

        def by_length(query, keys, values):
            return torch.ops.aten._flash_attention_forward(
                query, by_index(keys), by_index(values), ends, ends * place, 1, seen, 0.0, False, False, scale=width**-0.5,
                seqused_k=used)[0].reshape(rows, -1)

        def step(norm, attend):
            x, turn = table.index_select(0, tokens), turns.index_select(0, at)
            for layer, part in enumerate(model):
                all_heads = (norm(x) @ part["qkv"].t()).view(rows, -1, width)
                turned = all_heads[:, : queries + heads].float()
                torch.view_as_complex(turned.view(*turned.shape[:-1], width // 2, 2)).mul_(turn)
                all_heads[:, : queries + heads].copy_(turned)
                keys[layer].transpose(1, 2).index_put_((row, at), all_heads[:, queries : queries + heads])
                values[layer].transpose(1, 2).index_put_((row, at), all_heads[:, queries + heads :])
                x = (attend(all_heads[:, :queries], keys[layer], values[layer]) @ part["out"].t()).add_(x)
                y = norm(x)
                gate = torch.nn.functional.silu(y @ part["gate"].t(), inplace=True)
                x = (gate.mul_(y @ part["up"].t()) @ part["down"].t()).add_(x)
            return norm(x) @ table.t()

        forms = {"without fast paths": (plain_norm, masked)}
        if GPU:
            forms["with fast paths"] = (lambda x: torch.rms_norm(x, [hidden]), by_length)
        bytes_read = 2 * (sum(one.numel() for part in model for one in part.values()) + table.numel() + 2 * layers * rows * seen * heads * width)
        for form, parts in forms.items():
            with torch.no_grad():
                work = lambda: step(*parts)
                eager = milliseconds(work)
                answer = {"eager_ms": round(eager, 3), "tokens_per_s": int(rows / eager * 1e3)}
                if GPU:
                    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
                        work()
                        wait()
                    answer["kernels"] = sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events())
                    try:
                        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
                        with torch.cuda.stream(stream):
                            work()
                        wait()
                        with torch.cuda.graph(graph):
                            kept = work()
                        replayed = milliseconds(graph.replay)
                        answer |= {"graph_ms": round(replayed, 3), "graph_tokens_per_s": int(rows / replayed * 1e3),
                                   "graph_tbps": round(bytes_read / replayed / 1e9, 2)}
                        del graph, kept
                    except RuntimeError as error:
                        answer["graph"] = str(error).splitlines()[0][:200]
                found[f"{name}, {form}"] = answer
        del model, table, keys, values
        if GPU:
            torch.cuda.empty_cache()
    return found


@question
def train_attention():
    """Packed rows of many lengths, forward and backward of the flash kernel; whether two backward passes agree to the bit."""
    if not GPU:
        return "on a GPU alone"
    lens, heads, narrow, width = [512] * 8 + [700, 300, 1500, 91], 9, 3, 64
    query, keys, values, upstream = (normal(sum(lens), count, width) for count in (heads, narrow, narrow, heads))
    ends, longest = torch.tensor([0, *lens], device=DEVICE).cumsum(0).int(), max(lens)
    forward = lambda: torch.ops.aten._flash_attention_forward(
        query, keys, values, ends, ends, longest, longest, 0.0, True, False)
    output, sums, random, unused, _ = forward()
    backward = lambda: torch.ops.aten._flash_attention_backward(
        upstream, query, keys, values, output, sums, ends, ends, longest, longest, 0.0, True, random, unused)
    same = all(torch.equal(one, other) for one, other in zip(backward(), backward()))
    return {"forward_ms": milliseconds(forward), "backward_ms": milliseconds(backward), "same_bits_twice": same}


@question
def wider_sums():
    """A bf16 product added to an f32 sum: in one operation (`addmm.dtype_out`), and as product and sum."""
    if not GPU:
        return "on a GPU alone"
    left, right, total = normal(1536, 8192), normal(8192, 8960), torch.zeros(1536, 8960, device=DEVICE)
    once = lambda: torch.ops.aten.addmm.dtype_out(total, left, right, torch.float32, out=total)
    exact = left.float() @ right.float()
    once()
    error = ((total - exact).abs().max() / exact.abs().max()).item()
    return {"relative_error": error, "one_ms": milliseconds(once), "two_ms": milliseconds(lambda: total.add_(left @ right))}


if any(isinstance(answer, str) and answer.startswith("failed") for answer in answers.values()):
    os._exit(1)
