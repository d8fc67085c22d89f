"""Every wanted row comes from exactly one cell of one pass, and that cell holds its token at its position, in context.

No model is needed: what a cell sees is the tokens of its own prompt before it, in this pass or in the kept prefix.
"""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.run.passes import Schedule, passes

token = st.integers(0, 3)  # few, so that prompts and prefixes repeat
prompt = st.lists(token, min_size=1, max_size=9)
schedules = st.builds(
    Schedule,
    max_tokens=st.sampled_from([1, 7, 20, 500]),
    side=st.just("right"),
    share=st.just(True),
    packed=st.booleans(),
    row_tokens=st.sampled_from([9, 16]),
) | st.builds(
    Schedule, max_tokens=st.sampled_from([1, 7, 500]), side=st.sampled_from(["left", "right"]), share=st.just(False)
)


def context(one, kept, flat):
    """The tokens that a cell sees, ending with its own."""
    row, column = divmod(flat, one.input_ids.shape[1])
    ids, position = one.input_ids[row], int(one.position_ids[row, column])
    if one.prefix_rows is not None:
        prefix = kept[int(one.prefix_rows[row])]
        inside = position - len(prefix)
        assert one.attention_mask[row, : len(prefix)].all()
        assert one.attention_mask[row, len(prefix) + column]
        return [*prefix, *ids[column - inside : column + 1].tolist()]
    if one.attention_mask is not None:
        assert one.attention_mask[row, column - position : column + 1].all()
        assert not one.attention_mask[row, : column - position].any()
    return ids[column - position : column + 1].tolist()


@given(prompts=st.lists(prompt, min_size=1, max_size=8), how=schedules, data=st.data())
@settings(max_examples=200, deadline=None)
def test_rows_come_from_their_cells(prompts, how, data):
    if how.packed and max(map(len, prompts)) > how.max_tokens:
        how = Schedule(500, packed=True)
    tokens = [np.array(p, dtype=np.int64) for p in prompts]
    cells = [(i, j) for i, p in enumerate(prompts) for j in range(len(p))]
    # Any cells, in any order, some of them twice.
    wanted = data.draw(st.lists(st.sampled_from(cells), min_size=1, max_size=20))
    example, position = (np.array(x) for x in zip(*wanted, strict=True))
    found = np.zeros(len(wanted), dtype=int)
    kept = None
    for one in passes(tokens, example, position, how):
        rows, width = one.input_ids.shape
        assert rows == 1 or rows * width <= max(how.max_tokens, how.row_tokens if how.packed else 0)
        for source, dest in zip(one.source.tolist(), one.dest.tolist(), strict=True):
            found[dest] += 1
            i, j = wanted[dest]
            assert int(one.position_ids.reshape(-1)[source]) == j
            assert context(one, kept, source) == prompts[i][: j + 1]
            assert int(one.cells.pos.reshape(-1)[source]) == j
        if one.keep:
            kept = one.input_ids.tolist()
    assert (found == 1).all()


def test_edits_are_told_the_example_and_the_prompts_length():
    tokens = [np.arange(n) for n in (5, 3, 9, 3)]
    example = np.repeat(np.arange(4), [5, 3, 9, 3])
    position = np.concatenate([np.arange(n) for n in (5, 3, 9, 3)])
    for side in ("left", "right"):
        for one in passes(tokens, example, position, Schedule(12, side, share=False)):
            lengths = torch.tensor([len(tokens[i]) for i in one.cells.example.tolist()])
            assert torch.equal(one.cells.prompt_length, lengths)
            assert torch.equal((one.cells.pos >= 0).sum(1), lengths)
            assert one.real_tokens == int(lengths.sum())


def test_the_same_arguments_give_the_same_passes():
    rng = np.random.default_rng(0)
    tokens = [rng.integers(0, 5, n) for n in rng.integers(1, 30, 40)]
    example = np.repeat(np.arange(40), [len(t) for t in tokens])
    position = np.concatenate([np.arange(len(t)) for t in tokens])
    for how in (Schedule(64), Schedule(64, packed=True), Schedule(64, "left", share=False)):
        one, two = (list(passes(tokens, example, position, how)) for _ in range(2))
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert torch.equal(a.input_ids, b.input_ids)
            assert torch.equal(a.dest, b.dest)
