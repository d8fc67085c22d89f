from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.errors import SplitError
from interp.splits import (
    Folds,
    grouped_folds,
    leave_one_group_out,
    require_classes,
    require_distinct_inputs,
    require_whole_groups,
    shared_inputs,
)


@settings(max_examples=60)
@given(st.data())
def test_folds_keep_groups_whole_and_balanced(data):
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=8, max_size=25))
    groups = np.repeat([f"g{i}" for i in range(len(sizes))], sizes)
    constant = data.draw(st.booleans())
    pick = np.random.default_rng(data.draw(st.integers(0, 99)))
    labels = np.repeat(np.arange(len(sizes)) % 2, sizes) if constant else pick.permutation(np.arange(groups.size) % 2)
    count = data.draw(st.integers(2, 4))
    folds = grouped_folds(labels, groups, count, seed=data.draw(st.integers(0, 99)))
    assert folds.count == count
    for f in range(count):
        assert not set(groups[folds.train(f)]) & set(groups[folds.test(f)])
        assert sorted([*folds.train(f), *folds.test(f)]) == list(range(groups.size))
    _, first = np.unique(groups, return_index=True)
    per_fold = np.bincount(folds.of[first], minlength=count)
    assert per_fold.max() - per_fold.min() <= 1
    if constant:
        ones = np.bincount(folds.of[first], weights=labels[first], minlength=count)
        assert ones.max() - ones.min() <= 1


def test_folds_depend_on_the_seed_only():
    labels, groups = np.arange(40) % 2, np.arange(40)
    one, same, other = (grouped_folds(labels, groups, 5, seed=s).of for s in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_split_group_is_named():
    with pytest.raises(SplitError, match=r"group 'dog' lies in folds \[0, 1\].*1 of 2 groups leak"):
        Folds(np.array([0, 1, 1, 1]), np.array([0, 1, 0, 1]), np.array(["dog", "dog", "cat", "cat"]))
    with pytest.raises(SplitError, match="group 3 "):
        require_whole_groups([0, 1], [3, 3])
    require_whole_groups([0, 1], [3, 4])


def test_classes_are_named():
    with pytest.raises(SplitError, match=r"nothing to tell apart: all 3 labels are 'singular' \(3\)"):
        grouped_folds(["singular"] * 3, [1, 2, 3], 2)
    with pytest.raises(SplitError, match=r"found 3: 'a' \(2\), 'b' \(1\), 'c' \(1\)"):
        require_classes(["a", "a", "b", "c"])


def test_too_few_groups():
    with pytest.raises(SplitError, match=r"all 4 examples are in one group \('a'\)"):
        grouped_folds([0, 1, 0, 1], ["a"] * 4, folds=1)
    with pytest.raises(SplitError, match=r"10 folds need 10 groups, there are 3 .*folds=3"):
        grouped_folds([0, 1, 0, 1], ["a", "a", "b", "c"], 10)
    with pytest.raises(SplitError, match="2 folds or more"):
        grouped_folds([0, 1], ["a", "b"], 1)


def test_a_training_part_with_one_class():
    with pytest.raises(SplitError, match=r"without fold \d \(groups 'd'\) only label 0 is left"):
        leave_one_group_out([0, 0, 0, 1], ["a", "b", "c", "d"])


def test_lengths():
    with pytest.raises(SplitError, match=r"\[\(2,\), \(3,\)\]"):
        grouped_folds([0, 1], [1, 2, 3], 2)
    with pytest.raises(SplitError, match="no examples"):
        grouped_folds([], [], 2)


def test_the_same_input_in_two_groups():
    tokens = [np.array([1, 2]), np.array([3]), np.array([1, 2]), np.array([1, 2])]
    assert shared_inputs(tokens, ["a", "a", "b", "a"]) == [(0, 2)]
    require_distinct_inputs(tokens, ["a"] * 4)
    with pytest.raises(SplitError, match=r"'p0' \(group 'a'\) and 'p2' \(group 'b'\).*1 such pairs"):
        require_distinct_inputs(tokens, ["a", "a", "b", "a"], ids=["p0", "p1", "p2", "p3"])
    with pytest.raises(SplitError, match="4 inputs for 2"):
        shared_inputs(tokens, ["a", "b"])
    # Tokens that only differ in where one ends are different inputs.
    assert shared_inputs([[1], [1, 0]], ["a", "b"]) == []
