"""Take the heads out that speak most against a refusal, and as many random ones, over and over, beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ...edits import At, Edit, ablate_heads
from ...errors import StatisticsError
from ...metrics import refusal_score
from ...prompts import PromptSet
from ...run import capture
from ...sites import Site
from ...stats import Interval, cluster_bootstrap, permutation_p
from ..ablation import head_values
from ..headsets import random_sets
from .prober import Prober

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]
How = Literal["zero", "mean"]
AT_THE_END: At = ("think_end", "last")


@dataclass(frozen=True, eq=False)
class Ablation:
    """What taking a set of heads out did to each prompt, and what random sets of as many did on average.

    ``score`` and ``reading`` are changes, ``[prompt]``: of the refusal score of the answer's first token (log odds;
    ``None`` without refusal tokens) and of the prober's log odds. ``drawn_score`` and ``drawn_reading`` are their means
    over prompts for each random set; ``refused_before``, ``refused`` and ``drawn_refused`` the shares of prompts that
    are refused (by the prober without refusal tokens), and ``others_before``, ``others_after`` those of other prompts.
    ``exact`` says that the random sets are all others there are.
    """

    heads: tuple[Site, ...]
    groups: Array
    reading: Float[np.ndarray, " prompt"]
    drawn_reading: Float[np.ndarray, " draw"]
    score: Float[np.ndarray, " prompt"] | None
    drawn_score: Float[np.ndarray, " draw"] | None
    refused_before: float
    refused: float
    drawn_refused: Float[np.ndarray, " draw"]
    exact: bool
    others_before: float | None = None
    others_after: float | None = None

    def effect(self) -> tuple[Float[np.ndarray, " prompt"], Float[np.ndarray, " draw"]]:
        """The change of what the model does, where that is known; else of what the prober reads."""
        if self.score is not None and self.drawn_score is not None:
            return self.score, self.drawn_score
        return self.reading, self.drawn_reading

    @property
    def p(self) -> float:
        """How often a random set of heads raises the score as much, the chosen one counted in."""
        own, drawn = self.effect()
        return float(permutation_p(own.mean(), drawn))

    def beyond(self, *, bootstrap: int = 2000, level: float = 0.95, seed: int = 0) -> Interval:
        """Mean change, and mean change beyond the random sets' average, with intervals over groups of prompts."""
        own, drawn = self.effect()
        both = np.stack([own, own - drawn.mean()], 1) if len(drawn) else own[:, None]

        def mean(w: Array) -> Array:
            return (w @ both) / w.sum(-1, keepdims=True)

        return cluster_bootstrap(mean, self.groups, replicates=bootstrap, level=level, method="t", seed=seed)


def count_of(percent: float, n_heads: int) -> int:
    """How many heads are ``percent`` of all: at least one, rounded up.

    Raises:
        StatisticsError: not above 0 and at most 100.

    >>> count_of(3, 1024), count_of(3, 16)
    (31, 1)
    """
    if not 0 < percent <= 100:
        raise StatisticsError(f"a percentage of heads is above 0 and at most 100, got {percent!r}")
    return math.ceil(percent / 100 * n_heads - 1e-9)


def against_random(
    model: Model,
    prompts: PromptSet,
    heads: Sequence[Site],
    prober: Prober,
    *,
    groups: Array | None = None,
    others: PromptSet | None = None,
    reference: PromptSet | None = None,
    refusals: Sequence[int] | None = None,
    how: How = "zero",
    at: At = AT_THE_END,
    draws: int = 100,
    seed: int = 0,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Ablation:
    """Ablate heads from the token that ends thinking to the last before the answer, and random sets of as many.

    Random sets are drawn from all heads of the model, without repeats; where there are no more than ``draws`` others,
    each of them is taken once, so that the p-value is exact.

    Args:
        groups: prompts that intervals resample together; each its own by default.
        others: prompts that should be answered as before; random sets are not measured on them.
        reference: prompts over all tokens of which the mean of a head's output is taken, for ``how="mean"``.
        refusals: first tokens of refusals; without them only the prober's reading is measured.
        at: tokens at which heads are taken out: ``"all"``, a mark or a pair of marks.
        draws: random sets.

    Raises:
        StatisticsError: no heads, or more random sets asked for than none.
    """
    chosen = tuple(sorted(set(heads)))
    if not chosen or draws < 1:
        raise StatisticsError(f"{len(chosen)} heads against {draws} random sets: both must be one or more")
    every = [Site("z", layer, head) for layer in range(model.n_layers) for head in range(model.sizes.n_heads)]
    sets, exact = random_sets(every, chosen, draws, seed)
    values = head_values(model, how, prompts if reference is None else reference, seed=seed) or None

    def measure(on: PromptSet, some: Sequence[Site]) -> tuple[Array, Array | None]:
        mine = None if values is None else {head: values[head] for head in some}
        edits = ablate_heads(some, how, mine, at=at) if some else ()
        return _measure(model, on, prober, refusals, edits, batch_tokens, progress)

    before, after = measure(prompts, ()), measure(prompts, chosen)
    drawn = [measure(prompts, one) for one in sets]
    known = before[1] is not None
    aside = (None, None) if others is None else (_refused(measure(others, ())), _refused(measure(others, chosen)))
    return Ablation(
        heads=chosen, groups=np.arange(len(prompts)) if groups is None else groups, exact=exact,
        reading=_change(after, before, 0), drawn_reading=np.array([_change(d, before, 0).mean() for d in drawn]),
        score=_change(after, before, 1) if known else None,
        drawn_score=np.array([_change(d, before, 1).mean() for d in drawn]) if known else None,
        refused_before=_refused(before), refused=_refused(after), drawn_refused=np.array([_refused(d) for d in drawn]),
        others_before=aside[0], others_after=aside[1],
    )  # fmt: skip


def _change(after: tuple[Array, Array | None], before: tuple[Array, Array | None], k: int) -> Array:
    new, old = after[k], before[k]
    assert new is not None
    assert old is not None
    return new - old


def _refused(measured: tuple[Array, Array | None]) -> float:
    """Share of prompts that are refused: by the answer's first token where that is known, else by the prober."""
    reading, score = measured
    return float(((reading if score is None else score) > 0).mean())


def _measure(
    model: Model, prompts: PromptSet, prober: Prober, refusals: Sequence[int] | None, edits: Sequence[Edit],
    batch_tokens: int | None, progress: bool | None,
) -> tuple[Array, Array | None]:  # fmt: skip
    """The prober's log odds at the last token, and the refusal score of what comes next."""
    site, logits = prober.probe.site, Site("logits")
    acts = capture(model, prompts, [site, logits], at="last", edits=edits, batch_tokens=batch_tokens, progress=progress)
    score = None if refusals is None else refusal_score(acts[logits].tensor(), refusals).cpu().numpy()
    return prober.log_odds(model, acts[site].tensor()), score
