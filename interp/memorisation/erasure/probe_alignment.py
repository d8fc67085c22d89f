"""PGA: train the memory's pairs onto each other along the direction that a probe reads them by."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import NonFiniteError, PromptError, StatisticsError
from ...probes.solver import fit_logistic
from ...probes.standardise import moments
from ...prompts import PromptSet
from ...run.progress import Progress
from ...run.training import live_rows, text_loss
from ...sites import Site
from ...splits import grouped_folds
from ...stats import auc
from ...weights import attach_lora, block_matrices, merge_lora, weights_changed
from ..features import RECALL, read
from ..records import RECALL_MARK
from .contrast import Contrast

if TYPE_CHECKING:
    from ...models import Model

HELD_OUT = 4  # adversarial PGA keeps one in so many groups back, to see when to stop


@dataclass(frozen=True)
class PGASettings:
    """How to train. The loss is ``align · mean over pairs and depths of ((h(M) - h(C)) · w)² + text · CE(texts)``.

    Args:
        epochs: at most; each sees every pair once.
        refit: epochs after which ``w`` is fitted anew, on the activations of then.
        lr: of Adam.
        align, text: weights of the two terms, λ_a and λ_ce of the paper. With ``align=0`` this is fine-tuning on the
            texts alone: the control that says what the training does without the method.
        lora: rank of a low-rank change of the blocks' matrices; ``None`` trains the weights themselves.
        layers: blocks that are trained; ``None`` is all of them and, without ``lora``, embeddings and norms as well.
        pairs_per_step: pairs per step of the optimiser; ``None`` is all.
        texts_per_step: neutral texts per step, drawn anew for each.
        adversarial: keep earlier directions when fitting a new one, each orthogonal to them, so that the loss holds
            all of them; and stop as soon as a probe reads groups that were kept back with an AUC below ``stop``.
        stop: see ``adversarial``.

    Raises:
        StatisticsError: numbers that train nothing.
    """

    epochs: int = 120
    refit: int = 20
    lr: float = 3e-4
    align: float = 1.0
    text: float = 1.0
    lora: int | None = None
    layers: tuple[int, ...] | None = None
    pairs_per_step: int | None = None
    texts_per_step: int = 16
    adversarial: bool = False
    stop: float = 0.55

    def __post_init__(self) -> None:
        for name in ("epochs", "refit", "lr", "texts_per_step", "pairs_per_step", "lora"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise StatisticsError(f"PGA needs {name} > 0, got {value!r}")
        for name in ("align", "text"):
            if not getattr(self, name) >= 0:
                raise StatisticsError(f"PGA needs {name} >= 0, got {getattr(self, name)!r}")
        if not self.align + self.text > 0:
            raise StatisticsError("PGA with align=0 and text=0 has nothing to train for")


@dataclass(frozen=True, eq=False)
class PGAResult:
    """The trained model, and how it came to be.

    ``history`` has a row per epoch: ``loss``, its terms ``align`` and ``text`` (before their weights), and how many
    ``directions`` there were per depth. ``looked`` has, for adversarial PGA, the ``auc`` at which a probe fitted on the
    groups that are trained on reads those that were kept back, at the depth where it is best.
    """

    model: Model
    history: tuple[dict[str, Any], ...]
    looked: tuple[dict[str, Any], ...]
    directions: dict[Site, Float[Tensor, "k d"]]
    settings: PGASettings
    weights_changed: int
    seed: int

    def rows(self) -> list[dict[str, Any]]:
        """The history as plain rows."""
        return [dict(row) for row in self.history]

    def about(self) -> dict[str, Any]:
        """Settings and outcome as plain JSON."""
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.settings).items()}
        ran = {"epochs_run": len(self.history), "looked": list(self.looked), "weights_changed": self.weights_changed}
        return {**settings, "seed": self.seed, **ran}


def pga(
    model: Model,
    contrast: Contrast,
    texts: PromptSet,
    settings: PGASettings | None = None,
    *,
    mark: str = RECALL,
    seed: int = 0,
    progress: bool | None = None,
) -> PGAResult:
    """Train a copy of the model until both classes of a contrast project alike onto the probe's direction.

    ``w`` is the unit direction ``coef / scale`` of a logistic probe (C = 1) at the output of every block.

    Args:
        contrast: what is compared, pair by pair; give it the training groups only.
        texts: neutral ones, on which the model is to stay as good as it is.
        mark: where activations are read.
        seed: of low-rank factors, the order of pairs, and the choice of texts.

    Raises:
        NonFiniteError: the loss is no longer finite.
        PromptError: no texts, or prompts that do not pair up.

    Source: arXiv 2605.01699 (PGA and adversarial PGA).
    """
    settings = settings or PGASettings()
    if not len(texts):
        raise PromptError("PGA needs neutral texts to stay good at; got none")
    trained = model.copy(id=f"{model.id} (PGA)")
    run = _Run(trained, contrast, texts, settings, mark, seed)
    history: list[dict[str, Any]] = []
    with Progress(settings.epochs, "epochs", "PGA", progress) as bar:
        for epoch in range(settings.epochs):
            if epoch % settings.refit == 0 and run.aim(epoch):
                break
            row = {"epoch": epoch, **run.epoch(epoch)}
            history.append(row)
            bar.advance(1, f"align {row['align']:.3g}, text {row['text']:.3f}")
    if settings.lora is not None:
        merge_lora(trained)
    trained.hf.eval()
    changed = weights_changed(model, trained)
    return PGAResult(trained, tuple(history), tuple(run.looked), run.directions, settings, changed, seed)


class _Run:
    """A model in training: its optimiser, the directions of now, and what is drawn from the seed."""

    def __init__(
        self, model: Model, contrast: Contrast, texts: PromptSet, settings: PGASettings, mark: str, seed: int
    ) -> None:
        self.model, self.texts, self.settings, self.mark = model, texts, settings, mark
        self.held_out: Contrast | None = None
        self.contrast = contrast
        if settings.adversarial:
            folds = grouped_folds(contrast.truth, contrast.groups, HELD_OUT, seed=seed)
            self.contrast, self.held_out = contrast.select(folds.train(0)), contrast.select(folds.test(0))
        self.sites = model.expand("resid_post")
        self.positions = _positions(self.contrast.prompts, mark)
        self.rng = np.random.default_rng(seed)
        self.directions: dict[Site, Tensor] = {}
        self.looked: list[dict[str, Any]] = []
        self.optimiser = torch.optim.Adam(_trainable(model, settings, seed), lr=settings.lr)

    def aim(self, epoch: int) -> bool:
        """Fit the directions anew; whether training is done, since nothing can be read any more."""
        now = read(self.model, self.contrast.prompts, self.sites, self.mark, progress=False)
        made = {site: _probe(now[site], self.contrast.truth) for site in self.sites}
        if self.held_out is not None:
            best = self._held_out_auc(self.held_out, made)
            self.looked.append({"epoch": epoch, "auc": best})
            if self.directions and best < self.settings.stop:
                return True
        for site, (weights, _) in made.items():
            earlier = self.directions.get(site) if self.settings.adversarial else None
            self.directions[site] = _append(earlier, weights)
        return False

    def _held_out_auc(self, held_out: Contrast, probes: dict[Site, tuple[Tensor, Tensor]]) -> float:
        rows = read(self.model, held_out.prompts, self.sites, self.mark, progress=False)
        scores = [(rows[site].cpu().double() @ w + b).numpy() for site, (w, b) in probes.items()]
        return max(float(auc(s, held_out.truth)) for s in scores)

    def epoch(self, number: int) -> dict[str, Any]:
        """Every pair once; the mean of each term."""
        pairs = self.rng.permutation(self.contrast.pairs)
        size = self.settings.pairs_per_step or len(pairs)
        terms = [self._step(pairs[i : i + size], number) for i in range(0, len(pairs), size)]
        align, text = (float(np.mean(t)) for t in zip(*terms, strict=True))
        loss = self.settings.align * align + self.settings.text * text
        most = max(len(d) for d in self.directions.values())
        return {"loss": loss, "align": align, "text": text, "directions": most}

    def _step(self, pairs: np.ndarray, epoch: int) -> tuple[float, float]:
        align = self._align(pairs)
        picked = self.rng.choice(len(self.texts), min(self.settings.texts_per_step, len(self.texts)), replace=False)
        text = text_loss(self.model, self.texts.select(np.sort(picked)))
        loss = self.settings.align * align + self.settings.text * text.to(align.device)
        if not bool(torch.isfinite(loss)):
            raise NonFiniteError(
                f"PGA's loss is {loss.item():g} in epoch {epoch}; use an lr below {self.settings.lr:g}"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return float(align.detach()), float(text.detach())

    def _align(self, pairs: np.ndarray) -> Tensor:
        rows = pairs.T.reshape(-1)  # all of the memory, then what each is compared with
        found = live_rows(self.model, self.contrast.prompts.select(rows), self.sites, self.positions[rows])
        total: Tensor | float = 0.0
        for site, x in found.items():
            apart = x[: len(pairs)] - x[len(pairs) :]
            along = apart @ self.directions[site].to(x).T
            total = total + along.square().sum(1).mean().to(self.model.device)
        assert isinstance(total, Tensor)
        return total / len(self.sites)


def _trainable(model: Model, settings: PGASettings, seed: int) -> list[torch.nn.Parameter]:
    layers = list(range(model.n_layers) if settings.layers is None else settings.layers)
    if settings.lora is not None:
        return attach_lora(model, layers, settings.lora, seed=seed)
    if settings.layers is None:
        return list(model.hf.parameters())
    block_matrices(model, layers)  # refuses layers that do not exist
    model.hf.requires_grad_(False)
    chosen = [p for layer in layers for p in model.module(f"{model.parts['blocks'].name}.{layer}").parameters()]
    for parameter in chosen:
        parameter.requires_grad_(True)
    return chosen


def _positions(prompts: PromptSet, mark: str) -> np.ndarray:
    """``[prompt, mark]``: where each prompt is read, -1 where it lacks a mark."""
    names = (
        [mark] if mark in prompts.marks else [n for n in prompts.marks if mark == RECALL and RECALL_MARK.fullmatch(n)]
    )
    if not names:
        raise PromptError(f"no mark {mark!r} in these prompts; marks: {', '.join(prompts.marks)}")
    return np.stack([prompts.marks[name] for name in names], 1)


def _probe(rows: Tensor, truth: np.ndarray) -> tuple[Tensor, Tensor]:
    """Weights in the activations' own units, and bias, of a logistic probe."""
    x = rows.cpu().double()
    mean, scale = moments(x)
    fits = fit_logistic(((x - mean) / scale)[None], torch.from_numpy(truth.astype(np.float64))[None, None], tol=1e-4)
    weights = fits.coef[0, 0] / scale
    return weights, fits.intercept[0, 0] - weights @ mean


def _append(earlier: Tensor | None, weights: Tensor) -> Tensor:
    """Unit directions: the earlier ones, and what is left of the new one beside them (Gram-Schmidt)."""
    basis = weights.new_zeros(0, len(weights)) if earlier is None else earlier
    for _ in range(2):  # the second time takes away what rounding left
        weights = weights - basis.T @ (basis @ weights)
    length = weights.norm()
    return basis if float(length) < 1e-9 else torch.cat([basis, (weights / length)[None]])
