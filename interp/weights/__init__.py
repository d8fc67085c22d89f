"""Edits of weights: an eraser folded into what writes the residual stream, low-rank changes, how much was changed."""

from __future__ import annotations

from .count import weights_changed
from .fold import Folded, fold, stream_edits, stream_sites
from .lora import attach_lora, block_matrices, merge_lora

__all__ = [
    "Folded",
    "attach_lora",
    "block_matrices",
    "fold",
    "merge_lora",
    "stream_edits",
    "stream_sites",
    "weights_changed",
]
