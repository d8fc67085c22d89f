"""`capture` into a store: the same rows as in memory, resumed after any stop, refused to strangers."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import torch

from interp import PromptSet, capture, open_store, verify
from interp.errors import InterpError, ProvenanceError, StoreError, StoreFullError, StoreLockedError, StoreMismatchError
from interp.models.hooks import hook_count
from interp.store import quantise
from tests.identity.architectures import assert_near, fresh, ragged, shared_model

LENGTHS = (6, 11, 3, 9, 1, 14, 2, 8, 5, 7)
SITES = "resid_post.0,resid_post.2,z.1.h2"


@pytest.fixture
def model():
    return shared_model("llama")


@pytest.fixture(scope="module")
def prompts():
    tokens = ragged(LENGTHS, prefix=4)
    n = len(tokens)
    return PromptSet.from_tokens(
        [*tokens, tokens[2]],
        ids=[f"p{i}" for i in range(n + 1)],
        labels=[i % 2 for i in range(n + 1)],
        groups=[f"g{i % 3}" for i in range(n + 1)],
        marks={"verb": [0] * (n + 1)},
    )


def lines(path):
    """Committed shards, by the files that hold them."""
    return sorted(p.name for p in path.iterdir() if p.name.endswith(".safetensors"))


def store(model, prompts, path, **options):
    return capture(model, prompts, SITES, out=path, shard_bytes=4000, **options)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", None])
@pytest.mark.parametrize("at", ["all", "last", ["verb", "last"]])
def test_stored_rows_are_the_captured_rows(model, prompts, tmp_path, dtype, at):
    memory = capture(model, prompts, SITES, at=at, dtype=dtype)
    stored = capture(model, prompts, SITES, at=at, dtype=dtype, out=tmp_path / "s", shard_bytes=500)
    assert len(lines(tmp_path / "s")) > 1
    for acts in (stored, open_store(tmp_path / "s")):
        assert acts.index == memory.index
        assert acts.sites == memory.sites
        assert acts.provenance == memory.provenance
        assert acts.ids == prompts.ids
        for column in ("labels", "groups"):
            assert acts.per_row(column).tolist() == memory.per_row(column).tolist()
        order = np.random.default_rng(0).permutation(len(memory))
        for site in memory.sites:
            assert acts[site].dtype == memory[site].dtype
            # Shards are batched apart, so that rows may differ in the last place.
            tolerance = {"float16": 2e-3, "bfloat16": 2e-2}.get(dtype, 3e-5)
            assert_near(acts[site].tensor(), memory[site].tensor(), f"{site}", tolerance)
            assert torch.equal(acts[site][order], acts[site].tensor()[order])
    assert verify(tmp_path / "s").ok


def test_int8(model, prompts, tmp_path):
    memory = capture(model, prompts, SITES)
    stored = store(model, prompts, tmp_path / "s", dtype="int8")
    for site in memory.sites:
        exact, got = memory[site].tensor(), stored[site].tensor()
        step = quantise(exact).scale.float().reshape(-1, 1)
        assert ((got - exact).abs() <= 0.51 * step + 1e-6).all()
    assert verify(tmp_path / "s").ok


def passes_of(model, job):
    calls = []
    handle = model.hf.register_forward_pre_hook(lambda *_: calls.append(1))
    try:
        return job(), len(calls)
    finally:
        handle.remove()


def test_a_complete_store_costs_nothing(model, prompts, tmp_path):
    first, n = passes_of(model, lambda: store(model, prompts, tmp_path / "s"))
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "s").iterdir()}
    again, none = passes_of(model, lambda: store(model, prompts, tmp_path / "s"))
    assert n >= len(lines(tmp_path / "s")) > 3
    assert none == 0
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "s").iterdir()}
    assert {k: v for k, v in after.items() if "lock" not in k} == {k: v for k, v in before.items() if "lock" not in k}
    assert again.index == first.index


class Stop(Exception):
    pass


@pytest.mark.parametrize("error", [KeyboardInterrupt, Stop, MemoryError])
def test_a_stop_in_the_middle_resumes(prompts, tmp_path, error):
    """Committed shards are not computed again, and the result is that of a run without a stop."""
    model = fresh("llama")
    whole, total = passes_of(model, lambda: store(model, prompts, tmp_path / "whole"))
    shards = len(lines(tmp_path / "whole"))
    hooks = hook_count(model.hf)
    calls = []

    def stop(*_):
        calls.append(1)
        if len(calls) == total // 2 + 1:
            raise error

    handle = model.hf.register_forward_pre_hook(stop)
    with pytest.raises(error):
        store(model, prompts, tmp_path / "s")
    handle.remove()
    assert hook_count(model.hf) == hooks
    safe = len(lines(tmp_path / "s"))
    assert 0 < safe < shards
    with pytest.raises(StoreError, match=rf"not complete: {shards - safe} of {shards} shards are missing"):
        open_store(tmp_path / "s")
    half = open_store(tmp_path / "s", allow_partial=True)
    assert half.index == whole.index.select(slice(len(half)))
    resumed, rest = passes_of(model, lambda: store(model, prompts, tmp_path / "s"))
    assert rest < total - safe + 1, "committed shards were computed again"
    results = [verify(tmp_path / name) for name in ("s", "whole")]
    assert all(r.ok for r in results)
    assert results[0].result_hash == results[1].result_hash
    assert resumed.index == whole.index


def test_batches_may_change_when_a_run_is_resumed(prompts, tmp_path):
    """Out of memory half-way: the way on is a smaller batch, and it must fit the same store."""
    model = fresh("llama")
    calls = []

    def stop(*_):
        calls.append(1)
        if len(calls) == 4:
            raise MemoryError

    handle = model.hf.register_forward_pre_hook(stop)
    options = {"at": "all"}
    with pytest.raises(MemoryError):
        store(model, prompts, tmp_path / "s", batch_tokens=4096, **options)
    handle.remove()
    stored = store(model, prompts, tmp_path / "s", batch_tokens=16, share_prefix=False, **options)
    memory = capture(model, prompts, SITES, **options)
    for site in memory.sites:
        assert_near(stored[site].tensor(), memory[site].tensor(), f"{site}")


def test_the_plan_does_not_follow_the_batch_size(model, tmp_path):
    """Without shard_bytes, too: large rows, where the batch size used to count."""
    from interp.run.job import make_job
    from interp.run.shards import _plan

    many = PromptSet.from_tokens(ragged((64,) * 3000))
    plans = [
        _plan(
            make_job(model, many, "resid_post,mlp_post,logits", "all", (), budget, True, False, "right"),
            "float32",
            None,
        )
        for budget in (None, 64, 131_072)
    ]
    assert plans[0] == plans[1] == plans[2]
    assert len(plans[0]) > 1


@pytest.mark.parametrize(
    "other",
    [
        lambda m, p, path: store(fresh("gpt2"), p, path),
        lambda m, p, path: store(m, p.select(slice(0, 5)), path),
        lambda m, p, path: store(m, p.select(slice(None, None, -1)), path),
        lambda m, p, path: store(m, p, path, at="last"),
        lambda m, p, path: store(m, p, path, dtype="float16"),
        lambda m, p, path: store(m, p.with_labels(None), path),
        lambda m, p, path: capture(m, p, "resid_post.0", out=path, shard_bytes=4000),
        lambda m, p, path: capture(m, p, SITES, out=path, shard_bytes=9000),
    ],
)
def test_something_else_is_refused(model, prompts, tmp_path, other):
    store(model, prompts, tmp_path / "s")
    before = verify(tmp_path / "s")
    with pytest.raises(StoreMismatchError, match="holds something else"):
        other(model, prompts, tmp_path / "s")
    assert verify(tmp_path / "s") == before


def test_a_changed_weight_is_another_model(prompts, tmp_path):
    model = fresh("llama")
    stored = store(model, prompts, tmp_path / "s")
    stored.provenance.require_model(model.fingerprint, "the store")
    model.module("model.norm").weight.data += 1e-3
    with pytest.raises(StoreMismatchError, match="model"):
        store(model, prompts, tmp_path / "s")
    with pytest.raises(ProvenanceError, match="load the model it came from"):
        stored.provenance.require_model(model.fingerprint, "the store")


def test_one_writer_at_a_time(prompts, tmp_path):
    model = fresh("llama")
    found = []

    def write_too(*_):
        if not found:
            with pytest.raises(StoreLockedError) as caught:
                store(shared_model("llama"), prompts, tmp_path / "s")
            found.append(caught.value)

    handle = model.hf.register_forward_pre_hook(write_too)
    store(model, prompts, tmp_path / "s")
    handle.remove()
    assert found
    assert verify(tmp_path / "s").ok


def test_a_full_disk_stops_cleanly_and_resumes(model, prompts, tmp_path, monkeypatch):
    from interp.store import fs

    store(model, prompts, tmp_path / "whole")
    files, create = [], fs.OsFilesystem.create

    class Full:
        """A file on a disk that has no room left."""

        def __init__(self, file):
            self.fsync, self.truncate, self.close = file.fsync, file.truncate, file.close

        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def create_until_full(self, path):
        files.append(path)
        return Full(create(self, path)) if len(files) > 8 else create(self, path)

    monkeypatch.setattr(fs.OsFilesystem, "create", create_until_full)
    with pytest.raises(StoreFullError, match=r"\d of \d+ shards .* are committed and safe"):
        store(model, prompts, tmp_path / "s")
    monkeypatch.undo()
    assert 0 < len(lines(tmp_path / "s")) < len(lines(tmp_path / "whole"))
    store(model, prompts, tmp_path / "s")
    assert verify(tmp_path / "s").result_hash == verify(tmp_path / "whole").result_hash


def test_a_place_that_cannot_be_written(model, prompts, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "s", tmp_path / "full"):
        with pytest.raises(InterpError):
            store(model, prompts, path)
    assert (tmp_path / "file").read_text() == (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_in_memory_and_stored_activations_are_used_alike(model, prompts, tmp_path):
    memory, stored = capture(model, prompts, SITES), store(model, prompts, tmp_path / "s")
    for acts in (memory, stored):
        last = acts.at("last")
        assert last.index.position.tolist() == [len(t) - 1 for t in prompts.tokens]
        assert_near(
            last["resid_post.2"].tensor(), capture(model, prompts, SITES, at="last")["resid_post.2"].tensor(), "last"
        )
        picked = acts.select(acts.index.example == 3)
        assert len(picked) == len(prompts.tokens[3])
        acts.check_finite()


def test_gathered_in_a_permuted_order(model, prompts):
    """Rows come back in the input's order whatever the order of the batches."""
    order = np.random.default_rng(1).permutation(len(prompts))
    plain, shuffled = capture(model, prompts, SITES), capture(model, prompts.select(order), SITES)
    for site in plain.sites:
        parts = [plain[site][plain.index.example == i] for i in order]
        assert_near(shuffled[site].tensor(), torch.cat(parts), f"{site}")
    want = np.concatenate([prompts.tokens[i] for i in order])
    assert shuffled.index.token.tolist() == want.tolist()
