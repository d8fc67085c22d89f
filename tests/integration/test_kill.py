"""Captures that are killed half-way, by SIGKILL or Ctrl-C, resume to what an undisturbed run gives."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interp import load_model, open_store, verify
from interp.errors import StoreError
from tests.integration.capturing import run
from tests.models.tiny import checkpoint


class Captures:
    """The forking process of `capturing.py`."""

    def __init__(self, model_path):
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.capturing", str(model_path)],
            cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(root)},
        )  # fmt: skip

    def start(self, path):
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self):
        return int(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("kill")


@pytest.fixture(scope="module")
def captures(place):
    captures = Captures(checkpoint(place / "model"))
    yield captures
    captures.close()


@pytest.fixture(scope="module")
def model(place, captures):
    return load_model(place / "model")


@pytest.fixture(scope="module")
def whole(place, captures):
    """An undisturbed run: its result hash, and how long it took."""
    start = time.perf_counter()
    captures.start(place / "whole")
    assert captures.wait() == 0
    result = verify(place / "whole")
    assert result.ok
    assert result.shards_listed > 20
    return result, time.perf_counter() - start


def committed(path):
    return len([p for p in path.glob("*.safetensors") if p.name.startswith("shard")]) if path.is_dir() else 0


def kill_at(captures, path, shards, how):
    """Start a capture and stop it as soon as ``shards`` shards are there; how many were, and the exit status."""
    child = captures.start(path)
    while committed(path) < shards:
        time.sleep(0.0005)
    os.kill(child, how)
    return captures.wait()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("shards", [1, 7, 19])
def test_killed_half_way(captures, model, whole, tmp_path, how, shards):
    path = tmp_path / "s"
    status = kill_at(captures, path, shards, how)
    assert status == (signal.SIGKILL if how == signal.SIGKILL else 130 << 8)
    result, _ = whole
    with pytest.raises(StoreError, match="not complete"):
        open_store(path)
    assert {p.kind for p in verify(path).problems} <= {"incomplete", "orphan", "torn"}
    safe = len(open_store(path, allow_partial=True))
    calls = []
    handle = model.hf.register_forward_pre_hook(lambda *_: calls.append(1))
    acts = run(model, path)
    handle.remove()
    assert len(calls) <= result.shards_planned - shards + 2, "shards that were committed were computed again"
    after = verify(path)
    assert after.ok, after.problems
    assert after.result_hash == result.result_hash
    # The newest shard may have its file already, but not yet its line.
    assert len(acts) > safe
    assert safe > 0 or shards == 1


@pytest.mark.slow
def test_killed_again_and_again(captures, model, whole, tmp_path):
    """A hundred SIGKILLs at random times, on one store after the other, each resumed where it was."""
    result, seconds = whole
    rng = random.Random(0)
    kills, path = 0, tmp_path / "0"
    while kills < 100:
        child = captures.start(path)
        time.sleep(rng.random() * seconds * 0.7)
        os.kill(child, signal.SIGKILL)
        if captures.wait() == 0:
            assert verify(path).result_hash == result.result_hash
            path = tmp_path / str(kills)
        kills += 1
    run(model, path)
    assert verify(path).result_hash == result.result_hash
