"""How much of activations a dictionary gives back, and how much of the model's loss survives the reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import SaeError
from ..metrics import token_scores
from ..sites import Site
from ..stats import cluster_bootstrap
from ..store import Activations
from .operate import reconstruct

if TYPE_CHECKING:
    from ..models import Model
    from ..prompts import PromptSet

REPLICATES = 1000


class Estimate(NamedTuple):
    """A number with its 95 % interval over groups of examples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Fidelity:
    """How well rows are given back.

    Attributes:
        explained: share of the variance about the rows' own mean that the reconstruction gives back.
        l0: active latents per token; for a basis, its directions.
        active: how many rows each latent is active on; ``None`` for a basis.
        n_rows: rows that were measured.
    """

    explained: Estimate
    l0: Estimate
    active: Int[np.ndarray, " latent"] | None
    n_rows: int

    @property
    def dead(self) -> int | None:
        """Latents that no measured row activates."""
        return None if self.active is None else int((self.active == 0).sum())


@torch.no_grad()
def reconstruction(
    dictionary: Any,
    acts: Activations,
    site: Site | str | None = None,
    *,
    rows: Int[np.ndarray, " row"] | None = None,
    seed: int = 0,
) -> Fidelity:
    """Explained variance, active latents per token and dead latents, on rows of activations.

    Args:
        dictionary: an `Sae`, or a basis (see `pca_basis`), whose ``site`` is then given.
        acts: activations at the site; for a transcoder at both of its sites.
        rows: row numbers, such as those that a training held out; by default all but special tokens.

    Returns:
        Intervals are over whole groups of examples (95 %).

    Raises:
        SaeError: rows of fewer than two groups, or that are all the same.

    >>> import interp
    >>> from interp.sae import train_sae
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> acts = interp.capture(model, interp.PromptSet.from_tokens([[5, 9, 7], [8, 6]] * 9), "resid_post.0")
    >>> trained = train_sae(acts, "resid_post.0", n_latents=8, k=2, steps=2, batch=8, progress=False)
    >>> reconstruction(trained.sae, acts).n_rows
    45
    """
    where = dictionary.site if site is None else Site.parse(site)
    reads = getattr(dictionary, "reads", where)
    numbers = np.flatnonzero(~acts.index.special) if rows is None else np.asarray(rows)
    groups = acts.per_row("ids" if acts.examples.groups is None else "groups")[numbers].astype(str)
    if len(np.unique(groups)) < 2:
        raise SaeError(f"an interval needs rows of two groups of examples or more, got {len(np.unique(groups))}")
    sparse = hasattr(dictionary, "encode")
    device = dictionary.decoder.device if sparse else torch.device("cpu")
    pieces = np.array_split(np.arange(len(numbers)), max(1, len(numbers) // 8192))
    mean = sum(acts[where][numbers[p]].double().sum(0) for p in pieces) / len(numbers)
    lost, spread, l0 = (np.zeros(len(numbers)) for _ in range(3))
    active = torch.zeros(dictionary.n_latents, dtype=torch.long) if sparse else None
    for piece in pieces:
        y = acts[where][numbers[piece]].float().to(device)
        x = y if reads == where else acts[reads][numbers[piece]].float().to(device)
        lost[piece] = (y - dictionary.reconstruct(x)).double().pow(2).sum(-1).cpu()
        spread[piece] = (y.double().cpu() - mean).pow(2).sum(-1)
        if active is not None:
            on = dictionary.encode(x) > 0
            l0[piece], active = on.sum(-1).cpu(), active + on.sum(0).cpu()
        else:
            l0[piece] = len(dictionary.rows)
    if not spread.sum() > 0:
        raise SaeError("all of these rows are the same; there is no variance to explain")
    n = np.ones(len(numbers))
    explained = _estimate(groups, seed, lambda lost, spread: 1 - lost / spread, lost, spread)
    used = _estimate(groups, seed, lambda l0, n: l0 / n, l0, n)
    return Fidelity(explained, used, None if active is None else active.numpy(), len(numbers))


@dataclass(frozen=True, eq=False)
class Recovered:
    """Cross entropy (nats per token) of a model as it is, with a site replaced, and the share that survives.

    Attributes:
        clean, mean: as it is, and with the site at its mean for every token.
        replaced: with each reconstruction.
        share: ``(mean - replaced) / (mean - clean)`` for each: 1 is the model as it is, 0 the mean.
    """

    clean: float
    mean: float
    replaced: tuple[float, ...]
    share: tuple[Estimate, ...]


def loss_recovered(
    model: Model,
    prompts: PromptSet,
    dictionaries: Sequence[Any],
    site: Site | str,
    mean: Float[Tensor, " d"],
    *,
    seed: int = 0,
    progress: bool | None = None,
) -> Recovered:
    """How much of what a site is worth to the model's predictions survives each reconstruction of it.

    The site is replaced at every token but special ones, and held against the site at its ``mean`` (of other texts),
    which is more than nothing: a share against zeros comes out higher and says less.

    Raises:
        SaeError: the mean serves the model as well as the site itself, so that there is no loss to recover.
    """
    where = Site.parse(site)
    spared = reconstruct(_Constant(mean), site=where, spare=prompts)
    edits = [[], [spared], *([reconstruct(d, site=where, spare=prompts)] for d in dictionaries)]
    losses = []
    for some in edits:
        scores = token_scores(model, prompts, edits=some, progress=progress)
        losses.append(-np.nansum(scores.log_p, 1))
    counts = np.isfinite(scores.log_p).sum(1)
    groups = np.asarray(prompts.ids if prompts.groups is None else prompts.groups).astype(str)
    clean, floor, *replaced = (float(x.sum() / counts.sum()) for x in losses)
    if not floor > clean:
        raise SaeError(
            f"with {where} at its mean the model loses nothing ({floor:.4g} against {clean:.4g} nats per token)"
        )
    shares = [
        _estimate(groups, seed, lambda mean, own, clean: (mean - own) / (mean - clean), losses[1], own, losses[0])
        for own in losses[2:]
    ]
    return Recovered(clean, floor, tuple(replaced), tuple(shares))


@dataclass(frozen=True, eq=False)
class _Constant:
    """Gives the mean back, whatever the row."""

    mean: Float[Tensor, " d"]

    @property
    def width(self) -> int:
        return len(self.mean)

    def reconstruct(self, x: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
        return self.mean.to(x).expand_as(x)


def _estimate(groups: np.ndarray, seed: int, of: Callable[..., np.ndarray], *columns: np.ndarray) -> Estimate:
    """A function of sums over rows; its interval draws whole groups."""
    names, index = np.unique(groups, return_inverse=True)
    sums = [np.bincount(index, column, len(names)) for column in columns]
    found = cluster_bootstrap(
        lambda w: of(*(w @ total for total in sums)),
        np.arange(len(names)),
        replicates=REPLICATES,
        method="t",
        seed=seed,
    )
    return Estimate(float(found.estimate), float(found.low), float(found.high))
