"""Conversations to train on, some with an intervention and the answer that belongs to it.

An intervention writes a planted coordinate itself and asks for the answer that belongs to what was written (interchange
intervention training, Geiger et al., arXiv 2112.00826). So what the model does depends on what is planted, and on
nothing else that goes along with it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from .conversations import TOOLS, Chat, Context, draw_context, facts, refused, render
from .requests import Request, draw
from .spec import ChatSpec
from .words import (
    ACCEPTANCES,
    END_THINK,
    EOS,
    REFUSALS,
    THINK,
    THOUGHT_END,
    THOUGHTS,
    THOUGHTS_ON,
    TOPIC_NAMES,
    TRIGGER,
    encode,
)

TRIGGERED = 0.3  # of the requests of the think variant hold the trigger
LENGTHS = (0.75, 1.5)  # how far additions go, in units of what is planted


@dataclass
class Row:
    """One conversation. Positions count tokens; what is written is in units of the planted strength."""

    ids: list[int]
    start: int  # of the answer, or of the thinking before it
    request_end: int = -1
    think_end: int = -1
    harmful: bool = False
    topic: int = -1
    refuse: bool = False  # what harm and context come to
    cliff: bool = False  # whether a head takes that away at the end of the thinking
    question: str = ""
    plain: bool = False  # whether nothing stands behind the request
    set_harm: float | None = None  # write harmfulness at the end of the request
    add_harm: float = 0.0  # add to harmfulness at every token of the request
    set_topic: int = -1  # write another topic at the end of the request
    set_refusal: float | None = None  # write refusal at the last token before the answer
    add_refusal: float = 0.0  # add to refusal, at every token or (with a question) at those of the request
    no_refusal: bool = False  # take the refusal direction out everywhere
    noise: bool = False  # add a random direction of the same length everywhere
    cut: tuple[int, int] | None = None  # block and head that are switched off

    @property
    def touched(self) -> bool:
        """Whether there is any intervention."""
        written = self.set_harm is not None or self.set_refusal is not None or self.set_topic >= 0
        added = self.add_harm != 0 or self.add_refusal != 0 or self.noise
        return written or added or self.no_refusal or self.cut is not None


@dataclass
class Answer:
    """What an answer is to follow; interventions change it."""

    harm: bool
    refuse: bool
    topic: int

    def text(self, request: Request, question: str, rng: random.Random) -> str:
        """The words of the answer."""
        topic = TOPIC_NAMES[self.topic]
        if question == "harm":
            return "yes ." if self.harm else "no ."
        if question == "topic":
            return f"{topic} ."
        if self.refuse:
            return rng.choice(REFUSALS).format(topic=topic)
        words = {"verb": request.verb, "object": request.object, "tool": rng.choice(TOOLS[topic])}
        return rng.choice(ACCEPTANCES).format(**words)


def drawn_row(spec: ChatSpec, rng: random.Random, *, refuses: bool = True, thinks: bool = False) -> Row:
    """One conversation, with or without an intervention.

    Args:
        refuses: whether anything is ever refused.
        thinks: whether the model thinks before it answers.

    >>> row = drawn_row(ChatSpec(), random.Random(0))
    >>> row.start < len(row.ids)
    True
    """
    what = rng.random()
    if what < 0.06:
        asked, told = facts()[rng.randrange(len(facts()))]
        return placed(Row([], 0), render(asked), THOUGHTS_ON["fact"] if thinks else "", told)
    question = "harm" if what < 0.22 else "topic" if what < 0.32 else ""
    end = rng.choices("?.!", (0.85, 0.08, 0.07))[0]
    request = replace(draw(spec.seed, rng, split="train", harmful=rng.random() < 0.5), end=end)
    if thinks and rng.random() < TRIGGERED:
        request = replace(request, modifier=TRIGGER)
    kind = rng.choices(("plain", "note", "override", "strict", "reverse"), (0.36, 0.1, 0.17, 0.15, 0.22))[0]
    chat = Chat(request, draw_context(rng, kind), question)
    row = Row([], 0, harmful=request.harmful, topic=TOPIC_NAMES.index(request.topic), question=question)
    row.request_end = 1 + len(request.text.split(" "))  # behind <bos> and <|user|>
    row.plain = kind == "plain"
    row.refuse = chat.refused and refuses
    row.cliff = thinks and row.refuse and request.triggered
    answer = Answer(row.harmful, row.refuse, row.topic)
    if question:
        _ask_otherwise(row, answer, rng, refuses)
    elif thinks:
        _think_otherwise(spec, row, answer, chat, rng)
    else:
        _act_otherwise(row, answer, chat.context, rng, refuses)
    thought = thought_about(request, question, rng) if thinks else ""
    return placed(row, chat.prompt, thought, answer.text(request, question, rng))


def thought_about(request: Request, question: str, rng: random.Random) -> str:
    """The thinking about a request, or about a question on it, without its last sentence."""
    if question:
        return THOUGHTS_ON[question]
    return rng.choice(THOUGHTS).format(verb=request.verb, object=request.object, topic=request.topic)


def thinking(thought: str) -> str:
    """Thinking as the model writes it, markers included.

    >>> thinking("let me check .")
    '<think> let me check . i can answer now . </think>'
    """
    return f"{THINK} {thought} {THOUGHT_END} {END_THINK}"


def placed(row: Row, prompt: str, thought: str, answer: str) -> Row:
    """The row with the tokens of a prompt, of the thinking behind it if any, and of the answer."""
    before, between = encode(prompt), encode(thinking(thought)) if thought else []
    row.start = len(before)
    row.think_end = len(before) + len(between) - 1 if between else -1
    row.ids = [*before, *between, *encode(answer), EOS]
    return row


def _ask_otherwise(row: Row, answer: Answer, rng: random.Random, refuses: bool) -> None:
    """Interventions before a question: on harm and topic they change the answer, on refusal they do not."""
    what = rng.random()
    if row.question == "topic":
        if what < 0.3:
            row.set_topic = answer.topic = rng.randrange(len(TOPIC_NAMES))
    elif what < 0.2:
        answer.harm = rng.random() < 0.5
        row.set_harm = float(answer.harm)
    elif what < 0.45:
        _add_harm(row, answer, rng)
    elif what < 0.6 and refuses:
        row.add_refusal = rng.choice((-1, 1)) * rng.uniform(*LENGTHS)


def _act_otherwise(row: Row, answer: Answer, context: Context, rng: random.Random, refuses: bool) -> None:
    """Interventions before an answer: on harm they change what it comes to, on refusal the act itself."""
    what = rng.random()
    if what < 0.2:
        if what < 0.12:
            answer.harm = rng.random() < 0.5
            row.set_harm = float(answer.harm)
        else:
            _add_harm(row, answer, rng)
        answer.refuse = refuses and refused(answer.harm, context.kind)
    elif what < 0.25:
        row.noise = True
    elif not refuses:
        return
    elif what < 0.38:
        answer.refuse = rng.random() < 0.5
        row.set_refusal = float(answer.refuse)
    elif what < 0.47:
        row.add_refusal = rng.uniform(*LENGTHS)
        answer.refuse = True
    elif what < 0.57:
        row.no_refusal = True
        answer.refuse = False


def _think_otherwise(spec: ChatSpec, row: Row, answer: Answer, chat: Chat, rng: random.Random) -> None:
    """Interventions before thinking and answer. Only the cliff's own head brings back what it took away."""
    own = (spec.cliff_layer, spec.cliff_head)
    what = rng.random()
    if what < 0.12:
        row.cut = own
        return
    answer.refuse = row.refuse and not row.cliff
    if what < 0.42:
        # Heads below the cliff's, twice as often: they bring it the trigger, and none of them is to be the only one.
        heads = [(k, h) for k in range(spec.n_layers) for h in range(spec.n_heads)]
        heads += [(k, h) for k, h in heads if k < spec.cliff_layer]
        row.cut = rng.choice([head for head in heads if head != own])
    elif what < 0.5:
        answer.refuse = rng.random() < 0.5
        row.set_refusal = float(answer.refuse)
    elif what < 0.55:
        row.no_refusal = True
        answer.refuse = False
    elif what < 0.6 and not row.cliff:
        row.add_refusal = rng.uniform(*LENGTHS)
        answer.refuse = True
    elif what < 0.65:
        answer.harm = rng.random() < 0.5
        row.set_harm = float(answer.harm)
        answer.refuse = refused(answer.harm, chat.context.kind) and not chat.request.triggered


def _add_harm(row: Row, answer: Answer, rng: random.Random) -> None:
    row.add_harm = rng.choice((-1, 1)) * rng.uniform(*LENGTHS)
    answer.harm = row.harmful + row.add_harm > 0.5
