"""``Edit``: a pure change of activations at a site, and the ways to make one.

An edit says *what* (a pure function of the selected rows), *where* (a site), *at which tokens* (``at``) and *when*
(``prompt``, ``generated`` or ``both``). Positions are those of the unpadded prompt, so they mean the same under left
or right padding, in any batch, and with a KV cache. Every run counts how often each edit fired; one that never fired
raises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int

from .errors import EditError
from .sites import Site

When = Literal["prompt", "generated", "both"]
At = str | tuple[str, str]


@dataclass(frozen=True)
class EditRows:
    """Which rows an edit looks at: the example's number in the prompt set, the token's position in its prompt."""

    example: Int[torch.Tensor, " row"]
    pos: Int[torch.Tensor, " row"]


RowFn = Callable[[torch.Tensor, EditRows], torch.Tensor]


@dataclass(frozen=True)
class Edit:
    """A pure function of rows at a site.

    ``fn(rows, where)`` gets ``[row, width]`` and an `EditRows`, and returns the same shape; it must not write in place.
    ``at`` is ``"all"``, a mark of the prompt set (``"last"``, ``"t_inst"`` ...) or a span ``(mark, mark)``, both ends
    included. ``when`` limits it to prompt tokens or generated tokens. ``width`` is that of the rows that ``fn`` takes,
    checked before the run; ``None`` if it takes any.

    Raises:
        EditError: ``when`` is unknown, or a mark is combined with ``generated`` (marks lie in the prompt).
    """

    site: Site
    fn: RowFn
    at: At = "all"
    when: When = "both"
    name: str = "edit"
    width: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", Site.parse(self.site))
        if self.when not in ("prompt", "generated", "both"):
            raise EditError(f"when={self.when!r}: one of 'prompt', 'generated', 'both'")
        if not (isinstance(self.at, str) or (isinstance(self.at, tuple) and len(self.at) == 2)):
            raise EditError(f"at={self.at!r}: 'all', the name of a mark, or a pair of marks")
        if self.at != "all" and self.when == "generated":
            raise EditError(f"at={self.at!r} lies in the prompt, so when='generated' would never fire")

    def moved(self, **changes: Any) -> Edit:
        """A copy with another site, ``at`` or ``when``."""
        return replace(self, **changes)

    def __repr__(self) -> str:
        return f"Edit({self.name} at {self.site}, tokens {self.at}, when {self.when})"


def add(site: Site | str, vector: Any, coeff: float = 1.0, *, at: At = "all", when: When = "both") -> Edit:
    """Add ``coeff * vector`` to every selected row (steering).

    Args:
        vector: ``[width]``, or a `Direction`, whose unit vector is used.

    Example:
        >>> import torch
        >>> edit = add("resid_post.1", torch.ones(4), coeff=2.0)
        >>> edit.fn(torch.zeros(3, 4), None)[0]
        tensor([2., 2., 2., 2.])
    """
    direction = _vector(vector)
    return Edit(Site.parse(site), lambda x, _: x + coeff * direction.to(x), at, when, f"add({coeff:g})", len(direction))


def scale(site: Site | str, factor: float, *, at: At = "all", when: When = "both") -> Edit:
    """Multiply every selected row by ``factor``."""
    return Edit(Site.parse(site), lambda x, _: x * factor, at, when, f"scale({factor:g})")


def ablate(
    site: Site | str,
    kind: Literal["zero", "mean", "resample", "direction"],
    value: Any = None,
    *,
    at: At = "all",
    when: When = "both",
) -> Edit:
    """Remove information from the selected rows; always says which kind.

    ``zero`` needs no value. ``mean`` replaces rows by ``value`` ``[width]``. ``resample`` replaces the rows of example
    *i* by row *i* of ``value`` ``[example, width]``. ``direction`` projects ``value`` ``[width]`` (or a `Direction`)
    out: ``x - (x . u) u``, after Arditi et al. (arXiv 2406.11717).

    Example:
        >>> import torch
        >>> ablate("mlp_out.0", "direction", torch.tensor([3.0, 0.0])).fn(torch.tensor([[5.0, 7.0]]), None)
        tensor([[0., 7.]])
    """
    site = Site.parse(site)
    if kind == "zero":
        if value is not None:
            raise EditError("ablate(..., 'zero') takes no value; did you mean 'mean'?")
        return Edit(site, lambda x, _: torch.zeros_like(x), at, when, "ablate(zero)")
    if value is None:
        raise EditError(f"ablate(..., {kind!r}) needs a value")
    if kind == "mean":
        mean = _vector(value)
        return Edit(site, lambda x, _: mean.to(x).expand_as(x), at, when, "ablate(mean)", len(mean))
    if kind == "resample":
        return replace(patch(site, value, at=at, when=when), name="ablate(resample)")
    if kind == "direction":
        vector = _vector(value)
        norm = vector.norm()
        if not norm > 0:
            raise EditError("ablate(..., 'direction') got a vector of norm 0")
        unit = vector / norm
        return Edit(site, lambda x, _: _project_out(x, unit), at, when, "ablate(direction)", len(unit))
    raise EditError(f"unknown ablation {kind!r}; one of 'zero', 'mean', 'resample', 'direction'")


def patch(site: Site | str, source: Any, *, at: At = "all", when: When = "both") -> Edit:
    """Replace the selected rows by rows from elsewhere.

    Args:
        source: ``[example, width]``, one row per example of the prompt set that is run; or `Activations` captured on
            a prompt set of as many examples, from which the row at the same example and position is taken.

    Raises:
        EditError: at run time, when the source has no row for an example and position, or the wrong width.
    """
    site = Site.parse(site)
    if isinstance(source, torch.Tensor):
        if source.ndim != 2:
            raise EditError(f"patch at {site}: the source must be [example, width], got shape {tuple(source.shape)}")
        width = source.shape[1]
        return Edit(site, lambda x, rows: _take(source, rows.example, site).to(x), at, when, "patch", width)
    values = source[site].tensor()
    index = source.index
    keys = torch.from_numpy(index.example.astype("int64") * _POSITIONS + index.position)
    order = torch.argsort(keys)
    keys, values = keys[order], values[order]

    def fn(x: torch.Tensor, rows: EditRows) -> torch.Tensor:
        wanted = rows.example.cpu() * _POSITIONS + rows.pos.cpu()
        found = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        missing = keys[found] != wanted
        if bool(missing.any()):
            i = int(missing.nonzero()[0])
            raise EditError(
                f"patch at {site}: the source has no row for example {int(rows.example[i])}, "
                f"position {int(rows.pos[i])}; "
                "capture the source at the same tokens"
            )
        return values[found].to(x)

    return Edit(site, fn, at, when, "patch", values.shape[1])


_POSITIONS = 1 << 32  # larger than any position, so that example and position fit one integer


def _project_out(x: Float[torch.Tensor, "row width"], unit: torch.Tensor) -> torch.Tensor:
    unit = unit.to(x)
    return x - (x @ unit)[:, None] * unit


def _take(source: torch.Tensor, example: torch.Tensor, site: Site) -> torch.Tensor:
    if int(example.max()) >= len(source):
        raise EditError(f"patch at {site}: the source has {len(source)} rows, but example {int(example.max())} was run")
    return source[example.to(source.device)]


def _vector(value: Any) -> torch.Tensor:
    vector = torch.as_tensor(getattr(value, "unit", value))
    if vector.ndim != 1:
        raise EditError(f"a direction must be one vector [width], got shape {tuple(vector.shape)}")
    if not bool(torch.isfinite(vector).all()):
        raise EditError("a direction must be finite, got NaN or infinity")
    return vector
