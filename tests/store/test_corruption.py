"""Every file of a store flipped, truncated, deleted and duplicated: `verify` names it, and no reader is fooled."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from interp.errors import InterpError, StoreCorruptError, StoreError
from interp.store import StoreWriter, open_store, verify
from interp.store.process import process
from tests.store.building import all_values, shard_index, shard_tensors, tiny, write

OPTIONS = tiny(dtype="float32", shards=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "store"
    write(path, OPTIONS)
    return path


@pytest.fixture
def store(whole: Path, scratch: Path) -> Path:
    shutil.copytree(whole, scratch / "store")
    return scratch / "store"


def files(path: Path) -> list[Path]:
    return sorted(path.iterdir())


def named(path: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for problem in verify(path).problems:
        found.setdefault(problem.file, set()).add(problem.kind)
    return found


def read_everything(path: Path) -> None:
    acts = open_store(path)
    assert len(acts.index) == len(acts)
    assert acts.examples.labels is not None
    for site in OPTIONS["sites"]:
        assert acts[site].tensor().shape == all_values(OPTIONS, site).shape


def test_an_untouched_store_is_sound(store: Path) -> None:
    result = verify(store)
    assert result.ok
    assert result.shards_listed == result.shards_planned == len(OPTIONS["plan"])
    assert result.bytes_checked == sum(f.stat().st_size for f in files(store) if "-" in f.name)
    assert {f.suffix for f in files(store)} == {".json", ".jsonl", ".parquet", ".safetensors"}


def test_a_flipped_bit_anywhere_is_named(store: Path) -> None:
    for file in files(store):
        data = file.read_bytes()
        step = max(1, len(data) // 40)
        for place in [*range(0, len(data), step), len(data) - 1]:
            file.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
            found = named(store)
            assert file.name in found, f"{file.name} flipped at byte {place}: {found}"
            # Other files may only be named because the listing no longer vouches for them.
            assert all(kinds <= {"orphan"} for name, kinds in found.items() if name != file.name), found
        file.write_bytes(data)
    assert verify(store).ok


def test_a_truncated_file_is_named(store: Path) -> None:
    for file in files(store):
        data = file.read_bytes()
        cuts = {0, 1, len(data) // 2, len(data) - 1, *(i + 1 for i, byte in enumerate(data[:-1]) if byte == 10)}
        for cut in cuts if len(data) < 2000 else sorted(cuts)[:30]:
            file.write_bytes(data[:cut])
            assert file.name in named(store), f"{file.name} cut at {cut} of {len(data)}"
        file.write_bytes(data)
    assert verify(store).ok


def test_a_deleted_file_is_named_and_readers_and_writers_refuse(store: Path) -> None:
    for file in files(store):
        data = file.read_bytes()
        file.unlink()
        assert "missing" in named(store)[file.name]
        with pytest.raises(StoreError, match=file.name):
            read_everything(store)
        with pytest.raises(StoreCorruptError, match=file.name):
            StoreWriter.open(store, **OPTIONS)
        file.write_bytes(data)
    assert verify(store).ok
    read_everything(store)


def test_a_truncated_or_extended_file_stops_readers_and_writers(store: Path) -> None:
    for file in files(store):
        if file.name == "shards.jsonl":  # a torn line is the one damage that a writer mends
            continue
        data = file.read_bytes()
        for damaged in (data[:-3], data + b"\0"):
            file.write_bytes(damaged)
            with pytest.raises(StoreCorruptError, match=file.name):
                read_everything(store)
            with pytest.raises(StoreCorruptError, match=file.name):
                StoreWriter.open(store, **OPTIONS)
        file.write_bytes(data)


def test_a_copy_of_any_file_is_named(store: Path) -> None:
    for file in files(store):
        for name in ("copy-of-" + file.name, file.name + ".bak", "shard-00000-" + "0" * 32 + ".safetensors"):
            copy = store / name
            shutil.copy(file, copy)
            assert named(store) == {name: {"duplicate"}}
            copy.unlink()


def test_foreign_things_are_named_and_left_alone(store: Path) -> None:
    (store / "notes.txt").write_text("mine")
    (store / "folder").mkdir()
    (store / "link").symlink_to(store / "manifest.json")
    other = store / ("shard-00001-" + "a" * 32 + ".parquet")
    other.write_bytes(b"something else")
    kinds = {"notes.txt": {"foreign"}, "folder": {"foreign"}, "link": {"foreign"}, other.name: {"foreign"}}
    assert named(store) == kinds
    StoreWriter.open(store, **OPTIONS).close()
    assert named(store) == kinds
    read_everything(store)


def test_a_shard_of_another_store_does_not_pass(store: Path, scratch: Path) -> None:
    other = {**OPTIONS, "provenance": OPTIONS["provenance"].replace(model="beef")}
    write(scratch / "other", other)
    lines = (scratch / "other" / "shards.jsonl").read_bytes()
    (store / "shards.jsonl").write_bytes(lines)
    assert "shards.jsonl" in named(store)
    with pytest.raises(InterpError, match=r"shards\.jsonl"):
        open_store(store, allow_partial=True)


def test_swapped_shards_are_named(store: Path) -> None:
    first, second = [f for f in files(store) if f.suffix == ".safetensors"][:2]
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)
    assert set(named(store)) == {first.name, second.name}


def test_a_damaged_line_in_the_middle_is_not_mistaken_for_a_torn_one(store: Path) -> None:
    lines = (store / "shards.jsonl").read_bytes().splitlines(keepends=True)
    (store / "shards.jsonl").write_bytes(lines[0] + lines[1].replace(b"rows", b"sowr") + lines[2])
    with pytest.raises(StoreCorruptError, match="line 2 is damaged"):
        StoreWriter.open(store, **OPTIONS)


@pytest.mark.parametrize("tail", [b'{"check":"0', b"\0\0\0\0", b"\0\0\0\n", b"garbage\n\n"])
def test_a_torn_last_line_is_ignored_by_readers_named_by_verify_and_cut_by_the_next_writer(
    tail: bytes, scratch: Path
) -> None:
    path = scratch / "torn"
    with StoreWriter.open(path, **OPTIONS) as writer:
        writer.commit(0, shard_tensors(OPTIONS, 0), shard_index(OPTIONS, 0))
    good = (path / "shards.jsonl").read_bytes()
    (path / "shards.jsonl").write_bytes(good + tail)
    assert {p.kind for p in verify(path).problems} == {"torn", "incomplete"}
    partial = open_store(path, allow_partial=True)
    assert torch.equal(partial["z.1"].tensor(), shard_tensors(OPTIONS, 0)["z.1"])
    StoreWriter.open(path, **OPTIONS).close()
    assert (path / "shards.jsonl").read_bytes() == good


def test_files_of_a_dead_writer_are_removed_and_those_of_a_living_one_are_not(store: Path) -> None:
    running = process(os.getppid())
    boot, parent, _ = running.split("-")
    dead = [
        ".tmp-00000000-1-1-0",
        f".tmp-{boot}-{2**22 + 1}-0-0",
        f".tmp-{boot}-{parent}-1-0",
        f".tmp-{boot}-{2**70}-0-0",
    ]
    alive = f".tmp-{running}-0"
    for name in (*dead, alive):
        (store / name).write_bytes(b"half a shard")
    assert named(store) == {name: {"orphan"} for name in dead}
    StoreWriter.open(store, **OPTIONS).close()
    assert [f.name for f in files(store) if f.name.startswith(".tmp")] == [alive]


def test_verify_needs_a_directory(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot read store"):
        verify(tmp_path / "nowhere")
    assert [p.kind for p in verify(tmp_path).problems] == ["missing"]
