"""``Treatment``: a model with something done about a memory, by edits of a forward pass or by other weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ...directions.erasers import Eraser, Fit, erase
from ...edits import Edit
from ...errors import ActivationError
from ...sites import Site
from ...weights import fold
from ..features import read
from .contrast import Contrast

if TYPE_CHECKING:
    from ...models import Model

Where = Literal["model", "weights"]


@dataclass(frozen=True, eq=False)
class Treatment:
    """A model and the edits to run it under.

    ``where`` is ``"model"`` for edits of activations in every forward pass, ``"weights"`` for other weights, ``None``
    where nothing was done.
    ``erasers`` are those behind the edits; ``nothing_at`` are sites at which the classes had equal means, so that
    there was nothing to erase.
    """

    method: str
    model: Model
    where: Where | None = None
    edits: tuple[Edit, ...] = ()
    erasers: Mapping[Site, Eraser] = field(default_factory=dict)
    nothing_at: tuple[Site, ...] = ()
    weights_changed: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """The most dimensions that it removes at one site."""
        return max((eraser.rank for eraser in self.erasers.values()), default=0)

    def read(self, contrast: Contrast, sites: Sequence[Site], mark: str) -> dict[Site, torch.Tensor]:
        """Activations of a contrast's prompts under the treatment, captured anew."""
        return read(self.model, contrast.prompts, sites, mark, edits=self.edits, progress=False)


def erase_every_depth(
    model: Model, contrast: Contrast, fit: Fit, method: str, *, mark: str, sites: Sequence[Site] | None = None
) -> Treatment:
    """Fit an eraser at each depth in turn, on activations that those below have already changed, and install it.

    It acts on every token. ``sites`` are by default the outputs of all blocks.

    >>> import json
    >>> from interp import load_model, testbeds
    >>> from interp.directions.erasers import fit_leace
    >>> from interp.memorisation import load_records
    >>> from interp.memorisation.erasure.contrast import contrast_of
    >>> bed = testbeds.path("memory")
    >>> model = load_model(bed)
    >>> rows = map(json.loads, (bed / "records.jsonl").read_text().splitlines())
    >>> found = contrast_of(load_records([r for r in rows if r["dose"] == 8 and r["pool"] == "M"], model.tokenizer))
    >>> made = erase_every_depth(model, found, fit_leace, "leace", mark="recall")
    >>> made.rank, len(made.edits)
    (1, 4)
    """
    erasers: dict[Site, Eraser] = {}
    nothing = []
    for site in model.expand("resid_post") if sites is None else sites:
        edits = [erase(where, eraser) for where, eraser in erasers.items()]
        rows = read(model, contrast.prompts, [site], mark, edits=edits, progress=False)[site]
        if same_means(rows, contrast.truth):
            nothing.append(site)
            continue
        erasers[site] = fit(rows, contrast.truth)
    if not erasers:
        raise ActivationError(f"{method}: the class means are equal at every depth; there is nothing to erase")
    edits = tuple(erase(where, eraser) for where, eraser in erasers.items())
    return Treatment(method, model, "model", edits, erasers, tuple(nothing))


def fold_everywhere(model: Model, contrast: Contrast, fit: Fit, method: str, *, mark: str, site: Site) -> Treatment:
    """Fit one eraser at a site and fold it into every weight that writes to the residual stream of a copy.

    Raises:
        ModelError: folding is not exact in this architecture, see `interp.weights.fold`.
    """
    rows = read(model, contrast.prompts, [site], mark, progress=False)[site]
    eraser = fit(rows, contrast.truth)
    twin = model.copy(id=f"{model.id} ({method} at {site})")
    done = fold(twin, eraser)
    return Treatment(method, twin, "weights", erasers={site: eraser}, weights_changed=done.changed)


def same_means(rows: torch.Tensor, truth: np.ndarray) -> bool:
    """Whether the class means are equal up to the rounding of float32 activations."""
    x, high = rows.double(), torch.from_numpy(truth)
    return float((x[high].mean(0) - x[~high].mean(0)).norm()) <= 1e-6 * float(x.square().sum(1).mean().sqrt())
