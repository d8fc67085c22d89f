"""Endless micro-stories: two characters, a thing that changes hands, places, animals, agreement and pronouns."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .words import DETAILS, LAST_NAMES, MEN, MOODS, PLURAL, WOMEN


@dataclass(frozen=True)
class Person:
    """A character: the name that stands in the text, and the pronouns."""

    name: str
    he: str
    him: str
    his: str


@dataclass
class _Scene:
    """What a story is about, and who has the thing."""

    rng: random.Random
    hero: Person
    friend: Person
    place: str
    thing: str
    owner: Person | None = None

    def any(self, kind: str) -> str:
        return self.rng.choice(DETAILS[kind])


def stories(seed: int | str) -> Iterator[str]:
    """Stories without end, the same for the same seed.

    >>> story = next(stories(0))
    >>> story.count(" .") >= 3, story.endswith(" .")
    (True, True)
    """
    rng = random.Random(f"stories {seed}")
    while True:
        yield _story(rng)


def _story(rng: random.Random) -> str:
    hero, friend = _people(rng)
    scene = _Scene(rng, hero, friend, rng.choice(DETAILS["place"]), rng.choice(DETAILS["object"]))
    sentences = [rng.choice(_OPENINGS)(scene)]
    for event in rng.sample(_EVENTS, rng.randint(1, 3)):
        sentences.append(event(scene))
    sentences.append(_ending(scene))
    return " ".join(sentences)


def _people(rng: random.Random) -> tuple[Person, Person]:
    first, second = _person(rng), _person(rng)
    while second.name == first.name:
        second = _person(rng)
    return first, second


def _person(rng: random.Random) -> Person:
    if rng.random() < 0.3:
        return _titled(rng)
    if rng.random() < 0.5:
        return Person(rng.choice(WOMEN), "she", "her", "her")
    return Person(rng.choice(MEN), "he", "him", "his")


def _titled(rng: random.Random) -> Person:
    # Surnames stand in stories behind a title only, so that no story holds the first and last name of a record.
    if rng.random() < 0.5:
        return Person(f"mrs {rng.choice(LAST_NAMES)}", "she", "her", "her")
    return Person(f"mr {rng.choice(LAST_NAMES)}", "he", "him", "his")


# --- openings --------------------------------------------------------------------------------------------------------
# Each names the thing and the place: "a" comes before a thing that is new, "the" before one that was named.


def _one_day(s: _Scene) -> str:
    s.owner = s.hero
    return f"one day {s.hero.name} took a {s.thing} to the {s.place} ."


def _together(s: _Scene) -> str:
    both = f"{s.hero.name} and {s.friend.name}"
    return f"in {s.any('month')} {both} left {s.any('town')} and found a {s.any('colour')} {s.thing} at the {s.place} ."


def _trade(s: _Scene) -> str:
    s.owner = s.hero
    return f"{s.hero.name} was a {s.any('job')} in {s.any('town')} and kept a {s.thing} at the {s.place} ."


def _hand_over(s: _Scene) -> str:
    # The last name is the one of the two that has not been said twice.
    a, b = (s.hero, s.friend) if s.rng.random() < 0.5 else (s.friend, s.hero)
    s.owner = b
    both = f"{s.hero.name} and {s.friend.name}"
    return f"when {both} were at the {s.place} , {a.name} found a {s.thing} and gave the {s.thing} to {b.name} ."


_OPENINGS: tuple[Callable[[_Scene], str], ...] = (_one_day, _together, _trade, _hand_over)


# --- events ----------------------------------------------------------------------------------------------------------


def _look(s: _Scene) -> str:
    s.owner = s.owner or s.hero
    return f"{s.owner.name} took the {s.thing} and looked at the {s.thing} again ."


def _lose(s: _Scene) -> str:
    s.owner = s.owner or s.hero
    return f"{s.owner.name} lost the {s.thing} , went to the {s.place} and found the {s.thing} there ."


def _give(s: _Scene) -> str:
    giver = s.owner or s.hero
    taker = s.friend if giver is s.hero else s.hero
    s.owner = taker
    return f"{giver.name} gave the {s.thing} to {taker.name} and {taker.name} thanked {giver.him} ."


def _meet(s: _Scene) -> str:
    return f"{s.hero.name} met {s.friend.name} by the {s.place} and told {s.friend.him} {_mood(s.hero, s)} ."


def _mood(person: Person, s: _Scene) -> str:
    return f"that {person.he} was {s.rng.choice(MOODS)}"


def _one_animal(s: _Scene) -> str:
    animal = s.any("animal")
    return f"there was a {s.any('colour')} {animal} behind the {s.place} and it was {s.rng.choice(MOODS)} ."


def _animals(s: _Scene) -> str:
    animals = PLURAL[s.any("animal")]
    return f"there were {s.any('number')} {animals} behind the {s.place} and they were {s.rng.choice(MOODS)} ."


def _agree(s: _Scene) -> str:
    # The verb agrees with the first noun, not with the one beside it.
    one, other = s.any("animal"), s.any("animal")
    if s.rng.random() < 0.5:
        return f"the {one} near the {PLURAL[other]} was {s.rng.choice(MOODS)} ."
    return f"the {PLURAL[one]} near the {other} were {s.rng.choice(MOODS)} ."


def _eat(s: _Scene) -> str:
    return f"{s.friend.name} ate some {s.any('food')} and gave some to {s.hero.name} ."


def _work(s: _Scene) -> str:
    job = s.any("job")
    return f"the {job} saw {s.hero.name} and said that {s.hero.his} {s.any('animal')} was lost ."


def _stay(s: _Scene) -> str:
    return f"they stayed at the {s.place} for {s.any('number')} days and then left the {s.place} ."


_EVENTS: tuple[Callable[[_Scene], str], ...] = (
    _look, _lose, _give, _meet, _one_animal, _animals, _agree, _eat, _work, _stay,
)  # fmt: skip


def _ending(s: _Scene) -> str:
    if s.owner is not None:
        return f"then {s.owner.name} left the {s.place} and went home with {s.owner.his} {s.thing} ."
    return f"then {s.hero.name} was {s.rng.choice(MOODS)} , left the {s.thing} at the {s.place} and went home ."
