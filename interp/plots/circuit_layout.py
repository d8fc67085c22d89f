"""Where the nodes of a circuit stand: rows by depth, columns by token span, heads side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import isotonic_regression

Key = tuple[str, str]  # node, span
_NODE = re.compile(r"a(\d+)\.(h|kv)(\d+)|m(\d+)(?:\.(e\d+|shared))?")
_SWEEPS = 12
# Sub-rows of a layer, from below.
_GROUP, _HEADS, _MLP = 0, 1, 2


@dataclass(frozen=True)
class Node:
    """One box: its middle, its width and what is written in it. ``row`` counts from below."""

    key: Key
    label: str
    kind: str
    row: int
    layer: int
    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Line:
    """One line between two boxes: the row of the report, its ends, and where on the target it arrives."""

    row: Mapping[str, Any]
    source: Key
    target: Key
    part: str


@dataclass(frozen=True)
class Layout:
    """All boxes and lines, in pixels; ``groups`` joins keys and values of a group to its query heads."""

    nodes: dict[Key, Node]
    lines: tuple[Line, ...]
    groups: tuple[tuple[Key, Key], ...]
    width: float
    height: float
    node_height: float
    rows: tuple[float, ...]  # heights of the rows
    bands: tuple[tuple[int, float, float], ...]  # layer, from, to
    columns: tuple[tuple[str, float, float], ...]  # span, from, to


def lay_out(
    rows: Sequence[Mapping[str, Any]], graph: Mapping[str, Any], spans: Sequence[str], width: float, letter: float
) -> Layout:
    """Boxes and lines of a circuit's edges in a plot of that width; ``letter`` is the size of the type."""
    lines = tuple(_line(row) for row in rows)
    keys = {key for one in lines for key in (one.source, one.target)}
    size = graph["n_heads"] // graph["n_kv_heads"]
    groups = tuple((g, h) for g in sorted(keys) for h in _members(g, size) if h in keys)
    there = {span for _, span in keys}
    spans = [span for span in spans if span in there] or [""]
    depths = sorted({_depth(name, graph["n_layers"]) for name, _ in keys})
    row_of = {depth: i for i, depth in enumerate(depths)}
    gap = min(4.2 * letter, max(2.2 * letter, 62 * letter / max(len(depths), 1)))
    heights = tuple((i + 0.5) * gap for i in range(len(depths)))
    columns = _columns(spans, keys, graph["n_layers"], width)
    placed = _place(lines, groups, keys, columns, row_of, graph["n_layers"], letter)
    nodes = {
        key: Node(key, _label(key[0], wide, letter), _kind(key[0]), row_of[_depth(key[0], graph["n_layers"])],
                  _depth(key[0], graph["n_layers"])[0], x, heights[row_of[_depth(key[0], graph["n_layers"])]], wide)
        for key, (x, wide) in placed.items()
    }  # fmt: skip
    return Layout(
        nodes, lines, groups, width, gap * len(depths), min(1.5 * letter, 0.55 * gap), heights, _bands(depths, gap),
        tuple((span, *columns[span]) for span in spans),
    )  # fmt: skip


def _line(row: Mapping[str, Any]) -> Line:
    target = str(row["target"]).split("<")[0]
    read, use = str(row.get("read_span") or ""), str(row.get("use_span") or "")
    # A key or value belongs to the token that uses it.
    return Line(row, (str(row["source"]), read), (target, use), str(row["part"]))


def _kind(name: str) -> str:
    found = _NODE.fullmatch(name)
    if found is None:
        return name
    return "mlp" if found[4] else "head" if found[2] == "h" else "group"


def _depth(name: str, n_layers: int) -> tuple[int, int]:
    found = _NODE.fullmatch(name)
    if found is None:
        return (-1, 0) if name == "input" else (n_layers, 0)
    if found[4]:
        return int(found[4]), _MLP
    return int(found[1]), _HEADS if found[2] == "h" else _GROUP


def _members(key: Key, size: int) -> list[Key]:
    found = _NODE.fullmatch(key[0])
    if found is None or found[2] != "kv":
        return []
    return [(f"a{found[1]}.h{int(found[3]) * size + i}", key[1]) for i in range(size)]


def _label(name: str, width: float, letter: float) -> str:
    found = _NODE.fullmatch(name)
    if found is None:
        return name
    if found[4]:
        return found[5] or "MLP"
    return f"{found[2]}{found[3]}" if width >= 1.7 * letter else found[3]


def _bands(depths: Sequence[tuple[int, int]], gap: float) -> tuple[tuple[int, float, float], ...]:
    layers = sorted({layer for layer, _ in depths})
    found = []
    for layer in layers:
        own = [i for i, depth in enumerate(depths) if depth[0] == layer]
        found.append((layer, own[0] * gap, (own[-1] + 1) * gap))
    return tuple(found)


def _columns(spans: Sequence[str], keys: set[Key], n_layers: int, width: float) -> dict[str, tuple[float, float]]:
    """Each span's share of the width, by the number of boxes in its fullest row."""
    most = []
    for span in spans:
        counts: dict[tuple[int, int], int] = {}
        for name, own in keys:
            if own == span:
                counts[_depth(name, n_layers)] = counts.get(_depth(name, n_layers), 0) + 1
        most.append(max(counts.values(), default=1) + 0.8)
    ends = np.concatenate([[0], np.cumsum(most)]) / sum(most) * width
    return {span: (float(a), float(b)) for span, a, b in zip(spans, ends[:-1], ends[1:], strict=True)}


def _place(
    lines: Sequence[Line], groups: Sequence[tuple[Key, Key]], keys: set[Key],
    columns: Mapping[str, tuple[float, float]], row_of: Mapping[tuple[int, int], int], n_layers: int, letter: float,
) -> dict[Key, tuple[float, float]]:  # fmt: skip
    """Middle and width of each box: near the boxes that it is joined to, in order and without overlap."""
    rows: dict[tuple[int, str], list[Key]] = {}
    for key in sorted(keys, key=_index):
        rows.setdefault((row_of[_depth(key[0], n_layers)], key[1]), []).append(key)
    near = _neighbours(lines, groups, keys)
    x: dict[Key, float] = {}
    pitch: dict[tuple[int, str], float] = {}
    for place, own in rows.items():
        low, high = columns[place[1]]
        pitch[place] = min((high - low) / (len(own) + 0.3), 8 * letter)
        start = (low + high) / 2 - pitch[place] * (len(own) - 1) / 2
        x |= {key: start + i * pitch[place] for i, key in enumerate(own)}
    order = sorted(rows)
    for sweep in range(_SWEEPS):
        for place in order if sweep % 2 == 0 else order[::-1]:
            own = rows[place]
            low, high = columns[place[1]]
            wish = [_wish(key, near[key], x, (low + high) / 2) for key in own]
            rows[place] = own = [own[i] for i in np.argsort(wish, kind="stable")]
            x |= dict(zip(own, _apart(np.sort(wish), pitch[place], low, high), strict=True))
    sizes = {"input": 3.6, "logits": 3.6, "mlp": 3.0, "head": 2.4, "group": 2.6}
    return {
        key: (x[key], min(sizes[_kind(key[0])] * letter, 0.86 * pitch[place]))
        for place, own in rows.items()
        for key in own
    }  # fmt: skip


def _neighbours(
    lines: Sequence[Line], groups: Sequence[tuple[Key, Key]], keys: set[Key]
) -> dict[Key, dict[Key, float]]:
    """How strongly each box is drawn to each that it is joined to."""
    near: dict[Key, dict[Key, float]] = {key: {} for key in keys}
    top = max((abs(float(line.row["score"])) for line in lines), default=1.0) or 1.0
    for a, b, weight in [
        *((one.source, one.target, 0.1 + abs(float(one.row["score"])) / top) for one in lines),
        *((a, b, 1.5) for a, b in groups),
    ]:
        near[a][b] = near[a].get(b, 0.0) + weight
        near[b][a] = near[b].get(a, 0.0) + weight
    return near


def _index(key: Key) -> tuple[int, str]:
    digits = re.findall(r"\d+", key[0])
    return (int(digits[-1]) if digits else 0), key[0]


def _wish(key: Key, near: Mapping[Key, float], x: Mapping[Key, float], middle: float) -> float:
    """Mean place of the boxes it is joined to, drawn a little to where it is and to the middle of its column."""
    # Boxes of the whole height, such as input and logits, say nothing about where to stand.
    told = {other: w for other, w in near.items() if other[0] not in ("input", "logits")}
    total = sum(told.values())
    pull = sum(w * x[other] for other, w in told.items())
    return (pull + 0.5 * x[key] + 0.15 * middle) / (total + 0.65)


def _apart(wish: Float[np.ndarray, " node"], pitch: float, low: float, high: float) -> list[float]:
    """The nearest places to the wishes that are a pitch apart and inside the column."""
    steps = np.arange(len(wish)) * pitch
    moved = np.asarray(isotonic_regression(wish - steps).x)
    first, last = low + 0.65 * pitch, high - 0.65 * pitch - steps[-1]
    if last < first:
        first = last = (low + high - steps[-1]) / 2
    return [float(v) for v in np.clip(moved, first, last) + steps]
