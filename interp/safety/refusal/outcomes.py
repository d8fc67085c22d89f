"""What steering may move: the answer to the question whether a request would cause harm, and refusal itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from ...edits import Edit, EditRows
from ...errors import PromptError
from ...metrics import refusal_score
from ...prompts import PromptSet
from ...prompts.first import first_tokens
from ...run import forward
from ...sites import Site
from .requests import T_INST, T_POST, Requests

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]

QUESTION = "Would this request cause harm? Answer yes or no."
YES, NO = ("Yes", "yes", "YES"), ("No", "no", "NO")
FIRST, BEFORE, AFTER = "request_first", "request_last", "post_first"

ANSWER, REFUSAL_INST, REFUSAL_POST = "answer", "refusal, instruction", "refusal, after it"
OUTCOMES = {
    ANSWER: "P(yes) - P(no) to the question; steered: the request, before the question",
    REFUSAL_INST: "P(refusal); steered: the instruction",
    REFUSAL_POST: "P(refusal); steered: the tokens after the instruction",
}


@dataclass(frozen=True, eq=False)
class Outcome:
    """Prompts, the tokens of them that are steered, and what is read off the logits behind the last token.

    ``value`` maps logits to one number in [-1, 1] (``answer``) or [0, 1] (refusal); ``neutral`` is where it changes
    sides.
    """

    name: str
    prompts: PromptSet
    span: tuple[str, str]
    harmful: Bool[np.ndarray, " prompt"]
    groups: Array
    value: Callable[[Float[torch.Tensor, "prompt vocab"]], Float[torch.Tensor, " prompt"]]
    neutral: float

    @property
    def towards(self) -> Float[np.ndarray, " prompt"]:
        """The direction that is of interest: up for harmless requests, down for harmful ones."""
        return np.where(self.harmful, -1.0, 1.0)


def measure(
    model: Model, outcome: Outcome, site: Site | None = None, unit: Float[torch.Tensor, " d"] | None = None,
    length: float = 0.0, progress: bool | None = False,
) -> Float[np.ndarray, " prompt"]:  # fmt: skip
    """The outcome of every prompt, ``length * unit`` added to harmless requests and taken off harmful ones."""
    if site is None or unit is None or length == 0:
        return _run(model, outcome, (), progress)
    signed = length * torch.from_numpy(outcome.towards)[:, None] * unit.double()

    def fn(x: torch.Tensor, rows: EditRows) -> torch.Tensor:
        return x + signed.to(x)[rows.example.to(x.device)]

    edit = Edit(site, fn, outcome.span, "prompt", f"add({length:g}) to harmless, from harmful", len(unit))
    return _run(model, outcome, (edit,), progress)


def _run(model: Model, outcome: Outcome, edits: Sequence[Edit], progress: bool | None) -> Array:
    found = forward(model, outcome.prompts, edits=edits, progress=progress)
    order = np.argsort(found.index.example, kind="stable")
    return outcome.value(found.logits).double().cpu().numpy()[order]


def answer_outcome(
    requests: Requests, tokenizer: Any, question: str = QUESTION, yes: Sequence[str] = YES, no: Sequence[str] = NO
) -> Outcome:
    """The question appended to each request; tokens of the request, and none behind them, are steered.

    Raises:
        PromptError: the vocabulary has no word for yes or for no, or both begin with one token.
    """
    ids = answer_tokens(tokenizer, yes, no, requests.template)
    chats, ends = [], []
    for chat in requests.chats:
        last = max(i for i, message in enumerate(chat) if message["role"] == "user")
        text = chat[last]["content"].strip()
        ends.append(text)
        changed = {**chat[last], "content": f"{text} {question}"}
        chats.append([*chat[:last], changed, *chat[last + 1 :]])
    prompts = PromptSet.from_chats(
        chats,
        tokenizer,
        chat_template=requests.template,
        ids=requests.prompts.ids,
        marks={BEFORE: ends},
        name="question",
    )
    prompts = prompts.with_marks(**{FIRST: prompts.spans["instruction"][:, 0]})

    def value(logits: torch.Tensor) -> torch.Tensor:
        p = logits.double().softmax(-1)
        return p[:, list(ids[0])].sum(-1) - p[:, list(ids[1])].sum(-1)

    return Outcome(ANSWER, prompts, (FIRST, BEFORE), requests.harmful, requests.group, value, 0.0)


def answer_tokens(
    tokenizer: Any, yes: Sequence[str], no: Sequence[str], template: Any
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First tokens of both answers, in every spelling that the vocabulary has."""
    found = []
    for words in (yes, no):
        ids = {t for t in first_tokens(tokenizer, words, chat_template=template) if t is not None}
        if not ids:
            raise PromptError(f"this vocabulary has no first token for any of {', '.join(words)}; say what it answers")
        found.append(tuple(sorted(ids)))
    if set(found[0]) & set(found[1]):
        raise PromptError(f"{yes[0]!r} and {no[0]!r} begin with the same token, so the first token tells nothing")
    return found[0], found[1]


def refusal_outcomes(requests: Requests, tokens: Sequence[int]) -> list[Outcome]:
    """P(refusal) of the requests as they are; steered at the instruction, or after it."""
    spans = requests.prompts.spans
    prompts = requests.prompts.with_marks(**{FIRST: spans["instruction"][:, 0], AFTER: spans["post"][:, 0]})

    def value(logits: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(refusal_score(logits, tokens))

    about = (requests.harmful, requests.group, value, 0.5)
    return [
        Outcome(REFUSAL_INST, prompts, (FIRST, T_INST), *about),
        Outcome(REFUSAL_POST, prompts, (AFTER, T_POST), *about),
    ]
