"""Prompts: which tokens, which positions, and how they become batches."""

from __future__ import annotations

from .batching import Batch, PackedBatch, dedupe, pack, pack_rows, pad_batch, positions_from_mask, token_budget_batches
from .hashing import tokenizer_hash
from .load import load_prompts
from .prefixes import PrefixGroup, PrefixPlan, prefix_plan
from .promptset import PromptSet
from .source import BOS_DECISIONS, Source

__all__ = [
    "BOS_DECISIONS",
    "Batch",
    "PackedBatch",
    "PrefixGroup",
    "PrefixPlan",
    "PromptSet",
    "Source",
    "dedupe",
    "load_prompts",
    "pack",
    "pack_rows",
    "pad_batch",
    "positions_from_mask",
    "prefix_plan",
    "token_budget_batches",
    "tokenizer_hash",
]
