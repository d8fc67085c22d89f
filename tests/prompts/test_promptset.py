"""PromptSet: frozen, exact, checked; selecting, cutting, describing, hashing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from interp.errors import EmptyPromptsError, PromptError, PromptTooLongError
from interp.prompts import PromptSet


@pytest.fixture
def some() -> PromptSet:
    return PromptSet.from_tokens(
        [[1, 5, 6, 7], [1, 8], [1, 9, 4]],
        special_ids=[1],
        ids=["a", "b", "c"],
        labels=["x", "y", "x"],
        groups=["g", "h", "g"],
        pairs=[0, 1, 1],
        marks={"verb": [2, -1, 1]},
        columns={"score": [0.5, 1.5, 2.5], "note": ["n", None, "m"]},
    )


def test_values_are_exact_and_typed(some):
    assert [t.tolist() for t in some.tokens] == [[1, 5, 6, 7], [1, 8], [1, 9, 4]]
    assert all(t.dtype == np.int64 for t in some.tokens)
    assert [s.tolist() for s in some.special] == [[True, False, False, False], [True, False], [True, False, False]]
    assert some.marks["last"].tolist() == [3, 1, 2]
    assert some.lengths.tolist() == [4, 2, 3]
    assert some.n_tokens == 9
    assert some.pairs.tolist() == ["0", "1", "1"]
    assert some.columns["score"].dtype == np.float64
    assert some.columns["note"].tolist() == ["n", None, "m"]
    assert some.columns["bos"].tolist() == ["given"] * 3
    assert some.source.bos_counts == {"given": 3}
    assert some.texts is None


def test_nothing_can_be_changed_in_place(some):
    arrays = [*some.tokens, *some.special, *some.marks.values(), *some.columns.values(), some.labels, some.groups]
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[0]
    with pytest.raises(AttributeError):
        some.ids = ("z",)


def test_the_callers_arrays_stay_theirs():
    mine = np.array([3, 4, 5])
    prompts = PromptSet.from_tokens([mine])
    mine[0] = 9
    assert prompts.tokens[0].tolist() == [3, 4, 5]


def test_last_is_always_the_last_token(some):
    with pytest.raises(PromptError, match="'last' is always"):
        some.with_marks(last=[0, 0, 0])


def test_select_by_index_mask_and_slice_agree(some):
    by_index, by_mask, by_slice = some.select([0, 2]), some.select([True, False, True]), some.select(slice(0, 3, 2))
    for part in (by_index, by_mask, by_slice):
        assert part.ids == ("a", "c")
        assert part.labels.tolist() == ["x", "x"]
        assert part.groups.tolist() == ["g", "g"]
        assert part.marks["verb"].tolist() == [2, 1]
        assert part.columns["score"].tolist() == [0.5, 2.5]
        assert part.source.bos_counts == {"given": 2}
        assert part.hash == by_index.hash
    assert some.select([2, 0]).ids == ("c", "a")
    assert some.select([-1]).ids == ("c",)


@pytest.mark.parametrize(
    ("which", "error", "says"),
    [
        ([], EmptyPromptsError, "none of the 3"),
        ([False] * 3, EmptyPromptsError, "none of the 3"),
        ([3], PromptError, "no prompt 3; there are 3"),
        ([0, 0], PromptError, "selected 2 times"),
        ([0, -3], PromptError, "selected 2 times"),
        ([True], PromptError, "needs 3 values"),
        (np.array([0.5]), PromptError, "float64"),
    ],
)
def test_bad_selections_say_why(some, which, error, says):
    with pytest.raises(error, match=says):
        some.select(which)


def test_with_replaces_one_thing_and_leaves_the_original(some):
    assert some.with_labels([1, 0, 1]).labels.tolist() == [1, 0, 1]
    assert some.with_labels(None).labels is None
    assert some.with_groups([7, 8, 9]).groups.tolist() == ["7", "8", "9"]
    assert some.with_pairs(["p", "q", "r"]).pairs.tolist() == ["p", "q", "r"]
    assert some.with_marks(subject=[0, 0, -1]).marks["subject"].tolist() == [0, 0, -1]
    assert some.with_columns(new=[1, 2, 3]).columns["new"].tolist() == [1, 2, 3]
    assert some.labels.tolist() == ["x", "y", "x"]
    assert "subject" not in some.marks


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda p: p.with_labels([1, 2]), "2 labels for 3 prompts"),
        (lambda p: p.with_labels([1, None, 2]), "label 2 of 3 is missing"),
        (lambda p: p.with_labels([1.0, float("nan"), 2.0]), "label 2 of 3 is missing"),
        (lambda p: p.with_labels(["a", 1, "b"]), r"int \(row 2\), str \(row 1\)"),
        (lambda p: p.with_labels([True, 1, 0]), "mix types"),
        (lambda p: p.with_labels([[1], [2], [3]]), "label 1 is a list"),
        (lambda p: p.with_groups(["a", None, "b"]), "group 2 of 3 is missing"),
        (lambda p: p.with_marks(verb=[0, 2, 0]), "token 2 of prompt 'b', which has 2 tokens"),
        (lambda p: p.with_marks(verb=[0, -2, 0]), "token -2 of prompt 'b'"),
        (lambda p: p.with_marks(verb=[0, 1]), "needs 3 token indices"),
        (lambda p: p.with_marks(verb=np.array([0.0, 1.0, 0.0])), "float64"),
        (lambda p: p.with_columns(bos=[1, 2, 3]), "'bos' records"),
        (lambda p: p.with_columns(x=[1]), "'x' has 1 values for 3"),
        (lambda p: p.index("zz"), "no prompt has id 'zz'"),
        (lambda p: p.index(5), "no prompt 5"),
    ],
)
def test_bad_values_are_named(some, call, says):
    with pytest.raises(PromptError, match=says):
        call(some)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: PromptSet.from_tokens([]), EmptyPromptsError, "no prompts in memory"),
        (lambda: PromptSet.from_tokens([[1], []]), PromptError, "number 2 is not a flat list"),
        (lambda: PromptSet.from_tokens([[1.5]]), PromptError, "number 1 is not a flat list"),
        (lambda: PromptSet.from_tokens([["a"]]), PromptError, "number 1 is not a flat list"),
        (lambda: PromptSet.from_tokens([[True]]), PromptError, "number 1 is not a flat list"),
        (lambda: PromptSet.from_tokens([[[1]]]), PromptError, "number 1 is not a flat list"),
        (lambda: PromptSet.from_tokens([[1], [-1]]), PromptError, "'1' holds the negative token id -1"),
        (
            lambda: PromptSet.from_tokens([[1], [2]], ids=["a", "a"]),
            PromptError,
            "'a' is used twice, by prompts 1 and 2",
        ),
        (lambda: PromptSet.from_tokens([[1], [2]], ids=["a"]), PromptError, "1 ids for 2 prompts"),
        (lambda: PromptSet.from_tokens([[1, 2]], special=[[True]]), PromptError, "2 tokens but a special mask of 1"),
        (lambda: PromptSet.from_tokens([[1]], special=[[True]], special_ids=[1]), PromptError, "give one of"),
    ],
)
def test_bad_token_prompts_are_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_without_word_from_anybody_no_token_is_special():
    assert not PromptSet.from_tokens([[0, 1, 2]]).special[0].any()


def test_hash_covers_what_activations_depend_on_and_nothing_else(some):
    same = PromptSet.from_tokens(
        [[1, 5, 6, 7], [1, 8], [1, 9, 4]],
        special_ids=[1],
        ids=["a", "b", "c"],
        marks={"verb": [2, -1, 1]},
        name="other",
    )
    assert same.hash == some.hash
    assert some.with_labels([1, 2, 3]).hash == some.hash
    assert some.with_labels([1, 2, 3]).label_hash != some.label_hash
    assert some.with_groups(None).label_hash != some.label_hash
    assert some.with_labels(["1", "2", "3"]).label_hash != some.with_labels([1, 2, 3]).label_hash
    changed = [
        some.with_marks(verb=[1, -1, 1]),
        some.with_marks(other=[1, -1, 1]),
        some.select([0, 1]),
        some.select([1, 0, 2]),
        PromptSet.from_tokens(some.tokens, special_ids=[1], ids=["a", "b", "d"], marks={"verb": [2, -1, 1]}),
        PromptSet.from_tokens(some.tokens, special_ids=[5], ids=["a", "b", "c"], marks={"verb": [2, -1, 1]}),
        # The same flat run of tokens, cut elsewhere.
        PromptSet.from_tokens([[1, 5, 6], [7, 1, 8], [1, 9, 4]], ids=["a", "b", "c"], marks={"verb": [2, -1, 1]}),
    ]
    hashes = [p.hash for p in changed]
    assert some.hash not in hashes
    assert len(set(hashes)) == len(hashes)


def test_hash_is_pinned():
    """Stores are keyed by it: it may not change by accident."""
    assert PromptSet.from_tokens([[1, 2], [3]]).hash == "ac0ec4d59855f3f571709eb80d158837"


def test_repr_and_describe_show_what_is_there(some):
    assert repr(some) == (
        "PromptSet(3 prompts from memory (tokens), 9 tokens, 2-4 each; marks last, verb (2 have it); "
        "labels: x 2, y 1; 2 groups; 2 pairs; bos: given 3)"
    )
    assert some.describe("a").splitlines() == [
        "prompt 'a' (1 of 3): 4 tokens, label 'x', group 'g', pair '0', bos given",
        "  0  1  special",
        "  1  5",
        "  2  6           <- verb",
        "  3  7           <- last",
    ]
    assert some.describe(1) == some.describe("b") == some.describe(-2)


def test_many_labels_are_summed_up():
    prompts = PromptSet.from_tokens([[i] for i in range(9)], labels=list(range(9)))
    assert "labels: 9 values from 0 to 8" in repr(prompts)


def test_too_long_names_the_longest_and_the_options(some):
    some.check_fits(4)
    with pytest.raises(PromptTooLongError) as caught:
        some.check_fits(2)
    message = str(caught.value)
    assert "2 of 3 prompts are longer than the context of 2 tokens; the longest is 'a' with 4" in message
    assert "truncate='left'" in message
    assert "truncate='right'" in message
    assert "drop_long=True" in message
    with pytest.raises(PromptTooLongError):
        some.fit(2)
    with pytest.raises(PromptError, match="at least 1"):
        some.check_fits(0)


def test_drop_long_leaves_out_and_records(some):
    kept = some.fit(3, drop_long=True)
    assert kept.ids == ("b", "c")
    assert kept.source.history == ("left out 1 prompts of more than 3 tokens",)
    assert "left out 1 prompts" in repr(kept)
    with pytest.raises(EmptyPromptsError, match="all 3 prompts"):
        some.fit(1, drop_long=True)


def test_truncate_right_keeps_the_start(some):
    cut = some.fit(2, truncate="right")
    assert [t.tolist() for t in cut.tokens] == [[1, 5], [1, 8], [1, 9]]
    assert cut.marks["verb"].tolist() == [-1, -1, 1]
    assert cut.marks["last"].tolist() == [1, 1, 1]
    assert cut.columns["cut_tokens"].tolist() == [2, 0, 1]
    assert cut.source.history == ("cut the end of 2 prompts to 2 tokens",)


def test_truncate_left_keeps_the_end_and_a_special_first_token(some):
    cut = some.fit(3, truncate="left")
    assert [t.tolist() for t in cut.tokens] == [[1, 6, 7], [1, 8], [1, 9, 4]]
    assert cut.special[0].tolist() == [True, False, False]
    assert cut.marks["verb"].tolist() == [1, -1, 1]
    assert cut.fit(2, truncate="left").columns["cut_tokens"].tolist() == [2, 0, 1]
    plain = PromptSet.from_tokens([[1, 5, 6, 7]])
    assert plain.fit(2, truncate="left").tokens[0].tolist() == [6, 7]


def test_fit_changes_nothing_that_fits(some):
    assert some.fit(4, truncate="left") is some


@pytest.mark.parametrize("options", [{"truncate": "left", "drop_long": True}, {"truncate": "middle"}])
def test_fit_refuses_contradictions(some, options):
    with pytest.raises(PromptError):
        some.fit(2, **options)


def test_jsonl_has_everything(some, tmp_path):
    path = some.to_jsonl(tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[0] == {
        "id": "a",
        "tokens": [1, 5, 6, 7],
        "special": [1, 0, 0, 0],
        "marks": {"last": 3, "verb": 2},
        "label": "x",
        "group": "g",
        "pair": "0",
        "score": 0.5,
        "note": "n",
        "bos": "given",
    }
    with pytest.raises(PromptError, match="cannot write"):
        some.to_jsonl(tmp_path / "no" / "out.jsonl")
