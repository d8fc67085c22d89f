"""``Edit``: a pure change of activations at a site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int

from ..errors import EditError
from ..sites import Site

if TYPE_CHECKING:
    from .condition import Condition

When = Literal["prompt", "generated", "both"]
At = str | tuple[str, str]


@dataclass(frozen=True)
class EditRows:
    """Which rows an edit looks at: the example's number in the prompt set, the token's position in its prompt."""

    example: Int[torch.Tensor, " row"]
    pos: Int[torch.Tensor, " row"]


RowFn = Callable[[torch.Tensor, EditRows], torch.Tensor]


@dataclass(frozen=True, eq=False)
class Along:
    """The direction that an edit acts along, and how to make the same edit along another."""

    vector: Float[torch.Tensor, " width"]
    make: Callable[[torch.Tensor], RowFn]


@dataclass(frozen=True)
class Edit:
    """A pure function of rows at a site.

    ``fn(rows, where)`` gets ``[row, width]`` and an `EditRows`, and returns the same shape; it must not write in place.
    ``at`` is ``"all"``, a mark of the prompt set (``"last"``, ``"t_inst"`` ...) or a span ``(mark, mark)``, both ends
    included. ``when`` limits it to prompt tokens or generated tokens. ``width`` is that of the rows that ``fn`` takes,
    checked before the run; ``None`` if it takes any. ``condition`` limits it to some prompts (see `gate`); ``along``
    is the direction of an edit that has one.

    Raises:
        EditError: ``when`` is unknown, or a mark is combined with ``generated`` (marks lie in the prompt).
    """

    site: Site
    fn: RowFn
    at: At = "all"
    when: When = "both"
    name: str = "edit"
    width: int | None = None
    condition: Condition | None = None
    along: Along | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", Site.parse(self.site))
        if self.when not in ("prompt", "generated", "both"):
            raise EditError(f"when={self.when!r}: one of 'prompt', 'generated', 'both'")
        if not (isinstance(self.at, str) or (isinstance(self.at, tuple) and len(self.at) == 2)):
            raise EditError(f"at={self.at!r}: 'all', the name of a mark, or a pair of marks")
        if self.at != "all" and self.when == "generated":
            raise EditError(f"at={self.at!r} lies in the prompt, so when='generated' would never fire")

    def moved(self, **changes: Any) -> Edit:
        """A copy with another site, ``at``, ``when`` or ``condition``."""
        return replace(self, **changes)

    def turned(self, vector: Float[torch.Tensor, " width"]) -> Edit:
        """The same edit along another direction, for controls.

        Raises:
            EditError: this edit has no direction, or one of another width.
        """
        if self.along is None:
            raise EditError(f"{self} acts along no direction that could be replaced by another")
        if vector.shape != self.along.vector.shape:
            wanted, got = list(self.along.vector.shape), list(vector.shape)
            raise EditError(f"{self} acts along a vector of shape {wanted}; the other has {got}")
        return replace(self, fn=self.along.make(vector), along=replace(self.along, vector=vector))

    def __repr__(self) -> str:
        where = f"{self.name} at {self.site}, tokens {self.at}, when {self.when}"
        return f"Edit({where})" if self.condition is None else f"Edit({where}, if {self.condition})"


def vector_of(value: Any) -> Float[torch.Tensor, " width"]:
    """One finite vector: a tensor or list as it is, or a `Direction`'s unit vector.

    Raises:
        EditError: another shape, NaN or infinity.
    """
    vector = torch.as_tensor(getattr(value, "unit", value))
    if vector.ndim != 1:
        raise EditError(f"a direction must be one vector [width], got shape {tuple(vector.shape)}")
    if not bool(torch.isfinite(vector).all()):
        raise EditError("a direction must be finite, got NaN or infinity")
    return vector


def unit_of(vector: Float[torch.Tensor, " width"], what: str) -> Float[torch.Tensor, " width"]:
    """The vector at length 1; ``what`` names the edit in the error about a vector without length."""
    norm = vector.norm()
    if not norm > 0:
        raise EditError(f"{what} got a vector of norm 0")
    return vector / norm


def directed(
    site: Site, vector: Float[torch.Tensor, " width"], make: Callable[[torch.Tensor], RowFn], at: At, when: When,
    name: str,
) -> Edit:  # fmt: skip
    """An edit that acts along ``vector`` and can be made along another."""
    return Edit(site, make(vector), at, when, name, len(vector), along=Along(vector, make))
