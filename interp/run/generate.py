"""``generate``: continue prompts, with edits whose positions hold under a KV cache and either padding side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..edits import Edit
from ..errors import ModelError, NonFiniteError, PromptError, PromptTooLongError
from ..models import Model
from ..models.hooks import Hooks
from ..prompts import PromptSet
from ..prompts.batching import pad_batch, token_budget_batches
from ..provenance import Provenance
from .budget import auto_budget
from .gates import decide
from .job import check_inputs
from .progress import Progress
from .where import Cells, EditRun


@dataclass(frozen=True, eq=False)
class Generations:
    """What a model wrote after each prompt.

    ``tokens`` are the generated ids (end-of-text included where it was written), ``texts`` their text (``None`` without
    a tokenizer), ``finished`` whether the model ended the text itself, ``fired`` the rows that each edit changed,
    ``opened``, for each edit under a condition, which prompts met it.
    """

    ids: tuple[str, ...]
    tokens: tuple[np.ndarray, ...]
    texts: tuple[str, ...] | None
    finished: np.ndarray
    fired: dict[str, int]
    provenance: Provenance
    opened: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class _Choice:
    """How the next token is chosen: greedy at temperature 0, else sampled, with a generator per prompt."""

    temperature: float
    top_p: float
    seed: int

    def __call__(self, logits: torch.Tensor, generators: list[torch.Generator]) -> torch.Tensor:
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        from transformers import TemperatureLogitsWarper, TopPLogitsWarper

        scores = TemperatureLogitsWarper(self.temperature)(None, logits.float())
        if self.top_p < 1:
            scores = TopPLogitsWarper(self.top_p)(None, scores)
        # One generator per prompt, so that a prompt's text does not depend on its batch.
        probs = scores.softmax(dim=-1).cpu()
        drawn = [torch.multinomial(p, 1, generator=g) for p, g in zip(probs, generators, strict=True)]
        return torch.cat(drawn).to(logits.device)


def generate(
    model: Model,
    prompts: PromptSet,
    max_new_tokens: int = 32,
    *,
    edits: Sequence[Edit] = (),
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    use_cache: bool = True,
    padding_side: str = "left",
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Generations:
    """Continue every prompt by up to ``max_new_tokens`` tokens; greedy unless ``temperature`` is positive.

    Edits act on the prompt, on generated tokens, or both (``Edit.when``); their positions are those of the unpadded
    sequence, so the cache, the batch and the padding side change nothing.

    Raises:
        EmptyPromptsError, PromptTooLongError: nothing to continue, or no room for the new tokens.
        EditError: an edit never fired.
        ModelError: right padding with a sliding attention window that the text would outgrow.

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5]])
        >>> interp.generate(model, prompts, 1).tokens[0].tolist()
        [9]
    """
    if max_new_tokens < 1 or temperature < 0 or not 0 < top_p <= 1:
        raise PromptError(
            f"max_new_tokens must be at least 1, temperature at least 0 and top_p in (0, 1]; "
            f"got {max_new_tokens}, {temperature} and {top_p}"
        )
    check_inputs(model, prompts, batch_tokens, padding_side)
    lengths = prompts.lengths
    _check_room(model, prompts, lengths, max_new_tokens, padding_side)
    run = EditRun(model, prompts, edits, decide(model, prompts, edits))
    choose = _Choice(temperature, top_p, seed)
    written: list[list[int]] = [[] for _ in prompts.tokens]
    budget = batch_tokens or auto_budget(model)
    # The columns of a pattern are positions only without padding, and with all keys there.
    by_position = any(e.site.kind == "pattern" for e in edits)
    use_cache = use_cache and not (by_position and _window(model))
    batches = _batches(lengths, max_new_tokens, budget, by_position)
    with (
        Hooks(model, writes=run.writes()) as hooks,
        Progress(len(prompts), "prompts", "generate", progress) as bar,
    ):
        for members in batches:
            _generate_batch(
                model, prompts, members, written, hooks, run, choose, max_new_tokens, use_cache, padding_side
            )
            bar.advance(len(members))
    run.check()
    ends = _end_ids(model)
    tokens = tuple(np.array(w, dtype=np.int64) for w in written)
    texts = (
        None if model.tokenizer is None else tuple(model.tokenizer.decode(w, skip_special_tokens=True) for w in written)
    )
    finished = np.array([bool(w) and w[-1] in ends for w in written])
    provenance = model.provenance(prompts=prompts.hash, seed=seed)
    return Generations(prompts.ids, tokens, texts, finished, run.counts(), provenance, run.conditions())


def _batches(lengths: np.ndarray, new: int, budget: int, apart: bool) -> list[np.ndarray]:
    """Prompts that are run together; ``apart``: only those of one length, so that no padding is needed."""
    if not apart:
        return token_budget_batches(lengths + new, budget)
    groups = [np.flatnonzero(lengths == n) for n in np.unique(lengths)]
    return [g[b] for g in groups for b in token_budget_batches(lengths[g] + new, budget)]


def _generate_batch(
    model: Model, prompts: PromptSet, members: np.ndarray, written: list[list[int]], hooks: Hooks, run: EditRun,
    choose: _Choice, max_new_tokens: int, use_cache: bool, side: str,
) -> None:  # fmt: skip
    """Write the continuations of one batch into ``written``."""
    ends = _end_ids(model)
    generators = [torch.Generator().manual_seed(choose.seed * 1_000_003 + int(m)) for m in members]
    lengths = torch.tensor([len(prompts.tokens[m]) for m in members])
    example = torch.from_numpy(members.astype(np.int64))
    done = torch.zeros(len(members), dtype=torch.bool)
    cache: Any = None
    mask: torch.Tensor | None = None
    with torch.inference_mode():
        for step in range(max_new_tokens):
            if cache is None:
                so_far = [np.concatenate([prompts.tokens[m], np.array(written[m], dtype=np.int64)]) for m in members]
                batch = pad_batch(so_far, side=side)
                ids, mask, position = batch.input_ids, batch.attention_mask, batch.position_ids
                pos = torch.where(mask.bool() & ~done[:, None], position, torch.full_like(position, -1))
                at = batch.start + batch.lengths - 1
            else:
                assert mask is not None
                ids = torch.tensor([[written[m][-1]] for m in members])
                mask = torch.cat([mask, torch.ones(len(members), 1, dtype=mask.dtype)], dim=1)
                position = (lengths + step - 1)[:, None]
                pos = torch.where(done[:, None], torch.full_like(position, -1), position)
                at = torch.zeros(len(members), dtype=torch.long)
            # Without a cache the whole text is computed anew at each step; only its last token is new.
            run.cells = Cells(example, pos, lengths, lengths + step - 1 if step else None)
            logits, cache = _step(model, hooks, ids, mask, position, at, cache, use_cache)
            _check_numbers(logits, done, prompts, members, step)
            chosen = choose(logits, generators).cpu()
            for row, member in enumerate(members):
                # A finished row is fed its last token until the batch ends; nothing of it is kept.
                if not done[row]:
                    written[member].append(int(chosen[row]))
                    done[row] = int(chosen[row]) in ends
            if bool(done.all()):
                break


def _step(
    model: Model, hooks: Hooks, ids: torch.Tensor, mask: torch.Tensor, position: torch.Tensor, at: torch.Tensor,
    cache: Any, use_cache: bool,
) -> tuple[torch.Tensor, Any]:  # fmt: skip
    """Logits ``[batch, vocab]`` at column ``at`` of each row, and the cache."""
    device = model.device
    inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device), "position_ids": position.to(device)}
    output = hooks.run(lambda: model.hf(**inputs, past_key_values=cache, use_cache=use_cache), batch=len(ids))
    rows = torch.arange(len(ids), device=output.logits.device)
    return output.logits[rows, at.to(output.logits.device)], output.past_key_values if use_cache else None


def _check_numbers(
    logits: torch.Tensor, done: torch.Tensor, prompts: PromptSet, members: np.ndarray, step: int
) -> None:
    """Raise on NaN: its argmax is a number, and a text made of such numbers looks like a text."""
    bad = logits.isnan().any(dim=-1).cpu() & ~done
    if bool(bad.any()):
        name = prompts.ids[members[int(bad.nonzero()[0])]]
        raise NonFiniteError(f"NaN in the logits after {step} new tokens of example {name!r}")


def _end_ids(model: Model) -> set[int]:
    config = getattr(model.hf, "generation_config", None)
    end = getattr(config, "eos_token_id", None)
    if end is None:
        end = getattr(model.cfg, "eos_token_id", None)
    return set() if end is None else set(end) if isinstance(end, (list, tuple)) else {int(end)}


def _window(model: Model) -> int | None:
    """The reach of windowed attention, by the names that configs have for it."""
    names = ("sliding_window", "window_size", "attention_chunk_size")
    return next((w for n in names if (w := getattr(model.cfg, n, None))), None)


def _check_room(model: Model, prompts: PromptSet, lengths: np.ndarray, new: int, side: str) -> None:
    longest = int(lengths.argmax())
    if model.n_ctx is not None and lengths[longest] + new > model.n_ctx:
        raise PromptTooLongError(
            f"prompt {prompts.ids[longest]!r} has {lengths[longest]} tokens; with {new} new ones that is more than the "
            f"model's context of {model.n_ctx}: shorten it, or lower max_new_tokens"
        )
    window = _window(model)
    if side == "right" and window and lengths[longest] + new > window and len(np.unique(lengths)) > 1:
        raise ModelError(
            f"right padding puts holes into this model's attention window of {window} tokens; use padding_side='left'"
        )
