"""``Prober``: how much a state looks like that before a refusal, fitted at the token that ends thinking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...circuits.contributions import Norm, normed
from ...errors import PromptError, SplitError
from ...probes import Probe
from ...prompts import PromptSet
from ...run import capture
from ...sites import Site

if TYPE_CHECKING:
    from ...models import Model

CLASSES = ("accepted", "refused")
_TOKENS = 8192  # whose rows are in memory at once


@dataclass(frozen=True, eq=False)
class Prober:
    """A linear probe of refusal, and whether it reads the stream as it is or through the model's final norm."""

    probe: Probe
    norm: Norm

    @property
    def weights(self) -> Float[Tensor, " d"]:
        """What multiplies the state; with the probe's bias it gives the log odds of a refusal."""
        return self.probe.direction.scale * self.probe.direction.unit

    def log_odds(self, model: Model, rows: Float[Tensor, "row d"]) -> Float[np.ndarray, " row"]:
        """Log odds of a refusal, from rows of activations at the prober's site."""
        return self.probe(normed(model, rows, self.norm)).cpu().numpy()


def fit_prober(
    model: Model,
    prompts: PromptSet,
    refused: Bool[np.ndarray, " prompt"],
    site: Site | str,
    *,
    norm: Norm = "final",
    at: Sequence[str] = ("think_end", "last"),
    C: float = 1.0,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Prober:
    """Fit a logistic probe at the end of the thinking: prompts that are refused against prompts that are not.

    Where the template has tokens between the one that ends thinking and the answer, both its ends are fitted, so that
    the prober is at home where the last reading is taken.

    Raises:
        SplitError: all prompts are of one class.
        PromptError: a prompt lacks the mark.

    Source: arXiv 2510.06036, the refusal prober of section 3, on harmful refused against harmless accepted prompts.
    """
    if len(np.unique(refused)) < 2:
        side = CLASSES[int(refused[0])]
        raise SplitError(f"all {len(prompts)} prompts to fit the prober on are {side}; it needs both kinds")
    marks = [m for i, m in enumerate(at) if not any(_same(prompts, m, before) for before in at[:i])]
    acts = capture(model, prompts, site, at=marks, batch_tokens=batch_tokens, progress=progress)
    where = Site.parse(site)
    rows = normed(model, acts[where].tensor(), norm)
    truth = torch.from_numpy(np.asarray(refused)[acts.index.example])
    probe = Probe.fit(rows, truth, CLASSES, where, "+".join(marks), acts.provenance, C=C)
    return Prober(probe, norm)


def read_thinking(
    model: Model,
    probers: Sequence[Prober],
    prompts: PromptSet,
    *,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> list[list[Float[np.ndarray, " _"]]]:
    """Log odds of a refusal at every token from the first of the thinking to the last before the answer.

    One list of prompts per prober; all of them read the same site.

    Raises:
        PromptError: a prompt without a mark ``think_start``.
    """
    start = prompts.marks.get("think_start")
    if start is None or (start < 0).any():
        raise PromptError("every prompt needs the mark 'think_start'; make them with find_thinking or think")
    [site] = {prober.probe.site for prober in probers}
    found: list[list[Float[np.ndarray, " _"]]] = [[] for _ in probers]
    for part in _parts(prompts):
        acts = capture(model, part, site, batch_tokens=batch_tokens, progress=progress)
        rows = acts.select(acts.index.position >= part.marks["think_start"][acts.index.example])
        states, example = rows[site].tensor(), rows.index.example
        for prober, mine in zip(probers, found, strict=True):
            values = prober.log_odds(model, states)
            mine += [values[example == i] for i in range(len(part))]
    return found


def _same(prompts: PromptSet, one: str, other: str) -> bool:
    return np.array_equal(prompts.marks.get(one, ()), prompts.marks.get(other, ()))


def _parts(prompts: PromptSet) -> Iterator[PromptSet]:
    """Runs of prompts whose tokens fit into memory together."""
    total, first = 0, 0
    for i, n in enumerate(prompts.lengths.tolist()):
        if i > first and total + n > _TOKENS:
            yield prompts.select(np.arange(first, i))
            total, first = 0, i
        total += n
    yield prompts.select(np.arange(first, len(prompts)))
