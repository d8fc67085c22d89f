"""Prefix plans: sound always, and as good as the best possible on small sets."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.errors import PromptError
from interp.prompts import dedupe, prefix_plan

TOKENS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7).map(np.array), max_size=14)


def check_sound(tokens, plan, min_saving=0.1, min_prefix=2):
    members = [i for g in plan.groups for i in g.members.tolist()] + plan.rest.tolist()
    assert sorted(members) == list(range(len(tokens)))
    for group in plan.groups:
        assert len(group.members) >= 2
        assert group.length >= min_prefix
        assert group.saved_tokens >= min_saving * sum(len(tokens[i]) for i in group.members)
        for i in group.members:
            assert tokens[i][: group.length].tolist() == group.prefix.tolist()
            assert len(tokens[i]) > group.length
    assert plan.saved_tokens == sum((len(g.members) - 1) * g.length for g in plan.groups)
    assert plan.total_tokens == sum(map(len, tokens))


def best_possible(tokens, members=None, depth=0):
    """Most tokens that disjoint groups can save, by trying every node of the prefix tree."""
    members = list(range(len(tokens))) if members is None else members
    below: dict[int, list[int]] = {}
    for i in members:
        if len(tokens[i]) - 1 > depth:
            below.setdefault(int(tokens[i][depth]), []).append(i)
    split = sum(best_possible(tokens, m, depth + 1) for m in below.values())
    return max(depth * (len(members) - 1), split)


@given(TOKENS, st.floats(0, 1), st.integers(1, 4))
def test_every_plan_is_sound(tokens, min_saving, min_prefix):
    check_sound(tokens, prefix_plan(tokens, min_saving, min_prefix=min_prefix), min_saving, min_prefix)


@given(TOKENS)
def test_plan_saves_almost_all_that_can_be_saved(tokens):
    """Each level may forgo 5 %, so that wide groups win over many small ones; there are at most 6 levels."""
    plan = prefix_plan(tokens, min_saving=0.0, min_prefix=1)
    best = best_possible(tokens)
    assert best / 1.05**6 <= plan.saved_tokens <= best


def test_one_long_header_for_all_is_one_group():
    rng = np.random.default_rng(0)
    header = rng.integers(0, 50, 64)
    tokens = [np.r_[header, rng.integers(0, 50, n)] for n in rng.integers(1, 40, 300)]
    plan = prefix_plan(tokens)
    assert [g.members.tolist() for g in plan.groups] == [list(range(300))]
    assert plan.groups[0].length >= 64
    assert plan.saved_fraction > 0.7


def test_several_headers_are_several_groups():
    rng = np.random.default_rng(1)
    headers = [rng.integers(0, 1000, n) for n in (30, 40, 50)]
    tokens = [np.r_[headers[i % 3], rng.integers(0, 1000, 5)] for i in range(60)]
    plan = prefix_plan(tokens)
    assert sorted(g.length for g in plan.groups) == [30, 40, 50]
    for group in plan.groups:
        assert len({i % 3 for i in group.members.tolist()}) == 1


def test_pairs_share_up_to_where_they_differ():
    rng = np.random.default_rng(2)
    tokens, at = [], []
    for k in range(50):
        clean = np.r_[1, 100 + k, rng.integers(0, 50, 20)]
        corrupted = clean.copy()
        at.append(int(rng.integers(12, 21)))
        corrupted[at[-1]] = 99
        tokens += [clean, corrupted]
    plan = prefix_plan(tokens)
    found = {tuple(g.members.tolist()): g.length for g in plan.groups}
    assert found == {(2 * k, 2 * k + 1): at[k] for k in range(50)}


def test_a_prompt_equal_to_the_prefix_keeps_a_token_of_its_own():
    plan = prefix_plan([np.array([1, 2, 3]), np.array([1, 2, 3, 4, 5])])
    assert plan.groups[0].prefix.tolist() == [1, 2]
    assert plan.groups[0].members.tolist() == [0, 1]


def test_equal_prompts_share_all_but_the_last_token():
    plan = prefix_plan([np.array([4, 5, 6])] * 3)
    assert plan.groups[0].prefix.tolist() == [4, 5]
    assert plan.saved_tokens == 4


def test_a_short_prefix_of_long_prompts_does_not_pay():
    rng = np.random.default_rng(3)
    tokens = [np.r_[1, 2, 3, rng.integers(10, 9999, 200)] for _ in range(4)]
    assert prefix_plan(tokens).groups == ()
    assert len(prefix_plan(tokens, min_saving=0.01).groups) == 1


def test_large_token_ids_sort_as_numbers():
    tokens = [np.array([255, 256, 70000, 1]), np.array([255, 256, 70000, 2]), np.array([1, 255, 3, 3])]
    assert prefix_plan(tokens).groups[0].prefix.tolist() == [255, 256, 70000]


def test_no_prompts_and_lone_prompts():
    assert prefix_plan([]).saved_fraction == 0
    assert prefix_plan([np.array([1])]).rest.tolist() == [0]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: prefix_plan([np.array([1])], 1.5), "got 1.5"),
        (lambda: prefix_plan([np.array([1])], min_prefix=0), "got 0"),
        (lambda: prefix_plan([np.array([1]), np.array([], dtype=int)]), "prompt 1 has no tokens"),
        (lambda: prefix_plan([np.array([1, -1])]), "token id -1"),
    ],
)
def test_bad_calls_name_the_value(call, says):
    with pytest.raises(PromptError, match=says):
        call()


def test_chunks_of_the_neighbour_comparison_join_up(monkeypatch):
    rng = np.random.default_rng(4)
    tokens = [rng.integers(0, 3, n) for n in rng.integers(1, 12, 200)]
    tokens = [tokens[i] for i in dedupe(tokens)[0]]
    whole = prefix_plan(tokens)
    monkeypatch.setattr("interp.prompts.prefixes._CHUNK_TOKENS", 7)
    parts = prefix_plan(tokens)
    assert [g.members.tolist() for g in parts.groups] == [g.members.tolist() for g in whole.groups]


def test_a_hundred_thousand_prompts_take_seconds():
    rng = np.random.default_rng(5)
    header = rng.integers(0, 500, 16)
    tokens = [np.r_[header, rng.integers(0, 500, n)] for n in rng.integers(1, 30, 100_000)]
    start = time.process_time()
    plan = prefix_plan(tokens)
    assert time.process_time() - start < 10
    assert plan.groups[0].length == 16
    assert len(plan.groups[0].members) == 100_000
