"""Extraction metrics as functions of values: worked by hand, by the plain definition, and by what must always hold."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp import PromptSet
from interp.errors import PromptError, StatisticsError
from interp.memorisation.metrics import (
    Neighbourhood,
    counterfactual,
    edit_distance,
    extractible,
    landscape,
    min_k,
    min_k_pp,
    reproduced_from,
    similarity,
    split_records,
    strength,
    zlib_ratio,
)

some = settings(deadline=None, max_examples=50)
sequences = st.lists(st.integers(0, 3), max_size=8)
# Position 0 is never predicted; at least one token follows.
hits = st.lists(st.booleans(), min_size=1, max_size=9).map(lambda rest: np.array([[False, *rest]]))


def ends(hit, first=1):
    return np.array([first]), np.array([hit.shape[1]])


def naive_distance(a, b):
    """Wagner and Fischer, a whole row at a time."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y)))
    return row[-1]


@some
@given(hits)
def test_extractible_is_what_its_definition_says(hit):
    first, stop = ends(hit)
    for k in range(int(stop[0]) - 1):
        rest = hit[0, 1 + k :]
        assert extractible(hit, first, stop, k)[0] == all(rest)


@some
@given(hits)
def test_more_prefix_never_extracts_less(hit):
    first, stop = ends(hit)
    found = [bool(extractible(hit, first, stop, k)[0]) for k in range(int(stop[0]) - 1)]
    assert found == sorted(found)


@some
@given(hits, st.data())
def test_strength_rises_with_every_token_that_becomes_right(hit, data):
    first, stop = ends(hit)
    i = data.draw(st.integers(1, hit.shape[1] - 1))
    better = hit.copy()
    better[0, i] = True
    for variant in ("strict", "compat"):
        assert strength(better, first, stop, variant)[0] >= strength(hit, first, stop, variant)[0]


@some
@given(hits)
def test_the_variants_differ_in_total_failure_only(hit):
    first, stop = ends(hit)
    n = int(stop[0]) - 1
    strict, compat = (float(strength(hit, first, stop, v)[0]) for v in ("strict", "compat"))
    smallest = next((k for k in range(n) if hit[0, 1 + k :].all()), n)
    assert strict == pytest.approx(1 - smallest / n)
    assert compat == pytest.approx(strict if hit[0, -1] else 1 / n)


@some
@given(hits)
def test_compat_is_the_loop_of_open_unlearning(hit):
    # Their loop leaves k at n - 1 when no suffix of the predictions equals that of the labels.
    right = hit[0, 1:]
    for k in range(len(right)):
        found = k
        if right[k:].all():
            break
    first, stop = ends(hit)
    assert strength(hit, first, stop, "compat")[0] == pytest.approx(1 - found / len(right))


def test_texts_of_several_lengths_at_once():
    hit = np.array(
        [[False, True, True, False, False], [False, False, True, False, True], [False, True, True, True, True]]
    )
    assert reproduced_from(hit, np.array([3, 5, 5])).tolist() == [1, 4, 1]
    assert strength(hit, np.array([1, 1, 3]), np.array([3, 5, 5])).tolist() == [1.0, 0.25, 1.0]


def test_impossible_prefixes_and_variants():
    hit, first, stop = np.array([[False, True, True]]), np.array([1]), np.array([3])
    with pytest.raises(PromptError, match="k=2: 1 of 1 texts have 2 to 2 tokens"):
        extractible(hit, first, stop, 2)
    with pytest.raises(PromptError, match="k=-1"):
        extractible(hit, first, stop, -1)
    with pytest.raises(PromptError, match="'strict' or 'compat', got 'loose'"):
        strength(hit, first, stop, "loose")
    with pytest.raises(PromptError, match="record 0 has none"):
        strength(hit, stop, stop)


@some
@given(sequences, sequences)
def test_edit_distance_is_the_naive_one(a, b):
    assert edit_distance(a, b) == naive_distance(a, b)
    longer = max(len(a), len(b))
    assert similarity([a], [b])[0] == pytest.approx(1 - naive_distance(a, b) / longer if longer else 1.0)


@some
@given(sequences, sequences)
def test_similarity_is_symmetric_a_share_and_1_for_equals(a, b):
    both = similarity([a, b, a], [b, a, a])
    assert both[0] == both[1]
    assert 0 <= both[0] <= 1
    assert both[2] == 1
    assert (both[0] == 1) == (a == b)


log_ps = st.lists(st.floats(-30, 0), min_size=1, max_size=12)


@some
@given(log_ps, st.integers(0, 3))
def test_min_k_of_all_tokens_is_the_mean(values, padding):
    log_p = np.array([[*values, *[np.nan] * padding]])
    mask = ~np.isnan(log_p)
    assert min_k(log_p, mask, 1.0)[0] == pytest.approx(np.mean(values), abs=1e-9)


@some
@given(log_ps, st.floats(0.01, 1), st.floats(0.01, 1))
def test_min_k_rises_with_k_and_never_passes_the_mean(values, a, b):
    log_p = np.array([values])
    low, high = (min_k(log_p, np.ones_like(log_p, bool), share)[0] for share in sorted((a, b)))
    assert min(values) - 1e-9 <= low <= high + 1e-9
    assert high <= np.mean(values) + 1e-9


def test_min_k_counts_tokens_as_its_source():
    log_p, mask = -np.arange(1.0, 11.0)[None], np.ones((1, 10), bool)
    assert min_k(log_p, mask, 0.29)[0] == pytest.approx(-9.5)  # 2.9 tokens are 2
    assert min_k(log_p, mask, 0.01)[0] == -10  # and never none
    assert min_k(-np.arange(1.0, 101.0)[None], np.ones((1, 100), bool), 0.29)[0] == pytest.approx(-86.0)
    with pytest.raises(StatisticsError, match="got 0"):
        min_k(log_p, mask, 0.0)


def test_min_k_pp_by_hand_from_logits():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]], dtype=torch.float64)
    p = logits.softmax(-1).numpy()
    mean = (p * np.log(p)).sum(-1)
    sd = np.sqrt((p * np.log(p) ** 2).sum(-1) - mean**2)
    own = np.log(p[[0, 1], [1, 2]])
    wanted = np.sort((own - mean) / sd)
    one = np.ones((1, 2), bool)
    assert min_k_pp(own[None], mean[None], sd[None], one, 0.5)[0] == pytest.approx(wanted[0])
    assert min_k_pp(own[None], mean[None], sd[None], one, 1.0)[0] == pytest.approx(wanted.mean())


def test_min_k_pp_where_the_prediction_is_certain():
    zero, one = np.zeros((1, 1)), np.ones((1, 1), bool)
    assert min_k_pp(zero, zero, zero, one, 1.0)[0] == 0
    assert min_k_pp(zero - 2, zero, zero, one, 1.0)[0] == pytest.approx(-2000)


def test_zlib_ratio_is_per_compressed_byte():
    plain, dense = "a" * 60, "q8#Lw0z@Kd5!Vn2^Rt7&Yb4*Hj9(Mc1)Xs6_Fg3+"
    found = zlib_ratio(np.array([-2.0, -2.0]), [plain, dense])
    assert found.tolist() == [-2.0 / len(zlib.compress(t.encode())) for t in (plain, dense)]
    assert found[0] < found[1] < 0


def test_counterfactual_has_the_sign_of_memory():
    assert counterfactual(np.array([-1.0, -3.0]), np.array([-3.0, -1.0])).tolist() == [2.0, -2.0]


def test_landscape_of_a_parabola():
    # loss = 1 + 8 * changed**2: a minimum, with a rise that is known.
    changed = np.array([[0.1, 0.2, 0.3]])
    found = landscape(np.array([1.0]), 1 + 8 * changed**2, changed)
    assert found["remind_curvature"][0] == pytest.approx(8 * np.mean(changed**2))
    assert found["remind_slope"][0] == pytest.approx(8 * (changed**3).sum() / (changed**2).sum())
    assert found["remind_minimum"][0] == 1
    flat = landscape(np.array([1.0]), np.ones((1, 3)), changed)
    assert (flat["remind_sd"][0], flat["remind_curvature"][0], flat["remind_minimum"][0]) == (0, 0, 0.5)
    assert landscape(np.array([9.0]), np.ones((1, 3)), changed)["remind_minimum"][0] == 0


@pytest.mark.parametrize("wrong", [{"count": 1}, {"share": 0.0}, {"share": 1.5}, {"nearest": 0}])
def test_neighbourhoods_that_cannot_be_drawn(wrong):
    with pytest.raises(StatisticsError, match="a neighbourhood needs"):
        Neighbourhood(**wrong)


def test_where_a_record_is_split():
    marked = PromptSet.from_tokens(
        [[1, 7, 8, 9, 6, 2], [1, 7, 8, 9, 2]], special_ids=[1, 2], marks={"recall_1": [3, -1], "key": [1, 2]}
    )
    split = split_records(marked)
    assert (split.first.tolist(), split.start.tolist(), split.stop.tolist()) == ([1, 1], [4, 3], [5, 4])
    assert split.rule == "up to the mark recall_1, else half the tokens"
    assert split_records(marked, "key").start.tolist() == [2, 3]
    assert split_records(marked, 0).start.tolist() == [1, 1]
    assert split_records(PromptSet.from_tokens([[5, 6, 7]])).start.tolist() == [2]


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        (3, "cannot be split with 3 tokens of the text"),
        (-1, "would be given -1"),
        ("recall_1", "1 of 2 records have no mark 'recall_1'"),
        ("nowhere", "no record has a mark 'nowhere'"),
        (True, "a prefix is a number of tokens or the name of a mark, got True"),
    ],
)
def test_prefixes_that_leave_nothing(prefix, message):
    marked = PromptSet.from_tokens([[1, 7, 8, 9], [1, 7, 8, 9]], special_ids=[1], marks={"recall_1": [2, -1]})
    with pytest.raises(PromptError, match=message):
        split_records(marked, prefix)


def test_without_a_bos_one_token_is_given():
    with pytest.raises(PromptError, match="as no BOS is in front"):
        split_records(PromptSet.from_tokens([[5, 6, 7]]), 0)
    with pytest.raises(PromptError, match="special tokens only"):
        split_records(PromptSet.from_tokens([[1, 2]], special_ids=[1, 2]))
