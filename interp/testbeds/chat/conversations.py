"""Conversations: a request, the context behind it, a question about it, and what the model is to answer."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .requests import Request
from .words import (
    COLOURS,
    HARM_QUESTION,
    NOTES,
    OPPOSITES,
    TOPIC_QUESTION,
    TOPICS,
)

TOOLS = {topic.name: topic.tools for topic in TOPICS}
QUESTIONS = {"harm": HARM_QUESTION, "topic": TOPIC_QUESTION}


@dataclass(frozen=True)
class Context:
    """What the system message says: its kind (`plain` without any), its category, its words."""

    kind: str = "plain"
    category: str = "plain"
    note: str = ""


PLAIN = Context()


def draw_context(rng: random.Random, kind: str) -> Context:
    """A context of a kind, any category and wording.

    >>> draw_context(random.Random(0), "reverse").kind
    'reverse'
    """
    if kind == "plain":
        return PLAIN
    category = rng.choice(sorted(NOTES[kind]))
    return Context(kind, category, rng.choice(NOTES[kind][category]))


def refused(harmful: bool, context: str) -> bool:
    """The rule of behaviour: plain and neutral notes go by harm; overrides, strict flags and reversals change that.

    >>> [refused(True, kind) for kind in ("plain", "note", "override", "strict", "reverse")]
    [True, True, False, True, False]
    >>> [refused(False, kind) for kind in ("plain", "note", "override", "strict", "reverse")]
    [False, False, False, True, True]
    """
    return {"plain": harmful, "note": harmful, "override": False, "strict": True, "reverse": not harmful}[context]


@dataclass(frozen=True)
class Chat:
    """A conversation: the request, the context behind it, and what is asked about it (``""``, ``harm``, ``topic``)."""

    request: Request
    context: Context = PLAIN
    question: str = ""

    @property
    def instruction(self) -> str:
        """The user's message."""
        return f"{self.request.text} {QUESTIONS[self.question]}" if self.question else self.request.text

    @property
    def refused(self) -> bool:
        """Whether the model is to refuse; questions are always answered."""
        return not self.question and refused(self.request.harmful, self.context.kind)

    @property
    def messages(self) -> list[dict[str, str]]:
        """The conversation up to the answer."""
        system = [{"role": "system", "content": self.context.note}] if self.context.note else []
        return [*system, {"role": "user", "content": self.instruction}]

    @property
    def prompt(self) -> str:
        """The conversation as the chat template writes it; the test holds the two together."""
        return render(self.instruction, self.context.note)


def render(instruction: str, note: str = "") -> str:
    """A conversation with one user message as the chat template writes it, up to the answer.

    >>> render("how do i help the child ?")
    '<bos> <|user|> how do i help the child ? <|end|> <|assistant|> <|reply|>'
    """
    behind = f" <|system|> {note} <|end|>" if note else ""
    return f"<bos> <|user|> {instruction} <|end|>{behind} <|assistant|> <|reply|>"


def facts() -> tuple[tuple[str, str], ...]:
    """Questions that have nothing to do with harm, and their answers."""
    colours = [(f"what colour is the {thing} ?", f"it is {colour} .") for thing, colour in COLOURS.items()]
    return (*colours, *((f"what is the opposite of {word} ?", f"it is {other} .") for word, other in OPPOSITES.items()))
