"""`StoreWriter`: creating, resuming, finishing at once, and refusing what does not belong."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interp.errors import EmptyPromptsError, InterpError, ProvenanceError, StoreError, StoreMismatchError
from interp.store import Examples, ShardPlan, StoreWriter, describe, open_store, plan_shards, verify
from tests.store.building import LENGTHS, PROVENANCE, shard_index, shard_tensors, tiny, write

OPTIONS = tiny(shards=3)


def test_the_same_command_resumes_and_then_finishes_at_once(scratch: Path) -> None:
    expected = write(scratch / "whole", OPTIONS)
    path = scratch / "parts"
    for k in range(len(OPTIONS["plan"])):
        with StoreWriter.open(path, **OPTIONS) as writer:
            assert writer.missing()[0] == k
            writer.commit(k, shard_tensors(OPTIONS, k), shard_index(OPTIONS, k))
    with StoreWriter.open(path, **OPTIONS) as writer:
        assert writer.missing() == ()
        assert writer.finish() == expected
    assert write(path, OPTIONS) == expected
    assert verify(path).result_hash == describe(path).result_hash == expected


def test_shards_may_come_in_any_order(scratch: Path) -> None:
    expected = write(scratch / "whole", OPTIONS)
    with StoreWriter.open(scratch / "s", **OPTIONS) as writer:
        for k in reversed(writer.missing()):
            writer.commit(k, shard_tensors(OPTIONS, k), shard_index(OPTIONS, k))
        assert writer.finish() == expected
    assert torch.equal(open_store(scratch / "s")["z.1"].tensor(), open_store(scratch / "whole")["z.1"].tensor())


def test_the_command_and_the_code_version_may_change_but_are_recorded_once(scratch: Path) -> None:
    first = {**OPTIONS, "provenance": PROVENANCE.replace(command="interp capture", code="0.1")}
    expected = write(scratch / "s", first)
    assert write(scratch / "s", {**OPTIONS, "provenance": PROVENANCE.replace(command="other", code="0.2")}) == expected
    assert open_store(scratch / "s").provenance.code == "0.1"


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"provenance": PROVENANCE.replace(model="b00b")}, "model: the store has f00d, this run has b00b"),
    "prompts": ({"provenance": PROVENANCE.replace(prompts="cafe")}, "prompts: the store has beef, this run has cafe"),
    "dtype": ({"dtype": "float16"}, "dtype: the store has float32, this run has float16"),
    "at": ({"at": ("last", "t_inst")}, "at: the store has all, this run has last, t_inst"),
    "sites": ({"sites": {"z.1": 4}}, r"sites: the store has resid_post.0 \(8\), z.1 \(4\), this run has z.1 \(4\)"),
    "labels": ({"examples": Examples(OPTIONS["examples"].ids)}, "examples: the store has"),
    "plan": ({"plan": plan_shards(LENGTHS, 1, 100)}, r"plan: the store has 4 shards .* this run has 1 shards"),
}


@pytest.mark.parametrize("field", CHANGES)
def test_another_run_in_the_same_directory_says_what_differs(field: str, scratch: Path) -> None:
    change, message = CHANGES[field]
    expected = write(scratch / "s", OPTIONS)
    with pytest.raises(StoreMismatchError, match=message) as caught:
        StoreWriter.open(scratch / "s", **{**OPTIONS, **change})
    assert str(caught.value).count("the store has") == 1
    assert not (scratch / "s" / "lock").exists()
    assert write(scratch / "s", OPTIONS) == expected


def test_commits_that_do_not_fit_the_plan_are_refused_and_leave_nothing(scratch: Path) -> None:
    tensors, index = shard_tensors(OPTIONS, 0), shard_index(OPTIONS, 0)
    with StoreWriter.open(scratch / "s", **OPTIONS) as writer:
        before = sorted(f.name for f in (scratch / "s").iterdir())
        cases: list[tuple[Any, str]] = [
            ((9, tensors, index), "there is no shard 9"),
            ((-1, tensors, index), "there is no shard -1"),
            ((0, {"z.1": tensors["z.1"]}, index), "needs the sites resid_post.0, z.1; got z.1"),
            ((0, {**tensors, "embed": tensors["z.1"]}, index), "needs the sites"),
            ((0, {**tensors, "z.1": tensors["z.1"][:-1]}, index), r"z.1 has shape \[7, 4\], the plan says \[8, 4\]"),
            ((0, {**tensors, "z.1": tensors["z.1"][:, :2]}, index), r"z.1 has shape \[8, 2\]"),
            ((0, tensors, index.select(slice(0, 3))), "planned with 8 rows, its index has 3"),
            ((0, tensors, index.select(slice(None, None, -1))), "not in the order of the examples"),
            ((1, shard_tensors(OPTIONS, 1), index.select(slice(0, 7))), "holds examples 3..4, its index has 0..2"),
        ]
        for arguments, message in cases:
            with pytest.raises(StoreMismatchError, match=message):
                writer.commit(*arguments)
        assert sorted(f.name for f in (scratch / "s").iterdir()) == before
        writer.commit(0, tensors, index)
        with pytest.raises(StoreMismatchError, match=r"shard 0 .* is there already"):
            writer.commit(0, tensors, index)
        with pytest.raises(StoreError, match="3 of 4 shards are missing"):
            writer.finish()
    with pytest.raises(StoreError, match="closed"):
        writer.commit(1, shard_tensors(OPTIONS, 1), shard_index(OPTIONS, 1))


def test_directories_that_are_no_store_are_refused_and_left_alone(scratch: Path) -> None:
    (scratch / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"not empty and not a store: it holds notes\.txt"):
        StoreWriter.open(scratch, **OPTIONS)
    assert [f.name for f in scratch.iterdir()] == ["notes.txt"]
    with pytest.raises(StoreError, match="directory"):
        StoreWriter.open(scratch / "notes.txt", **OPTIONS)
    with pytest.raises(StoreError, match="not an activation store"):
        open_store(scratch / "notes.txt")
    with pytest.raises(StoreError, match="not an activation store"):
        describe(scratch)


def test_what_a_store_needs_to_know(scratch: Path) -> None:
    bad: list[tuple[dict[str, Any], type[InterpError], str]] = [
        ({"provenance": PROVENANCE.replace(prompts=None)}, ProvenanceError, "prompt hash"),
        ({"sites": {}}, StoreError, "at least one site"),
        ({"sites": {"z.1": 0}}, StoreError, "positive width"),
        ({"dtype": "float8"}, StoreError, "cannot store activations as 'float8'"),
        ({"examples": Examples(("a",))}, StoreMismatchError, "plan covers 8 examples, there are 1"),
        ({"plan": ()}, StoreError, "at least one shard"),
        ({"plan": (ShardPlan(0, 0, 3, 5), ShardPlan(1, 4, 8, 5))}, StoreError, "broken at shard 1"),
    ]
    for change, error, message in bad:
        with pytest.raises(error, match=message):
            StoreWriter.open(scratch / "s", **{**OPTIONS, **change})
    assert not (scratch / "s").exists()


def test_a_writer_that_died_before_the_header_leaves_nothing_in_the_way(scratch: Path) -> None:
    path = scratch / "s"
    path.mkdir()
    (path / "shards.jsonl").touch()
    (path / ("examples-" + "0" * 32 + ".parquet")).write_bytes(b"old")
    (path / ".tmp-00000000-1-1-0").touch()
    (path / "lock").touch()
    write(path, OPTIONS)
    assert verify(path).ok


def test_ctrl_c_leaves_a_store_that_resumes(scratch: Path) -> None:
    class Interrupted(dict):
        def items(self) -> Any:
            raise KeyboardInterrupt

    expected = write(scratch / "whole", OPTIONS)
    with StoreWriter.open(scratch / "s", **OPTIONS) as writer:
        writer.commit(0, shard_tensors(OPTIONS, 0), shard_index(OPTIONS, 0))
        with pytest.raises(KeyboardInterrupt):
            writer.commit(1, Interrupted(), shard_index(OPTIONS, 1))
    assert not (scratch / "s" / "lock").exists()
    assert write(scratch / "s", OPTIONS) == expected


@pytest.mark.parametrize("seed", range(5))
def test_a_plan_covers_every_example_once_and_keeps_to_its_size(seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 9, size=50)
    plan = plan_shards(counts, bytes_per_row=3, shard_bytes=36)
    assert [s.k for s in plan] == list(range(len(plan)))
    assert plan[0].example_start == 0
    assert plan[-1].example_stop == 50
    assert all(a.example_stop == b.example_start for a, b in pairwise(plan))
    assert all(s.rows == counts[s.example_start : s.example_stop].sum() and 0 < s.rows <= 12 for s in plan)
    # Greedy: no shard could have taken the first rows of the next one.
    assert all(a.rows + counts[b.example_start] > 12 for a, b in pairwise(plan))


def test_plans_at_the_edges() -> None:
    assert [s.rows for s in plan_shards([100, 0, 100], 10, 5)] == [100, 100]
    assert plan_shards([0, 5, 0, 0], 1, 100) == (ShardPlan(0, 0, 4, 5),)
    assert plan_shards([5, 0, 0], 1, 5)[-1].example_stop == 3
    for counts in ([], [0, 0]):
        with pytest.raises(EmptyPromptsError, match="nothing to store"):
            plan_shards(counts, 1)
    with pytest.raises(StoreError, match="must be positive"):
        plan_shards([1], 0)
    with pytest.raises(StoreError, match="example 1 has a negative"):
        plan_shards([1, -1], 1)
