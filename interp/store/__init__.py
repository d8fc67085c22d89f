"""Activations in memory or on disk: checksummed safetensors shards that resume, verify and memory-map."""

from __future__ import annotations

from .activations import Activations, Rows
from .describe import StoreSummary, describe
from .examples import Examples
from .opening import open_store
from .plan import ShardPlan, plan_shards
from .quantise import Quantised, quantise
from .repair import repair
from .rows import RowIndex
from .startup import size_text
from .verify import Problem, VerifyResult, verify
from .writer import StoreWriter

__all__ = [
    "Activations",
    "Examples",
    "Problem",
    "Quantised",
    "RowIndex",
    "Rows",
    "ShardPlan",
    "StoreSummary",
    "StoreWriter",
    "VerifyResult",
    "describe",
    "open_store",
    "plan_shards",
    "quantise",
    "repair",
    "size_text",
    "verify",
]
