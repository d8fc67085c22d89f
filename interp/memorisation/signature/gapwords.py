"""A gap in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .arms import BASELINES
from .power import ALPHA

Part = Mapping[str, Any]


def gap_found(part: Part) -> bool:
    """Whether the mean gap beats its null, and is above 0 with the baseline clamped at chance as well."""
    return part["p_mean"] is not None and part["p_mean"] <= ALPHA and part["mean_gap_clamped_lo"] > 0


def gap_place(part: Part) -> str:
    """Where it was read."""
    return f" at {part['mark']}" + ("" if part["dose"] is None else f", dose {part['dose']}")


def gap_headline(parts: Sequence[Part]) -> str:
    """One sentence: the mean gap, its test, the peak as a peak, and what would have been found."""
    best = max(parts, key=lambda p: (gap_found(p), p["mean_gap_clamped"]))
    number = f"mean gap over depths {best['mean_gap']:+.2f} [{best['mean_gap_lo']:+.2f}, {best['mean_gap_hi']:+.2f}]"
    clamped = f"{best['mean_gap_clamped']:+.2f} with the baseline clamped at chance"
    peak = f"peak {best['peak_gap']:+.2f} at {best['peak_site']}"
    if best["nested_gap"] is not None:
        peak += f", {best['nested_gap']:+.2f} with the depth chosen inside the folds"
    where, about = gap_place(best), f"({clamped}; {peak})"
    than = f"from paraphrases better than {BASELINES[best['baseline']]}{where}"
    if best["p_mean"] is None:
        return f"Memorised wordings told {than}: {number} {about}; without permutations this may be luck."
    number += f", p = {best['p_mean']:.2g}"
    if gap_found(best):
        return f"Memorised wordings are told {than}: {number} {about}."
    if best["p_mean"] <= ALPHA:
        return (
            f"Memorised wordings are not told {than}: the {number}, comes from a baseline below chance, as it is "
            f"{best['mean_gap_clamped']:+.2f} [{best['mean_gap_clamped_lo']:+.2f}, {best['mean_gap_clamped_hi']:+.2f}] "
            f"with the baseline clamped at chance ({peak})."
        )
    if best["detectable"] is None:
        able = f"nothing could have been found: with {best['folds']} folds no p-value is below {best['min_p']:.2g}"
    else:
        gap = f"a mean gap of {best['detectable']:.2f}"
        able = f"with {best['groups']} groups {gap} would have been found 4 times in 5"
    return f"Memorised wordings are not told {than}: {number} {about}; {able}."


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
            f"With {worst['groups']} groups there are {worst['arrangements']} ways to exchange accuracies, so no "
            f"p-value can be below {worst['min_p']:.2g}."
        )
    missing = sorted({p["nested_missing"] for p in parts if p["nested_missing"]})
    return out + [f"No nested choice of a depth: {reason}." for reason in missing]
