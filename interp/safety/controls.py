"""What an edit is compared with: the same edit along random directions of equal length, and typical lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..edits import Edit
from ..errors import EditError, StatisticsError
from ..prompts import PromptSet
from ..run import capture
from ..sites import Site

if TYPE_CHECKING:
    from ..models import Model

Kind = Literal["isotropic", "natural"]
MOST_ROWS = 20_000  # of activations that natural directions are mixed from


def typical_norm(model: Model, prompts: PromptSet, site: Site | str, *, at: str = "all") -> float:
    """The median length of activations at a site, over the tokens of some prompts that are not control tokens.

    The median, and no control tokens, because the first token of a text has activations a hundred times as long as
    others in many models.

    Raises:
        PromptError: every token there is a control token.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5]])
    >>> typical_norm(model, prompts, "resid_post.1") > 0
    True
    """
    return float(rows_at(model, prompts, site, at).double().norm(dim=-1).median())


def rows_at(model: Model, prompts: PromptSet, site: Site | str, at: str = "all") -> Float[Tensor, "row width"]:
    """Activations at a site, without those of control tokens unless there are no others at that mark."""
    found = capture(model, prompts, [site], at=at, progress=False)
    rows = found[site].tensor().cpu()
    plain = torch.from_numpy(~np.asarray(found.index.special, dtype=bool))
    return rows[plain] if bool(plain.any()) else rows


def random_vectors(
    like: Float[Tensor, " width"],
    count: int,
    *,
    kind: Kind = "isotropic",
    rows: Float[Tensor, "row width"] | None = None,
    seed: int = 0,
) -> Float[Tensor, "count width"]:
    """Directions drawn at random, as long as ``like``.

    ``isotropic`` ones point anywhere. Most of these leave a model's activations where they hardly ever vary, so that
    they are easy to be better than. ``natural`` ones are random mixtures of activations ``rows`` about their mean, so
    that they vary as the activations do: the harder control.

    Raises:
        StatisticsError: no directions, an unknown kind, or natural ones without two rows that differ.

    >>> made = random_vectors(torch.tensor([3.0, 4.0]), 5)
    >>> made.shape, made.norm(dim=-1).round(decimals=6).unique().tolist()
    (torch.Size([5, 2]), [5.0])
    """
    if count < 1:
        raise StatisticsError(f"a control needs one random direction or more, got {count}")
    generator = torch.Generator().manual_seed(seed)
    if kind == "isotropic":
        drawn = torch.randn(count, len(like), generator=generator, dtype=torch.float64)
    elif kind == "natural":
        if rows is None or len(rows) < 2:
            raise StatisticsError("natural random directions are mixed from activations; give two rows or more")
        centred = rows[:MOST_ROWS].double() - rows[:MOST_ROWS].double().mean(0)
        drawn = torch.randn(count, len(centred), generator=generator, dtype=torch.float64) @ centred
    else:
        raise StatisticsError(f"random directions are 'isotropic' or 'natural', got {kind!r}")
    size = drawn.norm(dim=-1, keepdim=True)
    if not bool((size > 0).all()):
        raise StatisticsError("the activations that natural random directions are mixed from do not differ at all")
    return (drawn / size * like.double().norm().cpu()).to(like.dtype)


def turned(
    edits: Sequence[Edit], count: int, *, kind: Kind = "isotropic", rows: Tensor | None = None, seed: int = 0
) -> list[tuple[Edit, ...]]:
    """The same edits along random directions, ``count`` times; edits that share a direction share the random one.

    Raises:
        EditError: an edit that acts along no direction.

    >>> from interp.edits import ablate
    >>> v = torch.tensor([0.0, 2.0])
    >>> [[a, b]] = turned([ablate("resid_post.0", "direction", v), ablate("resid_post.1", "direction", v)], 1)
    >>> torch.equal(a.along.vector, b.along.vector), bool(a.along.vector[0] != 0)
    (True, True)
    """
    drawn: dict[bytes, Tensor] = {}
    for edit in edits:
        if edit.along is None:
            raise EditError(f"{edit} acts along no direction, so a random one cannot take its place")
        key = _key(edit.along.vector)
        if key not in drawn:
            options: dict[str, Any] = {"kind": kind, "rows": rows, "seed": seed * 1_000_003 + len(drawn)}
            drawn[key] = random_vectors(edit.along.vector, count, **options)
    return [
        tuple(edit.turned(drawn[_key(edit.along.vector)][i]) for edit in edits if edit.along is not None)
        for i in range(count)
    ]


def _key(vector: Tensor) -> bytes:
    return vector.detach().double().cpu().numpy().tobytes()
