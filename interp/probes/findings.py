"""What a probe study found, in words: the headline, and warnings about what it cannot show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..stats import Interval
from .result import CVResult, pick

ALPHA = 0.05
FEW_GROUPS = 20


@dataclass(frozen=True, eq=False)
class Rival:
    """Something simpler that was probed on the same folds, and how far the probe is ahead of it (AUC, paired)."""

    name: str
    auc: float
    ahead: Interval

    @property
    def beaten(self) -> bool:
        """Whether the whole interval of the difference lies above 0."""
        return bool(self.ahead.low > 0)


def worth(result: CVResult) -> Interval:
    """The AUC to quote: of the site chosen inside the folds where there is one, else of the peak."""
    return result.nested.auc if result.nested else pick(result.auc, result.best)


def quoted_scores(result: CVResult) -> np.ndarray:
    """The held-out scores behind `worth`."""
    return result.nested.scores if result.nested else result.scores[result.best]


def headline(result: CVResult, mark: str, rivals: Mapping[str, Rival]) -> str:
    """One sentence: what can be read where, how well, and beyond what."""
    low, high = (str(c) for c in result.classes)
    site, value = result.sites[result.best], worth(result)
    number = f"AUC {float(value.estimate):.2f} [{float(value.low):.2f}, {float(value.high):.2f}]"
    number += " with the site chosen inside the folds" if result.nested else " at the peak, selected on these data"
    p = float(result.p_max[result.best]) if len(result.null) else math.nan
    what = f"'{high}' against '{low}'"
    if math.isnan(p):
        return f"{what} at {mark}: {number} (best: {site}); without a label-permutation null this may be luck."
    if p > ALPHA:
        return (
            f"No site at {mark} separates '{high}' from '{low}' better than shuffled labels do "
            f"(best: {site}, AUC {float(result.auc.estimate[result.best]):.2f}, p = {p:.2g} over all sites)."
        )
    beaten = [f"{r.name} ({r.auc:.2f})" for r in rivals.values() if r.beaten]
    unbeaten = [f"{r.name} ({r.auc:.2f})" for r in rivals.values() if not r.beaten]
    text = f"{what} can be read at {mark}: {number}, best at {site}; beyond shuffled labels (p = {p:.2g})"
    text += f", {_list(beaten, 'and')}" if beaten else ""
    return text + (f", but not beyond {_list(unbeaten, 'or')}." if unbeaten else ".")


def warnings_of(result: CVResult, rivals: Mapping[str, Rival], repeats: int, own_groups: bool) -> list[str]:
    """Everything that should keep a reader from believing more than the numbers say."""
    n, y, groups = len(result.truth), result.truth, result.folds.groups
    with_class = [len(np.unique(groups[y == side])) for side in (False, True)]
    found = []
    if own_groups:
        found.append(
            "No groups were given, so every distinct prompt counts as independent of every other; if prompts share a "
            "noun, a template or a source, give that as the group."
        )
    if min(with_class) < FEW_GROUPS:
        found.append(
            f"Few groups: {with_class[1]} with '{result.classes[1]}', {with_class[0]} with '{result.classes[0]}'. "
            "Intervals are rough, and findings are about these groups."
        )
    if result.permutations.scheme == "groups exchange labels" and len(np.unique(groups)) < n:
        found.append(
            f"Each group has one label, so the {n} examples are {len(np.unique(groups))} independent ones: whatever "
            "sets the groups apart can pass for the label."
        )
    if len(result.null) and result.permutations.min_p > ALPHA:
        drawn = result.permutations
        found.append(
            f"The labels allow {drawn.attainable} arrangements only ({drawn.scheme}), so no p-value can be below "
            f"{drawn.min_p:.2g}."
        )
    if repeats:
        found.append(
            f"{repeats} of {n} prompts repeat another of their group, token for token, up to where they are read; "
            "they add nothing, which resampling and permuting by group takes into account only if groups are many."
        )
    share = max(float(y.mean()), 1 - float(y.mean()))
    if share >= 0.8:
        found.append(f"{share:.0%} of the examples have one label: compare accuracies with that, or read the AUC.")
    found += [
        f"{rival.name[0].upper() + rival.name[1:]} does as well as the probe (AUC {rival.auc:.2f}; the probe is ahead "
        f"by {float(rival.ahead.estimate):+.2f} [{float(rival.ahead.low):+.2f}, {float(rival.ahead.high):+.2f}])."
        for rival in rivals.values()
        if not rival.beaten
    ]
    if result.nested is None:
        found.append(f"No nested choice of a site: {result.nested_missing}. The peak was picked on these data.")
    lost = int(np.max(result.auc.degenerate))
    if lost > 0.05 * result.auc.replicates:
        found.append(f"{lost} of {result.auc.replicates} resamples had one class only and were left out of intervals.")
    return found


def _list(parts: list[str], word: str) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {word} {parts[-1]}"
