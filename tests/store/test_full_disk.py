"""A file system that fills up: a clean stop that says what is safe, and a resume once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from interp.errors import StoreFullError, TooLargeError
from interp.store import StoreWriter, open_store, verify
from tests.store.building import tiny, write

# 30 shards of 32 x 2,048 float32: about 8 MB.
OPTIONS = {**tiny(lengths=(32,) * 30, shards=30), "sites": {"resid_post.0": 2048}}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 6 MB, of which 3 MB are taken by ``ballast``."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(tmp_path)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_small_disk_fills_up(small_disk: Path, scratch: Path) -> None:
    expected = write(scratch / "reference", OPTIONS)
    path = small_disk / "store"
    with pytest.raises(TooLargeError, match=r"needs 8\.\d MB, but its disk has 6\.\d MB free"):
        write(path, OPTIONS)
    assert not path.exists()
    promised: list[int] = []
    with pytest.raises(StoreFullError, match=rf"{len(promised)}.* are committed and safe") as caught:
        write(path, OPTIONS, promised, required_bytes=0)
    assert 5 < len(promised) < 30
    assert f"{len(promised)} of 30 shards" in str(caught.value)
    assert {p.kind for p in verify(path).problems} == {"incomplete"}
    assert len(open_store(path, allow_partial=True)) == 32 * len(promised)
    # Still full: a resume stops just as cleanly, and loses nothing.
    with pytest.raises(StoreFullError):
        write(path, OPTIONS, required_bytes=0)
    assert {p.kind for p in verify(path).problems} == {"incomplete"}
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    assert write(path, OPTIONS) == expected
    assert verify(path).ok


def test_a_disk_that_is_full_from_the_start(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        (small_disk / "ballast").write_bytes(bytes(7 << 20))
    with pytest.raises(StoreFullError):
        write(small_disk / "store", OPTIONS, required_bytes=0)
    assert (small_disk / "store").exists() is False or not list((small_disk / "store").iterdir())
    (small_disk / "ballast").unlink()
    with StoreWriter.open(small_disk / "store", **OPTIONS, required_bytes=0) as writer:
        assert len(writer.missing()) == 30


def test_too_little_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TooLargeError, match=r"still needs 1000\.0 TB, but its disk has .* free"):
        StoreWriter.open(tmp_path / "a" / "b", **OPTIONS, required_bytes=10**15)
    assert not (tmp_path / "a").exists()
