"""Two writers on one store, and readers while it is written."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from interp.errors import StoreError, StoreLockedError
from interp.store import StoreWriter, describe, open_store, verify
from interp.store.lock import StoreLock, is_locked
from interp.store.process import process
from tests.store.building import all_values, shard_index, shard_tensors, tiny, write

OPTIONS = tiny(shards=4)

HOLDER = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_writer_is_refused_at_once_and_the_first_goes_on(scratch: Path) -> None:
    path = scratch / "store"
    with StoreWriter.open(path, **OPTIONS) as first:
        first.commit(0, shard_tensors(OPTIONS, 0), shard_index(OPTIONS, 0))
        with pytest.raises(StoreLockedError, match=r"being written by another process \(process \d+\)"):
            StoreWriter.open(path, **OPTIONS)
        for k in first.missing():
            first.commit(k, shard_tensors(OPTIONS, k), shard_index(OPTIONS, k))
        first.finish()
    assert verify(path).ok
    assert not (path / "lock").exists()


def test_a_writer_in_another_process_is_respected_and_its_death_frees_the_store(scratch: Path) -> None:
    path = scratch / "store"
    StoreWriter.open(path, **OPTIONS).close()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        (path / "lock").write_text(process(holder.pid))  # what a `StoreLock` of that process would have written
        with pytest.raises(StoreLockedError, match=rf"process {holder.pid}\b"):
            StoreWriter.open(path, **OPTIONS)
        assert describe(path).being_written
        assert "a writer is at work" in verify(path).problems[0].detail
        holder.kill()
        holder.wait()
    assert (path / "lock").exists()
    assert not is_locked(path)
    write(path, OPTIONS)
    assert verify(path).ok


def test_a_lock_on_a_file_that_was_removed_meanwhile_does_not_count(scratch: Path) -> None:
    first = StoreLock(scratch)
    assert is_locked(scratch)
    (scratch / "lock").unlink()  # what `release` of another writer does between our open and our flock
    second = StoreLock(scratch)
    assert is_locked(scratch)
    second.release()
    first.release()
    assert not is_locked(scratch)
    StoreLock(scratch).release()


def test_a_reader_sees_only_committed_shards_and_keeps_what_it_saw(scratch: Path) -> None:
    path = scratch / "store"
    snapshots = []
    with StoreWriter.open(path, **OPTIONS) as writer:
        for k in writer.missing():
            with pytest.raises(
                StoreError, match=rf"{len(OPTIONS['plan']) - k} of {len(OPTIONS['plan'])} shards are missing"
            ):
                open_store(path)
            snapshots.append(open_store(path, allow_partial=True))
            assert describe(path).shards == k
            writer.commit(k, shard_tensors(OPTIONS, k), shard_index(OPTIONS, k))
        done = open_store(path)
    everything = all_values(OPTIONS, "resid_post.0")
    for k, snapshot in enumerate(snapshots):
        rows = sum(shard.rows for shard in OPTIONS["plan"][:k])
        assert len(snapshot) == len(snapshot.index) == rows
        assert torch.equal(snapshot["resid_post.0"].tensor(), everything[:rows])
    assert torch.equal(done["resid_post.0"].tensor(), everything)


def test_readers_in_threads_while_a_writer_works(scratch: Path) -> None:
    options, path = tiny(lengths=(2,) * 30, shards=30), scratch / "store"
    wanted, stop, seen = all_values(options, "z.1"), threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            acts = open_store(path, allow_partial=True)
            chosen = torch.randperm(len(acts))
            seen.append((len(acts), torch.equal(acts["z.1"][chosen], wanted[chosen]), len(acts.index)))

    with StoreWriter.open(path, **options) as writer:
        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for k in writer.missing():
                writer.commit(k, shard_tensors(options, k), shard_index(options, k))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert seen
    assert all(right and rows == index for rows, right, index in seen)
