from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from interp.errors import StatisticsError
from interp.splits import grouped_folds
from interp.stats import max_null_p, permutation_p, permute_labels


def test_groups_with_one_label_exchange_them_as_wholes():
    groups = np.repeat(np.arange(10), [1, 2, 3, 4, 5, 1, 2, 3, 4, 5])
    labels = groups < 4
    drawn = permute_labels(labels, groups, 200, seed=1)
    assert drawn.scheme == "groups exchange labels"
    assert drawn.attainable == 210  # 10 over 4
    for y in drawn.labels:
        per_group = [set(y[groups == g].tolist()) for g in range(10)]
        assert all(len(v) == 1 for v in per_group)
        assert sum(v == {True} for v in per_group) == 4


def test_labels_within_a_group_swap_as_wholes():
    groups = np.repeat(np.arange(9), 6)
    labels = np.tile([True, True, False, True, False, False], 9)
    drawn = permute_labels(labels, groups, 400)
    assert (drawn.scheme, drawn.attainable, drawn.exact) == ("labels swap within groups", 512, False)
    flips = (drawn.labels != labels).reshape(400, 9, 6)
    assert (flips.all(-1) | ~flips.any(-1)).all()
    assert flips.mean() == pytest.approx(0.5, abs=0.03)


def test_both_at_once():
    groups = np.array(["a", "a", "b", "c", "d", "d"])
    labels = np.array([1, 0, 1, 0, 0, 1])
    drawn = permute_labels(labels, groups, 100)
    assert drawn.scheme == "groups exchange labels, labels swap within groups"
    assert drawn.attainable == 8
    assert drawn.exact
    assert drawn.min_p == 0.25  # eight arrangements, each the mirror image of another


def test_examples_exchange_labels_one_by_one_where_asked():
    groups, labels = np.repeat([0, 1], 6), np.tile([1, 1, 0, 0, 0, 0], 2)
    drawn = permute_labels(labels, groups, 300, unit="examples")
    assert drawn.attainable == 225
    assert drawn.exact
    assert len(drawn.labels) == 224
    assert (drawn.labels.reshape(-1, 2, 6).sum(-1) == 2).all()


@pytest.mark.parametrize("positives", [(4, 8), (6, 6), (5, 3)])
def test_stratified_folds_stay_as_stratified(positives):
    n = sum(positives)
    labels, groups = np.arange(n) < positives[0], np.arange(n)
    folds = grouped_folds(labels, groups, 5, seed=3)

    def composition(y):
        return Counter((int((folds.of == f).sum()), int(y[folds.of == f].sum())) for f in range(5))

    drawn = permute_labels(labels, groups, 10_000, folds=folds.of)
    assert {tuple(sorted(composition(y).items())) for y in drawn.labels} == {tuple(sorted(composition(labels).items()))}
    # The number of arrangements is counted right: by brute force over all labellings.
    every = itertools.combinations(range(n), positives[0])
    same = sum(composition(np.isin(np.arange(n), c)) == composition(labels) for c in every)
    assert drawn.attainable == same
    assert drawn.exact == (same <= 10_001)
    if drawn.exact:
        assert len(drawn.labels) == len({y.tobytes() for y in drawn.labels}) == same - 1
        assert labels.tobytes() not in {y.tobytes() for y in drawn.labels}


@pytest.mark.parametrize("stratified", [False, True])
def test_labellings_are_equally_likely(stratified):
    labels, groups = np.array([1, 1, 0, 0, 0]), np.arange(5)
    folds = np.array([0, 1, 0, 1, 1]) if stratified else None
    drawn = (permute_labels(labels, groups, 1, folds=folds, seed=s) for s in range(1000))
    counts = Counter(d.labels[0].tobytes() for d in drawn)
    attainable = permute_labels(labels, groups, 1, folds=folds).attainable
    assert attainable == len(counts) == (6 if stratified else 10)
    expected = 1000 / attainable
    assert sum((c - expected) ** 2 / expected for c in counts.values()) < 3 * attainable  # chi-square


def test_the_smallest_p_is_stated():
    seven = permute_labels(np.tile([0, 1], 7), np.repeat(np.arange(7), 2), 500)
    assert seven.attainable == 128
    assert seven.min_p == pytest.approx(2 / 128)
    assert permute_labels([0, 0, 0, 1], range(4), 500).min_p == pytest.approx(1 / 4)
    assert permute_labels(np.arange(40) % 2, range(40), 99).min_p == pytest.approx(1 / 100)


def test_p_values():
    null = np.array([[0.5, 0.9], [0.7, 0.6], [0.6, 0.5]])
    p, p_max = max_null_p([0.7, 0.65], null)
    assert p.tolist() == [0.5, 0.5]
    assert p_max.tolist() == [0.75, 0.75]
    assert float(permutation_p(2.0, np.arange(0.0))) == 1.0
    p, p_max = max_null_p([0.7, 0.65], np.zeros((0, 2)))
    assert p.tolist() == p_max.tolist() == [1.0, 1.0]


def test_unknown_unit():
    with pytest.raises(StatisticsError, match="'rows'"):
        permute_labels([0, 1], [0, 1], 3, unit="rows")


def test_what_was_not_measured_is_no_evidence():
    null = np.zeros((9, 2))
    assert np.isnan(permutation_p(np.nan, null[:, 0]))
    p, corrected = max_null_p([np.nan, 1.0], null)
    assert np.isnan(p[0])
    assert np.isnan(corrected[0])
    assert (p[1], corrected[1]) == (0.1, 0.1)
