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
from ...directions import Direction
from ...errors import PromptError, SplitError
from ...probes import Probe, fit_logistic
from ...prompts import PromptSet
from ...provenance import Provenance
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
    where = Site.parse(site)
    rows, truth = end_rows(
        model, prompts, [where], refused, norm, marks=at, batch_tokens=batch_tokens, progress=progress
    )
    about = model.provenance(prompts=prompts.hash)
    return fit_rows(rows[where], truth, where, "+".join(_distinct(prompts, at)), norm, C, about)


def end_rows(
    model: Model,
    prompts: PromptSet,
    sites: Sequence[Site],
    refused: Bool[np.ndarray, " prompt"],
    norm: Norm,
    *,
    marks: Sequence[str] = ("think_end", "last"),
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> tuple[dict[Site, Float[Tensor, "row d"]], Bool[Tensor, " row"]]:
    """States at the end of the thinking, as a prober takes them, by site; and whether each row's prompt is refused."""
    where = _distinct(prompts, marks)
    acts = capture(model, prompts, list(sites), at=where, batch_tokens=batch_tokens, progress=progress)
    truth = torch.from_numpy(np.asarray(refused)[acts.index.example])
    return {site: normed(model, acts[site].tensor(), norm) for site in sites}, truth


def fit_rows(
    rows: Float[Tensor, "row d"], truth: Bool[Tensor, " row"], site: Site, mark: str, norm: Norm, C: float,
    about: Provenance,
) -> Prober:  # fmt: skip
    """A prober from states and what became of their prompts: logistic regression with one scale for all features.

    Were each feature given its own scale, one that hardly varies at the end of the thinking would weigh most; there it
    does no harm, but at other tokens, which it sets apart, the reading would be of little else.
    """
    x = rows.double()
    mean = x.mean(0)
    scale = float((x - mean).square().mean().sqrt().clamp_min(1e-300))
    fits = fit_logistic(((x - mean) / scale)[None], truth[None, None].double(), C=C, tol=1e-5)
    weights = fits.coef[0, 0] / scale
    direction = Direction.of(weights.cpu(), site, mark, "logistic", about)
    bias = float(fits.intercept[0, 0] - weights @ mean)
    return Prober(Probe(direction, bias, mean.cpu(), torch.full_like(mean, scale).cpu(), CLASSES), norm)


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


def _distinct(prompts: PromptSet, marks: Sequence[str]) -> list[str]:
    """The marks without those that are the same token as one before, in every prompt."""

    def same(one: str, other: str) -> bool:
        return np.array_equal(prompts.marks.get(one, ()), prompts.marks.get(other, ()))

    return [mark for i, mark in enumerate(marks) if not any(same(mark, before) for before in marks[:i])]


def _parts(prompts: PromptSet) -> Iterator[PromptSet]:
    """Runs of prompts whose tokens fit into memory together."""
    total, first = 0, 0
    for i, n in enumerate(prompts.lengths.tolist()):
        if i > first and total + n > _TOKENS:
            yield prompts.select(np.arange(first, i))
            total, first = 0, i
        total += n
    yield prompts.select(np.arange(first, len(prompts)))
