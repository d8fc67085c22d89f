"""Edits that take something out of activations or put something else in: ``ablate``, ``project``, ``patch``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from jaxtyping import Float

from ..errors import EditError
from ..sites import Site
from .edit import At, Edit, EditRows, RowFn, When, directed, unit_of, vector_of

DEPENDENT = 1e-6  # share of the largest singular value below which rows of a basis count as dependent


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
        mean = vector_of(value)
        return Edit(site, lambda x, _: mean.to(x).expand_as(x), at, when, "ablate(mean)", len(mean))
    if kind == "resample":
        return replace(patch(site, value, at=at, when=when), name="ablate(resample)")
    if kind == "direction":
        return directed(site, vector_of(value), _without, at, when, "ablate(direction)")
    raise EditError(f"unknown ablation {kind!r}; one of 'zero', 'mean', 'resample', 'direction'")


def project(
    site: Site | str,
    basis: Float[torch.Tensor, "k width"],
    *,
    offset: Float[torch.Tensor, " width"] | None = None,
    at: At = "all",
    when: When = "both",
) -> Edit:
    """Keep only what lies in the span of the rows of ``basis``, about ``offset`` (zero by default).

    The opposite of ablating a direction: everything but the subspace is removed. Dependent rows count once.

    Raises:
        EditError: a basis that is not ``[k, width]``, is not finite, or holds only zeros.

    Example:
        >>> import torch
        >>> project("resid_post.1", torch.tensor([[3.0, 0.0]])).fn(torch.tensor([[5.0, 7.0]]), None)
        tensor([[5., 0.]])
    """
    if basis.ndim != 2 or not bool(torch.isfinite(basis).all()):
        raise EditError(f"project takes a finite basis [k, width], got shape {tuple(basis.shape)}")
    _, size, rows = torch.linalg.svd(basis.detach().double(), full_matrices=False)
    if not size.numel() or not float(size.max()) > 0:
        raise EditError("project got a basis of zeros, in whose span nothing lies")
    kept = rows[size > DEPENDENT * size.max()]
    origin = torch.zeros(basis.shape[1]) if offset is None else vector_of(offset)
    if len(origin) != basis.shape[1]:
        raise EditError(f"project: the basis is {basis.shape[1]} wide, the offset {len(origin)}")

    def fn(x: torch.Tensor, _: Any) -> torch.Tensor:
        span, at_offset = kept.to(x), origin.to(x)
        return at_offset + (x - at_offset) @ span.T @ span

    return Edit(Site.parse(site), fn, at, when, f"project({len(kept)})", basis.shape[1])


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


def _without(vector: torch.Tensor) -> RowFn:
    unit = unit_of(vector, "ablate(..., 'direction')")

    def fn(x: torch.Tensor, _: Any) -> torch.Tensor:
        u = unit.to(x)
        return x - (x @ u)[:, None] * u

    return fn


def _take(source: torch.Tensor, example: torch.Tensor, site: Site) -> torch.Tensor:
    if int(example.max()) >= len(source):
        raise EditError(f"patch at {site}: the source has {len(source)} rows, but example {int(example.max())} was run")
    return source[example.to(source.device)]
