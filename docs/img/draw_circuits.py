"""Draw the pictures of circuits, of 10, 50 and 300 edges: of made-up scores in the shape of a 12-layer model, or of
those that `interp circuit` saved: `python docs/img/draw_circuits.py RESULT NAME`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from interp import plots
from interp.circuits import EdgeScores, Graph, top_edges
from interp.circuits.edgerows import edge_report
from interp.circuits.scores import Origin
from interp.provenance import Provenance

HERE = Path(__file__).parent


def made_up(seed: int = 4) -> EdgeScores:
    """Scores that few nodes carry, as in real circuits; with intervals and replicates."""
    graph, rng = Graph(12, 12, 12, (False,) * 12), np.random.default_rng(seed)
    out, into = (rng.lognormal(0, 1.6, n) for n in (len(graph.sources), len(graph.targets)))
    shape = graph.legal.shape
    values = out[:, None] * into * rng.lognormal(0, 0.7, shape) * rng.choice([1, 1, 1, -1], shape)
    values[0] *= 2
    values[:, -1] = 40 * out * rng.lognormal(0, 0.7, len(out))
    values = np.where(graph.legal, 3 * values / np.abs(values[graph.legal]).max(), 0.0)
    room = np.abs(values) * rng.uniform(0.2, 1.5, shape)
    draws = values[graph.legal] * rng.uniform(0.7, 1.3, (50, graph.n_edges))
    origin = Origin("made up", "logit_diff", "resample", 3.0, -2.0, 100)
    return EdgeScores(
        graph, values, origin, Provenance("made-up", "made up"), "absolute", values - room, values + room, draws
    )


def draw(scores: EdgeScores, name: str) -> None:
    """Three sizes in both themes."""
    for n in (10, 50, 300):
        report = edge_report(scores, top_edges(scores, n), f"{n} edges")
        for theme in ("paper", "screen"):
            path = plots.export(plots.circuit_graph(report, theme), HERE / f"{name}_{n}.{theme}.svg")
            print(path)  # noqa: T201


if __name__ == "__main__":
    if len(sys.argv) == 3:
        draw(EdgeScores.load(Path(sys.argv[1]) / "scores.safetensors"), sys.argv[2])
    else:
        draw(made_up(), "circuit")
