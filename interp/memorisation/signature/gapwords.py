"""A gap in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .power import ALPHA

Part = Mapping[str, Any]
BASELINES = {"C-B": "two paraphrases from each other", "twins": "the same wordings of never-seen twins"}


def gap_headline(parts: Sequence[Part]) -> str:
    """One sentence: the mean gap, its test, the peak as a peak, and what would have been found."""
    tested = [p for p in parts if p["p_mean"] is not None]
    best = max(tested or parts, key=lambda p: p["mean_gap"])
    where = f" at {best['mark']}" + ("" if best["dose"] is None else f", dose {best['dose']}")
    number = f"{best['mean_gap']:+.2f} [{best['mean_gap_lo']:+.2f}, {best['mean_gap_hi']:+.2f}]"
    clamped = f"{best['mean_gap_clamped']:+.2f} with the baseline clamped at chance"
    peak = f"peak {best['peak_gap']:+.2f} at {best['peak_site']}"
    if best["nested_gap"] is not None:
        peak += f", {best['nested_gap']:+.2f} with the depth chosen inside the folds"
    against = BASELINES[best["baseline"]]
    text = f"Memorised wordings are told from paraphrases better than {against}{where}: mean gap over depths {number}"
    if best["p_mean"] is None:
        return f"Mean gap over depths{where}: {number} ({clamped}; {peak}); without permutations this may be luck."
    if best["p_mean"] > ALPHA:
        return (
            f"Memorised wordings are not told from paraphrases better than {against}{where}: mean gap over depths "
            f"{number}, p = {best['p_mean']:.2g} ({clamped}; {peak}); with {best['groups']} groups a mean gap of "
            f"{best['detectable']:.2f} would have been found 4 times in 5."
        )
    return f"{text}, p = {best['p_mean']:.2g} ({clamped}; {peak})."


def gap_warnings(parts: Sequence[Part]) -> list[str]:
    """What should keep a reader from believing more than the numbers say."""
    out = []
    low = [p for p in parts if p["baseline_mean"] < 0.45]
    if low:
        worst = min(low, key=lambda p: p["baseline_mean"])
        out.append(
            f"The baseline is below chance (down to {worst['baseline_mean']:.2f}), which inflates the plain gap: where "
            "a group is left out, the wordings of the others lean against it. Read the clamped gap."
        )
    few = [p for p in parts if p["permutations"] and p["min_p"] > ALPHA / 2]
    if few:
        worst = max(few, key=lambda p: p["min_p"])
        out.append(
            f"With {worst['groups']} groups there are {worst['arrangements']} ways to change places, so no p-value "
            f"can be below {worst['min_p']:.2g}."
        )
    missing = sorted({p["nested_missing"] for p in parts if p["nested_missing"]})
    return out + [f"No nested choice of a depth: {reason}." for reason in missing]
