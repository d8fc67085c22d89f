"""`repair` takes out what is damaged, keeps the rest untouched, and the same command makes the store whole again."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from interp.errors import StoreCorruptError, StoreError, StoreLockedError
from interp.store import StoreWriter, repair, verify
from tests.store.building import tiny, write
from tests.store.faultfs import FaultFilesystem

OPTIONS = tiny(shards=3)
ALL = tuple(range(len(OPTIONS["plan"])))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("whole") / "store"
    return path, write(path, OPTIONS)


@pytest.fixture
def store(whole: tuple[Path, str], scratch: Path) -> Path:
    shutil.copytree(whole[0], scratch / "store")
    return scratch / "store"


def damage(file: Path, how: str) -> None:
    data = file.read_bytes()
    if how == "deleted":
        file.unlink()
    else:
        middle = len(data) // 2
        file.write_bytes(
            data[:middle] if how == "cut" else data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        )


@pytest.mark.parametrize("how", ["deleted", "cut", "flipped"])
def test_damaged_shards_are_dropped_and_only_they_are_written_again(
    how: str, store: Path, whole: tuple[Path, str]
) -> None:
    for file in sorted(store.glob("shard-*")):
        number = int(file.name.split("-")[1])
        damage(file, how)
        before = {f.name: f.stat().st_mtime_ns for f in store.glob("shard-*") if f"-{number:05d}-" not in f.name}
        assert repair(store) == (number,)
        assert {p.kind for p in verify(store).problems} == {"incomplete"}
        assert write(store, OPTIONS) == whole[1]
        assert verify(store).ok
        after = {f.name: f.stat().st_mtime_ns for f in store.glob("shard-*") if f"-{number:05d}-" not in f.name}
        assert before == after


def test_a_damaged_listing_keeps_its_good_lines(store: Path, whole: tuple[Path, str]) -> None:
    file = store / "shards.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + b"{}\n" + lines[2] + lines[2] + lines[1].replace(b"k", b"q") + lines[3][:-9])
    with pytest.raises(StoreCorruptError):
        StoreWriter.open(store, **OPTIONS)
    assert repair(store) == (1, 3)
    assert write(store, OPTIONS) == whole[1]
    file.unlink()
    assert repair(store) == ALL
    assert write(store, OPTIONS) == whole[1]
    assert verify(store).ok


def test_a_sound_store_stays_as_it_is(store: Path, whole: tuple[Path, str]) -> None:
    before = {f.name: f.read_bytes() for f in store.iterdir()}
    assert repair(store) == ()
    assert {f.name: f.read_bytes() for f in store.iterdir()} == before


def test_what_cannot_be_repaired(store: Path) -> None:
    with StoreWriter.open(store, **OPTIONS), pytest.raises(StoreLockedError):
        repair(store)
    damage(next(store.glob("examples-*")), "flipped")
    with pytest.raises(StoreCorruptError, match=r"cannot be repaired \(corrupt: examples-"):
        repair(store)
    damage(store / "manifest.json", "cut")
    with pytest.raises(StoreCorruptError, match=r"manifest\.json is damaged"):
        repair(store)


def test_a_failure_at_every_call_of_a_repair(store: Path, whole: tuple[Path, str], scratch: Path) -> None:
    damage(sorted(store.glob("shard-00001-*"))[0], "flipped")
    calls = FaultFilesystem()
    shutil.copytree(store, scratch / "undisturbed")
    repair(scratch / "undisturbed", calls)
    for k in range(len(calls.calls)):
        path = scratch / str(k)
        shutil.copytree(store, path)
        with pytest.raises(StoreError):
            repair(path, FaultFilesystem(fail_at=k, error=OSError(errno.ENOSPC, "injected"), half=True))
        assert not list(path.glob(".tmp*"))
        assert set(repair(path)) <= {1}
        assert write(path, OPTIONS) == whole[1]
        assert verify(path).ok
