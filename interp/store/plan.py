"""The shard plan: which contiguous range of examples goes into which shard, fixed before the first forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import EmptyPromptsError, StoreError


@dataclass(frozen=True)
class ShardPlan:
    """Shard ``k`` holds the rows of examples ``example_start`` .. ``example_stop - 1``, in input order."""

    k: int
    example_start: int
    example_stop: int
    rows: int


def plan_shards(
    rows_per_example: Sequence[int] | np.ndarray, bytes_per_row: int, shard_bytes: int = 256 * 2**20
) -> tuple[ShardPlan, ...]:
    """Cut the examples, in order, into shards of at most ``shard_bytes`` bytes (an example is never split).

    The plan depends on nothing else, so that the same command makes the same shards again.

    Raises:
        EmptyPromptsError: there are no rows at all.
        StoreError: a size that makes no sense.

    >>> [(s.example_start, s.example_stop, s.rows) for s in plan_shards([3, 3, 3, 9], bytes_per_row=10, shard_bytes=60)]
    [(0, 2, 6), (2, 3, 3), (3, 4, 9)]
    """
    counts = np.asarray(rows_per_example, dtype=np.int64)
    if bytes_per_row <= 0 or shard_bytes <= 0:
        raise StoreError(f"bytes per row and per shard must be positive, got {bytes_per_row} and {shard_bytes}")
    if (counts < 0).any():
        raise StoreError(f"example {int(np.argmax(counts < 0))} has a negative number of rows")
    if counts.sum() == 0:
        raise EmptyPromptsError(f"nothing to store: {len(counts)} examples give no row (do the prompts have the mark?)")
    limit = max(1, shard_bytes // bytes_per_row)
    plan: list[ShardPlan] = []
    start, rows = 0, 0
    for i, count in enumerate(counts.tolist()):
        if rows and rows + count > limit:
            plan.append(ShardPlan(len(plan), start, i, rows))
            start, rows = i, 0
        rows += count
    if rows or not plan:
        plan.append(ShardPlan(len(plan), start, len(counts), rows))
    elif start < len(counts):
        # Trailing examples without rows belong to the last shard.
        last = plan.pop()
        plan.append(ShardPlan(last.k, last.example_start, len(counts), last.rows))
    return tuple(plan)


def check_plan(plan: Sequence[ShardPlan]) -> None:
    """Raise `StoreError` unless the shards are numbered 0.. and follow each other without a gap."""
    if not plan:
        raise StoreError("a shard plan needs at least one shard")
    expected = 0
    for k, shard in enumerate(plan):
        if (
            shard.k != k
            or shard.example_start != expected
            or shard.example_stop < shard.example_start
            or shard.rows < 0
        ):
            raise StoreError(f"shard plan is broken at shard {k}: {shard} should start at example {expected}")
        expected = shard.example_stop
