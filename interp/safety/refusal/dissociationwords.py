"""What steering did, as reports: dose by dose, and the table of directions by outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...report import Report
from ...stats import Interval, cluster_bootstrap, permutation_p
from .dissociation import HARM, OWNER, RANDOM, REFUSAL, Dissociation, mean_moved
from .outcomes import ANSWER, OUTCOMES, REFUSAL_POST, Outcome
from .settings import Settings
from .tables import Row, triple

Array = NDArray[Any]
ALPHA = 0.05
NEGLIGIBLE = 0.02
"""A change of probability that is not worth the word, however certain."""


def dose_report(found: Dissociation, title: str, provenance: Any, settings: Settings) -> Report:
    """A row per outcome, direction, depth, side and dose; a dose of 0 is the model as it is."""
    rows: list[Row] = []
    least = min(s.dose for s in found.steered)
    for one in found.steered:
        groups = found.outcomes[one.outcome].groups
        about: Row = {
            "outcome": one.outcome, "direction": one.direction, "depth": one.depth, "fitted": one.fitted,
            "owner": OWNER[one.outcome], "at_home": one.depth == found.chosen[OWNER[one.outcome]][0] + 1,
        }  # fmt: skip
        for side in (False, True):
            here = (one.towards < 0) == side
            if one.dose == least:
                row = {**about, "harmful": side, "coeff": 0.0}
                rows.append(_dose_row(row, one.before[None, here], groups[here], settings))
            row = {**about, "harmful": side, "coeff": -one.dose if side else one.dose}
            flipped = {"flipped": float(one.flipped[:, here].mean())}
            rows.append(_dose_row(row, one.after[:, here], groups[here], settings) | flipped)
    rows.sort(key=lambda r: (r["outcome"], r["direction"], r["depth"], r["harmful"], r["coeff"]))
    return Report(
        "inversion", title, dose_words(found), rows, provenance,
        meta={"ci_level": settings.level, "outcomes": {k: OUTCOMES[k] for k in found.outcomes}},
    )  # fmt: skip


def _dose_row(about: Row, value: Array, groups: Array, settings: Settings) -> Row:
    """The mean over prompts; over random directions, too, with the range that 95 % of them lie in."""
    row = about | triple("value", mean_moved(value.mean(0), groups, settings))
    if len(value) > 1:
        low, high = np.quantile(value.mean(1), [0.025, 0.975])
        row |= {"value_lo": float(low), "value_hi": float(high)}
    return {**row, "n": value.shape[1]}


def effect_rows(found: Dissociation, settings: Settings) -> list[Row]:
    """A row per outcome, direction and depth at the chosen dose: how far it moves the outcome, beyond random ones."""
    rows = []
    for name, outcome in found.outcomes.items():
        for one in sorted(found.of(name), key=lambda s: ([HARM, REFUSAL, RANDOM].index(s.direction), s.depth)):
            row: Row = {
                "outcome": name, "direction": one.direction, "depth": one.depth, "fitted": one.fitted,
                "coeff": one.dose, **triple("effect", mean_moved(one.moved.mean(0), outcome.groups, settings)),
                **triple("flipped", mean_moved(one.flipped.mean(0).astype(float), outcome.groups, settings)),
            }  # fmt: skip
            if one.direction != RANDOM:
                luck = found.luck(one)
                row |= triple("beyond", mean_moved(one.moved.mean(0) - luck.mean(0), outcome.groups, settings))
                row["p"] = float(permutation_p(one.moved.mean(), luck.mean(1)))
                row["moves"] = bool(row["beyond_lo"] > 0 and row["p"] <= ALPHA and row["effect"] > NEGLIGIBLE)
            rows.append({**row, "draws": len(one.after), "n": one.moved.shape[1]})
    return rows


def lead(found: Dissociation, outcome: str, first: str, other: str, settings: Settings) -> Interval | None:
    """How much further one direction moves an outcome than the other at the depth where that moves it most."""
    a, b = (found.at(outcome, d) for d in (first, other))
    if a is None or b is None:
        return None
    return mean_moved((a.moved - b.moved).mean(0), found.outcomes[outcome].groups, settings)


def best_rows(rows: Sequence[Mapping[Any, Any]]) -> dict[tuple[str, str], Mapping[Any, Any]]:
    """The row of each outcome and direction at the depth where it does most."""
    out: dict[tuple[str, str], Mapping[Any, Any]] = {}
    for row in rows:
        key = (row["outcome"], row["direction"])
        if key not in out or row["effect"] > out[key]["effect"]:
            out[key] = row
    return out


def answers_question(outcome: Outcome, before: Array, settings: Settings) -> tuple[Interval, bool]:
    """How far the answers of harmful and harmless requests are apart, and whether most are right."""
    harmful = outcome.harmful

    def gap(w: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            one, other = ((w * m) @ before / (w * m).sum(-1) for m in (harmful, ~harmful))
        return np.asarray(one - other)

    i = cluster_bootstrap(gap, outcome.groups, method="t", **settings.boot)
    right = ((before > outcome.neutral) == harmful)[before != outcome.neutral]
    return i, bool(i.low > 0 and right.mean() > 0.5)


def dissociation_report(found: Dissociation, title: str, provenance: Any, settings: Settings) -> Report:
    """The table of directions by outcomes at the chosen depths and doses, and the two differences that matter."""
    rows = effect_rows(found, settings)
    leads: dict[str, Mapping[str, float | None]] = {}
    for outcome, first, other in ((ANSWER, HARM, REFUSAL), (REFUSAL_POST, REFUSAL, HARM)):
        ahead = lead(found, outcome, first, other, settings) if outcome in found.outcomes else None
        if ahead is not None:
            leads[outcome] = triple("lead", ahead)
    meta: dict[str, Any] = {"ci_level": settings.level, "leads": leads, "outcomes": OUTCOMES}
    warnings = []
    if ANSWER in found.outcomes:
        gap, answers = answers_question(found.outcomes[ANSWER], found.of(ANSWER)[0].before, settings)
        meta |= {"answers": answers, **triple("answer_gap", gap)}
        if not answers:
            warnings.append(
                "Without steering the answers do not tell harmful from harmless requests, so this model or this "
                "question cannot show what it believes; give the question that it was trained with."
            )
    meta["double"] = is_double(rows, leads)
    return Report(
        "dissociation", title, dissociation_words(rows, leads, meta), rows, provenance, warnings=warnings, meta=meta
    )


def is_double(rows: list[Row], leads: Mapping[str, Mapping[str, Any]]) -> bool | None:
    """Whether each direction moves its own outcome beyond random ones, and further than the other direction does."""
    if set(leads) != {ANSWER, REFUSAL_POST}:
        return None
    own = best_rows(rows)
    return all(
        bool(own[outcome, direction]["moves"]) and float(leads[outcome]["lead_lo"] or 0.0) > 0
        for outcome, direction in ((ANSWER, HARM), (REFUSAL_POST, REFUSAL))
    )


def dose_words(found: Dissociation) -> str:
    """One sentence on the answers."""
    if ANSWER not in found.outcomes:
        return "Refusal was steered; the question about harm was not asked."
    parts = []
    for direction in (HARM, REFUSAL, RANDOM):
        one = found.at(ANSWER, direction)
        if one is not None:
            what = "random directions of the same length" if direction == RANDOM else f"the {direction} direction"
            parts.append(f"{what} {100 * one.flipped.mean():.0f} %")
    return f"Of the answers to the question about harm, steering the request flips along {', along '.join(parts)}."


def dissociation_words(rows: list[Row], leads: Mapping[str, Mapping[str, Any]], meta: Mapping[str, Any]) -> str:
    """One sentence: whether the two directions do different things."""
    own = best_rows(rows)
    parts = []
    for outcome, what in ((ANSWER, "the answer about harm"), (REFUSAL_POST, "refusal")):
        if (outcome, HARM) in own:
            moved = {d: own[outcome, d] for d in (HARM, REFUSAL, RANDOM) if (outcome, d) in own}
            numbers = ", ".join(f"{d} {row['effect']:+.2f}" for d, row in moved.items())
            parts.append(f"{what} moves by {numbers}")
    verdict = {True: "The two directions dissociate", False: "No double dissociation shown", None: "Steered"}
    return f"{verdict[meta['double']]}: {'; '.join(parts)}."
