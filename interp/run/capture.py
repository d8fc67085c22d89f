"""``capture``: activations at chosen sites and tokens, at the price of the forward pass; in memory or into a store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from ..edits import Edit
from ..errors import ActivationError, PromptError, StoreError
from ..models import Model
from ..prompts import PromptSet
from ..store import Activations, Examples
from .budget import check_memory
from .buffers import row_text
from .job import SiteSpec, make_job, run_examples, run_in_memory
from .moments import Moments, MomentsSink, row_classes
from .progress import Progress
from .shards import DTYPES, to_store
from .where import AtSpec


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
    workers: int | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> Activations:
    """Activations of ``prompts`` at ``sites`` and tokens ``at``, as rows in the input's order.

    Computes only what is asked: the pass stops after the last site; identical prompts and shared prefixes are computed
    once; prompts are batched by length. With ``out`` rows go to a store, shard by shard; the same call again resumes
    it, or returns at once when it is complete.

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
        workers: with ``out``, that many Ray processes, each with a copy of the model (``pip install 'interp[ray]'``).
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
    job = make_job(model, prompts, sites, at, edits, batch_tokens, share_prefix, pack, padding_side)
    name = _dtype_name(dtype, model)
    provenance = model.provenance(
        prompts=prompts.hash, command=command, bos=prompts.source.bos_summary,
        tokenizer=prompts.source.tokenizer, chat_template=prompts.source.chat_template,
    )  # fmt: skip
    if out is None:
        if workers is not None:
            raise StoreError("workers= splits the writing of a store; give out= as well")
        if name == "int8":
            raise ActivationError("int8 rows exist only in a store; give out=, or another dtype")
        tensors = run_in_memory(job, DTYPES[name], progress)
        return Activations.from_tensors(tensors, job.index, provenance, Examples.of(prompts))
    if edits:
        raise StoreError("an edited run cannot be stored (a store is keyed by model and prompts only); leave out= away")
    if name == "float64":
        raise StoreError("a store holds float32, float16, bfloat16 or int8; float64 is for memory only")
    return to_store(job, name, provenance, at, out, shard_bytes=shard_bytes, progress=progress, workers=workers)


def capture_stats(
    model: Model,
    prompts: PromptSet,
    sites: SiteSpec,
    *,
    at: AtSpec = "all",
    by: str | Sequence[Any] | np.ndarray | None = None,
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
        PromptError: ``by`` names nothing, or ``top_k`` is more than there are rows; and what `capture` raises.

    Source: pairwise updates after Chan, Golub and LeVeque (1983).

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7], [8, 6]])
        >>> interp.capture_stats(model, prompts, "resid_post.1")["resid_post.1"].count.tolist()
        [5]
    """
    job = make_job(model, prompts, sites, at, edits, batch_tokens, share_prefix, False, "right")
    classes, names = row_classes(job.index.example, _class_values(prompts, by))
    scatter = 8 * len(names) * sum(w * w for w in job.widths.values()) if covariance else 0
    check_memory(scatter, "the covariances", advice="ask for fewer sites or classes")
    if not 0 <= top_k <= len(job.index):
        raise PromptError(f"top_k={top_k}: there are {len(job.index)} rows")
    where = partial(row_text, prompts, job.index)
    sink = MomentsSink(job.widths, classes, len(names), covariance=covariance, top_k=top_k, where=where)
    with Progress(job.n_tokens, "tok", "statistics", progress) as bar:
        run_examples(job, job.index, 0, len(prompts), sink.put, bar.advance)
    provenance = model.provenance(prompts=prompts.hash)
    return Moments(job.sites, names, job.index, provenance, sink.moments())


def _dtype_name(dtype: str | torch.dtype | None, model: Model) -> str:
    name = str(model.dtype if dtype is None else dtype).removeprefix("torch.")
    if name not in (*DTYPES, "int8"):
        raise ActivationError(f"unknown dtype {name!r}; one of: {', '.join(DTYPES)}, int8")
    return name


def _class_values(prompts: PromptSet, by: str | Sequence[Any] | np.ndarray | None) -> Any:
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
