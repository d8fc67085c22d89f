"""What an eraser is fitted on: rows of activations and the classes that are to be made unreadable, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ...errors import ActivationError, NonFiniteError, SplitError


def checked(x: Tensor, y: ArrayLike) -> tuple[Tensor, Any]:
    """The rows in float64 and one label for each.

    Raises:
        ActivationError: not one label per row.
        NonFiniteError: NaN or infinity.
        SplitError: one class only.
    """
    labels = np.asarray(y)
    if x.dim() != 2 or labels.shape != (len(x),):
        raise ActivationError(
            f"an eraser is fitted on rows [row, d] with one label each, got activations {list(x.shape)} and labels "
            f"{list(labels.shape)}"
        )
    bad = ~torch.isfinite(x).all(1)
    if bool(bad.any()):
        raise NonFiniteError(
            f"activations hold NaN or infinity in {int(bad.sum())} rows, first number {int(bad.nonzero()[0])}"
        )
    if len(np.unique(labels)) < 2:
        raise SplitError(f"all {len(labels)} rows have label {labels[0]!r}; an eraser needs two classes to tell apart")
    return x.detach().cpu().double(), labels


def two_classes(x: Tensor, y: ArrayLike, method: str) -> tuple[Tensor, Tensor]:
    """The same for methods of two classes: rows, and whether each is of the class that sorts last."""
    rows, labels = checked(x, y)
    classes = np.unique(labels)
    if len(classes) != 2:
        raise SplitError(f"{method} tells two classes apart, the labels have {len(classes)}; LEACE takes any number")
    return rows, torch.from_numpy(labels == classes[1])


def one_hot(labels: Any) -> Tensor:
    """``[row, class]`` of 0 and 1; a single column where there are two classes."""
    classes = np.unique(labels)
    hot = torch.from_numpy((labels[:, None] == classes[None]).astype(np.float64))
    return hot[:, 1:] if len(classes) == 2 else hot
