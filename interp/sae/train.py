"""``train_sae``: a sparse autoencoder straight from activations, in memory or in a store, by sae-lens' own trainer."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import NonFiniteError, SaeError
from ..run.progress import Progress
from ..sites import Site
from ..store import Activations, Rows, open_store
from .hooknames import hook_of
from .latents import Sae
from .library import library, others_warnings
from .load import fingerprint_of

IN_MEMORY = 1 << 30
"""Rows of fewer bytes are read once; others batch by batch from their store."""

_WATCHED = 20  # steps between looks at the loss


@dataclass(frozen=True, eq=False)
class Training:
    """A trained SAE and what it was trained on.

    Attributes:
        train, held_out: row numbers of the activations; no group of examples has rows in both.
        curve: a row per look at the training: ``step``, ``loss``, ``l0``.
        settings: what it was asked for.
    """

    sae: Sae
    train: Int[np.ndarray, " train"]
    held_out: Int[np.ndarray, " held_out"]
    curve: tuple[dict[str, Any], ...]
    settings: dict[str, Any] = field(default_factory=dict)


def train_sae(
    acts: Activations | str | os.PathLike[str],
    site: Site | str,
    *,
    n_latents: int,
    k: int | None = None,
    l1: float | None = None,
    steps: int = 2000,
    batch: int = 1024,
    lr: float = 1e-3,
    held_out: float = 0.1,
    special: bool = False,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: bool | None = None,
    command: str | None = None,
) -> Training:
    """Train a sparse autoencoder on activations, with the training classes of sae-lens.

    Rows are scaled to a mean length of ``sqrt(d)`` for the training, as sae-lens does, and the decoder's bias starts at
    their mean; both are folded into the weights afterwards, so that the result reads activations as they are.

    Args:
        acts: activations, or the directory of a store (``interp.capture(..., out=DIR)``).
        n_latents: size of the dictionary.
        k, l1: one of the two: the ``k`` largest latents of each token (TopK), or ReLU with a penalty on their sum.
        steps, batch, lr: of Adam; the rate falls to zero over the last fifth.
        held_out: share of the groups of examples (examples, where nothing joins them) that is kept for measuring.
        special: also train on special tokens, such as a BOS, whose rows are often of another size altogether.
        command: recorded in the provenance.

    Raises:
        SaeError: sae-lens is missing, or settings from which nothing can be trained.
        SiteError: the activations have no such site.
        NonFiniteError: NaN or infinity in the rows, or in the loss.

    Source: TopK, Gao et al. (arXiv 2406.04093); ReLU with an L1 penalty, Bricken et al. 2023. Training is sae-lens'.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> acts = interp.capture(model, interp.PromptSet.from_tokens([[5, 9, 7, 5]] * 20), "resid_post.0")
    >>> train_sae(acts, "resid_post.0", n_latents=8, k=2, steps=2, batch=8, progress=False).sae.n_latents
    8
    """
    found = open_store(Path(acts)) if not isinstance(acts, Activations) else acts
    where, rows = Site.parse(site), found[site]
    settings = {"n_latents": n_latents, "k": k, "l1": l1, "steps": steps, "batch": batch, "lr": lr, "seed": seed}
    _check_settings(settings, held_out)
    train, kept = split_rows(found, held_out, special=special, seed=seed)
    device = torch.device(device)
    source = _Source(rows, train, device)
    mean, scale = source.typical()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), others_warnings():
        torch.manual_seed(seed)
        trainer = _trainer(settings, where, rows.shape[1], device, found.provenance.model_id)
        trainer.activation_scaler.scaling_factor = scale
        with torch.no_grad():
            trainer.sae.b_dec.copy_(mean * scale)
        curve = _fit(trainer, source.batches(batch, seed), steps, batch, progress)
        net = _finished(trainer, scale)
    made = found.provenance.replace(seed=seed, command=command)
    settings |= {"held_out": held_out, "special": special, "site": str(where), "rows": len(train)}
    return Training(Sae(where, where, net, fingerprint_of(net), made), train, kept, tuple(curve), settings)


def split_rows(
    acts: Activations, held_out: float, *, special: bool, seed: int
) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " held_out"]]:
    """Rows to train on and rows to measure on, by whole groups of examples.

    Raises:
        SaeError: fewer than two groups, or no row that may be used.
    """
    groups = acts.per_row("ids" if acts.examples.groups is None else "groups").astype(str)
    names = np.unique(groups)
    if len(names) < 2:
        raise SaeError(f"training keeps whole groups of examples for measuring, and these rows are of {len(names)}")
    n = min(len(names) - 1, max(1, round(held_out * len(names))))
    apart = np.isin(groups, np.random.default_rng(seed).permutation(names)[:n])
    use = np.ones(len(groups), bool) if special else ~acts.index.special
    found = np.flatnonzero(use & ~apart), np.flatnonzero(use & apart)
    if not len(found[0]) or not len(found[1]):
        raise SaeError("all of these rows are of special tokens; special=True trains on them")
    return found


class _Source:
    """Rows to train on, in memory if they fit."""

    def __init__(self, rows: Rows, train: Int[np.ndarray, " row"], device: torch.device) -> None:
        self._rows, self._train, self._device = rows, train, device
        small = len(train) * rows.shape[1] * 4 <= IN_MEMORY
        self._memory = rows[train].float().to(device) if small else None

    def typical(self) -> tuple[Float[Tensor, " d"], float]:
        """Mean of the rows, and what brings their mean length to sqrt(d)."""
        n = len(self._train)
        some = self.take(np.arange(n) if n <= 1 << 16 else np.linspace(0, n - 1, 1 << 16).astype(np.int64))
        length = float(some.norm(dim=-1).mean())
        if not length > 0:
            raise SaeError("every row is zero; there is nothing to train on")
        return some.mean(0), some.shape[1] ** 0.5 / length

    def take(self, numbers: Int[np.ndarray, " row"]) -> Float[Tensor, "row d"]:
        """Some of the rows, by their number among those to train on."""
        if self._memory is not None:
            x = self._memory[torch.from_numpy(numbers).to(self._device)]
        else:
            x = self._rows[self._train[np.sort(numbers)]].float().to(self._device)
        if not bool(torch.isfinite(x).all()):
            raise NonFiniteError("the activations hold NaN or infinity; Activations.check_finite() says where")
        return x

    def batches(self, size: int, seed: int) -> Iterator[Float[Tensor, "row d"]]:
        """Shuffled batches without end; every row once before any comes again."""
        rng, left = np.random.default_rng(seed), np.zeros(0, np.int64)
        while True:
            while len(left) < size:
                left = np.concatenate([left, rng.permutation(len(self._train))])
            yield self.take(left[:size])
            left = left[size:]


def _check_settings(settings: dict[str, Any], held_out: float) -> None:
    k, l1, n = settings["k"], settings["l1"], settings["n_latents"]
    if (k is None) == (l1 is None):
        raise SaeError(f"give k= (TopK) or l1= (a penalty), one of the two; got k={k!r}, l1={l1!r}")
    if n < 1 or (k is not None and not 1 <= k <= n):
        raise SaeError(f"a dictionary of {n} latents cannot have k={k!r} of them active")
    if l1 is not None and not l1 > 0:
        raise SaeError(f"l1={l1!r}: the penalty is a positive number")
    if settings["steps"] < 1 or settings["batch"] < 2 or not settings["lr"] > 0:
        raise SaeError(f"steps >= 1, batch >= 2 and lr > 0, got {settings}")
    if not 0 < held_out < 1:
        raise SaeError(f"held_out={held_out!r}: a share between 0 and 1")


def _trainer(settings: dict[str, Any], site: Site, width: int, device: torch.device, model_id: str) -> Any:
    lens = library()
    from sae_lens.config import SAETrainerConfig

    steps, batch, lr = settings["steps"], settings["batch"], settings["lr"]
    common = {"d_in": width, "d_sae": settings["n_latents"], "dtype": "float32", "device": str(device)}
    if settings["k"] is not None:
        net = lens.TopKTrainingSAE(lens.TopKTrainingSAEConfig(**common, k=settings["k"]))
    else:
        warm = steps // 10
        config = lens.StandardTrainingSAEConfig(**common, l1_coefficient=settings["l1"], l1_warm_up_steps=warm)
        net = lens.StandardTrainingSAE(config)
    about = net.cfg.metadata
    about.hook_name, about.model_name = hook_of(site), model_id
    if site.head is not None:
        about.hook_head_index = site.head
    trainer = SAETrainerConfig(
        total_training_samples=steps * batch, train_batch_size_samples=batch, lr=lr, lr_end=lr / 100,
        lr_decay_steps=steps // 5, device=str(device), dead_feature_window=max(10, min(1000, steps // 5)),
        feature_sampling_window=max(10, min(2000, steps // 2)),
    )  # fmt: skip
    return lens.SAETrainer(cfg=trainer, sae=net, data_provider=iter(()))


def _fit(
    trainer: Any, batches: Iterator[Tensor], steps: int, batch: int, progress: bool | None
) -> list[dict[str, Any]]:
    """sae-lens' own steps, with our bar and a look at the loss."""
    curve: list[dict[str, Any]] = []
    looks = max(1, steps // 50)
    with Progress(steps, "step", "SAE", progress) as bar:
        for step in range(1, steps + 1):
            trainer.maybe_reset_sparsity()
            out = trainer.step(next(batches))
            trainer.n_training_steps += 1
            if step % looks == 0 or step % _WATCHED == 0 or step == steps:
                loss = float(out.loss)
                if not np.isfinite(loss):
                    lr = trainer.cfg.lr
                    raise NonFiniteError(f"the loss became {loss} by step {step}; lower the rate (lr={lr:g})")
                if step % looks == 0 or step == steps:
                    l0 = float(out.feature_acts.detach().bool().float().sum(-1).mean())
                    curve.append({"step": step, "loss": loss, "l0": l0})
            bar.advance(1)
    return curve


def _finished(trainer: Any, scale: float) -> Any:
    """The trained weights, for activations as they are, in the form that is saved: decoder rows of length one."""
    net = trainer.sae
    net.fold_activation_norm_scaling_factor(scale)
    if net.cfg.architecture() == "standard":
        net.fold_W_dec_norm()
    trainer.set_final_sae_metadata()
    with tempfile.TemporaryDirectory() as folder:
        net.save_inference_model(folder)
        found = library().SAE.load_from_disk(folder, device=str(net.device))
    return found.eval().requires_grad_(False)
