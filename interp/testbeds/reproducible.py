"""The same floating-point sums every time: one thread, deterministic kernels, a seeded generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

THREADS = 1  # sums depend on how they are split, so the number of threads is part of every recipe


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """One thread, deterministic kernels, a seeded generator; all of it as before afterwards.

    >>> import torch
    >>> with reproducible(0):
    ...     first = torch.randn(3)
    >>> with reproducible(0):
    ...     bool((torch.randn(3) == first).all())
    True
    """
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(THREADS)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict)
            torch.set_num_threads(threads)
