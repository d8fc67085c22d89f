"""From scores to circuits: the strongest edges (nodes, neurons), or edges that hang together with the logits."""

from __future__ import annotations

import heapq
from dataclasses import replace

import numpy as np

from ..errors import CircuitError
from .circuit import Circuit
from .nodeset import NodeSet
from .scores import EdgeScores, NodeScores

STABLE = 0.8  # below this mean Jaccard index a circuit is called unstable


def top_edges(scores: EdgeScores, n: int) -> Circuit:
    """The ``n`` strongest edges, by the ranking that the scores name (``absolute`` or ``signed``).

    With bootstrap replicates at hand the circuit also knows how often each edge would have been chosen
    (``frequency``), and the mean Jaccard index between itself and the circuits of the replicates (``stability``).

    Raises:
        CircuitError: ``n`` is negative, or more than the edges that have a score.

    >>> import interp
    >>> from interp.circuits.attribution import attribute
    >>> from interp.circuits.pairs import Pairs
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> pairs = Pairs.from_tokens([[5, 9, 7, 8, 5]], [[5, 8, 7, 9, 5]], answers=[[9]], wrong=[[8]])
    >>> top_edges(attribute(model, pairs, replicates=0), 2).names
    ('input->a1.h0<v>', 'a1.h0->logits')
    """
    _check(scores, n)
    mask = _top(scores.strength[scores.graph.legal], n)
    about = {"n": n, "select": "top", "ranking": scores.ranking, "method": scores.origin.method}
    return _with_stability(scores, mask, n, about)


def greedy(scores: EdgeScores, n: int) -> Circuit:
    """``n`` edges that hang together: from the logits backwards, always the strongest edge into a node that is in.

    Raises:
        CircuitError: ``n`` is negative, or more than the edges that have a score.

    Source: EAP-IG's greedy search (Hanna et al., arXiv 2403.17806).
    """
    _check(scores, n)
    graph, strength = scores.graph, scores.strength
    chosen = np.zeros(graph.legal.shape, bool)
    open_edges: list[tuple[float, int, int]] = []
    inside: set[int] = set()

    def admit(targets: list[int]) -> None:
        for column in targets:
            if column not in inside:
                inside.add(column)
                for row in range(graph.reach[column]):
                    if np.isfinite(strength[row, column]):
                        heapq.heappush(open_edges, (-float(strength[row, column]), row, column))

    admit([len(graph.targets) - 1])
    for _ in range(n):
        if not open_edges:
            break
        _, row, column = heapq.heappop(open_edges)
        chosen[row, column] = True
        admit(graph.targets_into(row))
    about = {"n": n, "select": "greedy", "ranking": scores.ranking, "method": scores.origin.method}
    return Circuit(graph, chosen, about)


def top_nodes(scores: NodeScores, n: int) -> NodeSet:
    """The ``n`` strongest nodes or neurons; ``frequency`` and ``stability`` as for `top_edges`.

    Raises:
        CircuitError: ``n`` is negative, or more than have a score.

    >>> import interp
    >>> from interp.circuits.attribution import attribute
    >>> from interp.circuits.pairs import Pairs
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> pairs = Pairs.from_tokens([[5, 9, 7, 8, 5]], [[5, 8, 7, 9, 5]], answers=[[9]], wrong=[[8]])
    >>> top_nodes(attribute(model, pairs, level="node", replicates=0), 2).names
    ('input', 'a1.h0')
    """
    _check(scores, n)
    mask = _top(scores.strength.ravel(), n)
    about = {"n": n, "select": "top", "ranking": scores.ranking, "method": scores.origin.method}
    saes = getattr(scores, "saes", ())
    found = NodeSet(scores.graph, scores.level, mask.reshape(scores.values.shape), about, None, saes)
    if scores.draws is None or not n:
        return found
    often, stability = _again(scores.draws, scores.ranking, mask, n)
    return replace(found, frequency=often.reshape(scores.values.shape), about={**about, "stability": stability})


def _check(scores: EdgeScores | NodeScores, n: int) -> None:
    known = int(np.isfinite(scores.strength).sum())
    unit = scores.level if isinstance(scores, NodeScores) else "edge"
    if not 0 <= n <= known:
        raise CircuitError(f"a circuit of {n} {unit}s from scores of {known} {unit}s")


def _top(strength: np.ndarray, n: int) -> np.ndarray:
    """Mask of the ``n`` largest along the last axis; ties go to the first."""
    chosen = np.argsort(-strength, axis=-1, kind="stable")[..., :n]
    mask = np.zeros(strength.shape, bool)
    np.put_along_axis(mask, chosen, True, axis=-1)
    return mask


def _with_stability(scores: EdgeScores, mask: np.ndarray, n: int, about: dict) -> Circuit:
    whole = np.zeros(scores.graph.legal.shape, bool)
    whole[scores.graph.legal] = mask
    circuit = Circuit(scores.graph, whole, about)
    if scores.draws is None or not n:
        return circuit
    often, stability = _again(scores.draws, scores.ranking, mask, n)
    frequency = np.zeros(whole.shape)
    frequency[scores.graph.legal] = often
    return replace(circuit, frequency=frequency, about={**about, "stability": stability})


def _again(draws: np.ndarray, ranking: str, mask: np.ndarray, n: int) -> tuple[np.ndarray, float]:
    """How often the replicates choose each one, and the mean Jaccard index of their choice with this one."""
    drawn = np.abs(draws) if ranking == "absolute" else draws
    each = _top(np.where(np.isnan(drawn), -np.inf, drawn), n)
    shared = (each & mask).sum(-1)
    return each.mean(0), float((shared / (2 * n - shared)).mean())
