"""A job into a store, shard by shard: in this process, or by several workers with Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..errors import ModelError, PromptError
from ..models import Model
from ..provenance import Provenance
from ..sites import Site
from ..store import Activations, Examples, RowIndex, ShardPlan, StoreWriter, open_store, plan_shards, size_text
from ..store.manifest import row_bytes
from .budget import check_memory
from .buffers import Buffers
from .job import Job, run_examples
from .progress import Progress
from .where import AtSpec

MiB = 2**20
_SHARD_TOKENS = 1 << 18
_FULL_SHARD_TOKENS = 1 << 15
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}

Advance = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Part:
    """The rows of one shard: its place in the plan, and what each row is."""

    shard: ShardPlan
    index: RowIndex


def to_store(
    job: Job,
    dtype: str,
    provenance: Provenance,
    at: AtSpec,
    out: str | os.PathLike[str],
    *,
    shard_bytes: int | None,
    progress: bool | None,
    workers: int | None,
) -> Activations:
    """Run what the store at ``out`` still misses, with ``workers`` Ray processes or in this one, and open it."""
    plan = _plan(job, dtype, shard_bytes)
    kept = torch.float32 if dtype == "int8" else DTYPES[dtype]
    largest = max(s.rows for s in plan)
    check_memory(largest * job.row_width * kept.itemsize, "one shard", advice="lower shard_bytes")
    writer = StoreWriter.open(
        os.fspath(out), plan, provenance, sites=job.widths, dtype=dtype, at=at if isinstance(at, str) else tuple(at),
        examples=Examples.of(job.prompts),
    )  # fmt: skip
    with writer, Progress(job.n_tokens, "tok", "capture", progress) as bar:
        missing = set(writer.missing())
        todo = [p for p in _parts(job, plan) if p.shard.k in missing]
        bar.advance(job.n_tokens - sum(_tokens(job, p) for p in todo))
        written = 0
        if workers is None:
            done = in_process(job, todo, kept, bar.advance)
        else:
            done = with_ray(job, todo, kept, bar.advance, workers)
        for part, values in done:
            writer.commit(part.shard.k, values, part.index)
            written += part.shard.rows * row_bytes(job.widths, dtype)
            bar.advance(0, size_text(written))
        writer.finish()
    return open_store(os.fspath(out))


def in_process(
    job: Job, todo: Sequence[Part], kept: torch.dtype, advance: Advance
) -> Iterator[tuple[Part, dict[Site | str, torch.Tensor]]]:
    """Shards one after the other, in this process."""
    for part in todo:
        yield part, _compute(job, part, kept, advance)


def with_ray(
    job: Job, todo: Sequence[Part], kept: torch.dtype, advance: Advance, workers: int
) -> Iterator[tuple[Part, dict[Site | str, torch.Tensor]]]:
    """Shards in ``workers`` Ray processes, each with its own copy of the model (and a GPU, if the model is on one).

    Only this process writes to the store. Shards come back in order; at most one more than there are workers is kept.
    """
    try:
        import ray
    except ImportError as error:
        raise ModelError("several workers need Ray: pip install 'interp[ray]'") from error
    if workers < 1:
        raise PromptError(f"workers must be at least 1, got {workers}")
    started = not ray.is_initialized()
    if started:
        ray.init(num_cpus=workers, log_to_driver=False, include_dashboard=False)
    try:
        gpus = 1 if job.model.device.type == "cuda" else 0
        remote = ray.remote(num_cpus=1, num_gpus=gpus)(_remote)
        shared = ray.put((job.model.hf, replace(job, model=None)))  # type: ignore[arg-type]
        pending: list[tuple[Part, Any]] = []
        queue = list(todo)
        while queue or pending:
            while queue and len(pending) <= workers:
                part = queue.pop(0)
                pending.append((part, remote.remote(shared, part, kept)))
            part, reference = pending.pop(0)
            values = ray.get(reference)
            advance(_tokens(job, part))
            yield part, {site: torch.from_numpy(v).view(kept) for site, v in values.items()}
    finally:
        if started:
            ray.shutdown()


def _remote(shared: tuple[Any, Job], part: Part, kept: torch.dtype) -> dict[Site | str, np.ndarray]:
    """What a Ray worker does: wrap the model it was sent and compute one shard; raw bytes come back."""
    hf, job = shared
    values = _compute(replace(job, model=Model.wrap(hf)), part, kept, lambda _: None)
    return {site: tensor.view(torch.uint8).numpy() for site, tensor in values.items()}


def _compute(job: Job, part: Part, kept: torch.dtype, advance: Advance) -> dict[Site | str, torch.Tensor]:
    buffers = Buffers(job.widths, part.shard.rows, kept)
    run_examples(job, part.index, part.shard.example_start, part.shard.example_stop, buffers.put, advance)
    buffers.flush()
    buffers.check_finite(job.prompts, part.index)
    return buffers.values


def _parts(job: Job, plan: Sequence[ShardPlan]) -> list[Part]:
    bounds = np.searchsorted(job.index.example, [s.example_start for s in plan] + [len(job.prompts)])
    return [Part(s, job.index.select(slice(int(bounds[s.k]), int(bounds[s.k + 1])))) for s in plan]


def _tokens(job: Job, part: Part) -> int:
    return sum(len(t) for t in job.prompts.tokens[part.shard.example_start : part.shard.example_stop])


def _plan(job: Job, dtype: str, shard_bytes: int | None) -> tuple[ShardPlan, ...]:
    """Shards that are small enough to lose and large enough to batch well."""
    per_row = row_bytes(job.widths, dtype)
    rows = np.bincount(job.index.example, minlength=len(job.prompts))
    if shard_bytes is None:
        # Not from the batch size: a run that is resumed on another device, or with smaller batches, has the same plan.
        shard_bytes = int(np.clip(_FULL_SHARD_TOKENS * per_row, 16 * MiB, 1024 * MiB))
    # With few rows per prompt a shard of many bytes is hours of work: also bound it by tokens.
    by_tokens = per_row * len(job.index) * _SHARD_TOKENS // max(1, job.n_tokens)
    return plan_shards(rows, per_row, max(per_row, min(shard_bytes, by_tokens)))
