"""``Translators``: one affine map per depth, from a layer's stream to what the readout takes. The tuned lens."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..directions.artefact import load_artefact, save_artefact
from ..errors import ArtefactError, ProvenanceError
from ..prompts import PromptSet
from ..provenance import Provenance
from ..sites import Site
from .readout import readout

if TYPE_CHECKING:
    from ..models import Model


@dataclass(frozen=True, eq=False)
class Translators:
    """``h -> h + matrix h + shift`` for each of ``sites``; all zeros is the logit lens.

    ``unembedding`` is the hash of the norm and unembedding that they were trained to be read by, ``trained`` what was
    measured in training.

    >>> import torch
    >>> from interp.provenance import Provenance
    >>> made = Translators.identity((Site("resid_pre", 0),), 3, "f00d", Provenance("a1", "tiny"))
    >>> made(0, torch.ones(1, 3)).tolist()
    [[1.0, 1.0, 1.0]]
    """

    sites: tuple[Site, ...]
    matrix: Float[Tensor, "site d d"]
    shift: Float[Tensor, "site d"]
    unembedding: str
    provenance: Provenance
    trained: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def identity(cls, sites: tuple[Site, ...], d: int, unembedding: str, provenance: Provenance) -> Translators:
        """Translators that change nothing."""
        return cls(sites, torch.zeros(len(sites), d, d), torch.zeros(len(sites), d), unembedding, provenance)

    def __call__(self, site: int, rows: Float[Tensor, "*row d"]) -> Float[Tensor, "*row d"]:
        """Translate rows of one site, given by its number."""
        matrix, shift = self.matrix[site].to(rows), self.shift[site].to(rows)
        return rows + rows @ matrix.T + shift

    def require(self, model: Model, prompts: PromptSet) -> None:
        """Raise unless they are of this model.

        Raises:
            ProvenanceError: another model, or this one with another unembedding; says which.
        """
        now = readout(model, prompts).hash
        if now != self.unembedding:
            raise ProvenanceError(
                f"this tuned lens was trained to be read by the unembedding {self.unembedding} of "
                f"{self.provenance.model_id!r}, and that of {model.id!r} is {now}: train one with --train"
            )
        self.provenance.require_model(model.fingerprint, "this tuned lens")

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one safetensors file."""
        fields = {
            "sites": [str(s) for s in self.sites], "unembedding": self.unembedding,
            "provenance": self.provenance.to_dict(), "trained": self.trained,
        }  # fmt: skip
        return save_artefact(path, "tuned-lens", {"matrix": self.matrix, "shift": self.shift}, fields)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Translators:
        """Read what `save` wrote; `require` then says whether it fits a model.

        Raises:
            ArtefactError: the file is missing, damaged or no tuned lens.
        """
        _, tensors, fields = load_artefact(path, ("tuned-lens",))
        try:
            sites = tuple(Site.parse(s) for s in fields["sites"])
            about = Provenance.from_dict(fields["provenance"])
            made = cls(sites, tensors["matrix"], tensors["shift"], fields["unembedding"], about, fields["trained"])
        except (KeyError, TypeError) as error:
            raise ArtefactError(f"{os.fspath(path)!r} is no whole tuned lens: it lacks {error}") from error
        if made.matrix.shape != (len(sites), *made.shift.shape[1:] * 2) or len(made.shift) != len(sites):
            raise ArtefactError(f"{os.fspath(path)!r} holds tensors that do not fit its {len(sites)} sites")
        return made
