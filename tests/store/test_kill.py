"""SIGKILL at random moments, then the same command again: nothing is lost, and the result is that of a quiet run."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from interp.store import open_store, verify
from tests.store.building import all_values, write
from tests.store.killed_writer import OPTIONS

ROOT = Path(__file__).parents[2]


class Writers:
    """Starts writers in processes of their own and kills them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.killed_writer"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, path: Path, kill_after: float | None) -> int:
        """How the writer ended: 0, or the signal that ended it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@pytest.fixture(scope="module")
def writers() -> Iterator[Writers]:
    started = Writers()
    yield started
    started.close()


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_kills_at_random_times_then_resume(kills: int, writers: Writers, scratch: Path) -> None:
    expected = write(scratch / "reference", OPTIONS)
    assert writers.run(scratch / "first", None) == 0  # this one also waited for the imports
    start = time.monotonic()
    assert writers.run(scratch / "timed", None) == 0
    duration = time.monotonic() - start
    chance, killed, stores, progress = random.Random(kills), 0, 0, []
    while killed < kills:
        path = scratch / f"store{stores}"
        status = writers.run(path, chance.random() * duration * 0.7)
        if status == 0:  # faster than the signal
            stores += 1
            continue
        assert status == signal.SIGKILL
        killed += 1
        progress.append(rows_are_right(path))
        if chance.random() < 0.3:  # often leave a store only after several kills
            assert writers.run(path, None) == 0
            check_whole(path, expected)
            stores += 1
    assert len(set(progress)) > kills // 4, f"the kills all came at the same places: {progress}"
    path = scratch / f"store{stores}"
    assert writers.run(path, None) == 0
    check_whole(path, expected)


def rows_are_right(path: Path) -> int:
    """Rows that a reader sees right after the kill; what it sees is right."""
    if not (path / "manifest.json").exists():
        return 0
    acts = open_store(path, allow_partial=True)
    for site in acts.sites:
        wanted = all_values(OPTIONS, str(site))
        assert torch.equal(acts[site].tensor(), wanted[: len(acts)])
    return len(acts)


def check_whole(path: Path, expected: str) -> None:
    result = verify(path)
    assert result.ok, result.problems
    assert result.result_hash == expected
