"""A language model that weighs nothing: a random llama of two layers as GGUF v3 (ggml's docs/gguf.md)."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

EMBED, HEADS, FEED, LAYERS = 32, 4, 64, 2
# A vocabulary of bytes, as SentencePiece has it: unknown, begin, end, 256 bytes, and a word.
TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581"]
KINDS = [2, 3, 3, *[6] * 256, 1]
UINT32, INT32, FLOAT32, STRING, ARRAY = 4, 5, 6, 8, 9
ALIGNMENT = 32


def write_model(path: Path) -> Path:
    """Write one of 150 kB; return its path."""
    metadata = {
        "general.architecture": (STRING, "llama"),
        "llama.context_length": (UINT32, 2048),
        "llama.embedding_length": (UINT32, EMBED),
        "llama.block_count": (UINT32, LAYERS),
        "llama.feed_forward_length": (UINT32, FEED),
        "llama.attention.head_count": (UINT32, HEADS),
        "llama.attention.head_count_kv": (UINT32, HEADS),
        "llama.attention.layer_norm_rms_epsilon": (FLOAT32, 1e-5),
        "llama.rope.dimension_count": (UINT32, EMBED // HEADS),
        "tokenizer.ggml.model": (STRING, "llama"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, TOKENS)),
        "tokenizer.ggml.scores": (ARRAY, (FLOAT32, [0.0] * len(TOKENS))),
        "tokenizer.ggml.token_type": (ARRAY, (INT32, KINDS)),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd": (EMBED, len(TOKENS)),
        "output_norm": (EMBED,),
        "output": (EMBED, len(TOKENS)),
    }
    for layer in range(LAYERS):
        parts: dict[str, tuple[int, ...]] = dict.fromkeys(
            ("attn_q", "attn_k", "attn_v", "attn_output"), (EMBED, EMBED)
        )
        parts |= {"attn_norm": (EMBED,), "ffn_norm": (EMBED,), "ffn_down": (FEED, EMBED)}
        parts |= {"ffn_gate": (EMBED, FEED), "ffn_up": (EMBED, FEED)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in parts.items()}
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(shapes), len(metadata))
    head += b"".join(
        _text(name) + struct.pack("<I", kind) + _value(kind, of) for name, (kind, of) in metadata.items()
    )
    weights = b""
    rng = np.random.default_rng(1)
    for name, shape in shapes.items():
        head += _text(f"{name}.weight") + struct.pack(
            f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(weights)
        )
        weights += _padded((rng.standard_normal(shape, dtype=np.float32) / 10).tobytes())
    path.write_bytes(_padded(head) + weights)
    return path


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(kind: int, value: Any) -> bytes:
    if kind == STRING:
        return _text(str(value))
    if kind == ARRAY:
        of, items = value
        return struct.pack("<IQ", of, len(items)) + b"".join(_value(of, item) for item in items)
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f"}[kind], value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT)
