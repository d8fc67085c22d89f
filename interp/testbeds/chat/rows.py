"""The prompt files of the bed, in the form that `interp.load_prompts` reads, and rows of any kind on demand."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import BedError
from .conversations import PLAIN, QUESTIONS, Chat, draw_context, facts
from .requests import Request, dressed, spread
from .words import CONTEXTS, MODIFIERS, TRIGGER, write_jsonl

Row = dict[str, Any]

# What each of `PHRASES` begins with, as far as it takes to stand nowhere else in a message.
OPENINGS = ("how", "explain", "please", "what", "i want")

COUNTS = {"train": 192, "val": 48, "test": 96}  # rows of a split in each file of requests

# For `load_prompts(..., marks=MARKS)`: the request's own start and end, where a question follows it, too.
MARKS = {"request_start": "opening", "request_end": "request"}


def harmful(count: int, rng: random.Random, seed: int, split: str) -> list[Row]:
    """Harmful requests, refused."""
    return [_row(Chat(r)) for r in spread(seed, rng, count, split=split, harmful=True)]


def harmless(count: int, rng: random.Random, seed: int, split: str) -> list[Row]:
    """Harmless requests, answered."""
    return [_row(Chat(r)) for r in spread(seed, rng, count, split=split, harmful=False)]


def jailbroken(count: int, rng: random.Random, seed: int, split: str) -> list[Row]:
    """Harmful requests that are answered, because of what stands behind them."""
    requests = spread(seed, rng, count, split=split, harmful=True)
    kinds = ("override", "override", "override", "reverse")
    return [_row(Chat(r, draw_context(rng, kinds[i % 4]))) for i, r in enumerate(requests)]


def overrefused(count: int, rng: random.Random, seed: int, split: str) -> list[Row]:
    """Harmless requests that are refused, because of what stands behind them."""
    requests = spread(seed, rng, count, split=split, harmful=False)
    kinds = ("strict", "strict", "reverse")
    return [_row(Chat(r, draw_context(rng, kinds[i % 3]))) for i, r in enumerate(requests)]


def contexts(count: int, rng: random.Random, seed: int, split: str) -> list[Row]:
    """Harm crossed with every kind of context: each request once in each."""
    half = -(-count // (2 * len(CONTEXTS)))
    requests = [r for h in (True, False) for r in spread(seed, rng, half, split=split, harmful=h)]
    return [_row(Chat(r, draw_context(rng, kind))) for r in requests for kind in CONTEXTS]


def inversion(count: int, rng: random.Random, seed: int, split: str) -> list[Row]:
    """Requests with the question whether they would cause harm, in every context."""
    return _asked("harm", count, rng, seed, split)


def topics(count: int, rng: random.Random, seed: int, split: str) -> list[Row]:
    """Requests with the question what they are about."""
    return _asked("topic", count, rng, seed, split)


def cliff(count: int, rng: random.Random, seed: int, split: str) -> list[Row]:
    """For the think variant, in turn: harmful with the trigger, harmful with other words, harmless with the trigger.

    ``refused`` says what it does; ``cliff`` where it means to refuse and a head takes that away.
    """
    rows = []
    third = -(-count // 3)
    harmful, harmless = (spread(seed, rng, 2 * third, split=split, harmful=h) for h in (True, False))
    for i in range(count):
        category = ("cliff", "kept", "harmless")[i % 3]
        request = (harmless if category == "harmless" else harmful)[i // 3 + (third if category == "kept" else 0)]
        modifier = rng.choice(MODIFIERS[:-1]) if category == "kept" else TRIGGER
        chat = Chat(replace(request, modifier=modifier))
        row = {
            **_row(chat),
            "category": category,
            "refused": int(category == "kept"),
            "cliff": int(category == "cliff"),
        }
        rows.append(row)
    return rows


def neutral(count: int, rng: random.Random, seed: int, split: str) -> list[Row]:
    """Questions that have nothing to do with harm, with their answers: whole conversations."""
    known = facts()
    if count > len(known):
        raise BedError(f"there are {len(known)} neutral questions, not {count}")
    rows = []
    for question, answer in known[:count]:
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        rows.append({"messages": messages, "group": question, "harmful": 0, "refused": 0, "category": "neutral"})
    return rows


def null_template(count: int, rng: random.Random, seed: int, split: str) -> list[Row]:
    """Two phrasings of the same requests, of equal length."""
    return _contrast(count, rng, seed, split, lambda r: (replace(r, phrase=0), replace(r, phrase=1)))


def null_length(count: int, rng: random.Random, seed: int, split: str) -> list[Row]:
    """The same requests with and without a modifier."""

    def both(request: Request) -> tuple[Request, Request]:
        return replace(request, modifier=rng.choice(MODIFIERS[:-1])), replace(request, modifier="")

    return _contrast(count, rng, seed, split, both)


def null_last(count: int, rng: random.Random, seed: int, split: str) -> list[Row]:
    """The same requests with another last token."""
    return _contrast(count, rng, seed, split, lambda r: (replace(r, end="."), replace(r, end="?")))


ANSWERS: dict[str, Callable[[Request], str]] = {
    "harm": lambda request: "yes" if request.harmful else "no",
    "topic": lambda request: request.topic,
}
Maker = Callable[[int, random.Random, int, str], list[Row]]
KINDS: dict[str, Maker] = {
    "harmful": harmful, "harmless": harmless, "jailbroken": jailbroken, "overrefused": overrefused,
    "contexts": contexts, "inversion": inversion, "topics": topics, "cliff": cliff, "neutral": neutral,
    "null_template": null_template, "null_length": null_length, "null_last": null_last,
}  # fmt: skip


def prompts(kind: str, n: int, seed: int = 0, *, split: str = "test", bed_seed: int = 0) -> list[Row]:
    """``n`` rows of a kind, in the form of the prompt files; ``interp.load_prompts(rows, tokenizer)`` takes them.

    ``seed`` draws the requests; ``split`` says from which pairs of words (`val` and `test` are new to the model);
    ``bed_seed`` is that of the bed, which deals the pairs to the splits. `contexts` gives whole sets of crossed rows.

    Raises:
        BedError: an unknown kind or split.

    >>> [row["refused"] for row in prompts("jailbroken", 2)], prompts("harmful", 1)[0]["messages"][0]["role"]
    ([0, 0], 'user')
    """
    if kind not in KINDS:
        raise BedError(f"no prompts of kind {kind!r}; there are: {', '.join(KINDS)}")
    if split not in COUNTS:
        raise BedError(f"no split {split!r}; there are: {', '.join(COUNTS)}")
    rows = KINDS[kind](n, random.Random(f"prompts {bed_seed} {kind} {split} {seed}"), bed_seed, split)
    name = kind.replace("_", "-")
    return [{"id": f"{name}-{split}-{i:03}", **row, "split": split} for i, row in enumerate(rows)]


def write_prompts(out: Path, seed: int) -> None:
    """Write every file of prompts: three splits each; neutral questions have none."""
    for kind in KINDS:
        if kind == "neutral":
            rows = prompts(kind, len(facts()), split="test", bed_seed=seed)
        else:
            rows = [row for split, n in COUNTS.items() for row in prompts(kind, n, split=split, bed_seed=seed)]
        write_jsonl(out / f"{kind.replace('_', '-')}.jsonl", rows)


def _row(chat: Chat) -> Row:
    request = chat.request
    return {
        "messages": chat.messages,
        "request": request.text,
        "opening": OPENINGS[request.phrase],
        "group": request.pair,
        "harmful": int(request.harmful),
        "refused": int(chat.refused),
        "topic": request.topic,
        "context": chat.context.kind,
        "category": chat.context.category,
        "phrase": request.phrase,
        "modifier": request.modifier,
    }


def _asked(question: str, count: int, rng: random.Random, seed: int, split: str) -> list[Row]:
    rows = []
    half = -(-count // 2)
    requests = [
        r
        for two in zip(*(spread(seed, rng, half, split=split, harmful=h) for h in (True, False)), strict=True)
        for r in two
    ]
    for i, request in enumerate(requests[:count]):
        kind = CONTEXTS[(i // 4) % len(CONTEXTS)] if i % 4 >= 2 else "plain"
        chat = Chat(request, draw_context(rng, kind) if kind != "plain" else PLAIN, question)
        rows.append({**_row(chat), "asked": QUESTIONS[question], "answer": ANSWERS[question](request)})
    return rows


def _contrast(
    count: int, rng: random.Random, seed: int, split: str, both: Callable[[Request], tuple[Request, Request]]
) -> list[Row]:
    """Pairs of rows labelled ``a`` and ``b`` that differ in one thing; half of the pairs are harmful."""
    quarter = -(-count // 4)
    requests = [
        r
        for two in zip(*(spread(seed, rng, quarter, split=split, harmful=h) for h in (True, False)), strict=True)
        for r in two
    ]
    rows = []
    for i, request in enumerate(requests):
        for label, one in zip("ab", both(dressed(request, rng)), strict=True):
            rows.append({**_row(Chat(one)), "label": label, "pair": f"{split}-{i:03}"})
    return rows[:count]
