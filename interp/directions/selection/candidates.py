"""``Candidates``: the difference of means at every token after the instruction and every block, and its null."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...provenance import Provenance
from ...run import capture
from ...sites import Site
from ..direction import Direction

if TYPE_CHECKING:
    from ...models import Model
    from ...prompts import PromptSet

ROUNDING = 1e-5
"""Length of a difference, as a share of the typical row, up to which it is rounding: the same tokens on both sides."""


LEFT = 1e-4
"""Share of a shuffled difference that must be left without the real directions."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """A vector for each mark and layer, in float64; ``there`` is false where the two means are equal up to rounding."""

    marks: tuple[str, ...]
    sites: tuple[Site, ...]
    vectors: Float[Tensor, "mark layer d"]
    there: Bool[Tensor, "mark layer"]

    def __iter__(self) -> Any:
        """Every (mark number, layer) in order."""
        return iter([(m, k) for m in range(len(self.marks)) for k in range(len(self.sites))])

    def direction(self, mark: int, layer: int, provenance: Provenance) -> Direction:
        """One of them as a `Direction`."""
        return Direction.of(self.vectors[mark, layer], self.sites[layer], self.marks[mark], "select", provenance)


@dataclass(frozen=True, eq=False)
class Rows:
    """Activations at every mark and layer, by prompt, to take differences of means of."""

    marks: tuple[str, ...]
    sites: tuple[Site, ...]
    values: dict[Site, Float[Tensor, "prompt mark d"]]
    truth: Bool[Tensor, " prompt"]
    provenance: Provenance

    def candidates(self) -> Candidates:
        """Harmful less harmless."""
        return self._of(self.truth)

    def shuffled(self, like: Candidates, chosen: tuple[int, int], seed: int) -> tuple[Candidates, float]:
        """The same of halves drawn at random, as long as ``like`` and without what lies along the real directions.

        Each half holds as many harmful as harmless prompts. Even so, such a difference need not be harmless: where
        prompts of one class differ most in how strongly they call for refusal, it points along the true direction or
        against it, and an ablation minds neither sign nor length. So what lies along the candidate in its place, and
        along the chosen one, is taken out, and the rest brought to the length of the candidate. What is left is any
        other direction in which these activations vary.

        Returns:
            the candidates, and the cosine of the one in the chosen place with the chosen one, before that.
        """
        rng = np.random.default_rng(seed)
        half = torch.zeros_like(self.truth)
        used = torch.zeros_like(self.truth)
        for side in (True, False):
            rows = rng.permutation(np.flatnonzero(self.truth.numpy() == side))
            size = len(rows) // 2
            half[rows[:size]] = True
            used[rows[: 2 * size]] = True
        made = self._of(half, used)
        best = like.vectors[chosen]
        before = made.vectors[chosen]
        cosine = float(before @ best) / max(float(before.norm() * best.norm()), 1e-300)
        first = _unit(like.vectors)
        second = _unit(_without(best.expand_as(like.vectors), first))
        left = _without(_without(made.vectors, first), second)
        there = like.there & made.there & (left.norm(dim=-1) > LEFT * made.vectors.norm(dim=-1))
        vectors = _unit(left) * like.vectors.norm(dim=-1, keepdim=True)
        return Candidates(self.marks, self.sites, vectors, there), cosine

    def _of(self, up: Bool[Tensor, " prompt"], used: Bool[Tensor, " prompt"] | None = None) -> Candidates:
        down = ~up if used is None else ~up & used
        vectors, size = [], []
        for site in self.sites:
            rows = self.values[site].double()
            vectors.append(rows[up].mean(0) - rows[down].mean(0))
            size.append(rows.square().sum(-1).mean(0).sqrt())
        stacked = torch.stack(vectors, 1)
        return Candidates(self.marks, self.sites, stacked, stacked.norm(dim=-1) > ROUNDING * torch.stack(size, 1))


def _unit(vectors: Float[Tensor, "*of d"]) -> Float[Tensor, "*of d"]:
    """At length 1; zeros stay (up to rounding, which must not become a direction)."""
    size = vectors.norm(dim=-1, keepdim=True)
    return torch.where(size > 1e-9 * size.max(), vectors / size.clamp_min(1e-300), 0.0)


def _without(vectors: Float[Tensor, "*of d"], units: Float[Tensor, "*of d"]) -> Float[Tensor, "*of d"]:
    return vectors - (vectors * units).sum(-1, keepdim=True) * units


def read_rows(
    model: Model, prompts: PromptSet, marks: tuple[str, ...], batch_tokens: int | None, progress: bool | None
) -> Rows:
    """`resid_pre` of every block at every mark, for prompts labelled harmful or not; one pass over the prompts."""
    sites = model.sites("resid_pre")
    acts = capture(model, prompts, list(sites), at=list(marks), batch_tokens=batch_tokens, progress=progress)
    assert prompts.labels is not None
    # Rows come by prompt, then by position; marks may be in any order.
    code = np.array([marks.index(str(m)) for m in acts.index.marks])
    order = np.lexsort((code, acts.index.example))
    shape = (len(prompts), len(marks), model.d_model)
    values = {site: acts[site][order].reshape(shape) for site in sites}
    return Rows(marks, sites, values, torch.from_numpy(np.array(prompts.labels, bool)), acts.provenance)
