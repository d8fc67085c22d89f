"""Damaged manifests: whatever bytes they hold, the store gives an `InterpError` or right rows, and nothing else."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interp.errors import InterpError
from interp.store import StoreWriter, describe, manifest, open_store, verify
from tests.store.building import all_values, tiny, write
from tests.store.faultfs import FaultFilesystem

OPTIONS = tiny(dtype="float32", lengths=(3, 1, 4), shards=2)
FILES = ("manifest.json", "shards.jsonl")
SETTINGS = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Store:
    """A store whose files can be put back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hash = write(path, OPTIONS)
        self.files = {file.name: file.read_bytes() for file in path.iterdir()}

    def restore(self) -> None:
        for file in list(self.path.iterdir()):
            if file.name not in self.files:
                file.unlink() if not file.is_dir() else shutil.rmtree(file)
        for name, data in self.files.items():
            (self.path / name).write_bytes(data)


@pytest.fixture
def store(scratch: Path) -> Store:
    return Store(scratch / "store")


def read(path: Path) -> bool:
    """Open and read everything; ``False`` if it was refused. Wrong rows fail the test."""
    try:
        acts = open_store(path, allow_partial=True)
        rows = acts.index.example * 100 + acts.index.position
        for site in acts.sites:
            values = acts[site].tensor()
            wanted = all_values(OPTIONS, str(site))
            keep = torch.tensor([int(t) in set(rows.tolist()) for t in true_tokens()])
            assert torch.equal(values, wanted[keep])
        assert acts.ids == OPTIONS["examples"].ids
    except InterpError:
        return False
    return True


def true_tokens() -> list[int]:
    return [i * 100 + p for i, n in enumerate((3, 1, 4)) for p in range(n)]


def exercise(store: Store) -> None:
    """Every way into a store, on whatever its files hold now."""
    read(store.path)
    try:
        result = verify(store.path)
        assert not result.ok or result.result_hash == store.hash
        describe(store.path)
    except InterpError:
        pass
    try:
        assert write(store.path, OPTIONS, fs=FaultFilesystem()) == store.hash
    except InterpError:
        return
    assert read(store.path)


@SETTINGS
@given(name=st.sampled_from(FILES), data=st.binary(max_size=300))
def test_random_bytes(store: Store, name: str, data: bytes) -> None:
    store.restore()
    (store.path / name).write_bytes(data)
    assert not verify(store.path).ok
    exercise(store)


@SETTINGS
@given(name=st.sampled_from(FILES), data=st.data())
def test_mutated_bytes(store: Store, name: str, data: st.DataObject) -> None:
    store.restore()
    original = store.files[name]
    start = data.draw(st.integers(0, len(original)))
    stop = data.draw(st.integers(start, min(len(original), start + 40)))
    middle = data.draw(
        st.one_of(st.binary(max_size=20), st.just(original[start:stop] * 2), st.just(b"\n"), st.just(b"\0" * 9))
    )
    mutated = original[:start] + middle + original[stop:]
    (store.path / name).write_bytes(mutated)
    assert verify(store.path).ok == (mutated == original)
    exercise(store)


@SETTINGS
@given(
    text=st.sampled_from(["[" * 100_000, "{" * 100_000, "1" * 10_000, "NaN", '{"check":1e999,"header":{}}', "\ud800"])
)
def test_hostile_json(store: Store, text: str) -> None:
    for name in FILES:
        store.restore()
        (store.path / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        exercise(store)


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def replaced(value: Any, place: tuple, new: Any) -> Any:
    if not place:
        return new
    value = copy.copy(value)
    value[place[0]] = replaced(value[place[0]], place[1:], new)
    return value


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 40), st.integers(2**62, 2**80), st.floats(), st.text(max_size=8),
    st.sampled_from(["int8", "bfloat16", "z.1", "z.0", "../../etc/passwd", "0" * 32, f"shard-00000-{0:032}.parquet"]),
    st.lists(st.integers(0, 9), max_size=4), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@SETTINGS
@given(data=st.data(), new=scalars, key_too=st.booleans())
def test_other_content_under_right_checksums(store: Store, data: st.DataObject, new: Any, key_too: bool) -> None:
    """Not damage but a liar: the header says something else, and its checksum (and key) agree."""
    store.restore()
    header = json.loads(store.files["manifest.json"])["header"]
    header = replaced(header, data.draw(st.sampled_from(list(places(header)))), new)
    if not isinstance(header, dict):
        return
    if key_too:
        try:
            header["key"] = manifest.Identity.model_validate_json(json.dumps(header["identity"])).key
        except (ValueError, KeyError, TypeError):
            return
    (store.path / "manifest.json").write_bytes(manifest._encode_header(header))
    survives(store)


@SETTINGS
@given(data=st.data(), new=scalars)
def test_other_lines_under_right_checksums(store: Store, data: st.DataObject, new: Any) -> None:
    store.restore()
    key = json.loads(store.files["manifest.json"])["header"]["key"]
    lines = [json.loads(line)["shard"] for line in store.files["shards.jsonl"].splitlines()]
    number = data.draw(st.integers(0, len(lines) - 1))
    changed = replaced(lines[number], data.draw(st.sampled_from(list(places(lines[number])))), new)
    if not isinstance(changed, dict):
        return
    lines[number] = changed
    (store.path / "shards.jsonl").write_bytes(b"".join(manifest._encode_line(line, key) for line in lines))
    survives(store)


def survives(store: Store) -> None:
    """Nothing but an `InterpError` comes out, and no row beyond the files is read."""
    try:
        acts = open_store(store.path, allow_partial=True)
        for site in acts.sites:
            assert len(acts[site].tensor()) == len(acts.index) <= 8
        assert len(acts.ids) == 3
    except InterpError:
        pass
    verify(store.path)
    with contextlib.suppress(InterpError):
        StoreWriter.open(store.path, **OPTIONS, fs=FaultFilesystem()).close()
    outside = [p for p in store.path.parent.iterdir() if p != store.path]
    assert not outside
