"""Independent pieces of work in threads of their own, instead of one after the other in all threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def side_by_side(work: Callable[[Tensor], T], values: Sequence[Tensor], large: int) -> list[T]:
    """``[work(x) for x in values]``, as many at a time as torch has threads, where the pieces are large.

    Products of tall matrices wait for memory: two threads on one of them are hardly faster than one thread, and two of
    them side by side are. Small pieces are done in turn, and so is everything on a device, or with one thread. Torch's
    number of threads is 1 meanwhile, for the whole process, and as before afterwards.

    >>> side_by_side(lambda x: int(x.sum()), [torch.ones(2), torch.ones(3)], large=1)
    [2, 3]
    """
    threads = torch.get_num_threads()
    if threads < 2 or len(values) < 2 or any(x.device.type != "cpu" or x.numel() < large for x in values):
        return [work(x) for x in values]
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(min(threads, len(values))) as pool:
            return list(pool.map(work, values))
    finally:
        torch.set_num_threads(threads)
