"""Wall and processor seconds of peers in rotated order, and medians of paired ratios."""

from __future__ import annotations

import gc
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cost:
    """Seconds of one run: on the clock, and of all threads of this process together."""

    wall: float
    cpu: float


def cost_of(work: Callable[[], Any]) -> Cost:
    """Run once and say what it took. The result is dropped inside the measured time, as a user's would be later."""
    gc.collect()
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def rotated(work: Mapping[str, Callable[[], Any]], repeats: int, done: Callable[[str], None]) -> dict[str, list[Cost]]:
    """Costs of every piece of work in each repeat; the order moves on by one from repeat to repeat.

    >>> order = []
    >>> _ = rotated({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, lambda name: None)
    >>> order
    ['a', 'b', 'b', 'a']
    """
    names = list(work)
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    for repeat in range(repeats):
        turn = repeat % len(names)
        for name in names[turn:] + names[:turn]:
            costs[name].append(cost_of(work[name]))
            done(name)
    return costs


def paired_ratio(ours: Sequence[Cost], theirs: Sequence[Cost], what: str) -> float:
    """Median over repeats of ours / theirs within a repeat, of ``wall`` or ``cpu``.

    >>> paired_ratio([Cost(1, 1), Cost(2, 2), Cost(3, 3)], [Cost(2, 1), Cost(4, 1), Cost(3, 1)], "wall")
    0.5
    """
    return statistics.median(getattr(a, what) / getattr(b, what) for a, b in zip(ours, theirs, strict=True))


def median(costs: Sequence[Cost], what: str) -> float:
    """Median of ``wall`` or ``cpu``."""
    return statistics.median(getattr(cost, what) for cost in costs)
