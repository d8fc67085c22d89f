"""``Job``: one question to a model, checked as far as it can be before the first forward pass, and how it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from ..edits import Edit
from ..errors import ModelError, PromptError
from ..models import Model
from ..prompts import PromptSet
from ..sites import Site
from ..store import RowIndex
from .budget import auto_budget, check_memory
from .buffers import Buffers
from .engine import Engine, Sink
from .gates import decide
from .passes import Pass, Schedule, passes
from .progress import Progress
from .where import AtSpec, EditRun, Opened, rows_at

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

    @cached_property
    def opened(self) -> Opened:
        """Which prompts the condition of each edit lets it act on; decided when it is first asked for."""
        return decide(self.model, self.prompts, self.edits)

    def edit_run(self) -> EditRun | None:
        """The edits, ready for a run; ``None`` if there are none."""
        return EditRun(self.model, self.prompts, self.edits, self.opened) if self.edits else None

    @property
    def n_tokens(self) -> int:
        """Tokens of all prompts together."""
        return sum(len(t) for t in self.prompts.tokens)

    @property
    def row_width(self) -> int:
        """Numbers per row over all sites."""
        return sum(self.widths.values())


def make_job(
    model: Model, prompts: PromptSet, sites: SiteSpec, at: AtSpec, edits: Sequence[Edit], batch_tokens: int | None,
    share: bool, pack: bool | str, side: str,
) -> Job:  # fmt: skip
    """Check everything that can be checked before a forward pass."""
    check_inputs(model, prompts, batch_tokens, side)
    if model.n_ctx is not None:
        prompts.check_fits(model.n_ctx)
    chosen = model.expand(sites)
    index = rows_at(prompts, at)
    longest = max(len(t) for t in prompts.tokens)
    widths: dict[Site | str, int] = {
        s: (tap.width or model.sizes.n_heads * longest) for s in chosen for tap in [model.resolve(s)]
    }
    # A pattern's columns are key positions, which sharing and packing would move; edits may tell equal prompts apart.
    whole = not edits and side == "right" and not any(s.kind == "pattern" for s in chosen)
    packed = whole and _packing(model, prompts, pack)
    if side == "left" and any(s.kind == "pattern" for s in (*chosen, *(e.site for e in edits))):
        raise PromptError("'pattern' columns are key positions: use padding_side='right'")
    schedule = Schedule(
        batch_tokens or auto_budget(model), side, share and whole and _keeps_cache(model), packed,
        # Some attention masks are stored, and as long as the context.
        row_tokens=min(512, model.n_ctx or 512),
    )  # fmt: skip
    return Job(model, prompts, chosen, widths, index, schedule, tuple(edits))


def check_inputs(model: Model, prompts: PromptSet, batch_tokens: int | None, side: str) -> None:
    """Raise unless every token id is one of the model's, and the options make sense."""
    if side not in ("right", "left"):
        raise PromptError(f"padding_side={side!r}: 'right' or 'left'")
    if batch_tokens is not None and batch_tokens < 1:
        raise PromptError(f"batch_tokens must be at least 1, got {batch_tokens}")
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


def run_examples(
    job: Job,
    index: RowIndex,
    start: int,
    stop: int,
    put: Sink,
    advance: Callable[[int], None],
    fired: dict[str, int] | None = None,
) -> None:
    """Run the examples ``start`` to ``stop``, whose rows are ``index``; rows go to ``put``, tokens to ``advance``."""
    edits = job.edit_run()
    todo = passes(job.prompts.tokens[start:stop], index.example - start, index.position, job.schedule)
    n_keys = max(len(t) for t in job.prompts.tokens)
    done = 0

    def after(one: Pass) -> None:
        nonlocal done
        done += one.real_tokens
        advance(one.real_tokens)

    with Engine(job.model, job.sites, put, edits=edits, n_keys=n_keys) as engine:
        engine.run(todo, after)
    total = sum(len(t) for t in job.prompts.tokens[start:stop])
    advance(total - done)  # tokens that sharing saved
    if edits is not None:
        edits.check()
        if fired is not None:
            fired.update(edits.counts())


def run_in_memory(
    job: Job, dtype: torch.dtype, progress: bool | None, fired: dict[str, int] | None = None
) -> dict[Site | str, torch.Tensor]:
    """The rows of a whole job as tensors, if they fit."""
    needed = len(job.index) * job.row_width * dtype.itemsize
    check_memory(needed, f"{len(job.index):,} rows of {len(job.sites)} sites", advice="give out= to store them on disk")
    buffers = Buffers(job.widths, len(job.index), dtype)
    with Progress(job.n_tokens, "tok", "capture", progress) as bar:
        run_examples(job, job.index, 0, len(job.prompts), buffers.put, bar.advance, fired)
    buffers.flush()
    buffers.check_finite(job.prompts, job.index)
    return buffers.values
