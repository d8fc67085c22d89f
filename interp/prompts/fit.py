"""Prompts and the model's context: say what does not fit, cut it, or leave it out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import EmptyPromptsError, PromptError, PromptTooLongError
from .promptset import PromptSet


def check_fits(prompts: PromptSet, n_ctx: int) -> None:
    """Raise, naming the longest prompt, unless every prompt has at most ``n_ctx`` tokens.

    >>> check_fits(PromptSet.from_tokens([[1], [1, 2, 3]], ids=["a", "b"]), n_ctx=2)
    Traceback (most recent call last):
    interp.errors.PromptTooLongError: 1 of 2 prompts is longer than the context of 2 tokens; ...
    """
    if n_ctx < 1:
        raise PromptError(f"a context has at least 1 token, got {n_ctx}")
    long = int((prompts.lengths > n_ctx).sum())
    if long:
        i = int(prompts.lengths.argmax())
        raise PromptTooLongError(
            f"{long} of {len(prompts)} prompts {'is' if long == 1 else 'are'} longer than the context of {n_ctx} "
            f"tokens; the longest is {prompts.ids[i]!r} with {prompts.lengths[i]}. Shorten them, or use "
            "truncate='left' (keep the end), truncate='right' (keep the start), or drop_long=True (leave them out); in "
            "the shell, where a command has these options, --truncate left, --truncate right or --drop-long"
        )


def fit(prompts: PromptSet, n_ctx: int, *, truncate: str | None = None, drop_long: bool = False) -> PromptSet:
    """Prompts of at most ``n_ctx`` tokens, in the one way that was asked for; see `PromptSet.fit`."""
    if truncate is not None and drop_long:
        raise PromptError("give either truncate or drop_long, not both")
    if truncate not in (None, "left", "right"):
        raise PromptError(f"truncate must be 'left' or 'right', got {truncate!r}")
    long = prompts.lengths > n_ctx
    if n_ctx < 1 or (long.any() and truncate is None and not drop_long):
        check_fits(prompts, n_ctx)
    if not long.any():
        return prompts
    if drop_long:
        if long.all():
            raise EmptyPromptsError(f"all {len(prompts)} prompts are longer than {n_ctx} tokens; none is left")
        kept = prompts.select(~long)
        return replace(kept, source=kept.source.then(f"left out {long.sum()} prompts of more than {n_ctx} tokens"))
    return _truncate(prompts, n_ctx, str(truncate), np.flatnonzero(long))


def _truncate(prompts: PromptSet, n_ctx: int, side: str, long: np.ndarray) -> PromptSet:
    tokens, special = list(prompts.tokens), list(prompts.special)
    marks = {k: v.copy() for k, v in prompts.marks.items()}
    spans = {k: v.copy() for k, v in prompts.spans.items()}
    cut = np.zeros(len(prompts), dtype=np.int64)
    for i in long:
        n = len(tokens[i])
        # A special first token (a BOS) stays in place when the start is cut.
        head = int(side == "left" and n_ctx > 1 and bool(special[i][0]))
        keep = np.arange(n_ctx) if side == "right" else np.r_[np.arange(head), np.arange(n - n_ctx + head, n)]
        new = np.full(n + 1, -1, dtype=np.int64)  # old index -> new index; the extra place is for -1
        new[keep] = np.arange(n_ctx)
        tokens[i], special[i] = tokens[i][keep], special[i][keep]
        cut[i] = n - n_ctx
        for values in marks.values():
            values[i] = new[values[i]]
        for values in spans.values():
            start, stop = values[i]
            left = new[start:stop]
            left = left[left >= 0]
            values[i] = (left[0], left[-1] + 1) if len(left) else (-1, -1)
    earlier = prompts.columns.get("cut_tokens", np.zeros(len(prompts), dtype=np.int64))
    end = "start" if side == "left" else "end"
    return replace(
        prompts,
        tokens=tuple(tokens),
        special=tuple(special),
        marks=marks,
        spans=spans,
        columns={**prompts.columns, "cut_tokens": earlier + cut},
        source=prompts.source.then(f"cut the {end} of {len(long)} prompts to {n_ctx} tokens"),
    )
