"""``Eraser``: a frozen affine map that takes something out of activations, stored as low-rank factors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...errors import ActivationError, ArtefactError, NonFiniteError
from ...provenance import Provenance
from ..artefact import load_artefact, save_artefact

DEPENDENT = 1e-10
"""Share of the largest singular value below which directions to project out count as dependent."""


@dataclass(frozen=True, eq=False, repr=False)
class Eraser:
    """``x -> x - left @ right @ (x - offset)``: a projection that removes ``rank`` dimensions.

    ``right`` reads what is to go and ``left`` takes it away; in an orthogonal projection one is the other's
    transpose. ``offset`` is the point that stays where it is. Factors are float64, and so is the arithmetic; the
    result has the dtype of the activations, so that it goes back into the model that they came from.

    ``method`` names the way it was fitted, ``settings`` (plain JSON) with which numbers.

    Raises:
        ActivationError: factors whose shapes do not fit, or that are not those of a projection.
        NonFiniteError: NaN or infinity in the factors.

    >>> gone = Eraser.projection(torch.tensor([[3.0, 0.0]]), "by hand")
    >>> gone(torch.tensor([[5.0, 7.0]])), gone.rank
    (tensor([[0., 7.]]), 1)
    """

    left: Float[Tensor, "d rank"]
    right: Float[Tensor, "rank d"]
    offset: Float[Tensor, " d"]
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Provenance | None = None

    def __post_init__(self) -> None:
        left, right, offset = (t.detach().cpu().double().clone() for t in (self.left, self.right, self.offset))
        if left.dim() != 2 or not left.numel() or right.shape != left.shape[::-1] or offset.shape != left.shape[:1]:
            shapes = [list(t.shape) for t in (left, right, offset)]
            raise ActivationError(f"an eraser has factors [d, rank], [rank, d] and [d], got {shapes}")
        if not all(bool(torch.isfinite(t).all()) for t in (left, right, offset)):
            raise NonFiniteError(f"the factors of eraser {self.method!r} hold NaN or infinity")
        off = float((right @ left - torch.eye(left.shape[1], dtype=torch.float64)).abs().max())
        if off > 1e-6:
            raise ActivationError(
                f"right @ left of eraser {self.method!r} is off the identity by {off:.2g}, so erasing twice would not "
                "be erasing once; make it with Eraser.projection(basis, ...) or a fit_ function"
            )
        for name, value in (("left", left), ("right", right), ("offset", offset)):
            object.__setattr__(self, name, value)

    @classmethod
    def projection(
        cls,
        basis: Float[Tensor, "k d"],
        method: str,
        *,
        offset: Float[Tensor, " d"] | None = None,
        settings: Mapping[str, Any] | None = None,
        provenance: Provenance | None = None,
    ) -> Eraser:
        """The orthogonal projection that removes the span of the rows of ``basis``; dependent rows count once.

        Raises:
            NonFiniteError: NaN or infinity.
            ActivationError: no direction, or only zeros.
        """
        rows = basis.detach().cpu().double()
        if not bool(torch.isfinite(rows).all()):
            raise NonFiniteError(f"the directions of eraser {method!r} hold NaN or infinity")
        if not bool(rows.any()):
            raise ActivationError(f"eraser {method!r} got {len(rows)} directions, none of which has a length")
        _, size, directions = torch.linalg.svd(rows, full_matrices=False)
        directions = directions[size > DEPENDENT * size.max()]
        at = rows.new_zeros(rows.shape[1]) if offset is None else offset
        return cls(directions.T, directions, at, method, dict(settings or {}), provenance)

    @property
    def rank(self) -> int:
        """How many dimensions it removes."""
        return self.left.shape[1]

    @property
    def width(self) -> int:
        """How wide the activations are."""
        return self.left.shape[0]

    @property
    def matrix(self) -> Float[Tensor, "d d"]:
        """The linear part ``P`` of the map ``P x + shift``, to edit weights: ``W -> P W``, ``b -> P b + shift``."""
        return torch.eye(self.width, dtype=torch.float64) - self.left @ self.right

    @property
    def shift(self) -> Float[Tensor, " d"]:
        """The constant part of the map ``P x + shift``."""
        return self.left @ (self.right @ self.offset)

    def __repr__(self) -> str:
        made = "" if self.provenance is None else f"; of model {self.provenance.model_id!r}"
        return f"Eraser({self.method}, removes {self.rank} of {self.width} dimensions{made})"

    def __call__(self, x: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
        """Activations without what it erases, in their own dtype; the input is left as it was."""
        if x.shape[-1] != self.width:
            raise ActivationError(f"this eraser takes {self.width} numbers per row, the activations have {x.shape[-1]}")
        exact = torch.float32 if x.device.type == "mps" else torch.float64  # the one device without float64
        left, right, offset = (t.to(x.device, exact) for t in (self.left, self.right, self.offset))
        rows = x.to(exact)
        return (rows - (rows - offset) @ right.T @ left.T).to(x.dtype)

    def made_with(self, provenance: Provenance) -> Eraser:
        """A copy that says where it came from."""
        return replace(self, provenance=provenance)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write as safetensors, with method, settings and provenance in the header."""
        made = None if self.provenance is None else self.provenance.to_dict()
        fields = {"method": self.method, "settings": dict(self.settings), "provenance": made}
        return save_artefact(path, "eraser", {"left": self.left, "right": self.right, "offset": self.offset}, fields)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model_fingerprint: str | None = None) -> Eraser:
        """Read what `save` wrote.

        Args:
            path: the file.
            model_fingerprint: of the model it is meant for (``model.fingerprint``); ``None`` skips the check.

        Raises:
            ProvenanceError: it was made with another model.
            ArtefactError: the file is missing, damaged, something else, or says no model where one was to be checked.
        """
        where = os.fspath(path)
        _, tensors, fields = load_artefact(path, ("eraser",))
        try:
            made = fields["provenance"]
            provenance = None if made is None else Provenance.from_dict(made)
            method, settings = str(fields["method"]), dict(fields["settings"])
            left, right, offset = tensors["left"], tensors["right"], tensors["offset"]
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{where!r} lacks or garbles a field: {error!r}") from error
        if model_fingerprint is not None:
            if provenance is None:
                raise ArtefactError(
                    f"{where!r} does not say which model it was made with, so it cannot be checked against "
                    f"{model_fingerprint}; save it as eraser.made_with(provenance), or load it without the check"
                )
            provenance.require_model(model_fingerprint, where)
        return cls(left, right, offset, method, settings, provenance)
