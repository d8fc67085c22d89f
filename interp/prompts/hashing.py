"""Hashes of prompts, tokenizers and templates (xxh3, 128 bits): equal on every platform, and cheap."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xxhash


def text_hash(text: str) -> str:
    """Hash of a text, for chat templates.

    >>> text_hash("{{ messages }}")
    '6b3d80cfa9a53fc3a5863d2d1164e7a8'
    """
    return xxhash.xxh3_128(text.encode("utf-8", "surrogatepass")).hexdigest()


def content_hash(
    ids: Sequence[str],
    tokens: Sequence[np.ndarray],
    special: Sequence[np.ndarray],
    marks: Mapping[str, np.ndarray],
) -> str:
    """Hash of all that decides which activations a capture gives: example ids, tokens, special masks, marks."""
    state = xxhash.xxh3_128(b"interp prompts 1")
    _feed_texts(state, ids)
    _feed(state, np.array([len(t) for t in tokens], dtype="<i8"))
    for sequence in tokens:
        state.update(np.ascontiguousarray(sequence, dtype="<i8").tobytes())
    for mask in special:
        state.update(np.ascontiguousarray(mask, dtype=np.uint8).tobytes())
    _feed_texts(state, sorted(marks))
    for name in sorted(marks):
        _feed(state, np.ascontiguousarray(marks[name], dtype="<i8"))
    return state.hexdigest()


def annotation_hash(**arrays: np.ndarray | None) -> str:
    """Hash of what is said about prompts (labels, groups, pairs), which no activation depends on."""
    state = xxhash.xxh3_128(b"interp annotations 1")
    for name in sorted(arrays):
        values = arrays[name]
        _feed_texts(state, [name] if values is None else [name, *map(repr, values.tolist())])
    return state.hexdigest()


def tokenizer_hash(tokenizer: Any) -> str:
    """Hash of how a tokenizer turns text into ids: vocabulary, merges, normaliser, special tokens, post-processor.

    Padding and truncation settings do not count: prompts are neither padded nor cut by the tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None and hasattr(backend, "to_str"):
        state = json.loads(backend.to_str())
        state.pop("padding", None)
        state.pop("truncation", None)
    else:
        specials = {k: str(v) for k, v in tokenizer.special_tokens_map.items() if k != "pad_token"}
        vocabulary = sorted((i, t) for t, i in tokenizer.get_vocab().items())
        state = {"class": type(tokenizer).__name__, "vocabulary": vocabulary, "specials": specials}
    return text_hash(json.dumps(state, sort_keys=True, ensure_ascii=False))


def _feed(state: Any, array: np.ndarray) -> None:
    state.update(np.int64(array.size).astype("<i8").tobytes())
    state.update(array.tobytes())


def _feed_texts(state: Any, texts: Iterable[str]) -> None:
    encoded = [t.encode("utf-8", "surrogatepass") for t in texts]
    _feed(state, np.array([len(e) for e in encoded], dtype="<i8"))
    state.update(b"".join(encoded))
