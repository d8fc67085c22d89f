"""Rows of reports from intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...stats import Interval

Row = dict[str, Any]


def triple(name: str, interval: Interval | None, k: int | None = None) -> Row:
    """An estimate with its interval (entry ``k`` of it); ``None`` where there is none."""
    if interval is None:
        return {name: None, f"{name}_lo": None, f"{name}_hi": None}
    values = (interval.estimate, interval.low, interval.high)
    return {
        key: known(v if k is None else v[k])
        for key, v in zip((name, f"{name}_lo", f"{name}_hi"), values, strict=True)
    }  # fmt: skip


def known(value: Any) -> float | None:
    """A plain number; ``None`` for NaN."""
    number = float(np.asarray(value))
    return None if math.isnan(number) else number
