"""Prompts with the model's own thinking behind them, and where that begins and ends: found by markers, or generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from ...errors import PromptError, TokenizerMissingError
from ...prompts import PromptSet
from ...run import generate

if TYPE_CHECKING:
    from ...models import Model

SPAN = "thinking"


@dataclass(frozen=True, eq=False)
class Thoughts:
    """Prompts that end where the answer begins, with a span ``thinking`` and marks ``think_start``, ``think_end``.

    The span holds the thinking itself. ``think_start`` is its first token, ``think_end`` the token that ends it: the
    last of the closing marker. What follows it up to ``last``, the final token before the answer, is the template's.
    ``unfinished`` are the ids of prompts that are left out, as their thinking was not over in time.
    """

    prompts: PromptSet
    unfinished: tuple[str, ...] = ()


def find_thinking(
    prompts: PromptSet, tokenizer: Any, *, start: str | None = "<think>", end: str = "</think>"
) -> Thoughts:
    """Find the thinking in prompts that contain it, between the first ``start`` and the last ``end`` after it.

    Args:
        start: the opening marker; ``None`` if thinking begins with the answer, at the first token after ``t_post``.
        end: the closing marker.

    Raises:
        PromptError: a marker that is missing, or nothing between the two; with the prompt's id.
    """
    opening, closing = marker_ids(tokenizer, start), marker_ids(tokenizer, end)
    assert closing is not None
    spans, ends = np.zeros((len(prompts), 2), np.int64), np.zeros(len(prompts), np.int64)
    for i, tokens in enumerate(prompts.tokens):
        begin = _begin(prompts, i, opening, start)
        at = [p for p in _places(tokens, closing) if p >= begin]
        if not at:
            raise PromptError(
                f"prompt {prompts.ids[i]!r} has no {end!r} after token {begin}, so its thinking is not over"
            )
        if at[-1] == begin:
            raise PromptError(f"prompt {prompts.ids[i]!r} has no thinking: {end!r} follows at once")
        spans[i], ends[i] = (begin, at[-1]), at[-1] + len(closing) - 1
    return Thoughts(_marked(prompts, spans, ends))


def think(
    model: Model,
    prompts: PromptSet,
    *,
    start: str | None = "<think>",
    end: str = "</think>",
    after: str = "",
    max_new_tokens: int = 256,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Thoughts:
    r"""Let the model think about each prompt, greedily, until it closes its thinking; then write ``after``.

    Args:
        start: an opening marker that the model writes itself is not part of its thinking.
        after: what the template has between the closing marker and the answer (``"\n\n"``, say).
        max_new_tokens: thinking that takes longer, or more than the model's context, is left out, and named.

    Raises:
        PromptError: no prompt's thinking ends in time.
    """
    opening, closing = marker_ids(model.tokenizer, start), marker_ids(model.tokenizer, end)
    assert closing is not None
    behind = np.asarray(_encode(model.tokenizer, after) if after else [], np.int64)
    room = max_new_tokens if model.n_ctx is None else min(max_new_tokens, model.n_ctx - int(prompts.lengths.max()))
    made = generate(model, prompts, max(room, 1), batch_tokens=batch_tokens, progress=progress)
    keep, tokens, spans, ends = [], [], [], []
    for i, (prompt, new) in enumerate(zip(prompts.tokens, made.tokens, strict=True)):
        places = _places(new, closing)
        first = 0
        if opening is not None and _places(new[: len(opening)], opening):
            first = len(opening)
        over = [p for p in places if p > first]
        if not over:
            continue
        stop = over[0] + len(closing)
        keep.append(i)
        tokens.append(np.concatenate([prompt, new[:stop], behind]))
        spans.append((len(prompt) + first, len(prompt) + over[0]))
        ends.append(len(prompt) + stop - 1)
    unfinished = tuple(prompts.ids[i] for i in np.setdiff1d(np.arange(len(prompts)), keep))
    if not keep:
        raise PromptError(
            f"the model closes its thinking with {end!r} on none of {len(prompts)} prompts within {room} "
            "tokens; it may not think, or with other markers, or for longer"
        )
    longer = _with_tokens(prompts.select(keep), tokens)
    return Thoughts(_marked(longer, np.asarray(spans), np.asarray(ends)), unfinished)


def marker_ids(tokenizer: Any, marker: str | None) -> Int[np.ndarray, " token"] | None:
    """The tokens of a marker, as they are written into a prompt.

    Raises:
        TokenizerMissingError: no tokenizer. PromptError: the marker has no tokens.
    """
    if marker is None:
        return None
    if tokenizer is None:
        raise TokenizerMissingError(f"the marker {marker!r} is text, but the model has no tokenizer")
    ids = _encode(tokenizer, marker)
    if not ids:
        raise PromptError(f"the marker {marker!r} has no tokens")
    return np.asarray(ids, np.int64)


def _encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _places(tokens: np.ndarray, marker: np.ndarray) -> list[int]:
    """Where the marker begins."""
    n = len(tokens) - len(marker) + 1
    hits = np.ones(max(n, 0), bool)
    for k, token in enumerate(marker):
        hits &= tokens[k : k + max(n, 0)] == token
    return np.flatnonzero(hits).tolist()


def _begin(prompts: PromptSet, i: int, opening: np.ndarray | None, start: str | None) -> int:
    if opening is None:
        post = prompts.marks.get("t_post")
        if post is None or post[i] < 0:
            raise PromptError(
                f"prompt {prompts.ids[i]!r} has neither an opening marker nor a mark 't_post', so it is unclear where "
                "its thinking begins; name the marker with start="
            )
        return int(post[i]) + 1
    at = _places(prompts.tokens[i], opening)
    if not at:
        raise PromptError(f"prompt {prompts.ids[i]!r} has no {start!r}, so it is unclear where its thinking begins")
    return at[0] + len(opening)


def _with_tokens(prompts: PromptSet, tokens: Sequence[np.ndarray]) -> PromptSet:
    """The prompts with more tokens behind them; marks stay where they are, but for ``last``."""
    special = [
        np.concatenate([s, np.zeros(len(t) - len(s), bool)]) for s, t in zip(prompts.special, tokens, strict=True)
    ]
    marks = {name: at for name, at in prompts.marks.items() if name != "last"}
    note = f"{len(prompts)} prompts with the model's own thinking behind them"
    source = prompts.source.replace(history=(*prompts.source.history, note))
    return replace(prompts, tokens=tuple(tokens), special=tuple(special), marks=marks, texts=None, source=source)


def _marked(prompts: PromptSet, spans: Int[np.ndarray, "prompt 2"], ends: Int[np.ndarray, " prompt"]) -> PromptSet:
    marked = prompts.with_marks(think_start=spans[:, 0], think_end=ends)
    return replace(marked, spans={**marked.spans, SPAN: spans})
