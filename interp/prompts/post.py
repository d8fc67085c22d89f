"""``mark_post``: names for the tokens that a chat template writes between the instruction and the answer."""

from __future__ import annotations

import numpy as np

from ..errors import PromptError
from .promptset import PromptSet


def mark_post(prompts: PromptSet, most: int | None = None) -> tuple[PromptSet, tuple[str, ...]]:
    """The prompts with marks ``post-1`` (the last token of the template's part, `t_post`), ``post-2`` and so on.

    Counted from the end of the span ``post``, so that they mean the same whatever the length of the instruction. There
    are as many as the shortest span of any prompt has, or ``most``.

    Returns:
        the prompts, and the names of the marks in the order of the text: ``("post-3", "post-2", "post-1")``.

    Raises:
        PromptError: these are no chats, or the template writes nothing after some instruction.

    >>> prompts = PromptSet.from_tokens([[5, 6, 7, 8]])
    >>> from dataclasses import replace
    >>> chat = replace(prompts, spans={"post": np.array([[2, 4]])})
    >>> marked, names = mark_post(chat)
    >>> names, [int(marked.marks[name][0]) for name in names]
    (('post-2', 'post-1'), [2, 3])
    """
    if "post" not in prompts.spans:
        raise PromptError(
            f"the prompts from {prompts.source.name} have no tokens after the instruction: they are no chats, or the "
            "template writes none; load them with template='chat' or with a template file"
        )
    start, stop = prompts.spans["post"].T
    lacking = np.flatnonzero(stop < 0)
    if len(lacking):
        raise PromptError(
            f"{len(lacking)} of {len(prompts)} prompts have no token after the instruction (the first: "
            f"{prompts.ids[int(lacking[0])]!r}); leave them out with prompts.select(...)"
        )
    if most is not None and most < 1:
        raise PromptError(f"most={most}: one position or more")
    count = int((stop - start).min()) if most is None else min(most, int((stop - start).min()))
    marks = {f"post-{k}": stop - k for k in range(count, 0, -1)}
    return prompts.with_marks(**marks), tuple(marks)
