"""What the search for a circuit finds where there is none: shuffled partners, an untrained copy, random edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CircuitError
from ..report import Report
from .attribution import Level, attribute
from .evaluation import chosen_from, evaluate, percent
from .latentscores import LatentScores
from .latentsets import LatentTable
from .metrics import Metric
from .nodeset import Kept, drawable
from .pairs import Pairs
from .scores import EdgeScores, NodeScores
from .task import do_task

if TYPE_CHECKING:
    from ..models import Model
    from ..sae.latents import Sae


@dataclass(frozen=True)
class Search:
    """How a circuit is looked for and judged: what the real search and those of the nulls share."""

    level: Level
    saes: tuple[Sae, ...]
    metric: Metric
    method: str
    ablation: str
    steps: int
    ranking: Any
    select: Any
    n: int
    sizes: tuple[int, ...]
    replicates: int
    seed: int
    expand_kv: bool
    max_bytes: int | None
    progress: bool | None

    def scores(self, model: Model, pairs: Pairs, by_span: bool = False) -> EdgeScores | NodeScores:
        """Scores of every edge (node, neuron) on these pairs."""
        found = attribute(
            model, pairs, self.metric, level=self.level, saes=self.saes, expand_kv=self.expand_kv, method=self.method,
            ablation=self.ablation, steps=self.steps, ranking=self.ranking, replicates=self.replicates, seed=self.seed,
            by_span=by_span, max_bytes=self.max_bytes, progress=self.progress,
        )  # fmt: skip
        return LatentTable.of(found, self.saes) if isinstance(found, LatentScores) else found

    def circuit(self, scores: EdgeScores | NodeScores) -> Kept:
        """The circuit that scores give."""
        return chosen_from(scores, self.n, self.select)

    def curve(self, model: Model, pairs: Pairs, scores: EdgeScores | NodeScores, random: int = 0) -> Report:
        """What circuits of growing size keep."""
        return evaluate(
            model, pairs, scores, self.metric, sizes=self.sizes, select=self.select, random=random, seed=self.seed,
            max_bytes=self.max_bytes,
        )  # fmt: skip


def shuffle_partners(pairs: Pairs, seed: int = 0) -> Pairs:
    """The pairs, each with the corrupted prompt of another one of the same lengths and spans.

    Pairs that no other one matches in lengths and spans are left out.

    Raises:
        CircuitError: no two pairs match.

    >>> pairs = Pairs.from_tokens([[5, 1], [6, 1]], [[5, 2], [6, 2]], answers=[3, 3], wrong=[4, 4])
    >>> [tokens.tolist() for tokens in shuffle_partners(pairs).corrupted.tokens]
    [[6, 2], [5, 2]]
    """
    rng = np.random.default_rng(seed)
    alike: dict[Any, list[int]] = {}
    for i in range(len(pairs)):
        spans = tuple(tuple(s.spans[name][i].tolist()) for s in (pairs.clean, pairs.corrupted) for name in pairs.spans)
        alike.setdefault((int(pairs.clean.lengths[i]), int(pairs.corrupted.lengths[i]), spans), []).append(i)
    partner: dict[int, int] = {}
    for same in alike.values():
        if len(same) > 1:
            order = rng.permutation(same).tolist()
            partner |= dict(zip(order, [*order[1:], order[0]], strict=True))
    if not partner:
        raise CircuitError("no two pairs have the same lengths and spans, so that partners cannot be exchanged")
    keep = sorted(partner)
    return replace(pairs.select(keep), corrupted=pairs.corrupted.select([partner[i] for i in keep]))


def null_report(
    model: Model, search: Search, found: tuple[Pairs, Pairs], all_pairs: Pairs, scores: EdgeScores | NodeScores,
    curve: Report, *, shuffles: int, untrained: bool, accuracy: float,
) -> Report:  # fmt: skip
    """The same search where there is nothing to find, each judged as the real one is: in the model, on its pairs.

    Args:
        found: the pairs that the circuit was found on, and those that it is judged on.
        all_pairs: of which an untrained copy solves its own.

    Returns:
        A report of kind ``circuit-null``: a row per search with ``accuracy`` and ``gap`` (what ablating everything
        takes of the metric) of the model that was searched, the ``stability`` of its circuit and its overlap with the
        real one (``jaccard``), and, judged in the model on the real pairs, ``faithfulness``, ``cpr`` and ``cmd``.
    """
    on, judged = found
    real = search.circuit(scores)
    rows = [_row("real pairs", scores, real, real, curve, search.n, accuracy)]
    warnings: list[str] = []
    for draw in range(shuffles):
        try:
            other = shuffle_partners(on, search.seed + 1 + draw)
        except CircuitError as error:
            warnings.append(f"There is no null of shuffled partners: {error}.")
            break
        mixed = search.scores(model, other)
        again = search.curve(model, judged, mixed)
        rows.append(_row("shuffled partners", mixed, search.circuit(mixed), real, again, search.n, accuracy))
    if untrained and search.saes:
        warnings.append("There is no null of an untrained copy: an SAE is of the weights that it was trained on.")
    elif untrained:
        fresh = model.untrained(search.seed)
        task = do_task(fresh, all_pairs, search.metric, ablation=search.ablation, max_bytes=search.max_bytes)
        own = np.flatnonzero(task.solved)
        luck = all_pairs.select(own if len(own) > 1 else np.arange(len(all_pairs)))
        blank = search.scores(fresh, luck)
        again = search.curve(model, judged, blank)
        share = task.report.meta["accuracy"]
        rows.append(_row("untrained copy", blank, search.circuit(blank), real, again, search.n, share))
    rows.append(_random_row(curve, search.n, scores, real))
    return Report(
        kind="circuit-null",
        title=f"Where there is nothing to find: {model.id}",
        headline=_headline(rows),
        rows=rows,
        provenance=model.provenance(prompts=judged.clean.hash, seed=search.seed),
        warnings=warnings,
        meta={
            f"n_{search.level}s": search.n,
            "unit": search.level,
            "metric": curve.meta["metric"],
            "shuffles": shuffles,
        },
    )


def _row(
    name: str, scores: EdgeScores | NodeScores, circuit: Kept, real: Kept, curve: Report, n: int, accuracy: float
) -> dict[str, Any]:
    both, either = (circuit.mask & real.mask).sum(), (circuit.mask | real.mask).sum()
    origin = scores.origin
    return {
        "search": name, "faithfulness": at_size(curve, n)["faithfulness"], "cpr": curve.meta["cpr"]["value"],
        "cmd": curve.meta["cmd"]["value"], "jaccard": None if circuit is real else float(both / either),
        "stability": circuit.about.get("stability"), "strongest": float(np.nanmax(np.abs(scores.values))),
        "accuracy": accuracy, "n_pairs": origin.n_pairs,
    }  # fmt: skip


def _random_row(curve: Report, n: int, scores: EdgeScores | NodeScores, real: Kept) -> dict[str, Any]:
    row = at_size(curve, n)
    share = float(real.mask.sum() / drawable(scores).sum())
    return {
        "search": f"random {curve.meta['unit']}s", "faithfulness": row.get("random"), "cpr": None, "cmd": None,
        "jaccard": share / (2 - share),
    }  # fmt: skip


def at_size(curve: Report, n: int) -> Any:
    """The row of a faithfulness curve that has so many edges; of a smaller circuit, where ``greedy`` found no more."""
    size = f"n_{curve.meta['unit']}s"
    return max((row for row in curve.rows if row[size] <= n), key=lambda row: row[size])


def _headline(rows: Sequence[dict[str, Any]]) -> str:
    parts = []
    for name in dict.fromkeys(row["search"] for row in rows[1:]):
        kept = [row["faithfulness"] for row in rows if row["search"] == name and row["faithfulness"] is not None]
        if kept:
            parts.append(f"{name} {percent(float(np.mean(kept)))}")
    text = (
        f"The circuit keeps {percent(rows[0]['faithfulness'])} of the metric; circuits of the same size from "
        f"{', '.join(parts)}."
    )
    return text.replace(" -", " \N{MINUS SIGN}")
