"""The functions that run a model: `forward`, `capture`, `capture_stats`, `generate`, `grads`."""

from __future__ import annotations

from .capture import capture, capture_stats
from .forward import Forward, forward
from .generate import Generations, generate
from .grads import Gradients, grads
from .moments import Moments

__all__ = ["Forward", "Generations", "Gradients", "Moments", "capture", "capture_stats", "forward", "generate", "grads"]
