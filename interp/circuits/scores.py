"""``EdgeScores`` and ``NodeScores``: what attribution or exact patching found, as frozen values that can be saved."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from ..directions.artefact import load_artefact, save_artefact
from ..errors import ArtefactError, CircuitError, ProvenanceError
from ..provenance import Provenance
from .graph import Graph

Ranking = Literal["absolute", "signed"]
Array = NDArray[Any]


@dataclass(frozen=True)
class Origin:
    """How scores were made.

    Attributes:
        method: ``eap``, ``eap-ig``, ``exact`` ...
        metric: the name of the metric; a score is how much of it is lost when the edge (or node) is ablated.
        ablation: ``resample``, ``zero``, ``mean`` ...
        clean, ablated: the metric's mean with nothing and with everything ablated; NaN where it was not measured.
        n_pairs: how many pairs of prompts the scores are means over.
        details: whatever else the numbers depend on (steps, the memory plan).
    """

    method: str
    metric: str
    ablation: str
    clean: float
    ablated: float
    n_pairs: int
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class EdgeScores:
    """One score per edge: the (estimated) loss of the metric when that edge alone is ablated, mean over pairs.

    Attributes:
        values: zero where there is no edge (see ``graph.legal``); NaN where an edge was not measured.
        ranking: how `top_edges` ranks: by ``absolute`` value, or ``signed`` (what supports the metric first).
        lo, hi: confidence interval per edge (95 %), or ``None``.
        draws: bootstrap replicates of the scores ``[replicate, edge]`` in the order of ``graph.legal``'s true entries,
            row by row; or ``None``.
        spans: names of token spans, and ``by_span`` the scores told apart by the span that the edge is read at and the
            span of the token that then uses it (the query's, for keys and values); they sum to ``values``.

    Raises:
        CircuitError: arrays of the wrong shape, or an unknown ranking.
    """

    graph: Graph
    values: Float[np.ndarray, "src dst"]
    origin: Origin
    provenance: Provenance
    ranking: Ranking = "absolute"
    lo: Float[np.ndarray, "src dst"] | None = None
    hi: Float[np.ndarray, "src dst"] | None = None
    draws: Float[np.ndarray, "replicate edge"] | None = None
    spans: tuple[str, ...] = ()
    by_span: Float[np.ndarray, "span_src span_dst src dst"] | None = None

    def __post_init__(self) -> None:
        shape = self.graph.legal.shape
        for name in ("values", "lo", "hi"):
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise CircuitError(f"{name} has the shape {array.shape}, but the graph has {shape}")
        if self.ranking not in ("absolute", "signed"):
            raise CircuitError(f"ranking={self.ranking!r}: 'absolute' or 'signed'")
        if self.by_span is not None and self.by_span.shape != (len(self.spans), len(self.spans), *shape):
            raise CircuitError(f"by_span has the shape {self.by_span.shape} for {len(self.spans)} spans and {shape}")
        _seal(self, "values", "lo", "hi", "draws", "by_span")

    def __getitem__(self, edge: str) -> float:
        """The score of one edge, by name."""
        return float(self.values[self.graph.place(edge)])

    def __repr__(self) -> str:
        best = ", ".join(f"{self.graph.edge(*e)} {self.values[e]:.3g}" for e in self.order(3))
        o = self.origin
        return (
            f"EdgeScores({o.method}, {o.metric}, {o.ablation}; {self.graph.n_edges} edges, {o.n_pairs} pairs; {best})"
        )

    @property
    def strength(self) -> Float[np.ndarray, "src dst"]:
        """What edges are ranked by; minus infinity where there is no edge or no score."""
        found = np.abs(self.values) if self.ranking == "absolute" else self.values
        return np.where(self.graph.legal & ~np.isnan(found), found, -np.inf)

    def order(self, n: int | None = None) -> list[tuple[int, int]]:
        """The ``n`` strongest edges as (row, column), the strongest first; ties in the graph's order."""
        flat = self.strength.ravel()
        count = int(np.isfinite(flat).sum())
        chosen = np.argsort(-flat, kind="stable")[: count if n is None else min(n, count)]
        rows, columns = np.unravel_index(chosen, self.values.shape)
        return list(zip(rows.tolist(), columns.tolist(), strict=True))

    def rows(self, n: int | None = None) -> list[dict[str, Any]]:
        """The strongest edges as plain rows: ``edge source target score`` and, with an interval, its ends."""
        found = []
        for row, column in self.order(n):
            entry: dict[str, Any] = {"edge": self.graph.edge(row, column), "source": self.graph.sources[row]}
            entry |= {"target": self.graph.targets[column], "score": float(self.values[row, column])}
            if self.lo is not None and self.hi is not None:
                entry |= {"score_lo": float(self.lo[row, column]), "score_hi": float(self.hi[row, column])}
            found.append(entry)
        return found

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything as safetensors with a JSON header."""
        arrays = {k: getattr(self, k) for k in ("values", "lo", "hi", "draws", "by_span")}
        fields = {
            "graph": self.graph.to_dict(), "ranking": self.ranking, "spans": list(self.spans),
            "origin": _plain(self.origin), "provenance": self.provenance.to_dict(),
        }  # fmt: skip
        return save_artefact(path, "edge_scores", _tensors(arrays), fields)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> EdgeScores:
        """Read what `save` wrote.

        Raises:
            ArtefactError: the file is missing, damaged or something else.
        """
        _, tensors, fields = load_artefact(path, ("edge_scores",))
        with _damage(path):
            return cls(
                Graph.from_dict(fields["graph"]), tensors["values"].numpy(), _origin(fields["origin"]),
                Provenance.from_dict(fields["provenance"]), fields["ranking"], *_arrays(tensors, "lo", "hi", "draws"),
                spans=tuple(fields["spans"]), by_span=_arrays(tensors, "by_span")[0],
            )  # fmt: skip


@dataclass(frozen=True, eq=False)
class NodeScores:
    """One score per node that writes (``level="node"``), or per MLP neuron (``level="neuron"``).

    ``values`` is ``[src]`` in the order of ``graph.sources``, or ``[layer, neuron]``; NaN where none was measured. A
    node's score is the sum of the scores of the edges that leave it, wherever scores are linear in the node's change.
    ``draws`` are bootstrap replicates of the scores, flat.
    """

    graph: Graph
    level: Literal["node", "neuron", "latent"]
    values: Float[np.ndarray, "*node"]
    origin: Origin
    provenance: Provenance
    ranking: Ranking = "absolute"
    lo: Float[np.ndarray, "*node"] | None = None
    hi: Float[np.ndarray, "*node"] | None = None
    draws: Float[np.ndarray, "replicate _"] | None = None

    def __post_init__(self) -> None:
        _seal(self, "values", "lo", "hi", "draws")

    @property
    def strength(self) -> Float[np.ndarray, "*node"]:
        """What nodes are ranked by; minus infinity where there is no score."""
        found = np.abs(self.values) if self.ranking == "absolute" else self.values
        return np.where(np.isnan(found), -np.inf, found)

    def order(self, n: int | None = None) -> list[tuple[int, ...]]:
        """Places of the ``n`` strongest, the strongest first; ties in the order of a forward pass."""
        flat = self.strength.ravel()
        count = int(np.isfinite(flat).sum())
        chosen = np.argsort(-flat, kind="stable")[: count if n is None else min(n, count)]
        return [tuple(int(i) for i in np.unravel_index(int(at), self.values.shape)) for at in chosen]

    def place(self, node: str) -> tuple[int, ...]:
        """The place of one node or neuron in ``values``, from its name.

        Raises:
            CircuitError: there is none of this name.
        """
        if self.level == "node" and node in self.graph.sources:
            return (self.graph.sources.index(node),)
        layer, dot, neuron = node.removeprefix("m").partition(".n")
        if self.level == "neuron" and node.startswith("m") and dot and layer.isdigit() and neuron.isdigit():
            found = (int(layer), int(neuron))
            if all(i < n for i, n in zip(found, self.values.shape, strict=True)):
                return found
        raise CircuitError(f"{node!r} is no {self.level} of these scores; they look like {self.name((0, 0))!r}")

    def name(self, place: tuple[int, ...]) -> str:
        """The name of a node, ``a1.h0``, or a neuron, ``m1.n37``."""
        return node_name(self.graph, self.level, place)

    def __getitem__(self, node: str) -> float:
        """The score of one node or neuron, by name."""
        return float(self.values[self.place(node)])

    def __repr__(self) -> str:
        best = ", ".join(f"{r[self.level]} {r['score']:.3g}" for r in self.rows(3))
        o = self.origin
        return f"NodeScores({o.method}, {o.metric}, {o.ablation}; {self.values.size} {self.level}s; {best})"

    def rows(self, n: int | None = None) -> list[dict[str, Any]]:
        """The strongest as plain rows, named by the level: ``node`` (or ``neuron``), ``score`` and its interval."""
        found = []
        for place in self.order(n):
            entry: dict[str, Any] = {self.level: self.name(place), "score": float(self.values[place])}
            if self.lo is not None and self.hi is not None:
                entry |= {"score_lo": float(self.lo[place]), "score_hi": float(self.hi[place])}
            found.append(entry)
        return found

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything as safetensors with a JSON header."""
        fields = {
            "graph": self.graph.to_dict(), "level": self.level, "ranking": self.ranking,
            "origin": _plain(self.origin), "provenance": self.provenance.to_dict(),
        }  # fmt: skip
        arrays = {k: getattr(self, k) for k in ("values", "lo", "hi", "draws")}
        return save_artefact(path, "node_scores", _tensors(arrays), fields)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> NodeScores:
        """Read what `save` wrote.

        Raises:
            ArtefactError: the file is missing, damaged or something else.
        """
        _, tensors, fields = load_artefact(path, ("node_scores",))
        with _damage(path):
            return cls(
                Graph.from_dict(fields["graph"]), fields["level"], tensors["values"].numpy(),
                _origin(fields["origin"]), Provenance.from_dict(fields["provenance"]), fields["ranking"],
                *_arrays(tensors, "lo", "hi", "draws"),
            )  # fmt: skip


def node_name(graph: Graph, level: str, place: tuple[int, ...]) -> str:
    """The name of a node (``a1.h0``) or a neuron (``m1.n37``) by its place."""
    return graph.sources[place[0]] if level == "node" else f"m{place[0]}.n{place[1]}"


def _seal(scores: object, *names: str) -> None:
    """Arrays that cannot be written to, whoever holds them."""
    for name in names:
        array = getattr(scores, name)
        if array is not None:
            array = array.view()
            array.flags.writeable = False
            object.__setattr__(scores, name, array)


def _tensors(arrays: dict[str, Array | None]) -> dict[str, torch.Tensor]:
    return {k: torch.from_numpy(v.copy()) for k, v in arrays.items() if v is not None}


def _arrays(tensors: dict[str, torch.Tensor], *names: str) -> list[Array | None]:
    return [tensors[n].numpy() if n in tensors else None for n in names]


def _plain(origin: Origin) -> dict[str, Any]:
    """As strict JSON: a NaN becomes null."""
    fields = dict(vars(origin))
    return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in fields.items()}


def _origin(fields: dict[str, Any]) -> Origin:
    ends = {k: float("nan") for k in ("clean", "ablated") if fields[k] is None}
    known: dict[str, Any] = {**fields, **ends}
    return Origin(**known)


class _damage:
    """A header that lacks something is a damaged file, and is named."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, _: Any) -> None:
        if isinstance(error, (KeyError, TypeError, ValueError, CircuitError, ProvenanceError)):
            raise ArtefactError(f"the header of {os.fspath(self._path)!r} is damaged: {error!r}") from error
