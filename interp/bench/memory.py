"""Peak memory of one peer, in a process of its own: ``python -m interp.bench.memory '{"peer": ...}'`` prints JSON."""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

from ..errors import BenchError
from .question import DTYPE, Peer, Question

FLAT_AT = (50, 100, 200)
MiB = 2**20


class PeakSampler:
    """Largest resident size seen between ``with`` and its end, sampled every millisecond."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.before = self.peak = 0

    def resident(self) -> int:
        """Bytes resident now."""
        return int(self._process.memory_info().rss)

    def __enter__(self) -> PeakSampler:
        gc.collect()
        self.before = self.peak = self.resident()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, self.resident())

    def _watch(self) -> None:
        while not self._stop.wait(0.001):
            self.peak = max(self.peak, self.resident())

    @property
    def growth(self) -> float:
        """MiB above where it began."""
        return (self.peak - self.before) / MiB


def peak_growth(question: Question, peer: Peer) -> float:
    """MiB that the process grows by at most while ``peer`` answers, above a warm model (rows included)."""
    few = Question(question.model, question.prompts.select([0, 1]), question.sites, question.at, question.workload)
    peer.run(few)
    with PeakSampler() as sampler:
        kept = peer.run(question)
    del kept
    return sampler.growth


def flat(question: Question) -> dict[str, float]:
    """MiB above the start after 50, 100 and 200 batches of the engine, which keeps the last tokens' rows only."""
    from ..run.budget import auto_budget
    from ..run.buffers import Buffers
    from ..run.engine import Engine
    from ..run.passes import Pass, Schedule, passes
    from ..run.where import rows_at

    index = rows_at(question.prompts, "last")
    schedule = Schedule(auto_budget(question.model))
    todo = list(passes(question.prompts.tokens, index.example, index.position, schedule))
    buffers = Buffers(dict.fromkeys(question.sites, question.model.d_model), len(index), DTYPE)
    found: dict[str, float] = {}
    sampler = PeakSampler()
    count = 0

    def after(_: Pass) -> None:
        nonlocal count
        count += 1
        if count in FLAT_AT:
            found[str(count)] = (sampler.resident() - before) / MiB

    before = sampler.resident()
    with Engine(question.model, question.sites, buffers.put) as engine:
        engine.run(islice(cycle(todo), max(FLAT_AT)), after)
    return found


def in_own_process(job: dict[str, Any]) -> Any:
    """Run one job in a fresh interpreter: ``peer`` (a name, or "flat"), ``peers_file``, and the question.

    Raises:
        BenchError: the process fails; with the end of what it said.
    """
    command = [sys.executable, "-m", "interp.bench.memory", json.dumps(job)]
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    if done.returncode:
        raise BenchError(f"measuring the memory of {job['peer']!r} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def find_peers(peers_file: str | None) -> Sequence[Peer]:
    """The peers of this package, or those of a file that defines ``PEERS``.

    Raises:
        BenchError: the file cannot be loaded.
    """
    if peers_file is None:
        from .peers import PEERS

        return PEERS
    spec = importlib.util.spec_from_file_location("bench_peers", peers_file)
    if spec is None or spec.loader is None:
        raise BenchError(f"cannot load peers from {peers_file!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_peers"] = module
    spec.loader.exec_module(module)
    return module.PEERS


def _child(job: dict[str, Any]) -> Any:
    question = Question.make(job["model"], job["workload"], job["n_prompts"], job["at"])
    if job["peer"] == "flat":
        return flat(question)
    work: dict[str, Callable[[], float]] = {
        peer.name: (lambda peer=peer: peak_growth(question, peer)) for peer in find_peers(job["peers_file"])
    }
    return work[job["peer"]]()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_child(json.loads(sys.argv[1]))) + "\n")
