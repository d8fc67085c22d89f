"""Directions in activation space, as values that know where they came from."""

from __future__ import annotations

from .diff_means import diff_means
from .direction import Direction

__all__ = ["Direction", "diff_means"]
