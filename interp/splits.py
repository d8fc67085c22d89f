"""Splits that keep groups whole, and the checks that nothing leaks from one side to the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import SplitError

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Folds:
    """Which fold each example is held out in; every group lies in one fold, every training part has two classes.

    Raises:
        SplitError: a group lies in two folds, or a training part has one class only.

    >>> folds = Folds(np.array([0, 0, 1, 1]), labels=np.array([0, 1, 0, 1]), groups=np.array(["a", "a", "b", "b"]))
    >>> folds.count, folds.test(0).tolist(), folds.train(0).tolist()
    (2, [0, 1], [2, 3])
    """

    of: NDArray[np.integer[Any]]
    labels: Array
    groups: Array

    def __post_init__(self) -> None:
        _same_length(self.of, self.labels, self.groups)
        require_classes(self.labels)
        for name, values in (
            ("of", np.unique(self.of, return_inverse=True)[1]),
            ("labels", self.labels),
            ("groups", self.groups),
        ):
            values = np.array(values)
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        if self.count < 2:
            raise SplitError("all examples lie in one fold, which leaves nothing to train on")
        require_whole_groups(self.of, self.groups)
        for fold in range(self.count):
            classes = np.unique(self.labels[self.of != fold])
            if len(classes) < 2:
                raise SplitError(
                    f"without fold {fold} (groups {_names(self.groups[self.of == fold])}) only label "
                    f"{_value(classes[0])} is left to train on; use fewer folds, or add groups of the other class"
                )

    @property
    def count(self) -> int:
        """How many folds."""
        return int(self.of.max()) + 1

    def train(self, fold: int) -> NDArray[np.intp]:
        """Rows that fold ``fold`` trains on."""
        return np.flatnonzero(self.of != fold)

    def test(self, fold: int) -> NDArray[np.intp]:
        """Rows that are held out in fold ``fold``."""
        return np.flatnonzero(self.of == fold)


def grouped_folds(labels: ArrayLike, groups: ArrayLike, folds: int = 10, *, seed: int = 0) -> Folds:
    """Deal whole groups into folds, as evenly over the classes as whole groups allow.

    Groups are dealt round: those of one class, then those of the other, then those with both. Within that the order is
    drawn from ``seed`` and depends on nothing else (not on the sizes of groups), so that `permute_labels` can permute
    labels as exchangeably as they were dealt.

    Raises:
        SplitError: one class only, fewer groups than folds, or a training part that would have one class only.

    >>> folds = grouped_folds([0, 0, 1, 1, 0, 0, 1, 1], ["a", "a", "b", "b", "c", "c", "d", "d"], folds=2)
    >>> [sorted(set(folds.labels[folds.test(f)].tolist())) for f in range(2)]
    [[0, 1], [0, 1]]
    """
    y, g = np.asarray(labels), np.asarray(groups)
    _same_length(y, g)
    require_classes(y)
    names, index = np.unique(g, return_inverse=True)
    if len(names) == 1:
        raise SplitError(
            f"all {y.size} examples are in one group ({_value(names[0])}), and groups are left out whole, so nothing "
            "would be left to train on; give the examples finer groups"
        )
    if folds < 2:
        raise SplitError(f"cross-validation needs 2 folds or more, got {folds}")
    if len(names) < folds:
        raise SplitError(
            f"{folds} folds need {folds} groups, there are {len(names)} ({_names(names)}); "
            f"use folds={len(names)} (leave one group out) at most, or finer groups"
        )
    rng = np.random.default_rng(seed)
    first = np.bincount(index, weights=y == np.unique(y)[0]) / np.bincount(index)
    shuffled = rng.permutation(len(names))
    turn = bool(rng.random() < 0.5)
    key = np.where(first == 1, int(turn), np.where(first == 0, int(not turn), 2))
    order = shuffled[np.argsort(key[shuffled], kind="stable")]
    fold_of = np.empty(len(names), np.int64)
    fold_of[order] = rng.permutation(folds)[np.arange(len(names)) % folds]
    return Folds(fold_of[index], y, g)


def leave_one_group_out(labels: ArrayLike, groups: ArrayLike) -> Folds:
    """One fold per group.

    Raises:
        SplitError: as `grouped_folds`.

    >>> leave_one_group_out([0, 1, 0, 1], ["b", "b", "a", "a"]).of.tolist()
    [1, 1, 0, 0]
    """
    return Folds(np.unique(np.asarray(groups), return_inverse=True)[1], np.asarray(labels), np.asarray(groups))


def require_whole_groups(fold: ArrayLike, groups: ArrayLike) -> None:
    """Raise if examples of one group lie in more than one fold.

    Raises:
        SplitError: names the groups.
    """
    f, g = np.asarray(fold), np.asarray(groups)
    _same_length(f, g)
    names, index = np.unique(g, return_inverse=True)
    low = np.full(len(names), f.max(initial=0))
    high = np.full(len(names), f.min(initial=0))
    np.minimum.at(low, index, f)
    np.maximum.at(high, index, f)
    split = np.flatnonzero(low != high)
    if split.size:
        folds = sorted({int(v) for v in f[index == split[0]]})
        raise SplitError(
            f"group {_value(names[split[0]])} lies in folds {folds}: the probe would be tested on groups that it has "
            f"seen ({split.size} of {len(names)} groups leak: {_names(names[split])}); keep groups whole, as "
            "grouped_folds does"
        )


def require_classes(labels: ArrayLike) -> None:
    """Raise unless there are exactly two classes.

    Raises:
        SplitError: names the classes there are.
    """
    y = np.asarray(labels)
    classes, counts = np.unique(y, return_counts=True)
    if len(classes) == 2:
        return
    found = ", ".join(f"{_value(c)} ({n})" for c, n in list(zip(classes, counts, strict=True))[:6]) + (
        ", ..." if len(classes) > 6 else ""
    )
    if len(classes) < 2:
        raise SplitError(f"there is nothing to tell apart: all {y.size} labels are {found or 'missing'}")
    raise SplitError(
        f"a probe needs two classes, found {len(classes)}: {found}; select two, or label one against the rest"
    )


def shared_inputs(tokens: Sequence[ArrayLike], groups: ArrayLike) -> list[tuple[int, int]]:
    """Pairs of examples with the same input in different groups: the first of each input, and each that repeats it
    elsewhere.

    >>> shared_inputs([[5, 6], [7], [5, 6]], ["a", "a", "b"])
    [(0, 2)]
    """
    g = np.asarray(groups)
    if len(tokens) != g.size:
        raise SplitError(f"{len(tokens)} inputs for {g.size} groups")
    first: dict[bytes, int] = {}
    pairs = []
    for i, row in enumerate(tokens):
        j = first.setdefault(np.ascontiguousarray(row, dtype=np.int64).tobytes(), i)
        if g[i] != g[j]:
            pairs.append((j, i))
    return pairs


def require_distinct_inputs(tokens: Sequence[ArrayLike], groups: ArrayLike, ids: Sequence[str] | None = None) -> None:
    """Raise if the same input occurs in two groups: it would be on both sides of a split that keeps groups whole.

    Raises:
        SplitError: names the first pair and counts the others.
    """
    pairs = shared_inputs(tokens, groups)
    if not pairs:
        return
    i, j = pairs[0]
    g = np.asarray(groups)
    a, b = (repr(str(ids[k])) if ids is not None else f"number {k}" for k in (i, j))
    raise SplitError(
        f"prompts {a} (group {_value(g[i])}) and {b} (group {_value(g[j])}) have the same tokens up to where they are "
        f"read, so one could be trained on and the other tested ({len(pairs)} such pairs); give them one group, or "
        "drop the repeats"
    )


def _same_length(*arrays: Array) -> None:
    shapes = {a.shape for a in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 1:
        raise SplitError(
            f"labels, groups and folds must be one value per example, got shapes {[a.shape for a in arrays]}"
        )
    if not arrays[0].size:
        raise SplitError("there are no examples to split")


def _names(names: Array) -> str:
    names = np.unique(names)
    return ", ".join(_value(n) for n in names[:5]) + (f", ... ({len(names)} in all)" if len(names) > 5 else "")


def _value(value: Any) -> str:
    return repr(value.item() if isinstance(value, np.generic) else value)
