"""Edits that move activations along a direction: ``add``, ``clamp``, and ``scale``."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..errors import EditError
from ..sites import Site
from .edit import At, Edit, RowFn, When, directed, unit_of, vector_of


def add(
    site: Site | str,
    vector: Any,
    coeff: float = 1.0,
    *,
    norm: float | None = None,
    at: At = "all",
    when: When = "both",
) -> Edit:
    """Add ``coeff * vector`` to every selected row (steering).

    Args:
        vector: ``[width]``, or a `Direction`, whose unit vector is used.
        norm: a typical length of activations there, as `interp.safety.typical_norm` measures it. The vector is then
            brought to that length first, so that ``coeff`` counts in typical lengths and means the same at any depth.

    Raises:
        EditError: a ``norm`` that is not a positive number, or, with ``norm``, a vector without length.

    Example:
        >>> import torch
        >>> add("resid_post.1", torch.ones(4), coeff=2.0).fn(torch.zeros(3, 4), None)[0]
        tensor([2., 2., 2., 2.])
        >>> add("resid_post.1", torch.tensor([3.0, 4.0]), 0.5, norm=10.0).fn(torch.zeros(1, 2), None)
        tensor([[3., 4.]])
    """
    given = vector_of(vector)
    if norm is None:
        return directed(Site.parse(site), given, lambda v: _adding(v, coeff), at, when, f"add({coeff:g})")
    if not (math.isfinite(norm) and norm > 0):
        raise EditError(f"norm={norm!r}: a typical length of activations is a positive number")
    unit = unit_of(given, "add(..., norm=...)")
    name = f"add({coeff:g} x norm {norm:.3g})"
    return directed(Site.parse(site), unit, lambda v: _adding(v, coeff * norm), at, when, name)


def clamp(
    site: Site | str,
    vector: Any,
    value: float | tuple[float | None, float | None],
    *,
    at: At = "all",
    when: When = "both",
) -> Edit:
    """Set the projection on a direction: ``x + (value - x . u) u``, with ``u`` the vector at length 1.

    Args:
        vector: ``[width]``, or a `Direction`.
        value: the projection that every selected row gets, in units of the activations; or ``(low, high)``, the range
            that projections are brought into, with ``None`` for an open end.

    Raises:
        EditError: a vector without length, or a range that is empty or open at both ends.

    Example:
        >>> import torch
        >>> clamp("resid_post.1", torch.tensor([2.0, 0.0]), 3.0).fn(torch.tensor([[5.0, 7.0]]), None)
        tensor([[3., 7.]])
        >>> clamp("resid_post.1", torch.tensor([2.0, 0.0]), (None, 6.0)).fn(torch.tensor([[5.0, 7.0]]), None)
        tensor([[5., 7.]])
    """
    low, high = value if isinstance(value, tuple) else (value, value)
    ends = [v for v in (low, high) if v is not None]
    if not ends or not all(math.isfinite(v) for v in ends) or (len(ends) == 2 and ends[0] > ends[1]):
        raise EditError(f"clamp to {value!r}: a number, or (low, high) with low <= high and at most one None")
    name = f"clamp({low:g})" if low is not None and low == high else f"clamp({low} to {high})"

    def make(v: torch.Tensor) -> RowFn:
        unit = unit_of(v, "clamp")

        def fn(x: torch.Tensor, _: Any) -> torch.Tensor:
            u = unit.to(x)
            now = x @ u
            return x + (now.clamp(low, high) - now)[:, None] * u

        return fn

    return directed(Site.parse(site), vector_of(vector), make, at, when, name)


def scale(site: Site | str, factor: float, *, at: At = "all", when: When = "both") -> Edit:
    """Multiply every selected row by ``factor``."""
    return Edit(Site.parse(site), lambda x, _: x * factor, at, when, f"scale({factor:g})")


def _adding(vector: torch.Tensor, coeff: float) -> RowFn:
    return lambda x, _: x + coeff * vector.to(x)
