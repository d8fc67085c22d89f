"""What was planted in a hand-written bed, edge by edge, beside what exact patching measures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ...circuits.load import load_pairs
from ...circuits.patching import exact
from ...circuits.scores import EdgeScores
from ...errors import BedError
from ...models import load_model
from ..induction.truth import EdgeTruth
from ..induction.words import write_json


@dataclass(frozen=True)
class CircuitTruth:
    """What was planted. Each edge's ``effect`` is the share of the answer's lead that is lost when it alone is ablated.

    ``redundant`` are sets of edges that stand in for each other: taking one of them alone may change nothing.
    """

    edges: tuple[EdgeTruth, ...]
    counterfactual: str
    redundant: tuple[tuple[str, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The true edges."""
        return tuple(edge.name for edge in self.edges if edge.true)


def write_truth(
    out: Path, true: Mapping[str, str], false: Mapping[str, str], rest: str, counterfactual: str,
    redundant: tuple[tuple[str, ...], ...] = (),
) -> CircuitTruth:  # fmt: skip
    """Measure every edge of the checkpoint in ``out`` on its pairs, and write ``truth.json``.

    ``true`` and ``false`` map edges to the reason why they are in the circuit or not; ``rest`` is that of all others.
    """
    model = load_model(out)
    scores = exact(model, load_pairs(out / "pairs.jsonl", model.tokenizer), replicates=0)
    assert isinstance(scores, EdgeScores)
    scale = scores.origin.clean - scores.origin.ablated
    edges = []
    for place in sorted(scores.order(), key=lambda p: (p[1], p[0])):
        name = scores.graph.edge(*place)
        effect = round(abs(float(scores.values[place]) / scale), 3)
        why = true.get(name) or false.get(name) or rest
        edges.append(EdgeTruth(name, name in true, effect, why))
    unknown = set(true) - {e.name for e in edges}
    assert not unknown, unknown
    truth = CircuitTruth(tuple(edges), counterfactual, redundant)
    write_json(out / "truth.json", asdict(truth))
    return truth


def read_truth(folder: Path) -> CircuitTruth:
    """Read ``truth.json``.

    Raises:
        BedError: it is missing, or not what `write_truth` writes.
    """
    path = folder / "truth.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return CircuitTruth(
            edges=tuple(EdgeTruth(**edge) for edge in fields["edges"]),
            counterfactual=fields["counterfactual"],
            redundant=tuple(tuple(names) for names in fields["redundant"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BedError(f"{path} does not hold the truth of a hand-written circuit: {error}") from error
