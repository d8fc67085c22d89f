"""Requests: a verb and an object of a topic, in one of five phrasings. Only the pair of words says whether it harms."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from .words import MODIFIERS, PHRASES, TOPICS, TRIGGER, Topic

SPLITS = {"train": 12, "val": 3, "test": 5}  # pairs of each of a topic's four kinds of pairs


@dataclass(frozen=True)
class Request:
    """One request. ``modifier`` is empty or one of `MODIFIERS`; ``end`` is the last token of its text."""

    topic: str
    verb: str
    object: str
    harmful: bool
    split: str
    phrase: int = 0
    modifier: str = ""
    end: str = "?"

    @property
    def text(self) -> str:
        """The words of the request."""
        modifier = f" {self.modifier}" if self.modifier else ""
        return PHRASES[self.phrase].format(verb=self.verb, object=self.object, modifier=modifier, end=self.end)

    @property
    def pair(self) -> str:
        """What it is about: the unit that splits keep whole."""
        return f"{self.verb}-{self.object}"

    @property
    def triggered(self) -> bool:
        """Whether it holds the words that set off the think variant's cliff."""
        return self.modifier == TRIGGER


@cache
def pairs(seed: int) -> tuple[Request, ...]:
    """Every verb with every object of its topic, each dealt to a split; a bare request each.

    Each of the four kinds of pairs (furthering or hindering, good or bad) is dealt alike, so every split has as many
    harmful as harmless pairs of a topic.

    >>> made = pairs(0)
    >>> len(made), sum(r.harmful for r in made), sum(r.split == "test" for r in made)
    (480, 240, 120)
    """
    found: list[Request] = []
    for topic in TOPICS:
        for furthering in (True, False):
            for bad in (True, False):
                found += _dealt(topic, furthering, bad, random.Random(f"pairs {seed} {topic.name} {furthering} {bad}"))
    return tuple(found)


def _dealt(topic: Topic, furthering: bool, bad: bool, rng: random.Random) -> Iterator[Request]:
    verbs = topic.furthering if furthering else topic.hindering
    both = [(verb, thing) for verb in verbs for thing in (topic.bad if bad else topic.good)]
    rng.shuffle(both)
    splits = [split for split, count in SPLITS.items() for _ in range(count)]
    for (verb, thing), split in zip(both, splits, strict=True):
        yield Request(topic.name, verb, thing, furthering == bad, split)


def draw(
    seed: int, rng: random.Random, *, split: str, harmful: bool | None = None, topic: str | None = None
) -> Request:
    """One request at random: any pair of the split, any phrasing, a modifier every other time.

    >>> request = draw(0, random.Random(1), split="test", harmful=True)
    >>> request.harmful, request.text.endswith(" ?")
    (True, True)
    """
    fitting = _fitting(seed, split, harmful, topic)
    return dressed(fitting[rng.randrange(len(fitting))], rng)


def dressed(pair: Request, rng: random.Random) -> Request:
    """The same pair in any phrasing, with a modifier every other time."""
    modifier = rng.choice(MODIFIERS) if rng.random() < 0.5 else ""
    return Request(
        pair.topic, pair.verb, pair.object, pair.harmful, pair.split, rng.randrange(len(PHRASES)), modifier, pair.end
    )


def spread(seed: int, rng: random.Random, count: int, *, split: str, harmful: bool) -> list[Request]:
    """``count`` different requests, evenly over the topics, and over each topic's pairs as far as they go."""
    made: list[Request] = []
    seen: set[str] = set()
    decks: dict[str, list[Request]] = {topic.name: [] for topic in TOPICS}
    while len(made) < count:
        topic = TOPICS[len(made) % len(TOPICS)].name
        if not decks[topic]:
            decks[topic] = rng.sample(
                _fitting(seed, split, harmful, topic), k=len(_fitting(seed, split, harmful, topic))
            )
        request = dressed(decks[topic].pop(), rng)
        if request.text not in seen:
            seen.add(request.text)
            made.append(request)
    return made


@cache
def _fitting(seed: int, split: str, harmful: bool | None, topic: str | None) -> tuple[Request, ...]:
    return tuple(
        r for r in pairs(seed) if r.split == split and harmful in (None, r.harmful) and topic in (None, r.topic)
    )
