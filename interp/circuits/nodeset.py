"""``NodeSet``: some of the nodes or neurons of a model, as a boolean mask; all others are ablated when it is run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from ..errors import CircuitError
from .circuit import Circuit
from .graph import Graph
from .scores import EdgeScores, NodeScores, node_name

if TYPE_CHECKING:
    from ..sae.latents import Sae


@dataclass(frozen=True, eq=False)
class NodeSet:
    """Some of the nodes that write (``mask`` is ``[src]``), of the MLP neurons (``[layer, neuron]``), or of the latents
    and errors of ``saes`` (``[sae, slot]``).

    ``about`` says how it was chosen, ``frequency`` how often each would have been chosen from resampled pairs.

    Raises:
        CircuitError: a mask of another shape than the graph's nodes.

    >>> graph = Graph(n_layers=1, n_heads=1, n_kv_heads=1, parallel=(False,))
    >>> kept = NodeSet(graph, "node", np.array([True, False, True]))
    >>> kept.names, kept.complement().names, kept.circuit().n_edges
    (('input', 'm0'), ('a0.h0',), 6)
    """

    graph: Graph
    level: Literal["node", "neuron", "latent"]
    mask: Bool[np.ndarray, "*node"]
    about: dict[str, Any] = field(default_factory=dict)
    frequency: Float[np.ndarray, "*node"] | None = None
    saes: tuple[Sae, ...] = ()

    def __post_init__(self) -> None:
        graph = self.graph
        n = {"node": len(graph.sources), "neuron": graph.n_layers, "latent": len(self.saes)}[self.level]
        if self.mask.ndim != (1 if self.level == "node" else 2) or len(self.mask) != n:
            raise CircuitError(f"a mask of shape {self.mask.shape} for the {self.level}s of a graph with {n}")

    @property
    def names(self) -> tuple[str, ...]:
        """Those in it, in the order of a forward pass."""
        places = [tuple(place) for place in np.argwhere(self.mask).tolist()]
        if self.level == "latent":
            from .latentsets import slot_name

            return tuple(slot_name(self.saes, place) for place in places)
        return tuple(node_name(self.graph, self.level, place) for place in places)

    def complement(self) -> NodeSet:
        """Every one that is not in it."""
        return NodeSet(self.graph, self.level, ~self.mask, {"complement_of": int(self.mask.sum())}, None, self.saes)

    def circuit(self) -> Circuit:
        """Nodes as a circuit: every edge that leaves one of them.

        Raises:
            CircuitError: neurons, which have no edges.
        """
        if self.level != "node":
            raise CircuitError(f"{self.level}s have no edges; run them with run_kept")
        return Circuit(self.graph, self.graph.legal & self.mask[:, None], self.about)


Kept = Circuit | NodeSet


def unit_of(scores: EdgeScores | NodeScores) -> str:
    """What scores are of: ``edge``, ``node``, ``neuron`` or ``latent``."""
    return scores.level if isinstance(scores, NodeScores) else "edge"


def set_of(scores: EdgeScores | NodeScores, mask: Bool[np.ndarray, "*place"], **about: Any) -> Kept:
    """A mask of edges, nodes or neurons as what it is a mask of."""
    if isinstance(scores, NodeScores):
        return NodeSet(scores.graph, scores.level, mask, about, None, getattr(scores, "saes", ()))
    return Circuit(scores.graph, mask, about)


def places_of(scores: EdgeScores | NodeScores) -> Bool[np.ndarray, "*place"]:
    """Mask of all that there are, scored or not; of latents, what an SAE has."""
    if isinstance(scores, EdgeScores):
        return scores.graph.legal
    return ~np.isnan(scores.values) if scores.level == "latent" else np.ones(scores.values.shape, bool)


def drawable(scores: EdgeScores | NodeScores) -> Bool[np.ndarray, "*place"]:
    """Mask of what random sets are drawn from: everything, but of latents only those that some pair has."""
    found = places_of(scores)
    return found & (scores.values != 0) if isinstance(scores, NodeScores) and scores.level == "latent" else found
