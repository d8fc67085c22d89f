"""A store survives a failure, and a power loss, at every single call of its writer."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest
import torch

from interp.errors import InterpError, StoreError, StoreFullError
from interp.store import StoreWriter, open_store, verify
from tests.store.building import all_values, shard_index, shard_tensors, tiny, write
from tests.store.faultfs import FaultFilesystem, PowerLoss

OPTIONS = tiny(lengths=(3, 1, 4), shards=2)
SLOW = [pytest.param(seed, marks=pytest.mark.slow) for seed in ("kept", "harsh", *range(1, 20))]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """The result hash of an undisturbed run, and the calls that it makes."""
    path = tmp_path_factory.mktemp("reference") / "store"
    fs = FaultFilesystem()
    return write(path, OPTIONS, fs=fs), fs.calls


def assert_sound(path: Path, expected: str, promised: list[int]) -> None:
    """Nothing promised was lost, what survived opens to right rows only, and the same command completes the store."""
    committed: tuple[int, ...] = ()
    try:
        with StoreWriter.open(path, **OPTIONS, fs=FaultFilesystem()) as writer:
            committed = tuple(s.k for s in writer.plan if s.k not in writer.missing())
    except InterpError as error:
        pytest.fail(f"the same command does not resume: {error}")
    assert set(promised) <= set(committed)
    partial = open_store(path, allow_partial=True)
    for site in OPTIONS["sites"]:
        parts = [shard_tensors(OPTIONS, k)[site] for k in committed]
        wanted = torch.cat(parts) if parts else torch.zeros(0, OPTIONS["sites"][site])
        assert torch.equal(partial[site].tensor(), wanted)
    assert write(path, OPTIONS, fs=FaultFilesystem()) == expected
    result = verify(path)
    assert result.ok, result.problems
    assert result.result_hash == expected
    assert torch.equal(open_store(path)["z.1"].tensor(), all_values(OPTIONS, "z.1"))


def test_the_calls_are_the_commit_protocol(reference: tuple[str, list[str]]) -> None:
    _, calls = reference
    shard = ["create", "write", "write", "write", "fsync", "checksum", "chmod"]
    index = ["create", "write", "fsync", "checksum", "chmod"]
    expected = [*shard, *index, "rename", "rename", "fsync_dir", "write", "fsync"]
    assert calls[-2 * len(expected) :] == expected * 2


@pytest.mark.parametrize("mode", ["dropped", 0, *SLOW])
def test_power_loss_at_every_call(mode: str | int, scratch: Path, reference: tuple[str, list[str]]) -> None:
    expected, calls = reference
    for k in range(len(calls)):
        path = scratch / str(k) / "store"
        path.parent.mkdir()
        promised: list[int] = []
        fs = FaultFilesystem(fail_at=k, error=PowerLoss(), half=k % 2 == 0)
        with pytest.raises(PowerLoss):
            write(path, OPTIONS, promised, fs=fs)
        if mode != "kept":  # kept: only the process died, so the files stay as it left them
            keep = None if mode == "dropped" else random.Random(f"{mode} {k}")
            fs.lose_power(path, keep, harsh=mode == "harsh")
        if mode == "harsh":  # such a disk may break a promise, but what it gives back is still recognised
            promised.clear()
        assert_sound(path, expected, promised)


@pytest.mark.parametrize("number, half", [(errno.ENOSPC, True), (errno.EIO, False)])
def test_an_error_at_every_call(number: int, half: bool, scratch: Path, reference: tuple[str, list[str]]) -> None:
    expected, calls = reference
    for k, call in enumerate(calls):
        path = scratch / str(k) / "store"
        path.parent.mkdir()
        promised: list[int] = []
        takes_space = call in ("mkdir", "create", "write", "fsync", "rename", "fsync_dir")
        wanted = StoreFullError if takes_space and number != errno.EIO else StoreError
        with pytest.raises(wanted):
            write(path, OPTIONS, promised, fs=FaultFilesystem(fail_at=k, error=OSError(number, "injected"), half=half))
        left = [file.name for file in path.iterdir() if file.name.startswith(".tmp")] if path.exists() else []
        assert not left, f"call {k} ({call}) left {left}"
        assert_sound(path, expected, promised)


def interrupt(path: Path) -> None:
    """Leave one shard of two, a torn line and a dead writer's temporary file."""
    with StoreWriter.open(path, **OPTIONS, fs=FaultFilesystem()) as writer:
        writer.commit(1, shard_tensors(OPTIONS, 1), shard_index(OPTIONS, 1))
    with open(path / "shards.jsonl", "ab") as lines:
        lines.write(b'{"check":"torn')
    (path / ".tmp-00000000-1-1-0").write_bytes(b"left by a dead writer")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "injected"), PowerLoss()], ids=["full", "power"])
def test_a_failure_at_every_call_of_a_resume(
    error: BaseException, scratch: Path, reference: tuple[str, list[str]]
) -> None:
    expected, _ = reference
    interrupt(scratch / "undisturbed")
    undisturbed = FaultFilesystem()
    write(scratch / "undisturbed", OPTIONS, fs=undisturbed)
    for k in range(len(undisturbed.calls)):
        path, promised = scratch / str(k), [1]
        interrupt(path)
        fs = FaultFilesystem(fail_at=k, error=error, half=True)
        fs.adopt(path)
        with pytest.raises((StoreError, PowerLoss)):
            write(path, OPTIONS, promised, fs=fs)
        if isinstance(error, PowerLoss):
            fs.lose_power(path, random.Random(k))
        assert_sound(path, expected, promised)


def test_a_full_disk_says_what_is_safe_and_the_writer_goes_on_when_there_is_room(scratch: Path) -> None:
    fs = FaultFilesystem()
    with StoreWriter.open(scratch / "store", **OPTIONS, fs=fs) as writer:
        writer.commit(0, shard_tensors(OPTIONS, 0), shard_index(OPTIONS, 0))
        fs.fail_at, fs.error = len(fs.calls) + 1, OSError(errno.ENOSPC, "No space left on device")
        with pytest.raises(
            StoreFullError, match=r"shard 1 .* 1 of 2 shards \(\d+ rows, .*\) are committed and safe.* resumes"
        ):
            writer.commit(1, shard_tensors(OPTIONS, 1), shard_index(OPTIONS, 1))
        assert writer.missing() == (1,)
        for k in writer.missing():
            writer.commit(k, shard_tensors(OPTIONS, k), shard_index(OPTIONS, k))
        writer.finish()
    assert verify(scratch / "store").ok


def test_a_disk_that_reads_back_other_bytes_is_found_before_the_shard_counts(scratch: Path) -> None:
    class Lying(FaultFilesystem):
        def checksum(self, path: Path) -> str:
            return super().checksum(path)[::-1]

    with pytest.raises(StoreError, match="reads back as"):
        write(scratch / "store", OPTIONS, fs=Lying())
    assert not [file for file in (scratch / "store").iterdir() if file.name != "lock"]
