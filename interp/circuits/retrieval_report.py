"""Retrieval heads as reports: every head's score beside its null, and what masking the best does to copying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ..errors import CircuitError
from ..prompts import PromptSet
from ..provenance import Provenance
from ..report import Report
from ..run import generate
from ..sites import Site
from ..stats import max_null_p, permutation_p
from ..stats.subsets import other_subsets
from .headrows import groups_of, mean_interval
from .masks import MASKS, Mask, head_means, mask_heads
from .retrieval import Retrieval, copy_share, find_retrieval, in_needle

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]


@dataclass(frozen=True)
class RetrievalSettings:
    """How retrieval heads are found and judged.

    Half of the groups finds them, the other half judges the masks. ``top`` heads are masked; by default all whose
    score is beyond the shuffled needles' (p < .05 over all heads), at least one.
    """

    span: str = "needle"
    top: int | None = None
    masks: tuple[Mask, ...] = ("zero_z", "mean_z", "uniform_causal", "true_mask")
    shuffles: int = 200
    draws: int = 20
    max_new_tokens: int | None = None
    bootstrap: int = 2000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings under which nothing is compared.

        Raises:
            CircuitError: an unknown mask, or no heads, shuffles or random sets.
        """
        wrong = [m for m in self.masks if m not in MASKS]
        if wrong or not self.masks:
            raise CircuitError(f"masks are {', '.join(MASKS)}, not {wrong or 'none'}")
        if (self.top is not None and self.top < 1) or self.shuffles < 1 or self.draws < 1:
            raise CircuitError(f"top={self.top}, shuffles={self.shuffles} and draws={self.draws} must be 1 or more")

    @property
    def boot(self) -> dict[str, Any]:
        """How intervals are made."""
        return {"bootstrap": self.bootstrap, "level": self.level, "seed": self.seed}


def retrieval_reports(
    model: Model,
    prompts: PromptSet,
    use: RetrievalSettings | None = None,
    *,
    command: str | None = None,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> dict[str, Report]:
    """``retrieval-heads``: every head's score on one half; ``retrieval-masks``: copying without the best, on the other.

    Raises:
        CircuitError: prompts without needles, or fewer than four groups of them.

    Source: Wu et al. (arXiv 2404.15574). The null and the controls are ours.
    """
    use = use or RetrievalSettings()
    groups = groups_of(prompts)
    order = np.random.default_rng(use.seed).permutation(groups.max() + 1)
    if len(order) < 4:
        raise CircuitError(
            f"{len(order)} group{'s' * (len(order) != 1)} of prompts: half finds the heads and half judges them, so "
            "give four"
        )
    finds = np.isin(groups, order[: len(order) // 2])
    dev, test = (prompts.select(np.flatnonzero(half)) for half in (finds, ~finds))
    found = find_retrieval(
        model, dev, span=use.span, max_new_tokens=use.max_new_tokens, batch_tokens=batch_tokens, progress=progress
    )
    about = model.provenance(prompts=prompts.hash, seed=use.seed, command=command)
    first = heads_report(found, groups_of(dev), use, about)
    chosen = _chosen(first, use)
    judged = masks_report(model, test, chosen, found.heads, use, about, batch_tokens, progress)
    return {first.kind: first, judged.kind: judged}


def heads_report(found: Retrieval, groups: Array, use: RetrievalSettings, about: Provenance) -> Report:
    """Every head's retrieval score, best first, with its interval and how often shuffled needles give as much."""
    scores = found.scores()
    mean, low, high = mean_interval(scores, groups, **use.boot)
    null = found.null(use.shuffles, use.seed)
    p, p_max = max_null_p(mean, null)
    inside = in_needle(found).mean(0)
    rows = []
    for rank, k in enumerate(sorted(range(len(mean)), key=lambda k: (-mean[k], -inside[k])), 1):
        head = found.heads[k]
        row: dict[str, Any] = {"rank": rank, "part": str(head), "layer": head.layer, "head": head.head}
        row |= {"score": mean[k], "score_lo": low[k], "score_hi": high[k], "shuffled": null[:, k].mean()}
        row |= {"p": p[k], "p_max": p_max[k], "in_needle": inside[k], "mass": found.mass[:, k].mean()}
        rows.append(row | {"found": bool(p_max[k] < 0.05), "n": len(scores), "n_groups": len(np.unique(groups))})
    called = [r for r in rows if r["found"]]
    best = rows[0]
    null = f"shuffled needles: {best['shuffled']:.0%}, p = {best['p_max']:.2g} over all heads"
    headline = (
        f"{len(called)} of {len(rows)} heads look at the needle's word just as it is written, beyond chance; first "
        f"{best['part']}, at {best['score']:.0%} of the words ({null})."
        if called
        else "No head looks at the needle's word just as it is written, beyond chance; the best, "
        f"{best['part']}, does at {best['score']:.0%} of the words ({null})."
    )
    meta = {
        "ci_level": use.level, "unit": "retrieval score", "shuffles": use.shuffles, "steps": len(found.wrote),
        "found": bool(called), "span": use.span,
    }  # fmt: skip
    return Report(
        "retrieval-heads", "Which heads look at what is copied from the needle", headline, rows, about, (), meta
    )


def masks_report(
    model: Model, prompts: PromptSet, chosen: Sequence[Site], heads: Sequence[Site], use: RetrievalSettings,
    about: Provenance, batch_tokens: int | None = None, progress: bool | None = None,
) -> Report:  # fmt: skip
    """How much of the needle is still written with heads masked, beside as many random other heads."""
    longest = int((prompts.spans[use.span][:, 1] - prompts.spans[use.span][:, 0]).max())
    new = use.max_new_tokens or longest
    means = head_means(model, prompts, batch_tokens=batch_tokens) if "mean_z" in use.masks else None
    rest = [head for head in heads if head not in set(chosen)]
    k = min(len(chosen), len(rest))
    if not k:
        raise CircuitError(f"all {len(heads)} heads are to be masked, so that no others are left to compare with")
    sets, exact = _random_sets(rest, k, use)

    def share(mode: Mask | None, some: Sequence[Site]) -> Float[np.ndarray, " prompt"]:
        edits = () if mode is None else mask_heads(model, prompts, some, mode, span=use.span, means=means)
        made = generate(model, prompts, new, edits=edits, batch_tokens=batch_tokens, progress=progress)
        return copy_share(prompts, made, use.span)

    before, groups = share(None, ()), groups_of(prompts)
    rows = []
    for mode in use.masks:
        after = share(mode, chosen)
        drawn = np.stack([share(mode, some) for some in sets])
        own, others = after - before, (drawn - before).mean(0)
        mean, low, high = mean_interval(np.stack([after, own, others, own - others], 1), groups, **use.boot)
        row: dict[str, Any] = {"mask": mode, "heads": len(chosen), "which": [str(h) for h in chosen]}
        row |= {"before": before.mean(), "after": mean[0], "after_lo": low[0], "after_hi": high[0]}
        row |= {"effect": mean[1], "effect_lo": low[1], "effect_hi": high[1], "random": others.mean()}
        spread = np.quantile((drawn - before).mean(1), [0.025, 0.975])
        row |= {"random_lo": spread[0], "random_hi": spread[1]}
        row |= {"beyond": mean[3], "beyond_lo": low[3], "beyond_hi": high[3]}
        row |= {"p": float(permutation_p(-own.mean(), -(drawn - before).mean(1))), "min_p": 1 / (1 + len(sets))}
        rows.append(row | {"random_heads": k, "draws": len(sets), "exact": exact, "n": len(before)})
    return Report(
        "retrieval-masks", "Copying with the best heads masked", _masks_headline(rows), rows, about,
        _masks_warnings(rows, k), {"ci_level": use.level, "unit": "share of needle words", "before": before.mean()},
    )  # fmt: skip


def _random_sets(rest: Sequence[Site], k: int, use: RetrievalSettings) -> tuple[list[tuple[Site, ...]], bool]:
    """Sets of ``k`` heads that are not masked otherwise: drawn, or all that there are."""
    first = tuple(sorted(rest))[:k]
    sets, exact = other_subsets(list(rest), first, use.draws - 1, use.seed)
    return [first, *sets], exact


def _chosen(report: Report, use: RetrievalSettings) -> list[Site]:
    called = [Site.parse(str(r["part"])) for r in report.rows if r["found"]]
    if use.top is not None:
        return [Site.parse(str(r["part"])) for r in report.rows[: use.top]]
    return called or [Site.parse(str(report.rows[0]["part"]))]


def _masks_headline(rows: Sequence[dict[str, Any]]) -> str:
    first = rows[0]
    plural = "s" if first["heads"] > 1 else ""
    which = ", ".join(first["which"][:4]) + (" ..." if first["heads"] > 4 else "")
    worse = [r for r in rows if r["beyond_hi"] < 0]
    text = (
        f"With the {first['heads']} best head{plural} ({which}) masked, {first['after']:.0%} of the needle is written "
        f"({first['before']:.0%} before, {first['before'] + first['random']:.0%} with random heads masked)"
    )
    if not worse:
        return text + "; no more is lost than with random heads."
    # A mean over random sets hides that some of them hold a helper and cost as much.
    beat = [r for r in worse if r["p"] <= max(0.05, r["min_p"])]
    some = "; random sets of heads cost as much too often for more to be said"
    if beat:
        least = max(r["p"] for r in beat)
        some = f"; {len(beat)} of {len(rows)} masks cost more than random sets of heads (p <= {least:.2g})"
        some += ", with the others some sets cost as much" if len(beat) < len(rows) else ""
    return f"{text}{some}."


def _masks_warnings(rows: Sequence[dict[str, Any]], k: int) -> list[str]:
    found = []
    first = rows[0]
    if first["before"] < 0.1:
        found.append(
            f"only {first['before']:.0%} of the needle is written with nothing masked, so that there is little "
            "to lose: look at the task before the heads"
        )
    if first["min_p"] >= 0.05:
        found.append(f"{first['draws']} random sets of heads allow no p below {first['min_p']:.2g}")
    if k < first["heads"]:
        found.append(f"only {k} other heads are left, fewer than the {first['heads']} that are masked")
    return found
