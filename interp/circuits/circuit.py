"""``Circuit``: a set of edges, as a boolean mask over a graph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ..errors import CircuitError
from .graph import Graph


@dataclass(frozen=True, eq=False)
class Circuit:
    """Some of the edges of a graph; everything else is ablated when the circuit is run.

    ``about`` says how it was chosen (number of edges asked for, ranking, stability). ``frequency`` is how often each
    edge would have been chosen from resampled pairs, if that is known.

    Raises:
        CircuitError: the mask has another shape than the graph, or holds an edge that the graph lacks.

    >>> graph = Graph(n_layers=1, n_heads=1, n_kv_heads=1, parallel=(False,))
    >>> circuit = Circuit.of(graph, ["input->a0.h0<v>", "a0.h0->logits", "input->m0"])
    >>> circuit.n_edges, circuit.pruned().names
    (3, ('input->a0.h0<v>', 'a0.h0->logits'))
    """

    graph: Graph
    mask: Bool[np.ndarray, "src dst"]
    about: dict[str, Any] = field(default_factory=dict)
    frequency: Float[np.ndarray, "src dst"] | None = None

    def __post_init__(self) -> None:
        legal = self.graph.legal
        if self.mask.shape != legal.shape:
            raise CircuitError(f"a mask of shape {self.mask.shape} for a graph of {legal.shape}")
        wrong = np.argwhere(self.mask & ~legal)
        if len(wrong):
            row, column = wrong[0].tolist()
            raise CircuitError(f"the mask holds {self.graph.edge(row, column)}, which is no edge of this graph")
        mask = self.mask.view()
        mask.flags.writeable = False
        object.__setattr__(self, "mask", mask)

    @classmethod
    def of(cls, graph: Graph, edges: Iterable[str], **about: Any) -> Circuit:
        """A circuit of named edges."""
        mask = np.zeros(graph.legal.shape, bool)
        for edge in edges:
            mask[graph.place(edge)] = True
        return cls(graph, mask, about)

    @property
    def n_edges(self) -> int:
        """How many edges it has."""
        return int(self.mask.sum())

    @property
    def names(self) -> tuple[str, ...]:
        """Its edges, by target's order, then source's."""
        return tuple(self.graph.edge(row, column) for column, row in np.argwhere(self.mask.T).tolist())

    @property
    def nodes(self) -> tuple[str, ...]:
        """Nodes that an edge leaves or enters, in the order of a forward pass; ``logits`` last."""
        used = {self.graph.sources[i] for i in np.flatnonzero(self.mask.any(1)).tolist()}
        used |= {self.graph.node_of(j) for j in np.flatnonzero(self.mask.any(0)).tolist()}
        return tuple(name for name in (*self.graph.sources, "logits") if name in used)

    def complement(self) -> Circuit:
        """Every edge that is not in it."""
        return Circuit(self.graph, self.graph.legal & ~self.mask, {"complement_of": self.n_edges})

    def without(self, edge: str) -> Circuit:
        """The circuit less one of its edges."""
        place = self.graph.place(edge)
        if not self.mask[place]:
            raise CircuitError(f"{edge!r} is not in this circuit of {self.n_edges} edges")
        mask = self.mask.copy()
        mask[place] = False
        return Circuit(self.graph, mask, self.about)

    def pruned(self) -> Circuit:
        """Only the edges on some path from the input to the logits inside the circuit."""
        mask = self.mask.copy()
        into = [self.graph.targets_into(i) for i in range(len(self.graph.sources))]
        while True:
            fed = np.array([not i or bool(mask[:, into[i]].any()) for i in range(len(into))])
            owners = np.zeros((len(into), len(self.graph.targets)), bool)
            for i, columns in enumerate(into):
                owners[i, columns] = True
            used = owners.T @ mask.any(1)
            used[-1] = True
            kept = mask & fed[:, None] & used[None, :]
            if (kept == mask).all():
                return Circuit(self.graph, mask, self.about)
            mask = kept
