"""Edits of weights: an eraser folded into the matrices that write the residual stream, and how much was changed."""

from __future__ import annotations

from .count import weights_changed
from .lora import attach_lora, block_matrices, merge_lora

__all__ = ["attach_lora", "block_matrices", "merge_lora", "weights_changed"]
