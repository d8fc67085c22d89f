"""``dose_response``: how much a model recalls by how often it was shown, with intervals and a test of the trend."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StatisticsError
from ..report import Report
from ..stats import cluster_bootstrap, permutation_p, permute_labels, sign_flip_p
from .metrics.extraction import Extraction
from .records import TRAINED, UNTRAINED

Array = NDArray[Any]

# Means of these lie in [0, 1], and so do their intervals.
SHARES = frozenset(
    "exact tokens_right targets_right strength strength_compat strength_text similarity similarity_text "
    "remind_minimum recognition".split()
)
FEW_GROUPS = 10
MOST_LABELS = 1999
"""Labels of unpaired records are permuted so often, at most."""


@dataclass(frozen=True, eq=False)
class Gaps:
    """What each pair, or group, gains from having been trained on: one number, its dose and its group.

    ``of`` says of what the numbers are: ``"twins"`` of a pair, trained minus untrained; ``"groups"``, the same of
    groups that hold both, where nothing pairs records; or ``"records"``, where there is neither: simply the records'
    own values.
    """

    values: Array
    dose: Array
    groups: Array
    of: str


def dose_response(
    extraction: Extraction,
    *,
    metrics: Sequence[str] | None = None,
    trend_metric: str | None = None,
    level: float = 0.95,
    replicates: int = 2000,
    permutations: int = 9999,
    seed: int = 0,
) -> Report:
    """Mean of every metric for each dose and side of the coin, as a report of kind ``"recall"``.

    Works without doses (one row for each label) and without labels (one row for each dose), and says what is missing.

    Rows: ``dose``, ``label``, ``records``, ``groups``, and each metric with ``_lo`` and ``_hi`` from a bootstrap over
    groups. Meta: ``gaps``, for each dose the mean over pairs of trained minus untrained, with interval and a p-value
    from flipping the signs of whole groups; ``exact_gaps``, the same of exact recall (where nothing pairs trained and
    untrained records, the difference of their means, with a p-value from permuting labels); ``trend_p``, of the gap
    rising with the rank of the dose, from permuting doses over groups.

    Args:
        metrics: of those measured; all by default.
        trend_metric: whose gaps and trend; ``log_p`` by default, or the first metric where that was not measured.
        level: coverage that the intervals aim at.
        replicates: of the bootstrap.
        permutations: of doses over groups, and of signs.
        seed: of both.

    Raises:
        PromptError: a metric that was not measured.
        StatisticsError: a level or numbers of draws that make no sense.

    >>> import interp
    >>> from interp.memorisation import load_records
    >>> from interp.memorisation.metrics import extract
    >>> bed = interp.testbeds.path("memory")
    >>> model = interp.load_model(bed)
    >>> found = extract(model, load_records(bed / "records.jsonl", model.tokenizer), metrics=["exact", "log_p"])
    >>> report = dose_response(found)
    >>> len(report), report.meta["trend_of"], report.meta["trend_p"] < 0.01
    (10, 'twins', True)
    """
    if not 0 < level < 1 or replicates < 100 or permutations < 1:
        raise StatisticsError(
            "dose_response needs a level in (0, 1), 100 replicates or more and a permutation or more; got "
            f"{level}, {replicates} and {permutations}"
        )
    chosen = list(extraction.metrics if metrics is None else metrics)
    for name in (*chosen, *([trend_metric] if trend_metric else [])):
        extraction[name]
    main = trend_metric or ("log_p" if "log_p" in extraction.metrics else chosen[0])
    rows, warnings = _rows(extraction, chosen, level, replicates, seed)
    gaps, why = twin_gaps(extraction, main)
    warnings += why
    by_dose = _gap_rows(gaps, level, replicates, permutations, seed)
    trend, why = _trend(gaps, permutations, seed)
    warnings += why
    meta = {
        "metrics": chosen,
        "ci_level": level,
        "unit": "log_p: nats per token",
        "log_p_at": extraction.log_p_at,
        "split": extraction.split.rule,
        "gap_metric": main,
        "gaps": by_dose,
        "trend_of": gaps.of,
        "twins": extraction.prompts.pairs is not None,
        **_exact_gaps(extraction, level, replicates, permutations, seed),
        **trend,
    }
    headline = _headline(rows, meta, len(extraction))
    return Report(
        "recall", "Recall by dose", headline, rows, extraction.provenance, [*extraction.notes, *warnings], meta
    )


# ---- rows ------------------------------------------------------------------------------------------------------------


def cells(extraction: Extraction) -> list[tuple[Any, str | None, Array]]:
    """(dose, label, row numbers) of each kind of record there is; trained before untrained, doses rising."""
    prompts = extraction.prompts
    dose = prompts.columns.get("dose", np.full(len(prompts), None, dtype=object))
    label = np.full(len(prompts), None, dtype=object) if prompts.labels is None else prompts.labels
    doses = [None] if "dose" not in prompts.columns else np.unique(dose).tolist()
    labels = [None] if prompts.labels is None else [name for name in (TRAINED, UNTRAINED) if (label == name).any()]
    found = [(d, name, np.flatnonzero((dose == d) & (label == name))) for d in doses for name in labels]
    return [cell for cell in found if len(cell[2])]


def _rows(
    extraction: Extraction, metrics: Sequence[str], level: float, replicates: int, seed: int
) -> tuple[list[dict[str, Any]], list[str]]:
    groups = _groups(extraction)
    rows, sizes = [], []
    for dose, label, members in cells(extraction):
        count = len(np.unique(groups[members]))
        sizes.append(count)
        row = {"dose": dose, "label": label, "records": len(members), "groups": count}
        values = {name: extraction[name][members].astype(float) for name in metrics}
        rows.append(row | means(values, groups[members], level=level, replicates=replicates, seed=seed))
    warnings = []
    if min(sizes) < 2:
        warnings.append("Some rows are of one group only: there is nothing to resample, so they have no interval.")
    elif min(sizes) < FEW_GROUPS:
        warnings.append(
            f"Some rows are of {min(sizes)} groups only: intervals from so few cover less than they say, or are wide."
        )
    return rows, warnings


def means(
    values: dict[str, Array], groups: Array, *, level: float = 0.95, replicates: int = 2000, seed: int = 0
) -> dict[str, float | None]:
    """Each metric's mean over records, with ``_lo`` and ``_hi`` from resampling groups; ``None`` for one group.

    Shares are resampled on the logit scale, so that they stay in [0, 1]; all else gets Student's t.

    >>> found = means({"exact": np.array([0.0, 1.0, 1.0, 1.0])}, np.array(["a", "a", "b", "c"]))
    >>> found["exact"], 0 < found["exact_lo"] < 0.75 < found["exact_hi"] < 1
    (0.75, True)
    """
    made: dict[str, float | None] = {}
    several = len(np.unique(groups)) > 1
    for method in ("logit", "t"):
        names = [name for name in values if (name in SHARES) == (method == "logit")]
        if not names:
            continue
        table = np.stack([values[name].astype(float) for name in names], 1)
        low = high = [None] * len(names)
        if several:
            found = cluster_bootstrap(
                lambda w, table=table: (w @ table) / w.sum(-1, keepdims=True), groups, replicates=replicates,
                level=level, method=method, seed=seed,
            )  # fmt: skip
            low, high = found.low.tolist(), found.high.tolist()
        for i, name in enumerate(names):
            made |= {name: float(table[:, i].mean()), f"{name}_lo": low[i], f"{name}_hi": high[i]}
    return {end: made[end] for name in values for end in (name, f"{name}_lo", f"{name}_hi")}


def _groups(extraction: Extraction) -> Array:
    prompts = extraction.prompts
    return extraction.records.astype(str) if prompts.groups is None else prompts.groups


# ---- twins and the trend ---------------------------------------------------------------------------------------------


def twin_gaps(extraction: Extraction, metric: str) -> tuple[Gaps, list[str]]:
    """What each pair gains from having been trained on, and warnings where there are no pairs to tell.

    Without pairs, groups that have both labels take their place; without those, the records themselves (trained ones,
    where labels tell).

    >>> import interp
    >>> from interp.memorisation import load_records
    >>> from interp.memorisation.metrics import extract
    >>> bed = interp.testbeds.path("memory")
    >>> model = interp.load_model(bed)
    >>> records = load_records(bed / "records.jsonl", model.tokenizer).at_dose(128)
    >>> gaps, warnings = twin_gaps(extract(model, records, metrics=["log_p"]), "log_p")
    >>> len(gaps.values), gaps.of, warnings
    (64, 'twins', [])
    """
    prompts, values, groups = extraction.prompts, extraction[metric].astype(float), _groups(extraction)
    dose = prompts.columns.get("dose", np.full(len(prompts), None, dtype=object))
    unit = groups if prompts.pairs is None else prompts.pairs
    if prompts.labels is not None:
        trained = prompts.labels == TRAINED
        both = [u for u in np.unique(unit) if len({*trained[unit == u].tolist()}) == 2]
        mixed = [u for u in both if len({*dose[unit == u].tolist()}) > 1]
        if both and not mixed:
            rows = [np.flatnonzero(unit == u) for u in both]
            gap = np.array([values[r][trained[r]].mean() - values[r][~trained[r]].mean() for r in rows])
            first = np.array([r[0] for r in rows])
            of = "groups" if prompts.pairs is None else "twins"
            return Gaps(gap, dose[first], groups[first], of), []
        keep = trained if trained.any() else np.ones(len(prompts), bool)
        words = "whose two records differ in dose" if mixed else "of a trained and an untrained record"
        why = f"There are {'pairs' if mixed else 'no pairs'} {words}"
    else:
        keep, why = np.ones(len(prompts), bool), "The records do not say which were trained on"
    warning = f"{why}, so what is seen here may be due to which texts were shown, rather than to showing them."
    return Gaps(values[keep], dose[keep], groups[keep], "records"), [warning]


def _gap_rows(gaps: Gaps, level: float, replicates: int, permutations: int, seed: int) -> list[dict[str, Any]]:
    """For each dose: the mean gap, its interval, and whether it is above what flipped coins give."""
    if gaps.of == "records":
        return []
    rows = []
    for dose in [None] if gaps.dose.dtype == object else np.unique(gaps.dose).tolist():
        own = gaps.dose == dose
        values, groups = gaps.values[own], gaps.groups[own]
        found = means({"gap": values}, groups, level=level, replicates=replicates, seed=seed)
        p, least = sign_flip_p(values, groups, permutations, seed)
        rows.append(
            {"dose": dose, "pairs": len(values), "groups": len(np.unique(groups)), **found, "p": p, "min_p": least}
        )
    return rows


def _exact_gaps(
    extraction: Extraction, level: float, replicates: int, permutations: int, seed: int
) -> dict[str, list[dict[str, Any]]]:
    """Of exact recall, for each dose at which there are trained and untrained records."""
    if "exact" not in extraction.metrics or extraction.prompts.labels is None:
        return {}
    gaps, _ = twin_gaps(extraction, "exact")
    rows = _gap_rows(gaps, level, replicates, permutations, seed)
    return {"exact_gaps": rows or _unpaired_gaps(extraction, min(permutations, MOST_LABELS), seed)}


def _unpaired_gaps(extraction: Extraction, permutations: int, seed: int) -> list[dict[str, Any]]:
    """For each dose, the mean of trained minus that of untrained records, judged by labels dealt out anew to groups."""
    values, groups = extraction["exact"].astype(float), _groups(extraction)
    members: dict[Any, dict[str | None, Array]] = {}
    for dose, label, rows in cells(extraction):
        members.setdefault(dose, {})[label] = rows
    found = []
    for dose, by_label in members.items():
        if set(by_label) != {TRAINED, UNTRAINED}:
            continue
        rows = np.concatenate([by_label[TRAINED], by_label[UNTRAINED]])
        trained = np.arange(len(rows)) < len(by_label[TRAINED])
        drawn = permute_labels(trained, groups[rows], permutations, seed=seed)

        def gap(labels: Array, own: Array = values[rows]) -> Array:
            return np.asarray(labels @ own / labels.sum(-1) - ~labels @ own / (~labels).sum(-1))

        found.append({
            "dose": dose, "pairs": None, "groups": len(np.unique(groups[rows])), "gap": float(gap(trained)),
            "gap_lo": None, "gap_hi": None, "p": float(permutation_p(gap(trained), gap(drawn.labels))),
            "min_p": max(1 / (1 + len(drawn.labels)), 1 / drawn.attainable),
        })  # fmt: skip
    return found


def _trend(gaps: Gaps, permutations: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """Slope of the groups' mean gap over the rank of their dose, and its p-value."""
    nothing: dict[str, Any] = {"trend_p": None, "trend_slope": None}
    if gaps.dose.dtype == object:
        return nothing, ["The records have no doses, so there is no trend to test."]
    names, first, index = np.unique(gaps.groups, return_index=True, return_inverse=True)
    dose = gaps.dose[first]
    mixed = np.flatnonzero(dose[index] != gaps.dose)
    if len(mixed):
        return nothing, [
            f"Group {str(gaps.groups[mixed[0]])!r} holds several doses, so doses cannot be permuted: no trend."
        ]
    kinds, rank = np.unique(dose, return_inverse=True)
    if len(kinds) < 2:
        return nothing, [f"All records have dose {kinds[0]}, so there is no trend to test."]
    values = np.bincount(index, weights=gaps.values) / np.bincount(index)
    p, least = trend_p(values, rank, permutations, seed)
    warnings = []
    if least > 0.05:
        warnings.append(f"{len(names)} groups are so few that no trend can have a p-value below {least:.2g}.")
    centred = rank - rank.mean()
    slope = float(values @ centred / (centred**2).sum())
    return {"trend_p": p, "trend_min_p": least, "trend_slope": slope}, warnings


def trend_p(values: Array, rank: Array, permutations: int = 9999, seed: int = 0) -> tuple[float, float]:
    """One-sided p-value of values rising with rank, from permuting ranks, and the smallest that can come out.

    >>> p, least = trend_p(np.arange(8.0), np.repeat([0, 1], 4))
    >>> p < 0.03, round(least, 4)
    (True, 0.0143)
    """
    rng = np.random.default_rng(seed)
    centred = rank - rank.mean()
    null = rng.permuted(np.broadcast_to(centred, (permutations, len(rank))), axis=1) @ values
    ways = math.factorial(len(rank)) // math.prod(math.factorial(n) for n in Counter(rank.tolist()).values())
    return float(permutation_p(values @ centred, null)), max(1 / (1 + permutations), 1 / ways)


# ---- words -----------------------------------------------------------------------------------------------------------


def _headline(rows: list[dict[str, Any]], meta: dict[str, Any], count: int) -> str:
    top = rows[-1]["dose"]
    at = "" if top is None else f"At dose {top} "
    there = {row["label"]: row for row in rows if row["dose"] == top}
    name = (
        "exact" if "exact" in rows[0] else meta["gap_metric"] if meta["gap_metric"] in rows[0] else meta["metrics"][0]
    )
    parts = [f"{_value(row, name)} of {_who(label, row)}" for label, row in there.items()]
    if name == "exact":
        text = f"{at}greedy decoding reproduces {' and '.join(parts)}"
    else:
        text = f"{at}the mean {name} is {' and '.join(parts)}"
    return f"{text[0].upper()}{text[1:]}{_trend_words(meta, count)}."


def _value(row: dict[str, Any], name: str) -> str:
    return f"{100 * row[name]:.0f} %" if name == "exact" else f"{row[name]:.2f}"


def _who(label: str | None, row: dict[str, Any]) -> str:
    if label is None:
        return f"{row['records']} records"
    return f"the {row['records']} {label} records"


def _trend_words(meta: dict[str, Any], count: int) -> str:
    between = {"twins": "the gap between twins in ", "groups": "the gap between trained and untrained records in "}
    what = f"{between.get(meta['trend_of'], '')}{meta['gap_metric']}"
    if meta["trend_p"] is None:
        if not meta["gaps"]:
            return ""
        gap = meta["gaps"][-1]
        interval = "" if gap["gap_lo"] is None else f" [{gap['gap_lo']:.2f}, {gap['gap_hi']:.2f}]"
        return f"; {what} is {gap['gap']:.2f}{interval} (p = {gap['p']:.2g})"
    rises = "rises with dose" if meta["trend_p"] <= 0.05 else "does not detectably rise with dose"
    return f"; {what} {rises} (p = {meta['trend_p']:.2g})"
