"""Per-prompt values as arrays: labels of one type, groups and pairs as text, other columns as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import PromptError

Values = Sequence[Any] | np.ndarray


def plain(value: Any) -> Any:
    """A numpy or torch scalar as the Python value that it holds; anything else unchanged."""
    if isinstance(value, np.generic) or (hasattr(value, "item") and getattr(value, "ndim", None) == 0):
        return value.item()
    return value


def is_missing(value: Any) -> bool:
    """``None`` or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def label_array(values: Values, n: int) -> np.ndarray:
    """Labels as one bool, int64, float64 or text array.

    Raises:
        PromptError: wrong count, a missing value, a type that is no label, or types that do not mix.

    >>> label_array(["plural", "singular"], 2).tolist(), label_array([1, 0.5], 2).dtype
    (['plural', 'singular'], dtype('float64'))
    """
    items = _present(values, n, "label")
    kinds = [type(v) for v in items]
    for i, kind in enumerate(kinds):
        if kind not in (bool, int, float, str):
            raise PromptError(f"label {i + 1} is a {kind.__name__}; labels are text, bool, int or float")
    found = set(kinds)
    if found == {str}:
        return np.array(items, dtype=np.str_)
    if len(found) > 1 and found != {int, float}:
        first = {k.__name__: kinds.index(k) + 1 for k in (bool, int, float, str) if k in found}
        where = ", ".join(f"{name} (row {i})" for name, i in first.items())
        raise PromptError(f"labels mix types that do not compare: {where}; make them all one type")
    if len(found) == 1 and kinds[0] in (bool, int):
        return np.array(items, dtype=np.bool_ if kinds[0] is bool else np.int64)
    return np.array(items, dtype=np.float64)


def name_array(values: Values, n: int, what: str) -> np.ndarray:
    """Groups, pairs: whatever identifies them, as text.

    >>> name_array([3, "a"], 2, "group").tolist()
    ['3', 'a']
    """
    return np.array([str(v) for v in _present(values, n, what)], dtype=np.str_)


def column_array(values: Values, n: int, name: str) -> np.ndarray:
    """A metadata column: a typed array where all values are numbers of one type, else an array of objects."""
    items = [plain(v) for v in values]
    if len(items) != n:
        raise PromptError(f"column {name!r} has {len(items)} values for {n} prompts")
    kinds = {type(v) for v in items}
    for kind, dtype in ((bool, np.bool_), (int, np.int64), (float, np.float64)):
        if kinds == {kind} and not (kind is int and any(abs(v) >> 62 for v in items)):
            return np.array(items, dtype=dtype)
    out = np.empty(n, dtype=object)
    out[:] = items
    return out


def _present(values: Values, n: int, what: str) -> list[Any]:
    items = [plain(v) for v in values]
    if len(items) != n:
        raise PromptError(f"{len(items)} {what}s for {n} prompts")
    for i, value in enumerate(items):
        if is_missing(value):
            raise PromptError(f"{what} {i + 1} of {n} is missing ({value!r}); drop the row or give it a {what}")
    return items
