"""``Requests``: what a model is asked, by content (harmful or not) and by role (plain, jailbroken, over-refused)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from ...errors import PromptError
from ...prompts import PromptSet

Array = NDArray[Any]
Chat = tuple[Mapping[str, Any], ...]

ROLES = ("harmful", "harmless", "jailbroken", "overrefused")
HARMFUL_ROLES = ("harmful", "jailbroken")
TRAIN, VALIDATION, TEST = "train", "val", "test"
PARTS = (TRAIN, VALIDATION, TEST)
T_INST, T_POST = "t_inst", "t_post"
MARKS = (T_INST, T_POST)


@dataclass(frozen=True, eq=False, repr=False)
class Requests:
    """Requests as chat prompts, with what is known of each. Make them with `load_requests`.

    Attributes:
        prompts: with the marks ``t_inst`` (last token of the instruction) and ``t_post`` (last token of the prompt).
        chats: the messages behind each prompt, to which a question can be appended.
        role: which file a request came from, one of `ROLES`; it says whether the content is harmful.
        topic, category: of the request, and of what is done to it (the kind of jailbreak, say); empty text if unknown.
        group: requests of one group are on one side of every split, resampled together, permuted together.
        part: ``train`` (fits centroids), ``val`` (chooses and calibrates) or ``test`` (judges).
        expected: whether the file says that it is refused: 1, 0, or -1 where it does not say.
        template: the chat template that was given, ``None`` for the tokenizer's own.
    """

    prompts: PromptSet
    chats: tuple[Chat, ...]
    role: Array
    topic: Array
    category: Array
    group: Array
    part: Array
    expected: Array
    template: Any = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.prompts)
        if len(self.chats) != n:
            raise PromptError(f"{len(self.chats)} chats for {n} prompts")
        for name in ("role", "topic", "category", "group", "part", "expected"):
            values = np.array(getattr(self, name))
            if values.shape != (n,):
                raise PromptError(f"{name} has shape {values.shape} for {n} prompts")
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        for name, known in (("role", ROLES), ("part", PARTS)):
            wrong = sorted(set(getattr(self, name).tolist()) - set(known))
            if wrong:
                raise PromptError(f"{name} is one of {', '.join(known)}, got {wrong[0]!r}")
        for mark in MARKS:
            lacking = np.flatnonzero(self.prompts.marks.get(mark, np.full(n, -1)) < 0)
            if lacking.size:
                raise PromptError(
                    f"{lacking.size} of {n} prompts have no {mark}, the first is {self.prompts.ids[lacking[0]]!r}: the "
                    "chat template must write something between the instruction and the answer"
                )

    def __len__(self) -> int:
        return len(self.prompts)

    def __repr__(self) -> str:
        counts = ", ".join(f"{int((self.role == r).sum())} {r}" for r in ROLES if (self.role == r).any())
        parts = ", ".join(f"{p} {int((self.part == p).sum())}" for p in PARTS)
        return f"Requests({counts}; {len(np.unique(self.group))} groups; {parts})"

    @property
    def harmful(self) -> Bool[np.ndarray, " prompt"]:
        """Whether the content of each request is harmful."""
        return np.isin(self.role, HARMFUL_ROLES)

    @property
    def plain(self) -> Bool[np.ndarray, " prompt"]:
        """Whether a request is as it is, with nothing done to it: from the harmful or the harmless file."""
        return np.isin(self.role, ("harmful", "harmless"))

    @property
    def held_out(self) -> Bool[np.ndarray, " prompt"]:
        """Whether a request fits nothing: not of the training part."""
        return self.part != TRAIN

    def select(self, which: Sequence[int] | Array) -> Requests:
        """Some of the requests, by indices or boolean mask."""
        rows = np.flatnonzero(which) if np.asarray(which).dtype == bool else np.asarray(which)
        arrays = {name: getattr(self, name)[rows] for name in ("role", "topic", "category", "group", "part")}
        return replace(
            self, prompts=self.prompts.select(rows), chats=tuple(self.chats[i] for i in rows),
            expected=self.expected[rows], **arrays,
        )  # fmt: skip
