"""Directions of single attention heads: those whose outputs tell two classes apart best, and shifts along them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from ..edits import At, Edit, When, add
from ..errors import ArtefactError, PromptError, StatisticsError
from ..probes.solver import fit_logistic
from ..probes.standardise import moments
from ..prompts import PromptSet
from ..provenance import Provenance
from ..report import Report
from ..run import capture
from ..sites import Site
from ..splits import Folds, grouped_folds
from ..stats import max_null_p, permute_labels
from .artefact import load_artefact, save_artefact
from .direction import Direction

if TYPE_CHECKING:
    from ..models import Model

FOLDS = 4  # one chooses heads, one judges them, two train


@dataclass(frozen=True, eq=False, repr=False)
class HeadShifts:
    """A direction for each of some heads, at the sites ``z.LAYER.hHEAD``, with the spread of activations along it.

    ``report`` has a row for every head of the model, ``None`` after loading.
    """

    directions: tuple[Direction, ...]
    sigmas: tuple[float, ...]
    report: Report | None = None

    def __len__(self) -> int:
        return len(self.directions)

    def __repr__(self) -> str:
        return f"HeadShifts({', '.join(str(d.site) for d in self.directions[:4])}{', ...' if len(self) > 4 else ''})"

    def edits(self, alpha: float = 15.0, *, at: At = "all", when: When = "both") -> tuple[Edit, ...]:
        """``alpha`` standard deviations along each head's direction, added to what the head hands on.

        >>> made = Direction.of(torch.tensor([0.0, 2.0]), "z.1.h0", "last", "iti", Provenance("a1", "tiny"))
        >>> HeadShifts((made,), (0.5,)).edits(4.0)[0].fn(torch.zeros(1, 2), None)
        tensor([[0., 2.]])
        """
        return tuple(
            add(one.site, one, alpha * sigma, at=at, when=when)
            for one, sigma in zip(self.directions, self.sigmas, strict=True)
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write all of them as one safetensors file."""
        fields = [{**one.fields(), "sigma": sigma} for one, sigma in zip(self.directions, self.sigmas, strict=True)]
        return save_artefact(path, "head-shifts", {str(d.site): d.unit for d in self.directions}, {"heads": fields})

    @classmethod
    def load(cls, path: str | os.PathLike[str], model_fingerprint: str | None = None) -> HeadShifts:
        """Read what `save` wrote; with ``model_fingerprint``, only for that model.

        Raises:
            ProvenanceError: it was made with another model.
            ArtefactError: the file is missing, damaged, or something else.
        """
        where = os.fspath(path)
        _, tensors, fields = load_artefact(path, ("head-shifts",))
        try:
            heads, sigmas = fields["heads"], tuple(float(one["sigma"]) for one in fields["heads"])
            units = [{"unit": tensors[one["site"]]} for one in heads]
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{where!r} lacks or garbles a field: {error!r}") from error
        made = [Direction.from_fields(u, one, where, model_fingerprint) for u, one in zip(units, heads, strict=True)]
        return cls(tuple(made), sigmas)


def iti(
    model: Model,
    prompts: PromptSet,
    *,
    at: str = "last",
    top: int = 48,
    theta: str = "mean",
    C: float = 1.0,
    permutations: int = 100,
    seed: int = 0,
    batch_tokens: int | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> HeadShifts:
    """The heads that tell the labels apart best at a mark, and what to shift them by.

    Args:
        prompts: with labels of two classes; groups stay on one side of every split.
        top: how many heads.
        theta: ``"mean"``, the difference of class means, or ``"probe"``, the weights of the head's probe.
        C: of the probes, one for each head, on standardised rows.
        permutations: label permutations behind the null of the best of all heads.

    Raises:
        PromptError: no labels, or a mark that some prompts lack.
        SplitError: fewer than four groups, or labels that allow no honest split.

    Source: Li et al., Inference-Time Intervention (arXiv 2306.03341), section 3, with groups kept whole, a null, and a
    test part that neither trained the probes nor chose the heads.
    """
    if prompts.labels is None:
        raise PromptError("these prompts have no labels to tell heads by; load them with label=..., or use with_labels")
    acts = capture(model, prompts, "z", at=at, batch_tokens=batch_tokens, progress=progress, command=command)
    order = np.argsort(acts.index.example, kind="stable")
    rows = {site: acts[site][order].reshape(len(prompts), model.sizes.n_heads, -1) for site in acts.sites}
    groups = np.arange(len(prompts)) if prompts.groups is None else prompts.groups
    made = acts.provenance.replace(seed=seed, command=command)
    return fit_heads(
        rows, prompts.labels, groups, at, made, top=top, theta=theta, C=C, permutations=permutations, seed=seed
    )


def fit_heads(
    rows: Mapping[Site, Float[Tensor, "row head d"]],
    labels: ArrayLike,
    groups: ArrayLike,
    mark: str,
    provenance: Provenance,
    *,
    top: int = 48,
    theta: str = "mean",
    C: float = 1.0,
    permutations: int = 100,
    seed: int = 0,
) -> HeadShifts:
    """As `iti`, from rows of every head.

    Raises:
        StatisticsError: ``top`` is no number of heads that there are, or ``theta`` is unknown.
        SplitError: as `iti`.
    """
    sites = [Site("z", site.layer, head) for site, x in rows.items() for head in range(x.shape[1])]
    if not 1 <= top <= len(sites) or theta not in ("mean", "probe"):
        raise StatisticsError(f"top={top} of {len(sites)} heads, theta={theta!r}: 'mean' or 'probe'")
    x = torch.cat([value.detach().cpu().double().transpose(0, 1) for value in rows.values()])
    folds = grouped_folds(labels, groups, FOLDS, seed=seed)
    truth = folds.labels == np.unique(folds.labels)[1]
    drawn = permute_labels(truth, folds.groups, permutations, folds=folds.of, seed=seed).labels
    every = torch.from_numpy(np.concatenate([truth[None], drawn]))
    score, weights = _probes(x, every, folds, C)
    right = [((score[..., f] > 0) == every[None][..., f]).double().mean(-1).numpy() for f in _rows(folds)[1:]]
    chosen = np.argsort(-right[0][:, 0], kind="stable")[:top]
    p = max_null_p(right[0][:, 0], right[0][:, 1:].T)[1] if len(drawn) else np.full(len(sites), np.nan)
    train, val, _ = _rows(folds)
    up = torch.from_numpy(truth[train])
    gap = x[:, train][:, up].mean(1) - x[:, train][:, ~up].mean(1)
    vector = gap if theta == "mean" else weights
    made = [Direction.of(vector[k], sites[k], mark, f"iti({theta})", provenance) for k in chosen]
    seen = np.concatenate([train, val])
    sigmas = tuple(float(one(x[k, seen]).std()) for one, k in zip(made, chosen, strict=True))
    share = float(truth[val].mean())
    table: list[dict[str, Any]] = [
        {"site": str(s), "layer": s.layer, "head": s.head, "val_acc": float(right[0][k, 0]), "p_max": float(p[k]),
         "test_acc": float(right[1][k, 0]), "above_chance": float(right[0][k, 0]) - max(share, 1 - share),
         "chosen": k in chosen, "gap": float(gap[k].norm())}
        for k, s in enumerate(sites)
    ]  # fmt: skip
    for rank, (one, k) in enumerate(zip(sigmas, chosen, strict=True), 1):
        table[k] |= {"sigma": one, "rank": rank}
    return HeadShifts(tuple(made), sigmas, _report(table, right, chosen, truth[_rows(folds)[2]], provenance, mark))


def _rows(folds: Folds) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training rows, rows that choose, rows that judge."""
    return np.flatnonzero(folds.of > 1), folds.test(0), folds.test(1)


def _probes(x: Tensor, y: Tensor, folds: Folds, C: float) -> tuple[Tensor, Tensor]:
    """Log-odds of every row by each head's probe ``[head, label, row]``, and the weights of the first label vector."""
    train = _rows(folds)[0]
    scales = [moments(rows[train]) for rows in x]
    z = torch.stack([(rows - mean) / scale for rows, (mean, scale) in zip(x, scales, strict=True)])
    labels = y[:, train].double().expand(len(x), -1, -1)
    fits = fit_logistic(z[:, train], labels, C=C, tol=1e-3)
    return fits.decision(z), fits.coef[:, 0] / torch.stack([scale for _, scale in scales])


def _report(
    table: list[dict[str, Any]], right: list[np.ndarray], chosen: np.ndarray, truth: np.ndarray, provenance: Provenance,
    mark: str,
) -> Report:  # fmt: skip
    val, test = right[0][chosen, 0], right[1][chosen, 0]
    best = table[int(chosen[0])]
    share = float(truth.mean())
    chance = max(share, 1 - share)
    found = not best["p_max"] > 0.05
    null = f", p = {best['p_max']:.2g} over all heads" if best["p_max"] == best["p_max"] else ", without a null"
    text = (
        f"The best head at {mark}, {best['site']}, is right in {best['val_acc']:.0%} of the cases that chose it and in "
        f"{best['test_acc']:.0%} of others (always guessing one class: {chance:.0%}{null})."
    )
    return Report(
        kind="heads",
        title=f"Heads that tell the classes apart at {mark}",
        headline=text if found else f"No head at {mark} beats shuffled labels: {text[0].lower()}{text[1:]}",
        rows=table,
        provenance=provenance,
        meta={"top": len(chosen), "chance_acc": chance, "val_acc": float(val.mean()), "test_acc": float(test.mean()),
              "permutations": right[0].shape[1] - 1, "unit": "above guessing",
              "null_max_acc_95": float(np.quantile(right[0][:, 1:].max(0), 0.95)) if right[0].shape[1] > 1 else None},
    )  # fmt: skip
