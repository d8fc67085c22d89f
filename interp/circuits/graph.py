"""``Graph``: which nodes write into the residual stream, which inputs read it, and who can reach whom."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from ..errors import CircuitError
from ..run.experts import experts as experts_of
from ..run.nodes import wiring

if TYPE_CHECKING:
    from ..models import Model

PARTS = ("q", "k", "v")


@dataclass(frozen=True)
class Graph:
    """The nodes of a model and the edges between them.

    Sources write into the residual stream: ``input``, each head ``a<layer>.h<head>``, each MLP ``m<layer>``. Targets
    read it: each head's ``<q>``, ``<k>`` and ``<v>``, each MLP, and ``logits``. An edge is ``source->target``. With
    grouped queries the keys and values have one target per KV head, ``a0.kv1<k>``; ``expand_kv`` gives every query
    head a key and a value of its own, as benchmarks have it. In a parallel block the heads do not reach the MLP. Where
    ``experts`` are told apart, a mixture has a source for each, ``m0.e3`` (and ``m0.shared``), and is one target still.

    >>> graph = Graph(n_layers=2, n_heads=4, n_kv_heads=4, parallel=(False, False))
    >>> len(graph.sources), len(graph.targets), graph.n_edges
    (11, 27, 110)
    >>> graph.edge(*graph.place("a0.h0->a1.h2<k>"))
    'a0.h0->a1.h2<k>'
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    parallel: tuple[bool, ...]
    expand_kv: bool = False
    experts: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, model: Model, *, expand_kv: bool = False, experts: bool = False) -> Graph:
        """The graph of a model.

        Raises:
            ModelError: the model's parts are not joined as its architecture says.
            CircuitError: ``experts`` of a model without mixtures of experts.
        """
        found, s = wiring(model), model.sizes
        expand = expand_kv and s.n_kv_heads != s.n_heads
        mixtures = _mixtures(model) if experts else ()
        return cls(s.n_layers, s.n_heads, s.n_kv_heads, tuple(b.parallel for b in found.blocks), expand, mixtures)

    @property
    def heads(self) -> dict[str, int]:
        """How many targets of each part a layer has."""
        kv = self.n_heads if self.expand_kv else self.n_kv_heads
        return {"q": self.n_heads, "k": kv, "v": kv}

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Every node that writes, in the order of a forward pass."""
        layers = range(self.n_layers)
        return ("input", *(name for i in layers for name in (*_heads(i, self.n_heads), *self.mlps(i))))

    def mlps(self, layer: int) -> tuple[str, ...]:
        """What writes behind a layer's heads: its MLP, or the experts of its mixture."""
        own = self.experts[layer] if self.experts else ()
        return tuple(f"m{layer}.{name}" for name in own) or (f"m{layer}",)

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        """Row of each layer's first source, and the number of all."""
        sizes = [self.n_heads + len(self.mlps(i)) for i in range(self.n_layers)]
        return tuple(1 + sum(sizes[:i]) for i in range(self.n_layers + 1))

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Every input that reads, in the order of a forward pass: a layer's q, k and v, then its MLP."""
        names: list[str] = []
        for layer in range(self.n_layers):
            for part, n in self.heads.items():
                letter = "h" if n == self.n_heads else "kv"
                names += [f"a{layer}.{letter}{head}<{part}>" for head in range(n)]
            names.append(f"m{layer}")
        return (*names, "logits")

    @cached_property
    def reach(self) -> tuple[int, ...]:
        """For each target, how many of the sources come before it: these, and only these, can reach it."""
        found: list[int] = []
        for layer in range(self.n_layers):
            before = self._starts[layer]
            found += [before] * sum(self.heads.values())
            found.append(before if self.parallel[layer] else before + self.n_heads)
        return (*found, len(self.sources))

    @cached_property
    def legal(self) -> Bool[np.ndarray, "src dst"]:
        """Which edges there are."""
        mask = np.arange(len(self.sources))[:, None] < np.array(self.reach)
        mask.flags.writeable = False
        return mask

    @property
    def n_edges(self) -> int:
        """How many edges there are."""
        return sum(self.reach)

    def targets_of(self, layer: int, part: str) -> slice:
        """Columns of one part (``q k v``, or ``mlp``) of a layer."""
        start = layer * (sum(self.heads.values()) + 1)
        for name, n in (*self.heads.items(), ("mlp", 1)):
            if name == part:
                return slice(start, start + n)
            start += n
        raise CircuitError(f"a layer has the parts q, k, v and mlp, not {part!r}")

    def layer_of(self, target: int) -> int:
        """The layer of a target; the number of layers for the logits."""
        return target // (sum(self.heads.values()) + 1)

    def part_of(self, target: int) -> tuple[int, str, int]:
        """Layer, part (``q k v mlp``, or ``logits``) and head of a target."""
        layer = self.layer_of(target)
        for part in (*PARTS, "mlp") if layer < self.n_layers else ():
            columns = self.targets_of(layer, part)
            if columns.start <= target < columns.stop:
                return layer, part, target - columns.start
        return layer, "logits", 0

    def first_target(self, layer: int, part: str) -> int:
        """Column of the first target of a part."""
        return len(self.targets) - 1 if part == "logits" else self.targets_of(layer, part).start

    def sources_of(self, layer: int) -> slice:
        """Rows of a layer's heads and, last, its MLP (or experts)."""
        return slice(self._starts[layer], self._starts[layer + 1])

    def rows_of(self, part: str, layer: int) -> slice:
        """Rows of what writes at one place: the ``input``, a layer's heads (``attn``), or its ``mlp``."""
        rows = self.sources_of(layer)
        first = rows.start + self.n_heads
        return {"input": slice(0, 1), "attn": slice(rows.start, first), "mlp": slice(first, rows.stop)}[part]

    def edge(self, source: int, target: int) -> str:
        """The name of an edge."""
        return f"{self.sources[source]}->{self.targets[target]}"

    def place(self, edge: str) -> tuple[int, int]:
        """Row and column of an edge, from its name.

        Raises:
            CircuitError: the name is no edge of this graph.
        """
        left, arrow, right = edge.partition("->")
        row, column = self._rows.get(left), self._columns.get(right)
        if not arrow or row is None or column is None:
            bad = f"source {left!r}" if row is None else f"target {right!r}"
            raise CircuitError(
                f"{edge!r} is no edge of this graph: there is no {bad if arrow else 'arrow in it'}; edges look like "
                f"{self.edge(0, 0)} and {self.edge(len(self.sources) - 1, len(self.targets) - 1)}"
            )
        if not self.legal[row, column]:
            raise CircuitError(f"{edge!r} is no edge of this graph: {right} comes before {left}")
        return row, column

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.sources)}

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.targets)}

    def node_of(self, target: int) -> str:
        """The node that a target belongs to: the head of ``a1.h0<k>``; the first head of a KV group."""
        name = self.targets[target].split("<")[0]
        layer, _, head = name.partition(".kv")
        return f"{layer}.h{int(head) * (self.n_heads // self.n_kv_heads)}" if head else name

    def targets_into(self, source: int) -> list[int]:
        """The inputs of a node that writes; a head's with grouped queries are shared with its group."""
        name = self.sources[source]
        if name == "input":
            return []
        if name.startswith("m"):
            return [self._columns[name.split(".")[0]]]
        layer, head = (int(x) for x in name[1:].split(".h"))
        spans = {part: self.targets_of(layer, part) for part in PARTS}
        return [s.start + head * (s.stop - s.start) // self.n_heads for s in spans.values()]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Graph:
        """Back from `to_dict`."""
        fields: dict[str, Any] = {**data, "parallel": tuple(data["parallel"])}
        fields["experts"] = tuple(tuple(names) for names in data.get("experts", ()))
        return cls(**fields)


def _mixtures(model: Model) -> tuple[tuple[str, ...], ...]:
    """Names of each layer's experts; of none where the MLP is an ordinary one."""
    found = [
        () if m is None else (*(f"e{i}" for i in range(m.count)), *(("shared",) if m.shared else ()))
        for m in experts_of(model)
    ]
    if not any(found):
        raise CircuitError(f"experts=True: {model.id!r} ({model.architecture}) has no mixture of experts")
    return tuple(found)


def _heads(layer: int, n: int) -> list[str]:
    return [f"a{layer}.h{head}" for head in range(n)]
