"""A small store with known content, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from interp.provenance import Provenance
from interp.store import Examples, RowIndex, StoreWriter, plan_shards

SITES = {"resid_post.0": 8, "z.1": 4}
LENGTHS = (3, 1, 4, 2, 5, 3, 2, 4)
PROVENANCE = Provenance(model="f00d", model_id="tiny", prompts="beef", seed=0)


def tiny(dtype: str = "float32", shards: int = 4, lengths: tuple[int, ...] = LENGTHS) -> dict[str, Any]:
    """Arguments of `StoreWriter.open` (without the path) for a store of about ``shards`` shards."""
    examples = Examples(
        ids=tuple(f"ex{i}" for i in range(len(lengths))),
        labels=np.arange(len(lengths)) % 2,
        groups=np.array([f"g{i // 2}" for i in range(len(lengths))]),
        columns={"source": np.arange(len(lengths)) * 10},
        marks={"last": np.array([n - 1 for n in lengths])},
    )
    plan = plan_shards(lengths, bytes_per_row=1, shard_bytes=max(1, -(-sum(lengths) // shards)))
    return {"plan": plan, "provenance": PROVENANCE, "sites": SITES, "dtype": dtype, "at": "all", "examples": examples}


def shard_index(options: dict[str, Any], k: int) -> RowIndex:
    """The rows of shard ``k``: every token of its examples."""
    shard = options["plan"][k]
    lengths = options["examples"].marks["last"] + 1
    chosen = range(shard.example_start, shard.example_stop)
    example = np.concatenate([np.full(lengths[i], i) for i in chosen])
    position = np.concatenate([np.arange(lengths[i]) for i in chosen])
    return RowIndex.build(example, position, token=example * 100 + position, special=position == 0)


def shard_tensors(options: dict[str, Any], k: int) -> dict[str, torch.Tensor]:
    """Values that depend on nothing but ``k``."""
    generator = torch.Generator().manual_seed(1000 + k)
    rows = options["plan"][k].rows
    return {site: torch.randn(rows, width, generator=generator) for site, width in options["sites"].items()}


def write(path: Path, options: dict[str, Any], promised: list[int] | None = None, **more: Any) -> str:
    """One whole run of the command that writes the store; ``promised`` collects the shards whose commit returned."""
    with StoreWriter.open(path, **options, **more) as writer:
        for k in writer.missing():
            writer.commit(k, shard_tensors(options, k), shard_index(options, k))
            if promised is not None:
                promised.append(k)
        return writer.finish()


def all_values(options: dict[str, Any], site: str) -> torch.Tensor:
    """What the store should hold, before any cast."""
    return torch.cat([shard_tensors(options, shard.k)[site] for shard in options["plan"]])
