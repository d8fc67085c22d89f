"""Training a tuned lens: translators that bring each layer's reading as near to the output as an affine map can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import CircuitError
from ..prompts import PromptSet
from ..run import capture
from ..run.progress import Progress
from .headrows import groups_of
from .lens import lens_sites
from .readout import Readout, readout
from .translators import Translators

if TYPE_CHECKING:
    from ..models import Model

Sites = Float[Tensor, "depth row d"]


@dataclass(frozen=True)
class TuneSettings:
    """How translators are trained: AdamW from the identity, rate falling linearly to zero.

    ``rows`` are drawn for each step. Every ``every`` steps the mean KL is measured on the dev texts, and each depth
    keeps its best step, the identity (step 0) included. ``dev`` and ``held_out`` are shares of the groups of texts.
    """

    steps: int = 400
    lr: float = 2e-3
    weight_decay: float = 1e-3
    rows: int = 512
    every: int = 40
    dev: float = 0.15
    held_out: float = 0.15
    max_rows: int = 50_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that train nothing.

        Raises:
            CircuitError: a number that is not positive, or shares that leave no texts to train on.
        """
        for name in ("steps", "lr", "rows", "every", "dev", "held_out", "max_rows"):
            if not getattr(self, name) > 0:
                raise CircuitError(f"a tuned lens needs {name} > 0, got {getattr(self, name)!r}")
        if self.dev + self.held_out >= 1:
            raise CircuitError(f"dev {self.dev} and held_out {self.held_out} leave no texts to train on")


def split_texts(texts: PromptSet, use: TuneSettings) -> tuple[PromptSet, PromptSet, PromptSet]:
    """Train, dev and held-out texts; groups, and texts of the same tokens, stay whole.

    Raises:
        CircuitError: fewer than three groups.

    >>> parts = split_texts(PromptSet.from_tokens([[i, i + 1] for i in range(20)]), TuneSettings())
    >>> [len(p) for p in parts]
    [14, 3, 3]
    """
    groups = groups_of(texts)
    count = int(groups.max()) + 1
    if count < 3:
        raise CircuitError(f"a tuned lens needs texts of three groups or more (train, dev, held out), got {count}")
    order = np.random.default_rng(use.seed).permutation(count)
    n_dev, n_held = max(1, round(use.dev * count)), max(1, round(use.held_out * count))
    part = np.zeros(count, int)
    part[order[:n_dev]] = 1
    part[order[n_dev : n_dev + n_held]] = 2
    train, dev, held = (texts.select(np.flatnonzero(part[groups] == k)) for k in range(3))
    return train, dev, held


def train_translators(
    model: Model, train: PromptSet, dev: PromptSet, use: TuneSettings | None = None, *, progress: bool | None = None
) -> Translators:
    """Fit one affine translator per depth by the KL of the model's output to what the lens reads; model unchanged.

    Each depth keeps the step that was best on ``dev``, so that a depth which training does not help stays a logit
    lens. Texts that are to judge the result belong in neither.

    Raises:
        CircuitError: settings that train nothing, or texts of too few tokens.

    Source: Belrose et al. (arXiv 2303.08112), equations 6-8: ``KL(f(h) || LayerNorm(A h + b) W_U)``.

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> texts = interp.PromptSet.from_tokens([[i, i + 1, i + 2] for i in range(5, 25)])
        >>> made = train_translators(model, texts.select(slice(15)), texts.select(slice(15, 20)), TuneSettings(steps=2))
        >>> tuple(made.matrix.shape)
        (2, 128, 128)
    """
    use = use or TuneSettings()
    read = readout(model, train)
    streams, judged = _streams(model, train, use, use.max_rows), _streams(model, dev, use, use.max_rows // 5)
    sites = lens_sites(model)[:-1]
    d = model.d_model
    with torch.inference_mode(False), torch.enable_grad():
        matrix = torch.zeros(len(sites), d, d, device=model.device, requires_grad=True)
        shift = torch.zeros(len(sites), d, device=model.device, requires_grad=True)
        optimiser = torch.optim.AdamW([matrix, shift], lr=use.lr, betas=(0.9, 0.98), weight_decay=use.weight_decay)
        best = _Best(matrix, shift)
        curve = [best.offer(0, matrix, shift, _kl_by_site(read, judged, matrix, shift))]
        generator = torch.Generator().manual_seed(use.seed)
        with Progress(use.steps, "steps", "tuned lens", progress) as bar:
            for step in range(1, use.steps + 1):
                optimiser.param_groups[0]["lr"] = use.lr * (1 - (step - 1) / use.steps)
                drawn = torch.randint(streams.shape[1], (min(use.rows, streams.shape[1]),), generator=generator)
                loss = _kl(read, streams[:, drawn].to(model.device), matrix, shift).sum()
                matrix.grad, shift.grad = torch.autograd.grad(loss, [matrix, shift])
                optimiser.step()
                bar.advance(1)
                if step % use.every == 0 or step == use.steps:
                    curve.append(best.offer(step, matrix, shift, _kl_by_site(read, judged, matrix, shift)))
    trained: dict[str, Any] = {
        "dev_kl": best.kl.tolist(), "dev_kl_identity": curve[0][1], "best_step": best.step.tolist(), "curve": curve,
        "train_texts": len(train), "dev_texts": len(dev), "train_rows": int(streams.shape[1]),
        "settings": {k: getattr(use, k) for k in use.__dataclass_fields__},
    }  # fmt: skip
    about = model.provenance(prompts=train.hash, seed=use.seed)
    return Translators(sites, best.matrix.cpu(), best.shift.cpu(), read.hash, about, trained)


def _streams(model: Model, texts: PromptSet, use: TuneSettings, most: int) -> Sites:
    """Streams at every depth, of all tokens that are no control tokens or of ``most`` drawn ones."""
    rng = np.random.default_rng(use.seed)
    if int(texts.lengths.sum()) > 2 * most:  # whole texts, so that the rest is never computed
        order = rng.permutation(len(texts))
        kept = np.sort(order[: 1 + int(np.searchsorted(np.cumsum(texts.lengths[order]), 2 * most))])
        texts = texts.select(kept)
    acts = capture(model, texts, lens_sites(model), progress=False)
    plain = np.flatnonzero(~np.asarray(acts.index.special, bool))
    if not len(plain):
        raise CircuitError("every token of these texts is a control token, so there is nothing to train a lens on")
    if len(plain) > most:
        plain = np.sort(rng.choice(plain, most, replace=False))
    return torch.stack([acts[site].tensor()[torch.from_numpy(plain)].clone() for site in lens_sites(model)])


def _kl(read: Readout, streams: Sites, matrix: Tensor, shift: Tensor) -> Float[Tensor, " site"]:
    """Mean KL of the output to each depth's reading."""
    dtype = streams.dtype
    with torch.no_grad():
        final = read(streams[-1]).log_softmax(-1)
    found = []
    for i in range(len(matrix)):
        rows = streams[i].float()
        log_p = read((rows + rows @ matrix[i].T + shift[i]).to(dtype)).log_softmax(-1)
        found.append((final.exp() * (final - log_p)).sum(-1).mean())
    return torch.stack(found)


@torch.no_grad()
def _kl_by_site(read: Readout, streams: Sites, matrix: Tensor, shift: Tensor) -> Float[Tensor, " site"]:
    total, n = torch.zeros(len(matrix)), streams.shape[1]
    for start in range(0, n, 2048):
        part = streams[:, start : start + 2048].to(matrix.device)
        total += _kl(read, part, matrix, shift).cpu() * part.shape[1]
    return total / n


class _Best:
    """Each depth's translator at the step where it was best on the dev texts."""

    def __init__(self, matrix: Tensor, shift: Tensor) -> None:
        self.matrix, self.shift = matrix.detach().clone(), shift.detach().clone()
        self.kl = torch.full((len(matrix),), float("inf"))
        self.step = torch.zeros(len(matrix), dtype=torch.long)

    def offer(self, step: int, matrix: Tensor, shift: Tensor, kl: Float[Tensor, " site"]) -> tuple[int, list[float]]:
        """Keep what is better than before; the step and its KLs, for the curve."""
        better = kl < self.kl
        at = better.to(matrix.device)
        self.matrix[at], self.shift[at] = matrix.detach()[at], shift.detach()[at]
        self.kl, self.step = torch.where(better, kl, self.kl), torch.where(better, step, self.step)
        return step, kl.tolist()
