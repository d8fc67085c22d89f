"""Ablation of attention heads, named as papers name them: ``3.2`` is head 2 of layer 3."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import torch

from ..errors import EditError
from ..sites import Site
from .edit import At, Edit, When
from .remove import ablate

_HEAD = re.compile(r"(0|[1-9]\d*)\.h?(0|[1-9]\d*)")


def read_heads(text: str | Iterable[str | tuple[int, int] | Site]) -> tuple[Site, ...]:
    """Heads as the sites ``z.LAYER.hHEAD``, from ``"3.2,4.0"``, pairs ``(3, 2)``, or sites.

    Raises:
        EditError: something else, or the same head twice.

    >>> read_heads("3.2, 4.h0")
    (Site('z.3.h2'), Site('z.4.h0'))
    """
    items = text.split(",") if isinstance(text, str) else list(text)
    found: list[Site] = []
    for item in items:
        if isinstance(item, tuple):
            found.append(Site("z", *item))
            continue
        match = _HEAD.fullmatch(item.strip()) if isinstance(item, str) else None
        site = Site("z", int(match[1]), int(match[2])) if match else None
        if isinstance(item, Site) or (isinstance(item, str) and item.strip().startswith("z.")):
            site = Site.parse(item.strip() if isinstance(item, str) else item)
        if site is None or site.kind != "z" or site.head is None:
            raise EditError(f"cannot read head {str(item)!r}; write LAYER.HEAD, as in 3.2, several as 3.2,4.0")
        found.append(site)
    if not found:
        raise EditError("no heads given; write LAYER.HEAD, as in 3.2, several as 3.2,4.0")
    twice = next((s for i, s in enumerate(found) if s in found[:i]), None)
    if twice is not None:
        raise EditError(f"head {twice.layer}.{twice.head} is given twice")
    return tuple(found)


def ablate_heads(
    heads: str | Iterable[str | tuple[int, int] | Site],
    kind: Literal["zero", "mean", "resample"],
    values: Mapping[Site, torch.Tensor] | None = None,
    *,
    at: At = "all",
    when: When = "both",
) -> tuple[Edit, ...]:
    """One edit per head, of what it writes before the output matrix (``z``); other heads are left as they are.

    ``zero`` needs no values; for ``mean`` they are ``[d_head]`` per head, for ``resample`` ``[example, d_head]``, one
    row for each example of the prompts that are run. `interp.safety.head_values` measures either.

    Raises:
        EditError: heads that cannot be read, another kind, or values that are missing or not wanted.

    Example:
        >>> [str(e.site) for e in ablate_heads("0.1,1.0", "zero")]
        ['z.0.h1', 'z.1.h0']
    """
    sites = read_heads(heads)
    if kind not in ("zero", "mean", "resample"):
        raise EditError(f"a head is ablated by 'zero', 'mean' or 'resample', not {kind!r}")
    if kind == "zero":
        if values is not None:
            raise EditError("ablate_heads(..., 'zero') takes no values; did you mean 'mean'?")
        return tuple(ablate(site, "zero", at=at, when=when) for site in sites)
    missing = [str(s) for s in sites if values is None or s not in values]
    if values is None or missing:
        raise EditError(f"ablate_heads(..., {kind!r}) needs a value for {', '.join(missing)}")
    return tuple(ablate(site, kind, values[site], at=at, when=when) for site in sites)
