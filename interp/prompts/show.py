"""Prompts as text: a one-line summary, one prompt in full, and JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import PromptError
from .columns import plain
from .promptset import PromptSet

_NAMED_LABELS = 6


def summary(prompts: PromptSet) -> str:
    """What `repr` shows: how many, from where, how long, marks, labels, groups, BOS."""
    n, lengths = len(prompts), prompts.lengths
    each = f", {lengths.min()}-{lengths.max()} each" if lengths.min() < lengths.max() else ""
    parts = [
        f"{n} prompt{'s' * (n != 1)} from {prompts.source.name} ({prompts.source.format}), "
        f"{prompts.n_tokens} token{'s' * (prompts.n_tokens != 1)}{each}",
        "marks " + ", ".join(_mark(name, prompts.marks[name], n) for name in prompts.marks),
    ]
    if prompts.labels is not None:
        parts.append("labels: " + _labels(prompts.labels))
    if prompts.groups is not None:
        parts.append(f"{len(np.unique(prompts.groups))} groups")
    if prompts.pairs is not None:
        parts.append(f"{len(np.unique(prompts.pairs))} pairs")
    if prompts.source.bos_counts:
        parts.append("bos: " + ", ".join(f"{k} {v}" for k, v in sorted(prompts.source.bos_counts.items())))
    parts += prompts.source.history
    return f"PromptSet({'; '.join(parts)})"


def describe(prompts: PromptSet, i: int) -> str:
    """One prompt, one line per token: index, exact id, token string, whether it is special, marks.

    >>> print(describe(PromptSet.from_tokens([[5, 60]], special_ids=[5], labels=["a"]), 0))
    prompt '0' (1 of 1): 2 tokens, label 'a', bos given
      0   5  special
      1  60           <- last
    """
    tokens, special = prompts.tokens[i], prompts.special[i]
    head = [f"{len(tokens)} token{'s' * (len(tokens) != 1)}"]
    for name, values in (("label", prompts.labels), ("group", prompts.groups), ("pair", prompts.pairs)):
        if values is not None:
            head.append(f"{name} {plain(values[i])!r}")
    if "bos" in prompts.columns:
        head.append(f"bos {prompts.columns['bos'][i]}")
    at: dict[int, list[str]] = {}
    for name, values in prompts.marks.items():
        at.setdefault(int(values[i]), []).append(name)
    pieces = [repr(prompts.pieces[t]) if t in prompts.pieces else "" for t in tokens.tolist()]
    widths = (len(str(len(tokens) - 1)), max(len(str(t)) for t in tokens.tolist()), max(map(len, pieces)))
    lines = [f"prompt {prompts.ids[i]!r} ({i + 1} of {len(prompts)}): {', '.join(head)}"]
    for k, (token, piece) in enumerate(zip(tokens.tolist(), pieces, strict=True)):
        marks = "<- " + ", ".join(at[k]) if k in at else ""
        cells = [f"{k:>{widths[0]}}", f"{token:>{widths[1]}}", f"{piece:<{widths[2]}}" if widths[2] else None]
        cells += ["special" if special[k] else "       ", marks]
        lines.append("  " + "  ".join(c for c in cells if c is not None).rstrip())
    return "\n".join(lines)


def write_jsonl(prompts: PromptSet, path: Path) -> Path:
    """Write one JSON object per prompt; see `PromptSet.to_jsonl`."""
    try:
        with path.open("w", encoding="utf-8") as file:
            for i in range(len(prompts)):
                file.write(json.dumps(_row(prompts, i), ensure_ascii=False, default=_plainest) + "\n")
    except OSError as error:
        raise PromptError(f"cannot write prompts to {path}: {error.strerror or error}") from error
    return path


def _row(prompts: PromptSet, i: int) -> dict[str, Any]:
    row: dict[str, Any] = {"id": prompts.ids[i]}
    if prompts.texts is not None:
        row["text"] = prompts.texts[i]
    row["tokens"] = prompts.tokens[i].tolist()
    row["special"] = prompts.special[i].astype(int).tolist()
    row["marks"] = {k: int(v[i]) for k, v in prompts.marks.items()}
    for name, values in (("label", prompts.labels), ("group", prompts.groups), ("pair", prompts.pairs)):
        if values is not None:
            row[name] = plain(values[i])
    for name, values in prompts.columns.items():
        row[name if name not in row else f"column_{name}"] = plain(values[i])
    return row


def _plainest(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else str(value)


def _mark(name: str, values: np.ndarray, n: int) -> str:
    have = int((values >= 0).sum())
    return name if have == n else f"{name} ({have} have it)"


def _labels(labels: np.ndarray) -> str:
    values, counts = np.unique(labels, return_counts=True)
    if len(values) > _NAMED_LABELS:
        return f"{len(values)} values from {plain(values[0])} to {plain(values[-1])}"
    return ", ".join(f"{v} {c}" for v, c in zip(values.tolist(), counts.tolist(), strict=True))
