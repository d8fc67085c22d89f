"""``capture``: activations at chosen sites and tokens, at the price of the forward pass; in memory or into a store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..edits import Edit
from ..errors import ActivationError, EmptyPromptsError, ModelError, PromptError, StoreError
from ..models import Model
from ..prompts import PromptSet
from ..sites import Site
from ..store import Activations, Examples, RowIndex, ShardPlan, StoreWriter, open_store, plan_shards
from ..store.startup import size_text
from .budget import auto_budget, check_memory
from .buffers import Buffers
from .engine import Engine
from .moments import Moments, MomentsSink, row_classes
from .passes import Pass, Schedule, passes
from .progress import Progress
from .where import AtSpec, EditRun, rows_at

MiB = 2**20
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
SiteSpec = str | Site | Iterable[str | Site]


@dataclass(frozen=True)
class Job:
    """What one capture will do: everything that is known before the first forward pass."""

    model: Model
    prompts: PromptSet
    sites: tuple[Site, ...]
    widths: dict[Site | str, int]
    index: RowIndex
    schedule: Schedule
    edits: tuple[Edit, ...]

    @property
    def n_tokens(self) -> int:
        """Tokens of all prompts together."""
        return sum(len(t) for t in self.prompts.tokens)

    @property
    def row_width(self) -> int:
        """Numbers per row over all sites."""
        return sum(self.widths.values())


def capture(
    model: Model,
    prompts: PromptSet,
    sites: SiteSpec,
    *,
    at: AtSpec = "all",
    out: str | os.PathLike[str] | None = None,
    dtype: str | torch.dtype | None = None,
    edits: Sequence[Edit] = (),
    batch_tokens: int | None = None,
    share_prefix: bool = True,
    pack: bool | str = "auto",
    padding_side: str = "right",
    shard_bytes: int | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> Activations:
    """Activations of ``prompts`` at ``sites`` and tokens ``at``, as rows in the input's order.

    Computes only what is asked: the pass stops after the last site; identical prompts and shared prefixes are computed
    once; prompts are batched by length. With ``out`` rows go to a store, shard by shard; the same call again resumes it, or
    returns at once when it is complete.

    Args:
        sites: ``"resid_post"`` (every layer), ``"resid_post.2,mlp_out.1"``, `Site` values, or a list of these.
        at: ``"all"`` (every token), a mark such as ``"last"``, or several marks.
        out: directory of the store; in memory if ``None``.
        dtype: dtype of the rows: float32, float16, bfloat16, float64 (memory only) or int8 (store only; per-row scale).
            By default the model's.
        edits: edits that act during the pass; reads see them. Memory only; they switch prefix sharing off.
        batch_tokens: tokens per batch; by default chosen for the device.
        share_prefix: compute equal prompts and prefixes once. Rows agree with the plain way to about 1e-5 in float32.
        pack: several prompts per row; ``"auto"`` packs only under flash attention, where it pays. Checked before use.
        padding_side: ``"right"``, or ``"left"`` for comparison; the rows are the same.
        shard_bytes: size of a shard; what one shard holds is lost if the process is killed.
        progress: draw a progress bar; by default on a terminal only.
        command: recorded in the provenance.

    Raises:
        EmptyPromptsError, PromptTooLongError, SiteError, EditError: the question has no answer; nothing was run.
        TooLargeError: the rows would not fit in memory or on the disk; says how large they are.
        NonFiniteError: NaN or infinity, with site, example and position.
        StoreError: see `interp.store.StoreWriter`; what was committed is safe.

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7], [8, 6]])
        >>> acts = interp.capture(model, prompts, "resid_post.1", at="last")
        >>> acts["resid_post.1"].shape[0], acts.index.token.tolist()
        (2, [7, 6])
    """
    job = _job(model, prompts, sites, at, edits, batch_tokens, share_prefix, pack, padding_side)
    name = _dtype_name(dtype, model)
    provenance = model.provenance(
        prompts=prompts.hash, command=command, bos=prompts.source.bos_summary,
        tokenizer=prompts.source.tokenizer, chat_template=prompts.source.chat_template,
    )  # fmt: skip
    if out is None:
        if name == "int8":
            raise ActivationError("int8 rows exist only in a store; give out=, or another dtype")
        tensors = _in_memory(job, _DTYPES[name], progress)
        return Activations.from_tensors(tensors, job.index, provenance, Examples.of(prompts))
    if edits:
        raise StoreError("an edited run cannot be stored (a store is keyed by model and prompts only); leave out= away")
    if name == "float64":
        raise StoreError("a store holds float32, float16, bfloat16 or int8; float64 is for memory only")
    return _to_store(job, name, provenance, at, out, shard_bytes, progress)


def capture_stats(
    model: Model,
    prompts: PromptSet,
    sites: SiteSpec,
    *,
    at: AtSpec = "all",
    by: str | Sequence[Any] | None = None,
    covariance: bool = False,
    top_k: int = 0,
    edits: Sequence[Edit] = (),
    batch_tokens: int | None = None,
    share_prefix: bool = True,
    progress: bool | None = None,
) -> Moments:
    """Means (and covariances, and top activations) of sites, without keeping the rows.

    Args:
        by: ``"labels"``, the name of a column, or one value per prompt: statistics per class.
        covariance: also the ``[width, width]`` scatter of each class; float64.
        top_k: also the ``k`` largest values of every column, and the rows that have them.

    Raises:
        PromptError: ``by`` names nothing; and what `capture` raises.

    Source: pairwise updates after Chan, Golub and LeVeque (1983).

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7], [8, 6]])
        >>> interp.capture_stats(model, prompts, "resid_post.1")["resid_post.1"].count.tolist()
        [5]
    """
    job = _job(model, prompts, sites, at, edits, batch_tokens, share_prefix, False, "right")
    classes, names = row_classes(job.index.example, _class_values(prompts, by))
    scatter = 8 * len(names) * sum(w * w for w in job.widths.values()) if covariance else 0
    check_memory(scatter, "the covariances", advice="ask for fewer sites or classes")
    sink = MomentsSink(job.widths, classes, len(names), covariance=covariance, top_k=top_k)
    with Progress(job.n_tokens, "tok", "statistics", progress) as bar:
        _run(job, job.index, 0, len(prompts), sink.put, bar)
    provenance = model.provenance(prompts=prompts.hash)
    return Moments(job.sites, names, job.index, provenance, sink.moments())


@dataclass(frozen=True, eq=False)
class Forward:
    """The model's output at chosen tokens: ``logits`` ``[row, vocab]``, what each row is, what each edit changed."""

    logits: torch.Tensor
    index: RowIndex
    fired: dict[str, int]


def forward(
    model: Model,
    prompts: PromptSet,
    *,
    at: AtSpec = "last",
    edits: Sequence[Edit] = (),
    batch_tokens: int | None = None,
    padding_side: str = "right",
    progress: bool | None = None,
) -> Forward:
    """Logits at chosen tokens (the last one, by default), under edits.

    Raises:
        EditError: an edit never fired; and what `capture` raises.

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5]])
        >>> plain = interp.forward(model, prompts).logits
        >>> edited = interp.forward(model, prompts, edits=[interp.ablate("z.1.h0", "zero")]).logits
        >>> int(plain.argmax()), bool((plain[0, 9] - edited[0, 9]) > 1)
        (9, True)
    """
    job = _job(model, prompts, "logits", at, edits, batch_tokens, True, False, padding_side)
    fired: dict[str, int] = {}
    logits = _in_memory(job, model.dtype, progress, fired)[Site("logits")]
    return Forward(logits, job.index, fired)


def _job(
    model: Model, prompts: PromptSet, sites: SiteSpec, at: AtSpec, edits: Sequence[Edit], batch_tokens: int | None,
    share: bool, pack: bool | str, side: str,
) -> Job:  # fmt: skip
    """Check everything that can be checked before a forward pass."""
    if len(prompts) == 0:
        raise EmptyPromptsError("no prompts to run")
    if side not in ("right", "left"):
        raise PromptError(f"padding_side={side!r}: 'right' or 'left'")
    if batch_tokens is not None and batch_tokens < 1:
        raise PromptError(f"batch_tokens must be at least 1, got {batch_tokens}")
    if model.n_ctx is not None:
        prompts.check_fits(model.n_ctx)
    _check_vocabulary(model, prompts)
    chosen = model.expand(sites)
    index = rows_at(prompts, at)
    longest = max(len(t) for t in prompts.tokens)
    widths: dict[Site | str, int] = {
        s: (tap.width or model.sizes.n_heads * longest) for s in chosen for tap in [model.resolve(s)]
    }
    # A pattern's columns are key positions, which sharing and packing would move; edits may tell equal prompts apart.
    whole = not edits and side == "right" and not any(s.kind == "pattern" for s in chosen)
    packed = whole and _packing(model, prompts, pack)
    if side == "left" and any(s.kind == "pattern" for s in chosen):
        raise PromptError("'pattern' columns are key positions: use padding_side='right'")
    schedule = Schedule(
        batch_tokens or auto_budget(model), side, share and whole and _keeps_cache(model), packed,
        # Some attention masks are stored, and as long as the context.
        row_tokens=min(512, model.n_ctx or 512),
    )  # fmt: skip
    return Job(model, prompts, chosen, widths, index, schedule, tuple(edits))


def _check_vocabulary(model: Model, prompts: PromptSet) -> None:
    rows = model.hf.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    for i, tokens in enumerate(prompts.tokens):
        if tokens.max() >= rows or tokens.min() < 0:
            raise PromptError(
                f"prompt {prompts.ids[i]!r} has token id {int(tokens.max())}, but the model knows 0 to {rows - 1}; "
                "is this the tokenizer of another model?"
            )


def _keeps_cache(model: Model) -> bool:
    """Whether keys and values of a prefix can be reused (not for recurrent state)."""
    return not getattr(model.adapter.cfg, "is_stateful", False)


def _packing(model: Model, prompts: PromptSet, pack: bool | str) -> bool:
    if pack not in (True, False, "auto"):
        raise PromptError(f"pack={pack!r}: True, False or 'auto'")
    if pack is False or (pack == "auto" and "flash" not in str(model.cfg._attn_implementation)):
        return False
    if packs_exactly(model):
        return True
    if pack == "auto":
        return False
    raise ModelError(f"{model.architecture} does not keep packed prompts apart; leave pack at 'auto'")


def packs_exactly(model: Model) -> bool:
    """Whether two packed prompts give the activations that they give apart; tried on the model itself."""
    first = np.arange(3, 12, dtype=np.int64) % model.sizes.d_vocab
    tokens = [first, (first[::-1] + 1) % model.sizes.d_vocab]
    example = np.repeat([0, 1], len(first))
    position = np.tile(np.arange(len(first)), 2)
    site = Site("resid_post", model.n_layers - 1)
    results = []
    for schedule in (Schedule(64, share=False), Schedule(64, packed=True)):
        buffers = Buffers({site: model.d_model}, len(example), torch.float32)
        with Engine(model, [site], buffers.put) as engine:
            engine.run(passes(tokens, example, position, schedule))
        buffers.flush()
        results.append(buffers.values[site])
    scale = results[0].abs().max().clamp(min=1e-6)
    tolerance = 1e-3 if model.dtype == torch.float32 else 3e-2
    return bool((results[0] - results[1]).abs().max() / scale < tolerance)


def _dtype_name(dtype: str | torch.dtype | None, model: Model) -> str:
    name = str(model.dtype if dtype is None else dtype).removeprefix("torch.")
    if name not in (*_DTYPES, "int8"):
        raise ActivationError(f"unknown dtype {name!r}; one of: {', '.join(_DTYPES)}, int8")
    return name


def _class_values(prompts: PromptSet, by: str | Sequence[Any] | None) -> Any:
    if by is None or not isinstance(by, str):
        if by is not None and len(by) != len(prompts):
            raise PromptError(f"by= has {len(by)} values for {len(prompts)} prompts")
        return by
    values = {"labels": prompts.labels, "groups": prompts.groups, "pairs": prompts.pairs, **prompts.columns}.get(by)
    if values is None:
        raise PromptError(
            f"by={by!r}: these prompts have no such column; columns: {', '.join(prompts.columns) or 'none'}"
        )
    return values


def _run(
    job: Job, index: RowIndex, start: int, stop: int, put: Any, bar: Progress, fired: dict[str, int] | None = None
) -> None:
    """Run the examples ``start`` to ``stop``, whose rows are ``index``, and hand the rows to ``put``."""
    edits = EditRun(job.model, job.prompts, job.edits) if job.edits else None
    todo = passes(job.prompts.tokens[start:stop], index.example - start, index.position, job.schedule)
    n_keys = max(len(t) for t in job.prompts.tokens)
    done = 0

    def advance(one: Pass) -> None:
        nonlocal done
        done += one.real_tokens
        bar.advance(one.real_tokens)

    with Engine(job.model, job.sites, put, edits=edits, n_keys=n_keys) as engine:
        engine.run(todo, advance)
    total = sum(len(t) for t in job.prompts.tokens[start:stop])
    bar.advance(total - done)  # tokens that sharing saved
    if edits is not None:
        edits.check()
        if fired is not None:
            fired.update(edits.counts())


def _in_memory(
    job: Job, dtype: torch.dtype, progress: bool | None, fired: dict[str, int] | None = None
) -> dict[Site | str, torch.Tensor]:
    needed = len(job.index) * job.row_width * dtype.itemsize
    check_memory(needed, f"{len(job.index):,} rows of {len(job.sites)} sites", advice="give out= to store them on disk")
    buffers = Buffers(job.widths, len(job.index), dtype)
    with Progress(job.n_tokens, "tok", "capture", progress) as bar:
        _run(job, job.index, 0, len(job.prompts), buffers.put, bar, fired)
    buffers.flush()
    buffers.check_finite(job.prompts, job.index)
    return buffers.values


def _to_store(
    job: Job,
    dtype: str,
    provenance: Any,
    at: AtSpec,
    out: str | os.PathLike[str],
    shard_bytes: int | None,
    progress: bool | None,
) -> Activations:
    plan = _plan(job, dtype, shard_bytes)
    kept = torch.float32 if dtype == "int8" else _DTYPES[dtype]
    largest = max(s.rows for s in plan)
    check_memory(largest * job.row_width * kept.itemsize, "one shard", advice="lower shard_bytes")
    writer = StoreWriter.open(
        os.fspath(out), plan, provenance, sites=job.widths, dtype=dtype, at=at if isinstance(at, str) else tuple(at),
        examples=Examples.of(job.prompts),
    )  # fmt: skip
    bounds = np.searchsorted(job.index.example, [s.example_start for s in plan] + [len(job.prompts)])
    with writer, Progress(job.n_tokens, "tok", "capture", progress) as bar:
        missing = set(writer.missing())
        written = 0
        for shard in plan:
            if shard.k not in missing:
                bar.advance(sum(len(t) for t in job.prompts.tokens[shard.example_start : shard.example_stop]))
                continue
            index = job.index.select(slice(int(bounds[shard.k]), int(bounds[shard.k + 1])))
            buffers = Buffers(job.widths, shard.rows, kept)
            _run(job, index, shard.example_start, shard.example_stop, buffers.put, bar)
            buffers.flush()
            buffers.check_finite(job.prompts, index)
            writer.commit(shard.k, buffers.values, index)
            written += shard.rows * job.row_width * (1 if dtype == "int8" else kept.itemsize)
            bar.advance(0, size_text(written))
        writer.finish()
    return open_store(os.fspath(out))


def _plan(job: Job, dtype: str, shard_bytes: int | None) -> tuple[ShardPlan, ...]:
    """Shards that are small enough to lose and large enough to batch well."""
    row_bytes = job.row_width * (1 if dtype == "int8" else _DTYPES[dtype].itemsize)
    rows = np.bincount(job.index.example, minlength=len(job.prompts))
    if shard_bytes is None:
        shard_bytes = int(np.clip(16 * job.schedule.max_tokens * row_bytes, 16 * MiB, 1024 * MiB))
    # With few rows per prompt a shard of many bytes is hours of work: also bound it by tokens.
    by_tokens = row_bytes * len(job.index) * _SHARD_TOKENS // max(1, job.n_tokens)
    return plan_shards(rows, row_bytes, max(row_bytes, min(shard_bytes, by_tokens)))


_SHARD_TOKENS = 1 << 18
