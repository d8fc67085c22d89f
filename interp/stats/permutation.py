"""Label permutations that respect groups and folds, and p-values from them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import StatisticsError

Array = NDArray[Any]


@dataclass(frozen=True)
class Permutations:
    """Permuted labels ``[permutation, example]``, and how they were drawn.

    ``scheme`` says it in words. ``attainable`` is how many distinct labellings there are, the observed one included.
    Where that is at most one more than was asked for, the labels are all others, each once (``exact``), and a p-value
    from them is exact. ``min_p`` is the smallest p-value that can come out. A statistic that does not tell the two
    classes apart, such as a cross-validated AUC of a probe that learns either sign, cannot tell a labelling from its
    mirror image, which ``min_p`` accounts for.
    """

    labels: NDArray[np.bool_]
    scheme: str
    attainable: int
    exact: bool
    min_p: float


def permute_labels(
    labels: ArrayLike,
    groups: ArrayLike,
    count: int,
    *,
    folds: ArrayLike | None = None,
    unit: str = "groups",
    seed: int = 0,
) -> Permutations:
    """Draw labellings that are as likely as the observed one if labels have nothing to do with the features.

    With ``unit="groups"`` examples of a group stay together, as they do in splits and resamples:

    - Groups with one label exchange their labels as wholes; a group keeps its size, its features and its fold. If
      ``folds`` are given, each labelling is as stratified as the observed one: folds with equally many such groups
      exchange how many of them are positive, then groups of a fold exchange labels. (Labels permuted without regard
      to stratified folds would be compared with an observed labelling whose folds are better balanced than theirs.)
    - A group with both labels swaps them, for all of its examples, or does not. Examples with the same label in a
      group are often repetitions of one thing (one sentence behind 24 prefixes): were they permuted one by one, the
      repetitions would scatter over both classes, and the null would be far too narrow.

    With ``unit="examples"`` the examples of a group exchange labels one by one, which is right only if they are
    independent of each other given their group. It has more arrangements where groups are few.

    Args:
        labels: two classes, as booleans or 0/1.
        groups: the group of each example.
        count: labellings wanted.
        folds: the fold of each example; a group lies in one fold.

    Raises:
        StatisticsError: another ``unit``.

    >>> groups = ["a", "a", "b", "b", "c", "c", "d", "d"]
    >>> drawn = permute_labels([0, 0, 1, 1, 0, 0, 1, 1], groups, 100)
    >>> drawn.scheme, drawn.attainable, drawn.exact, round(drawn.min_p, 3)
    ('groups exchange labels', 6, True, 0.333)
    >>> drawn = permute_labels([0, 1] * 4, groups, 100)
    >>> drawn.scheme, drawn.attainable, drawn.min_p
    ('labels swap within groups', 16, 0.125)
    """
    y = np.asarray(labels).astype(bool)
    _, g = np.unique(np.asarray(groups), return_inverse=True)
    size, positive = np.bincount(g), np.bincount(g, weights=y).astype(int)
    mixed = (positive > 0) & (positive < size)
    rng = np.random.default_rng(seed)
    if unit == "examples":
        scheme = "examples exchange labels within groups"
        attainable = math.prod(math.comb(int(n), int(k)) for n, k in zip(size, positive, strict=True))
        mirrored = bool((2 * positive == size).all())
        blocks = [np.flatnonzero(g == k) for k in np.flatnonzero(mixed)]

        def draw() -> Array:
            out = y.copy()
            for block in blocks:
                out[block] = y[rng.permutation(block)]
            return out
    elif unit == "groups":
        f = np.zeros(y.size, int) if folds is None else np.unique(np.asarray(folds), return_inverse=True)[1]
        fold_of = np.zeros(size.size, int)
        fold_of[g] = f
        strata, of_group = _strata(fold_of, ~mixed), positive > 0
        attainable = _count(strata, of_group) * 2 ** int(mixed.sum())
        mirrored = _mirrored(strata, of_group)
        words = ["groups exchange labels"] * bool((~mixed).any()) + ["labels swap within groups"] * bool(mixed.any())
        scheme = ", ".join(words)

        def draw() -> Array:
            swap = mixed & (rng.random(mixed.size) < 0.5)
            return np.where(mixed[g], y ^ swap[g], _draw_across(rng, strata, of_group)[g])
    else:
        raise StatisticsError(f"unit is 'groups' or 'examples', got {unit!r}")
    drawn, exact = _collect(draw, y, count, attainable)
    least = 1 / (1 + len(drawn)) if len(drawn) else 1.0
    return Permutations(drawn, scheme, attainable, exact, max(least, min(1.0, (1 + mirrored) / attainable)))


def _strata(fold_of: Array, one_label: Array) -> list[list[Array]]:
    """Folds by their numbers of groups with one label and of all; each fold as the indices of the former."""
    by_size: dict[tuple[int, int], list[Array]] = {}
    for f in np.unique(fold_of[one_label]):
        inside = fold_of == f
        members = np.flatnonzero(inside & one_label)
        by_size.setdefault((members.size, int(inside.sum())), []).append(members)
    return [by_size[k] for k in sorted(by_size)]


def _draw_across(rng: np.random.Generator, strata: list[list[Array]], y: Array) -> Array:
    out = y.copy()
    for folds in strata:
        positives = rng.permutation([int(y[members].sum()) for members in folds])
        for members, k in zip(folds, positives, strict=True):
            out[members] = rng.permutation(members.size) < k
    return out


def _count(strata: list[list[Array]], y: Array) -> int:
    total = 1
    for folds in strata:
        positives = Counter(int(y[members].sum()) for members in folds)
        total *= math.factorial(len(folds)) // math.prod(math.factorial(c) for c in positives.values())
        total *= math.prod(math.comb(folds[0].size, k) ** c for k, c in positives.items())
    return total


def _mirrored(strata: list[list[Array]], y: Array) -> bool:
    """Whether exchanging the two classes gives an attainable labelling."""
    for folds in strata:
        positives = Counter(int(y[members].sum()) for members in folds)
        if any(positives[k] != positives[folds[0].size - k] for k in positives):
            return False
    return True


def _collect(draw: Any, y: Array, count: int, attainable: int) -> tuple[NDArray[np.bool_], bool]:
    """``count`` independent labellings; or, where there are no more than that, all others once."""
    if attainable - 1 > count:
        return np.stack([draw() for _ in range(count)]) if count else np.zeros((0, y.size), bool), False
    seen = {y.tobytes(): y}
    for _ in range(100 * attainable + 1000):
        if len(seen) == attainable:
            break
        new = draw()
        seen.setdefault(new.tobytes(), new)
    others = list(seen.values())[1:]
    return np.stack(others) if others else np.zeros((0, y.size), bool), len(seen) == attainable


def permutation_p(observed: ArrayLike | float, null: ArrayLike) -> Array:
    """``(1 + b) / (1 + m)``, with ``b`` of the ``m`` null values at least the observed one (to rounding).

    NaN where the observed value is NaN: what was not measured is no evidence.

    Args:
        observed: ``[...]``.
        null: ``[permutation, ...]``.

    Source: Phipson & Smyth (2010), "Permutation p-values should never be zero".

    >>> float(permutation_p(3.0, [1.0, 2.0, 3.0]))
    0.5
    """
    o, n = np.asarray(observed, float), np.asarray(null, float)
    return np.asarray(np.where(np.isnan(o), np.nan, (1 + (n >= o - 1e-12).sum(0)) / (1 + len(n))))


def max_null_p(observed: ArrayLike, null: ArrayLike) -> tuple[Array, Array]:
    """p-values of many statistics, each against its own null, and against the null of the largest of all.

    The second controls the chance of any false finding at once, and judges a peak that was picked by looking.

    Args:
        observed: ``[statistic]``.
        null: ``[permutation, statistic]``, from the same permutations for all statistics.

    Source: Westfall & Young (1993), single-step max-T.

    >>> p, corrected = max_null_p([0.9, 0.6], [[0.5, 0.7], [0.6, 0.5], [0.4, 0.5]])
    >>> p.tolist(), corrected.tolist()
    ([0.25, 0.5], [0.25, 0.75])
    """
    o, n = np.asarray(observed, float), np.asarray(null, float)
    largest = n.max(1) if n.size else np.zeros(0)
    return permutation_p(o, n), permutation_p(o, largest[:, None])
