"""``fit_direction``: one direction between two classes of rows, by any of the methods there are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import ActivationError, NonFiniteError, SplitError
from ..probes.solver import fit_logistic
from ..probes.standardise import moments, usable
from ..provenance import Provenance
from ..sites import Site
from .direction import Direction
from .lda import lda_weights
from .pca import pca_weights

Pairs = Int[Tensor, "pair 2"]
Weights = Callable[..., Tensor]

AGREES = 0.5
"""Cosine of a first principal component with the difference of means below which a warning is due."""


def diff_means_weights(
    x: Float[Tensor, "row d"], y: Float[Tensor, "label row"], pairs: Pairs | None = None
) -> Float[Tensor, "label d"]:
    """Mean of the positive rows less mean of the others, for each label vector."""
    count = y.sum(1, keepdim=True)
    return y @ x / count - (1 - y) @ x / (y.shape[1] - count)


def logistic_weights(
    x: Float[Tensor, "row d"],
    y: Float[Tensor, "label row"],
    pairs: Pairs | None = None,
    *,
    C: float = 1.0,
    tol: float = 1e-5,
) -> Float[Tensor, "label d"]:
    """Weights of L2 logistic regression on standardised rows, in the units of the rows."""
    mean, scale = moments(x)
    return fit_logistic(((x - mean) / scale)[None], y[None], C=C, tol=tol).coef[0] / scale


def _lda(x: Tensor, y: Tensor, pairs: Pairs | None = None, **settings: Any) -> Tensor:
    return lda_weights(x, y, **settings)


METHODS: dict[str, Weights] = {
    "diff_means": diff_means_weights,
    "pca": pca_weights,
    "logistic": logistic_weights,
    "lda": _lda,
}
"""From rows ``[row, d]``, label vectors ``[label, row]`` and pairs of rows to weights ``[label, d]``."""


def fit_direction(
    x: Float[Tensor, "row d"],
    y: ArrayLike,
    method: str = "diff_means",
    *,
    site: Site | str,
    mark: str,
    provenance: Provenance,
    pairs: ArrayLike | None = None,
    **settings: Any,
) -> Direction:
    """The direction along which rows of the positive class lie above the others.

    ``scale`` is the distance of the class means along it, whatever the method, so that ``direction.vector`` is in the
    units of the activations.

    Args:
        x: rows of activations; sums are float64.
        y: two classes; the one that sorts last is positive.
        method: ``diff_means``; ``pca``, the first principal component of differences whose signs favour neither class;
            ``logistic``, L2 on standardised rows (``C=1.0``); ``lda``, with a covariance shrunk as Ledoit and Wolf do
            (``shrinkage=None``).
        pairs: a name per row; rows of one name are a positive and a negative of one item. Only ``pca`` uses it.
        settings: of the method.

    Warns (``UserWarning``) if a first principal component has a cosine with the difference of means below 0.5: it then
    follows something that varies more than the classes differ.

    Raises:
        SplitError: not two classes, or pairs that are no pairs.
        ActivationError: an unknown method, or rows that are all alike.
        NonFiniteError: NaN or infinity.

    >>> x = torch.tensor([[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]])
    >>> made = {"site": "resid_post.0", "mark": "last", "provenance": Provenance("a1", "tiny")}
    >>> d = fit_direction(x, [0, 0, 1, 1], "lda", **made)
    >>> d.unit.round(decimals=6).tolist(), round(d.scale, 6), d.method
    ([1.0, 0.0], 2.0, 'lda')
    """
    weights = require_method(method)
    rows, up = _checked(x, y)
    found = weights(live(rows), up[None].double(), None if pairs is None else pair_rows(pairs, up.numpy()), **settings)[
        0
    ]
    size = float(found.norm())
    mean = rows[up].mean(0) - rows[~up].mean(0)
    gap = float(found @ mean)
    if size == 0 or gap == 0:
        raise ActivationError(f"the rows of the two classes at {site} are alike along every direction; nothing to find")
    cosine = abs(gap) / (size * float(mean.norm()))
    if method == "pca" and cosine < AGREES:
        warnings.warn(disagreement(str(site), cosine), UserWarning, stacklevel=2)
    return Direction(Site.parse(site), mark, found / size, abs(gap) / size, method, provenance)


def require_method(method: str) -> Weights:
    """The method of that name.

    Raises:
        ActivationError: there is none; the message lists those that there are.
    """
    if method not in METHODS:
        raise ActivationError(f"no method {method!r} to fit a direction by; methods are: {', '.join(METHODS)}")
    return METHODS[method]


def disagreement(site: str, cosine: float) -> str:
    """The warning that a first principal component is not about the classes."""
    return (
        f"At {site} the first principal component and the difference of means have a cosine of {cosine:.2f}: something "
        "else varies more than the classes differ. Use diff_means, or give pairs that differ in the class alone."
    )


def live(x: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
    """Rows less their mean, with 0 for features whose spread is that of rounding."""
    mean = x.mean(0)
    spread = (x - mean).square().mean(0).sqrt()
    return torch.where(usable(mean, spread) == spread, x - mean, 0.0)


def pair_rows(pairs: ArrayLike, up: Sequence[bool] | np.ndarray) -> Pairs:
    """Row numbers ``[pair, 2]``, the positive row first, from a name per row.

    Raises:
        SplitError: a name that is not that of one positive and one negative row.
    """
    names, truth = np.asarray(pairs), np.asarray(up, bool)
    if names.shape != truth.shape:
        raise SplitError(f"{len(names)} pair names for {len(truth)} rows")
    order = np.lexsort((~truth, names))
    found = order.reshape(-1, 2) if len(order) % 2 == 0 else order[:-1].reshape(-1, 2)
    good = (names[found[:, 0]] == names[found[:, 1]]) & truth[found[:, 0]] & ~truth[found[:, 1]]
    if len(order) % 2 or not good.all():
        bad = names[found[:, 0]][~good][0] if not good.all() else names[order[-1]]
        raise SplitError(f"pair {bad!r} is not one positive and one negative row; leave incomplete pairs out")
    return torch.from_numpy(found)


def _checked(x: Tensor, y: ArrayLike) -> tuple[Float[Tensor, "row d"], Bool[Tensor, " row"]]:
    labels = np.asarray(y)
    if x.dim() != 2 or labels.shape != (len(x),):
        raise ActivationError(
            f"a direction is fitted on rows [row, d] with a label each, got {list(x.shape)}, {labels.shape}"
        )
    classes = np.unique(labels)
    if len(classes) != 2:
        raise SplitError(
            f"a direction lies between two classes, the labels have {len(classes)}: {classes.tolist()[:6]}"
        )
    rows = x.detach().cpu().double()
    bad = ~torch.isfinite(rows).all(1)
    if bool(bad.any()):
        raise NonFiniteError(
            f"activations hold NaN or infinity in {int(bad.sum())} rows, first {int(bad.nonzero()[0])}"
        )
    return rows, torch.from_numpy(labels == classes[1])
