"""A map that moves some activations and leaves others where they are: steering that looks at its input."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..edits import At, Edit, EditRows, When
from ..errors import ActivationError, ArtefactError, NonFiniteError, StatisticsError
from ..provenance import Provenance
from ..sites import Site
from .artefact import load_artefact, save_artefact
from .direction import Direction


@dataclass(frozen=True, eq=False, repr=False)
class NullSpaceMap:
    """``x -> x + (x @ left) @ right``: rows in the span that was kept do not move.

    ``left`` is an orthonormal basis of the null space ``[d, k]`` and ``right`` is ``[k, d]``; ``delta`` is their
    product. ``kept`` is the share of the kept rows' squared length that lies outside the null space.
    """

    site: Site
    mark: str
    left: Float[Tensor, "d k"]
    right: Float[Tensor, "k d"]
    ridge: float
    kept: float
    provenance: Provenance

    @property
    def delta(self) -> Float[Tensor, "d d"]:
        """The whole matrix."""
        return self.left @ self.right

    @property
    def dimensions(self) -> int:
        """How many dimensions the null space has."""
        return self.left.shape[1]

    def __repr__(self) -> str:
        made = f"of model {self.provenance.model_id!r}"
        return (
            f"NullSpaceMap({self.site} at {self.mark}, reads {self.dimensions} of {len(self.left)} dimensions; {made})"
        )

    def __call__(self, x: Float[Tensor, "*rows d"]) -> Float[Tensor, "*rows d"]:
        """What is added to rows, in their dtype."""
        if x.shape[-1] != len(self.left):
            raise ActivationError(
                f"this map at {self.site} takes {len(self.left)} numbers, the activations {x.shape[-1]}"
            )
        return x @ self.left.to(x) @ self.right.to(x)

    def edit(self, coeff: float = 1.0, *, site: Site | str | None = None, at: At = "all", when: When = "both") -> Edit:
        """Add ``coeff`` times what the map gives for each row.

        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> made = fit_null_space_map(x[:1], x[1:], torch.tensor([3.0, 0.0]), site="resid_post.0", mark="last",
        ...                           provenance=Provenance("a1", "tiny"), ridge=1e-9)
        >>> made.edit().fn(x, None).round(decimals=3)
        tensor([[1., 0.],
                [3., 1.]])
        """

        def fn(x: Tensor, _: EditRows | Any) -> Tensor:
            return x + coeff * self(x)

        where = self.site if site is None else Site.parse(site)
        return Edit(where, fn, at, when, f"null_space({coeff:g})", len(self.left))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write as safetensors."""
        fields = {
            "site": str(self.site), "mark": self.mark, "ridge": self.ridge, "kept": self.kept,
            "provenance": self.provenance.to_dict(),
        }  # fmt: skip
        return save_artefact(path, "null-space-map", {"left": self.left, "right": self.right}, fields)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model_fingerprint: str | None = None) -> NullSpaceMap:
        """Read what `save` wrote; with ``model_fingerprint``, only for that model.

        Raises:
            ProvenanceError: it was made with another model.
            ArtefactError: the file is missing, damaged, or something else.
        """
        where = os.fspath(path)
        _, tensors, fields = load_artefact(path, ("null-space-map",))
        try:
            made = Provenance.from_dict(fields["provenance"])
            values = Site.parse(fields["site"]), str(fields["mark"]), tensors["left"], tensors["right"]
            ridge, kept = float(fields["ridge"]), float(fields["kept"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(f"{where!r} lacks or garbles a field: {error!r}") from error
        if model_fingerprint is not None:
            made.require_model(model_fingerprint, where)
        return cls(*values, ridge, kept, made)


def fit_null_space_map(
    keep: Float[Tensor, "kept d"],
    move: Float[Tensor, "moved d"],
    target: Direction | Float[Tensor, " d"] | Float[Tensor, "moved d"],
    *,
    site: Site | str,
    mark: str,
    provenance: Provenance,
    energy: float = 0.999,
    ridge: float = 10.0,
) -> NullSpaceMap:
    """The map that adds ``target`` to the rows ``move``, as nearly as a map can that does not read the rows ``keep``.

    ``Delta = (P H^T H P + a P)^+ P H^T R`` with ``H = move``, ``R`` the targets, ``a = ridge``, and ``P`` projecting on
    the null space of ``keep``: all directions but the fewest that hold ``energy`` of those rows' squared length.
    It is solved in coordinates of that space, where it is one ridge regression.

    Args:
        keep: activations to leave where they are, such as those of harmless prompts.
        move: activations to move, such as those of harmful prompts.
        target: what to add to them: one vector (a `Direction` stands for its ``vector``), or one per row.
        energy: below 1, or 1 to keep the rows to rounding. The more is kept, the fewer dimensions are left to read.
        ridge: in squared units of the activations.

    Raises:
        StatisticsError: an energy outside (0, 1], or a ridge that is not positive.
        ActivationError: widths that differ, or no null space: the kept rows fill every dimension.
        NonFiniteError: NaN or infinity.

    Source: AlphaSteer (arXiv 2506.07022), its regularised regression under the null-space constraint in closed form.
    """
    if not 0 < energy <= 1 or not ridge > 0:
        raise StatisticsError(f"energy={energy!r} lies in (0, 1] and ridge={ridge!r} above 0")
    goal = (target.vector if isinstance(target, Direction) else target).detach().cpu().double()
    still, rows = keep.detach().cpu().double(), move.detach().cpu().double()
    goal = goal.expand(len(rows), -1) if goal.dim() == 1 else goal
    if not len(still) or not len(rows) or still.shape[1] != rows.shape[1] or goal.shape != rows.shape:
        shapes = [list(x.shape) for x in (still, rows, goal)]
        raise ActivationError(f"rows to keep, rows to move and targets must be [row, d] of one width, got {shapes}")
    if not all(bool(torch.isfinite(x).all()) for x in (still, rows, goal)):
        raise NonFiniteError(f"rows for the map at {site} hold NaN or infinity")
    basis, kept = _null_space(still, energy)
    if not basis.shape[1]:
        raise ActivationError(
            f"the {len(still)} rows to keep fill all {still.shape[1]} dimensions at energy {energy:g}, so that nothing "
            "is left to read; lower energy, or keep fewer rows"
        )
    inside = rows @ basis
    gram = inside.T @ inside + ridge * torch.eye(basis.shape[1], dtype=torch.float64)
    right = torch.cholesky_solve(inside.T @ goal, torch.linalg.cholesky(gram))
    return NullSpaceMap(Site.parse(site), mark, basis, right, ridge, kept, provenance)


def _null_space(rows: Float[Tensor, "row d"], energy: float) -> tuple[Float[Tensor, "d k"], float]:
    """Basis of all but the fewest directions that hold ``energy`` of the rows' squared length, and what they hold."""
    value, vector = torch.linalg.eigh(rows.T @ rows)
    value, vector = value.flip(0).clamp_min(0), vector.flip(1)
    total = float(value.sum())
    share = value.cumsum(0) / total if total > 0 else torch.ones_like(value)
    rank = int((value > 1e-12 * float(value[0])).sum())
    count = rank if energy == 1 else min(rank, int((share < energy - 1e-12).sum()) + 1)
    return vector[:, count:], float(share[count - 1]) if count else 1.0
