"""How much is held in memory at once, planned before the first pass."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from ..errors import TooLargeError
from ..store import size_text
from .contract import Chunks
from .graph import Graph
from .pairs import Pairs

if TYPE_CHECKING:
    from ..models import Model

# Rows of more tokens gain nothing on a CPU and leave its caches.
CPU_TOKENS = 2048


@dataclass(frozen=True)
class Plan:
    """What one step of an attribution holds: pairs, gradient rows per pair, target heads, columns; and the bytes.

    ``peak`` is an estimate from above of what comes on top of the model's weights.
    """

    pairs: int
    steps: int
    heads: int
    columns: int
    peak: int
    max_bytes: int

    @property
    def chunks(self) -> Chunks:
        """The part that contraction needs."""
        return Chunks(self.heads, self.columns)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Sizes:
    """Bytes per unit, from the model's sizes and the longest prompt."""

    row: int  # a row with its graph
    kept: int  # a pair's node values, clean and ablated
    source: int  # a pair's difference at every source, per column
    target: int  # one target's gradient in the stream, per row and column, with what its norm needs
    part: int  # how many targets of a layer are taken back through the norm together
    group: int  # one target's gradient when it is multiplied, per pair and column
    out: int  # a pair's scores
    columns: int

    def peak(self, pairs: int, steps: int, heads: int, columns: int) -> int:
        """What a step holds: the graph, and then the buffers of the contraction, which on a CPU come on top.

        (Its allocator seldom gives back the many small pieces of a graph before the large ones are asked for.)
        """
        rows = pairs * steps
        kept = pairs * (self.kept + 2 * self.out)
        targets = min(heads, self.part) * rows * self.target + heads * pairs * self.group
        return kept + rows * self.row + columns * (pairs * self.source + targets)


def sizes_of(model: Model, graph: Graph, columns: int) -> Sizes:
    """Bytes per unit of this model at this width, counted generously."""
    s = model.sizes
    item = max(4, model.dtype.itemsize)
    heads, kv = s.n_heads * s.d_head, s.n_kv_heads * s.d_head
    per_token = s.n_layers * (12 * s.d_model + 4 * (heads + kv) + 6 * s.d_mlp + s.n_heads * columns)
    row = item * (columns * (per_token + 4 * s.d_model) + 4 * s.d_vocab)
    kept = 2 * item * columns * (s.n_layers * (heads + s.d_model) + s.d_model)
    source = item * len(graph.sources) * s.d_model
    target, out = item * s.d_model, item * len(graph.sources) * len(graph.targets)
    return Sizes(row, kept, source, 4 * target, max(graph.heads.values()), 2 * target, out, columns)


def make_plan(model: Model, graph: Graph, pairs: Pairs, n_steps: int, max_bytes: int | None = None) -> Plan:
    """The largest pieces that fit: first fewer pairs at once, then fewer steps, target heads and columns.

    Raises:
        TooLargeError: one pair, one step, one head and one column do not fit.
    """
    width = int(max(pairs.clean.lengths.max(), pairs.corrupted.lengths.max()))
    size = sizes_of(model, graph, width)
    limit = auto_bytes(model) if max_bytes is None else max_bytes
    widest = sum(graph.heads.values())
    # On a CPU the product of rows and columns is bounded as well; steps stay together, so that they are averaged first.
    cap = max(1, CPU_TOKENS // width) if model.device.type == "cpu" else 1 << 30
    pieces = [min(len(pairs), max(1, cap // n_steps)), n_steps, widest, width]
    for i, least in enumerate((1, 1, 1, 1)):
        while size.peak(*pieces) > limit and pieces[i] > least:
            pieces[i] = max(least, pieces[i] // 2)
    # What was halved one time too often is given back.
    for i, most in enumerate((min(len(pairs), max(1, cap // pieces[1])), n_steps, widest, width)):
        while pieces[i] < most and size.peak(*(p + (j == i) for j, p in enumerate(pieces))) <= limit:
            pieces[i] += 1
    peak = size.peak(*pieces)
    if peak > limit:
        raise TooLargeError(
            f"one pair of {width} tokens takes {size_text(peak)} on {model.id!r}, but max_bytes is {size_text(limit)}; "
            "give more, or shorter prompts"
        )
    return Plan(*pieces, peak=peak, max_bytes=limit)


def auto_bytes(model: Model) -> int:
    """Half of what is free on a GPU; on a CPU a quarter, and no more than 1 GiB."""
    if model.device.type == "cuda":
        return torch.cuda.mem_get_info(model.device)[0] // 2
    import psutil

    return min(1 << 30, psutil.virtual_memory().available // 4)


@dataclass(frozen=True)
class RowPlan:
    """For passes without gradients: how many pairs are held at once, and how many rows one pass may have."""

    pairs: int
    rows: int
    peak: int
    max_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def plan_circuits(model: Model, graph: Graph, pairs: Pairs, max_bytes: int | None = None) -> RowPlan:
    """The same for circuits, in whose rows every target has a stream of its own.

    Raises:
        TooLargeError: one pair under one circuit does not fit.
    """
    width = int(max(pairs.clean.lengths.max(), pairs.corrupted.lengths.max()))
    s, item = model.sizes, max(4, model.dtype.itemsize)
    limit = auto_bytes(model) if max_bytes is None else max_bytes
    pair = item * width * s.d_model * (3 * len(graph.sources) + 4 * s.n_layers + 4)
    row = item * width * (s.d_model * (2 * len(graph.sources) + 4 * s.n_heads + 14) + 3 * s.d_mlp)
    return _fitting(model, pairs, pair, row + item * 2 * s.d_vocab, width, limit)


def plan_rows(model: Model, graph: Graph, pairs: Pairs, max_bytes: int | None = None) -> RowPlan:
    """Pairs and rows that fit: half of the memory for what is kept of the pairs, half for the rows of a pass.

    Raises:
        TooLargeError: one pair and one row do not fit.
    """
    width = int(max(pairs.clean.lengths.max(), pairs.corrupted.lengths.max()))
    s, item = model.sizes, max(4, model.dtype.itemsize)
    limit = auto_bytes(model) if max_bytes is None else max_bytes
    pair = item * width * s.d_model * (2 * len(graph.sources) + 4 * s.n_layers + 4)
    row = item * (width * (14 * s.d_model + 3 * s.d_mlp + s.n_heads * (3 * s.d_head + width)) + 2 * s.d_vocab)
    return _fitting(model, pairs, pair, row, width, limit)


def _fitting(model: Model, pairs: Pairs, pair: int, row: int, width: int, limit: int) -> RowPlan:
    if pair + row > limit:
        raise TooLargeError(
            f"one pair of {width} tokens takes {size_text(pair + row)} on {model.id!r}, but max_bytes is "
            f"{size_text(limit)}; give more, or shorter prompts"
        )
    cap = max(1, CPU_TOKENS // width) if model.device.type == "cpu" else 1 << 16
    n_pairs = max(1, min(len(pairs), cap, limit // 2 // pair))
    rows = max(n_pairs, min(cap, (limit - n_pairs * pair) // row))
    while n_pairs > 1 and n_pairs * pair + rows * row > limit:
        n_pairs = rows = n_pairs - 1
    return RowPlan(n_pairs, rows, n_pairs * pair + rows * row, limit)
