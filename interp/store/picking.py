"""Which rows: slices, row numbers and boolean masks, made into one checked form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ActivationError

Picker = slice | Sequence[int] | np.ndarray | Any  # Any: a torch tensor of row numbers, or a boolean one


def row_numbers(rows: Picker, n: int) -> np.ndarray:
    """Row numbers (int64, 0..n-1, in the order given) for a slice, row numbers (negative: from the end) or a mask.

    Raises:
        ActivationError: a number outside the rows, a mask of another length, or something that is neither.

    >>> row_numbers(slice(None, None, 2), 5).tolist(), row_numbers([-1, 0], 5).tolist()
    ([0, 2, 4], [4, 0])
    """
    if isinstance(rows, slice):
        return np.arange(*rows.indices(n), dtype=np.int64)
    if hasattr(rows, "detach"):
        rows = rows.detach().cpu().numpy()
    picked = np.asarray(rows)
    if picked.ndim != 1:
        raise ActivationError(
            f"rows are picked by a slice, a 1-D list of row numbers or a mask, got shape {picked.shape}"
        )
    if picked.dtype == np.bool_:
        if len(picked) != n:
            raise ActivationError(f"a mask over {n:,} rows must have {n:,} entries, got {len(picked):,}")
        return np.flatnonzero(picked)
    if picked.size == 0:
        return np.zeros(0, np.int64)
    if picked.dtype.kind not in "iu":
        raise ActivationError(f"row numbers must be integers, got {picked.dtype}")
    picked = picked.astype(np.int64)
    low, high = int(picked.min()), int(picked.max())
    if low < -n or high >= n:
        raise ActivationError(f"row {high if high >= n else low} is outside the {n:,} rows")
    return np.where(picked < 0, picked + n, picked) if low < 0 else picked
