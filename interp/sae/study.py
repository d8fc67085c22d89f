"""``sae_study``: train an SAE, and hold what it explains against PCA, shuffled coordinates and random weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SaeError
from ..report import Report
from ..run import capture
from ..sites import Site
from ..store import Activations
from .controls import pca_basis, shuffled
from .load import save_sae
from .measure import Fidelity, Recovered, loss_recovered, reconstruction
from .train import Training, train_sae

if TYPE_CHECKING:
    from ..models import Model
    from ..prompts import PromptSet

NAMES = {
    "sae": "SAE",
    "pca": "PCA, as many numbers",
    "untrained": "SAE of random weights",
    "shuffled": "SAE of shuffled coordinates",
}
"""What is compared, in the order of the rows; the last three are what the first is held against."""


@dataclass(frozen=True, eq=False)
class SaeStudy:
    """A training and its report."""

    training: Training
    report: Report

    def save(self, out: str | os.PathLike[str]) -> Path:
        """Write ``cfg.json`` and ``sae_weights.safetensors`` as sae-lens does, and the report; the folder.

        Raises:
            SaeError, ReportError: a file cannot be written.
        """
        folder = save_sae(self.training.sae, out)
        self.report.save(folder / "report.json")
        self.report.to_csv(folder / "report.csv")
        return folder


def sae_study(
    acts: Activations,
    site: Site | str,
    *,
    model: Model | None = None,
    prompts: PromptSet | None = None,
    untrained: bool = True,
    shuffle: bool = True,
    seed: int = 0,
    progress: bool | None = None,
    command: str | None = None,
    **settings: Any,
) -> SaeStudy:
    """Train an SAE on activations and measure it on groups of examples that it has not seen, beside every control.

    The controls answer different questions. PCA of as many directions as latents are active: would as many fixed
    directions do as well? Shuffled coordinates: what does an SAE of this size explain where no direction means
    anything? Random weights: what does it explain in a model of this architecture that has learnt nothing? A high
    share there is common (Heap et al., arXiv 2501.17727), and then speaks of the tokens and not of the model.

    Args:
        model, prompts: those that the activations come from; with them the loss is measured with the site replaced,
            and random weights are a control.
        settings: of `train_sae`.

    Raises:
        SaeError: see `train_sae` and `interp.sae.reconstruction`.
        ProvenanceError: the activations come from another model.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> acts = interp.capture(model, interp.PromptSet.from_tokens([[5, 9, 7], [8, 6]] * 20), "resid_post.0")
    >>> study = sae_study(acts, "resid_post.0", n_latents=8, k=2, steps=2, batch=8, progress=False)
    >>> study.report.column("control")
    (None, 'pca', 'shuffled')
    """
    where = Site.parse(site)
    if model is not None:
        acts.provenance.require_model(model.fingerprint, what="these activations")
    options: dict[str, Any] = {**settings, "seed": seed, "progress": progress}
    training = train_sae(acts, where, command=command, **options)
    held: dict[str, Any] = {"rows": training.held_out, "seed": seed}
    found: dict[str, Fidelity] = {"sae": reconstruction(training.sae, acts, **held)}
    k = max(1, min(acts[where].shape[1], round(found["sae"].l0.value)))
    pca = pca_basis(acts[where], training.train, k)
    found["pca"] = reconstruction(pca, acts, where, **held)
    recovered, notes = None, []
    if model is not None and prompts is not None:
        kept = sorted({int(i) for i in acts.index.example[training.held_out]})
        mean = pca_basis(acts[where], training.train, 0).mean
        try:
            recovered = loss_recovered(model, prompts.select(kept), [training.sae, pca], where, mean, seed=seed)
        except SaeError as error:
            notes.append(f"What of the loss is recovered cannot be said: {error}.")
        if untrained:
            other = capture(model.untrained(seed), prompts, [where], progress=progress)
            fresh = train_sae(other, where, **options)
            found["untrained"] = reconstruction(fresh.sae, other, rows=fresh.held_out, seed=seed)
    if shuffle:
        mixed = shuffled(acts, where, seed)
        found["shuffled"] = reconstruction(train_sae(mixed, where, **options).sae, mixed, **held)
    return SaeStudy(training, _report(training, found, recovered, notes, command))


def _report(
    training: Training,
    found: Mapping[str, Fidelity],
    recovered: Recovered | None,
    notes: list[str],
    command: str | None,
) -> Report:
    sae = training.sae
    rows = []
    for name in (n for n in NAMES if n in found):
        it = found[name]
        row: dict[str, Any] = {"dictionary": NAMES[name], "control": None if name == "sae" else name}
        row |= dict(zip(("explained", "explained_lo", "explained_hi"), it.explained, strict=True))
        row |= {"l0": it.l0.value, "dead": it.dead, "latents": sae.n_latents if it.active is not None else None}
        if recovered is not None and name in ("sae", "pca"):
            i = ("sae", "pca").index(name)
            row |= dict(zip(("recovered", "recovered_lo", "recovered_hi"), recovered.share[i], strict=True))
            row |= {"loss": recovered.replaced[i]}
        rows.append(row)
    first = found["sae"]
    meta: dict[str, Any] = {
        **training.settings, "fingerprint": sae.fingerprint, "architecture": sae.architecture,
        "rows_held_out": len(training.held_out), "curve_step": [c["step"] for c in training.curve],
        "curve_loss": [c["loss"] for c in training.curve],
    }  # fmt: skip
    if recovered is not None:
        meta |= {"loss_clean": recovered.clean, "loss_mean": recovered.mean}
    assert sae.made is not None
    return Report(
        kind="sae",
        title=f"SAE at {sae.site}: {sae.made.model_id}",
        headline=_headline(training, rows),
        rows=rows,
        provenance=sae.made.replace(command=command),
        warnings=[*_warnings(first, rows, sae.n_latents), *notes],
        meta=meta,
    )


def _headline(training: Training, rows: list[dict[str, Any]]) -> str:
    sae, own = training.sae, rows[0]
    text = (
        f"{sae.n_latents} latents at {sae.site}, {own['l0']:.3g} of them active per token, give back "
        f"{100 * own['explained']:.3g} % of the variance on text they were not trained on"
    )
    others = [f"{r['dictionary']} {100 * r['explained']:.3g} %" for r in rows[1:]]
    text += f" ({'; '.join(others)})" if others else ""
    if "recovered" in own:
        text += f", and {100 * own['recovered']:.3g} % of what the site is worth to the model's predictions"
    return text + "."


def _warnings(first: Fidelity, rows: list[dict[str, Any]], n_latents: int) -> list[str]:
    found = []
    assert first.dead is not None
    if first.dead > n_latents / 2:
        found.append(
            f"{first.dead} of {n_latents} latents are active on none of {first.n_rows} measured tokens; train on more "
            "text, for longer, or with fewer latents."
        )
    own = rows[0]
    for row in rows[1:]:
        if row["explained_hi"] >= own["explained_lo"]:
            found.append(f"{row['dictionary']}: explains as much as this SAE does, within the intervals.")
    if not np.isfinite(own["explained"]):
        found.append("The share of variance is undefined.")
    return found
