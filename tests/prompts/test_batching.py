"""Batching: every prompt once, the budget kept, positions right on both sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp.errors import EmptyPromptsError, PromptError, PromptTooLongError
from interp.prompts import dedupe, pack, pack_rows, pad_batch, token_budget_batches

LENGTHS = st.lists(st.integers(1, 40), max_size=60)
TOKENS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8).map(np.array), min_size=1, max_size=12)


@given(
    LENGTHS,
    st.integers(1, 100),
    st.none() | st.integers(1, 5),
    st.none() | st.integers(1, 10),
    st.sampled_from(["descending", "ascending"]),
)
def test_batches_hold_every_index_once_within_budget(lengths, max_tokens, max_batch, window, order):
    batches = token_budget_batches(lengths, max_tokens, max_batch=max_batch, window=window, order=order)
    assert sorted(i for b in batches for i in b.tolist()) == list(range(len(lengths)))
    for batch in batches:
        sizes = [lengths[i] for i in batch]
        assert sizes == sorted(sizes, reverse=order == "descending")
        assert len(batch) == 1 or max(sizes) * len(batch) <= max_tokens
        assert max_batch is None or len(batch) <= max_batch
        if window is not None:
            assert len({i // window for i in batch.tolist()}) == 1


@given(LENGTHS.filter(len), st.integers(1, 100))
def test_batches_waste_no_room(lengths, max_tokens):
    """A next prompt would have broken the budget: batches are as full as sorting allows."""
    batches = token_budget_batches(lengths, max_tokens)
    for batch in batches[:-1]:
        assert (len(batch) + 1) * lengths[batch[0]] > max_tokens


def test_whole_set_is_sorted_longest_first_and_ties_keep_input_order():
    batches = token_budget_batches([2, 5, 2, 5, 9], max_tokens=10)
    assert [b.tolist() for b in batches] == [[4], [1, 3], [0, 2]]


def test_longest_first_meets_an_out_of_memory_error_at_once():
    lengths = [3, 200, 7]
    assert token_budget_batches(lengths, 8)[0].tolist() == [1]
    assert token_budget_batches(lengths, 8, order="ascending")[-1].tolist() == [1]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: token_budget_batches([1, 0], 4), "prompt 1 has 0 tokens"),
        (lambda: token_budget_batches([1], 0), "max_tokens must be at least 1, got 0"),
        (lambda: token_budget_batches([1], 1, max_batch=0), "max_batch must be at least 1"),
        (lambda: token_budget_batches(np.array([1.5]), 1), "array of integers"),
        (lambda: token_budget_batches([1], 1, order="random"), "'random'"),
        (lambda: pad_batch([np.array([1])], side="middle"), "'middle'"),
        (lambda: pad_batch([np.array([1]), np.array([], dtype=int)]), "prompt 1 has 0 tokens"),
        (lambda: pack([np.array([1])]), "not neither"),
        (lambda: pack([np.array([1]), np.array([2])], rows=[np.array([0])]), "exactly once"),
        (lambda: pack([np.array([1]), np.array([2])], rows=[np.array([0, 0])]), "exactly once"),
    ],
)
def test_bad_calls_name_the_value(call, says):
    with pytest.raises(PromptError, match=says):
        call()


def test_nothing_to_pad_or_pack():
    with pytest.raises(EmptyPromptsError):
        pad_batch([])
    with pytest.raises(EmptyPromptsError):
        pack([], 4)


@given(TOKENS, st.sampled_from(["right", "left"]), st.integers(0, 3))
def test_padding_round_trips_and_positions_count_real_tokens(tokens, side, pad_id):
    """The pad id is also a real token here: only lengths may decide what is padding."""
    batch = pad_batch(tokens, pad_id=pad_id, side=side)
    assert batch.n_tokens == sum(map(len, tokens))
    for i, sequence in enumerate(tokens):
        real = batch.attention_mask[i].bool()
        assert batch.input_ids[i][real].tolist() == sequence.tolist()
        assert batch.position_ids[i][real].tolist() == list(range(len(sequence)))
        assert (batch.input_ids[i][~real] == pad_id).all()
        assert (batch.position_ids[i][~real] == 0).all()
        columns = batch.start[i] + torch.arange(len(sequence))
        assert batch.input_ids[i][columns].tolist() == sequence.tolist()
        # Padding is on the stated side only.
        edge = real[0] if side == "right" else real[-1]
        assert bool(edge)


@given(TOKENS, st.integers(8, 20), st.integers(0, 3))
def test_packing_round_trips_with_positions_that_restart(tokens, row_tokens, pad_id):
    packed = pack(tokens, row_tokens, pad_id=pad_id)
    assert packed.input_ids.shape[1] <= row_tokens
    assert int(packed.attention_mask.sum()) == sum(map(len, tokens))
    for i, sequence in enumerate(tokens):
        row, start = int(packed.row[i]), int(packed.start[i])
        there = slice(start, start + len(sequence))
        assert packed.input_ids[row, there].tolist() == sequence.tolist()
        assert packed.position_ids[row, there].tolist() == list(range(len(sequence)))
        assert (packed.segment_ids == i).sum() == len(sequence)
        assert (packed.segment_ids[row, there] == i).all()


def test_block_mask_lets_a_prompt_see_only_its_own_past():
    packed = pack([np.array([1, 2]), np.array([3, 4, 5])], row_tokens=7)
    mask = packed.block_mask()
    assert mask.shape == (1, 1, 5, 5)
    expected = torch.zeros(5, 5, dtype=torch.bool)
    expected[:3, :3] = torch.ones(3, 3).tril().bool()
    expected[3:, 3:] = torch.ones(2, 2).tril().bool()
    assert torch.equal(mask[0, 0], expected)


def test_block_mask_has_no_empty_row_so_that_softmax_is_finite():
    packed = pack([np.array([1]), np.array([3, 4, 5])], row_tokens=3)
    mask = packed.block_mask()
    assert mask.any(dim=-1).all()
    padding = packed.attention_mask == 0
    assert padding.any()
    assert (mask[:, 0].sum(dim=-1)[padding] == 1).all()
    # No real token sees padding.
    real = ~padding
    assert not (mask[:, 0] & real[:, :, None] & padding[:, None, :]).any()


@given(st.lists(st.integers(1, 9), max_size=40))
def test_rows_are_packed_densely(lengths):
    rows = pack_rows(lengths, 9)
    assert sorted(i for r in rows for i in r.tolist()) == list(range(len(lengths)))
    used = [sum(lengths[i] for i in r) for r in rows]
    assert all(u <= 9 for u in used)
    # Best fit never leaves two rows that would fit in one.
    assert all(a + b > 9 for k, a in enumerate(used) for b in used[k + 1 :])


def test_a_prompt_longer_than_the_row_is_named():
    with pytest.raises(PromptTooLongError, match="prompt 1 has 9 tokens, more than a packed row of 8"):
        pack_rows([3, 9], 8)


@given(TOKENS)
def test_dedupe_rebuilds_the_input(tokens):
    first, which = dedupe(tokens)
    assert [tokens[first[k]].tolist() for k in which] == [t.tolist() for t in tokens]
    assert len({tuple(tokens[i].tolist()) for i in first}) == len(first)
    assert first.tolist() == sorted(first.tolist())


def test_dedupe_does_not_confuse_widths():
    first, _ = dedupe([np.array([1, 0], dtype=np.int32), np.array([1], dtype=np.int64), np.array([1, 0])])
    assert first.tolist() == [0, 1]
