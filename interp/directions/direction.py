"""``Direction``: a unit vector at a site and mark, with the model that it belongs to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ActivationError, ArtefactError, NonFiniteError
from ..provenance import Provenance
from ..sites import Site
from .artefact import load_artefact, save_artefact


@dataclass(frozen=True, eq=False, repr=False)
class Direction:
    """A direction at one site and mark: ``unit`` has norm 1, ``scale`` is the length of what it was made from.

    ``method`` says how it was found (``diff_means``, ``logistic``); ``provenance`` on which model and prompts.
    Calling it projects activations: ``direction(x)`` is ``x @ unit``, in the units of the activations.

    Raises:
        ActivationError: ``unit`` is not a vector of norm 1.

    >>> made = Provenance("a1", "tiny")
    >>> d = Direction.of(torch.tensor([3.0, 4.0]), "resid_post.1", "last", "by hand", made)
    >>> d.unit.tolist(), d.scale, d(torch.tensor([[1.0, 1.0]])).item()
    ([0.6, 0.8], 5.0, 1.4)
    """

    site: Site
    mark: str
    unit: Float[Tensor, " d"]
    scale: float
    method: str
    provenance: Provenance

    def __post_init__(self) -> None:
        unit = self.unit.detach().double()
        if unit.dim() != 1:
            raise ActivationError(f"a direction is one vector, got shape {list(unit.shape)}")
        norm = float(unit.norm())
        if not abs(norm - 1) < 1e-6:
            raise ActivationError(f"a direction has norm 1, got {norm:.6g}; make it with Direction.of(vector, ...)")
        object.__setattr__(self, "unit", unit / norm)

    @classmethod
    def of(
        cls, vector: Float[Tensor, " d"], site: Site | str, mark: str, method: str, provenance: Provenance
    ) -> Direction:
        """The direction of ``vector``, with its length as ``scale``.

        Raises:
            NonFiniteError: NaN or infinity in the vector.
            ActivationError: a vector of zeros, which has no direction.
        """
        v = vector.detach().double()
        norm = float(v.norm())
        if not bool(torch.isfinite(v).all()):
            raise NonFiniteError(f"the vector for {site} at {mark!r} holds NaN or infinity")
        if norm == 0:
            raise ActivationError(
                f"the vector for {site} at {mark!r} is zero and has no direction; the two classes have the same mean"
            )
        return cls(Site.parse(site), mark, v / norm, norm, method, provenance)

    @property
    def vector(self) -> Float[Tensor, " d"]:
        """``scale * unit``."""
        return self.scale * self.unit

    def __repr__(self) -> str:
        made = f"{self.method}, length {self.scale:.3g}, of model {self.provenance.model_id!r}"
        return f"Direction({self.site} at {self.mark}, {len(self.unit)} numbers; {made})"

    def __call__(self, x: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows"]:
        """Projection of activations on the unit vector, in float64."""
        if x.shape[-1] != len(self.unit):
            raise ActivationError(
                f"this direction at {self.site} has {len(self.unit)} numbers, the activations {x.shape[-1]}"
            )
        return x.double() @ self.unit.to(x.device)

    def cosine(self, other: Direction) -> float:
        """Cosine of the angle to another direction of the same width."""
        return float(self(other.unit))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write as safetensors, with everything but the vector in the header."""
        return save_artefact(path, "direction", {"unit": self.unit}, self.fields())

    @classmethod
    def load(cls, path: str | os.PathLike[str], model_fingerprint: str | None = None) -> Direction:
        """Read what `save` wrote; a saved `Probe` loads as its direction.

        Args:
            path: the file.
            model_fingerprint: of the model it is meant for (``model.fingerprint``); ``None`` skips the check.

        Raises:
            ProvenanceError: it was made with another model.
            ArtefactError: the file is missing, damaged, or something else.
        """
        _, tensors, fields = load_artefact(path, ("direction", "probe"))
        return cls.from_fields(tensors, fields, os.fspath(path), model_fingerprint)

    def fields(self) -> dict[str, Any]:
        """All but the vector, as plain JSON."""
        return {
            "site": str(self.site),
            "mark": self.mark,
            "scale": self.scale,
            "method": self.method,
            "provenance": self.provenance.to_dict(),
        }

    @classmethod
    def from_fields(
        cls, tensors: dict[str, Tensor], fields: dict[str, Any], where: str, model_fingerprint: str | None
    ) -> Direction:
        """Back from `fields` and the tensors of a file, after the check of its model."""
        try:
            provenance = Provenance.from_dict(fields["provenance"])
            site, mark, unit = Site.parse(fields["site"]), str(fields["mark"]), tensors["unit"]
            scale, method = float(fields["scale"]), str(fields["method"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{where!r} lacks or garbles a field: {error!r}") from error
        if model_fingerprint is not None:
            provenance.require_model(model_fingerprint, where)
        return cls(site, mark, unit, scale, method, provenance)
