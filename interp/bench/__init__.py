"""Benchmarks that users can run: what a capture costs here, beside TransformerLens, Hugging Face and the limit.

Every peer answers the same question on the same prompts, and its rows are compared with ours before any timing is
believed. nnsight, sae-lens and hand-written hooks join in ``tests/bench/capture_peers.py``, which is not shipped.
"""

from __future__ import annotations

from .capture import bench_capture
from .question import Question

__all__ = ["Question", "bench_capture"]
