"""Prompts: which tokens, which positions, and how they become batches."""

from __future__ import annotations

from .batching import Batch, PackedBatch, dedupe, pack, pack_rows, pad_batch, positions_from_mask, token_budget_batches
from .prefixes import PrefixGroup, PrefixPlan, prefix_plan

__all__ = [
    "Batch",
    "PackedBatch",
    "PrefixGroup",
    "PrefixPlan",
    "dedupe",
    "pack",
    "pack_rows",
    "pad_batch",
    "positions_from_mask",
    "prefix_plan",
    "token_budget_batches",
]
