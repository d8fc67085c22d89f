"""`Activations`, `Rows` and `RowIndex`: one behaviour in memory and memory-mapped."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interp.errors import ActivationError, NonFiniteError, SiteError, StoreCorruptError
from interp.sites import Site
from interp.store import Activations, Examples, RowIndex, StoreWriter, open_store, sources
from tests.store.building import LENGTHS, PROVENANCE, all_values, shard_index, tiny, write

OPTIONS = tiny(shards=4)
N = sum(LENGTHS)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Activations:
    path = tmp_path_factory.mktemp("acts") / "store"
    write(path, OPTIONS)
    return open_store(path)


@pytest.fixture(scope="module")
def memory() -> Activations:
    index = RowIndex.concat([shard_index(OPTIONS, shard.k) for shard in OPTIONS["plan"]])
    tensors = {site: all_values(OPTIONS, site) for site in OPTIONS["sites"]}
    return Activations.from_tensors(tensors, index, PROVENANCE, OPTIONS["examples"])


@pytest.fixture(params=["memory", "disk"])
def acts(request: pytest.FixtureRequest) -> Activations:
    return request.getfixturevalue(request.param)


pickers = st.one_of(
    st.slices(N),
    st.lists(st.integers(-N, N - 1), max_size=40).map(lambda rows: np.array(rows, dtype=np.int64)),
    st.lists(st.integers(-N, N - 1), max_size=10),
    st.lists(st.booleans(), min_size=N, max_size=N).map(np.array),
    st.lists(st.booleans(), min_size=N, max_size=N).map(torch.tensor),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=pickers, data=st.data())
def test_any_choice_of_rows_is_that_of_numpy(acts: Activations, first: object, data: st.DataObject) -> None:
    truth = all_values(OPTIONS, "z.1").numpy()
    key = first.numpy() if isinstance(first, torch.Tensor) else first
    key = np.array(key, dtype=np.int64) if isinstance(key, list) else key
    assert np.array_equal(acts["z.1"][first].numpy(), truth[key])
    chosen = acts.select(first)
    assert len(chosen) == len(truth[key]) == len(chosen.index)
    assert np.array_equal(chosen["z.1"].tensor().numpy(), truth[key])
    assert chosen.index == acts.index.select(first)
    m = len(chosen)
    again = data.draw(st.lists(st.integers(-m, m - 1), max_size=10)) if m else []
    assert np.array_equal(chosen["z.1"][again].numpy(), truth[key][np.array(again, dtype=np.int64)])


def test_what_is_known_of_the_rows(acts: Activations) -> None:
    assert [str(s) for s in acts.sites] == ["resid_post.0", "z.1"]
    assert acts.ids == OPTIONS["examples"].ids
    assert acts.provenance == PROVENANCE
    assert (acts["z.1"].shape, len(acts), acts["z.1"].dtype) == ((N, 4), N, torch.float32)
    assert acts.per_row("labels").tolist() == (acts.index.example % 2).tolist()
    assert acts.per_row("ids")[3] == "ex1"
    assert acts.per_row("source").tolist() == (acts.index.example * 10).tolist()
    assert "z.1" in acts
    assert Site.parse("z.2") not in acts
    assert acts.index.special.sum() == len(LENGTHS)
    assert np.asarray(acts["z.1"]).shape == (N, 4)
    assert torch.equal(torch.stack(list(acts["z.1"])), acts["z.1"].tensor())
    assert torch.equal(acts["z.1"][-1], acts["z.1"].tensor()[-1])


def test_one_mark_of_rows_captured_at_every_token(acts: Activations) -> None:
    last = acts.at("last")
    assert last.index.position.tolist() == [n - 1 for n in LENGTHS]
    assert last.index.mark_names == ("last",)
    assert torch.equal(last["z.1"].tensor(), acts["z.1"].tensor()[np.cumsum(LENGTHS) - 1])
    assert torch.equal(last.at("last")["z.1"].tensor(), last["z.1"].tensor())
    with pytest.raises(ActivationError, match="no activations at mark 't_inst' here; marks: 'last'"):
        acts.at("t_inst")


def test_a_mark_that_was_not_captured_is_not_guessed_from_positions() -> None:
    """Rows at `last` happen to lie where `t_post` is in one example; they are still not the rows at `t_post`."""
    examples = Examples(("a", "b"), marks={"last": np.array([2, 2]), "t_post": np.array([2, 1])})
    index = RowIndex.build([0, 1], [2, 2], [9, 9], marks=["last", "last"])
    acts = Activations.from_tensors({"embed": torch.ones(2, 1)}, index, PROVENANCE, examples)
    with pytest.raises(ActivationError, match="no activations at mark 't_post' here; marks: 'last'"):
        acts.at("t_post")


def test_examples_that_lack_a_mark_have_no_row() -> None:
    examples = Examples(("a", "b"), marks={"answer": np.array([-1, 0])})
    index = RowIndex.build([0, 1], [0, 0], [9, 9])
    acts = Activations.from_tensors({"embed": torch.ones(2, 1)}, index, PROVENANCE, examples)
    assert acts.at("answer").index.example.tolist() == [1]


@pytest.mark.parametrize("size", [1, 5, N, 100])
def test_batches_cover_every_row_once(acts: Activations, size: int) -> None:
    ordered = torch.cat([b["z.1"].tensor() for b in acts.batches(size)])
    assert torch.equal(ordered, acts["z.1"].tensor())
    shuffled = list(acts.batches(size, seed=3))
    assert all(len(b) <= size for b in shuffled)
    keys = np.concatenate([b.index.token for b in shuffled])
    assert sorted(keys) == sorted(acts.index.token)
    assert size > 1 or not np.array_equal(keys, acts.index.token)
    again = np.concatenate([b.index.token for b in acts.batches(size, seed=3)])
    assert np.array_equal(keys, again)
    by_token = {int(t): row for t, row in zip(acts.index.token, acts["z.1"].tensor(), strict=True)}
    for batch in shuffled:
        for token, row in zip(batch.index.token, batch["z.1"].tensor(), strict=True):
            assert torch.equal(row, by_token[int(token)])


def test_bad_requests_are_named(acts: Activations) -> None:
    cases = [
        (lambda: acts["resid_pre.0"], SiteError, "no activations of site 'resid_pre.0' here; sites: resid_post.0, z.1"),
        (lambda: acts["z.1"][N], ActivationError, f"row {N} is outside the {N} rows"),
        (lambda: acts["z.1"][[0, -N - 1]], ActivationError, f"row -{N + 1} is outside"),
        (lambda: acts["z.1"][np.zeros(3, bool)], ActivationError, f"must have {N} entries, got 3"),
        (lambda: acts["z.1"][np.zeros((2, 2), int)], ActivationError, "1-D"),
        (lambda: acts["z.1"][np.array([0.5])], ActivationError, "must be integers, got float64"),
        (lambda: acts.per_row("colour"), ActivationError, "no column 'colour'; columns here: ids, labels"),
        (lambda: next(acts.batches(0)), ActivationError, "got size 0"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()


def test_tensors_that_do_not_fit_the_index_are_refused() -> None:
    index = RowIndex.build([0, 3], [0, 0], [1, 1])
    with pytest.raises(ActivationError, match="rows of example 3, but there are 2"):
        Activations.from_tensors({"embed": torch.ones(2, 1)}, index, PROVENANCE, Examples(("a", "b")))
    with pytest.raises(ActivationError, match=r"site embed has shape \[3, 1\], but the index has 2 rows"):
        Activations.from_tensors({"embed": torch.ones(3, 1)}, index, PROVENANCE, Examples(("a", "b")))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["memory", "disk", "int8"])
def test_numbers_that_are_not_finite_are_found_and_named(value: float, where: str, scratch: Path) -> None:
    options = {**tiny("int8" if where == "int8" else "float16", shards=3), "sites": {"resid_post.0": 8}}
    values = all_values(options, "resid_post.0")
    values[9, 5] = value  # example 3 (rows 8 and 9), position 1
    index = RowIndex.concat([shard_index(options, shard.k) for shard in options["plan"]])
    acts = Activations.from_tensors({"resid_post.0": values}, index, PROVENANCE, options["examples"])
    if where != "memory":
        with StoreWriter.open(scratch / "s", **options) as writer:
            start = 0
            for shard in options["plan"]:
                rows = slice(start, start + shard.rows)
                writer.commit(shard.k, {"resid_post.0": values[rows]}, index.select(rows))
                start += shard.rows
            writer.finish()
        acts = open_store(scratch / "s")
    with pytest.raises(NonFiniteError, match=r"site resid_post\.0 holds .* in example 'ex3' at position 1 \(row 9"):
        acts.check_finite()
    acts.select(np.arange(N) != 9).check_finite()


def test_a_store_of_many_shards_keeps_few_maps_open(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_MAPS", 3)
    options = tiny(lengths=(2,) * 40, shards=40)
    write(scratch / "s", options)
    acts = open_store(scratch / "s")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    truth = all_values(options, "z.1")
    for _ in range(3):
        rows = torch.randperm(80)
        assert torch.equal(acts["z.1"][rows], truth[rows])
    if before:
        assert len(os.listdir("/proc/self/fd")) - before <= 4


def test_an_index_is_checked_and_read_only() -> None:
    index = RowIndex.build([0, 1], [0, 1], [5, 6], marks=["a", "b"])
    with pytest.raises(ValueError, match="read-only"):
        index.example[0] = 3
    zero = np.zeros(1, int)
    cases = [
        (lambda: RowIndex.build([0, 1], [0], [5, 6]), "must have one length"),
        (lambda: RowIndex.build([0], [0], [2**40]), "'token' .* does not fit int32"),
        (lambda: RowIndex.build(np.array([0.5]), [0], [1]), "'example' .* does not fit int64"),
        (lambda: RowIndex.build([0], np.array([[0]]), [1]), "1-D"),
        (lambda: RowIndex(zero, zero, np.array([4]), zero, zero), "must lie in 0..0"),
        (lambda: RowIndex.build([0], [0], [1]).with_mark("x").at("y"), "no rows .* at mark 'y'; marks here: 'x'"),
    ]
    for call, message in cases:
        with pytest.raises(ActivationError, match=message):
            call()


def test_indices_join_and_survive_parquet() -> None:
    first = RowIndex.build([0, 0], [0, 4], [1, 2], marks=["t_inst", "last"])
    second = RowIndex.build([1, 1], [7, 9], [3, 4], special=[False, True], marks=["last", "t_post"])
    joined = RowIndex.concat([first, second])
    assert joined.marks.tolist() == ["t_inst", "last", "last", "t_post"]
    assert joined.select([3, 0]).marks.tolist() == ["t_post", "t_inst"]
    back = RowIndex.from_parquet(joined.to_parquet())
    assert back == joined
    assert back.hash == joined.hash != first.hash
    assert joined != joined.select(slice(None, None, -1))
    empty = RowIndex.concat([])
    assert len(RowIndex.from_parquet(empty.to_parquet())) == 0
    assert RowIndex.concat([empty, first]).marks.tolist() == first.marks.tolist()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_parquet_file_is_an_interp_error_or_right(data: st.DataObject) -> None:
    index = RowIndex.build(np.repeat(np.arange(30), 4), np.tile(np.arange(4), 30), np.arange(120))
    good = index.to_parquet()
    place = data.draw(st.integers(0, len(good) - 1))
    bad = good[:place] + data.draw(st.binary(min_size=0, max_size=3)) + good[place + 1 :]
    try:
        read = RowIndex.from_parquet(bad, "rows.parquet")
    except StoreCorruptError as error:
        assert "rows.parquet" in str(error)  # noqa: PT017 (it may also be right)
    else:
        assert len(read) == 120
