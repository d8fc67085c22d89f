"""Texts of the `conflict` bed: statements, each one word, and a subject whose value is asked for."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .spec import BOS, MOST, SUBJECTS, VALUES, ConflictSpec


@dataclass(frozen=True)
class Conflict:
    """A text that says ``context`` of ``subject``, of whom the weights know ``memory``."""

    words: tuple[str, ...]
    subject: str
    memory: str
    context: str


def statements(spec: ConflictSpec, rng: random.Random, count: int, asked: str | None = None) -> list[tuple[str, str]]:
    """So many subjects, ``asked`` among them if given, each with a value that is not what the weights say."""
    subjects = rng.sample([s for s in SUBJECTS if s != asked], count - (asked is not None))
    subjects += [asked] if asked is not None else []
    rng.shuffle(subjects)
    return [(s, rng.choice([v for v in VALUES if v != spec.facts[s]])) for s in subjects]


def training_rows(spec: ConflictSpec) -> Iterator[tuple[list[list[int]], list[int]]]:
    """Batches of texts of equal length, with the token that comes next in each.

    Two thirds ask for a subject that the text speaks of: half of these go by the text, half by memory. One third asks
    for another subject, whose value is that of memory.
    """
    rng = random.Random(f"rows {spec.seed}")
    ids = spec.token_id
    for step in range(spec.steps):
        count = 1 + step % MOST
        rows, answers = [], []
        for _ in range(spec.rows):
            asked = rng.choice(SUBJECTS)
            told = rng.random() < 2 / 3
            said = statements(spec, rng, count, asked) if told else _others(spec, rng, count, asked)
            by_text = told and rng.random() < 0.5
            rows.append([BOS, *(ids[f"{s}:{v}"] for s, v in said), ids[asked]])
            answers.append(ids[dict(said)[asked] if by_text else spec.facts[asked]])
        yield rows, answers


def _others(spec: ConflictSpec, rng: random.Random, count: int, asked: str) -> list[tuple[str, str]]:
    subjects = rng.sample([s for s in SUBJECTS if s != asked], count)
    return [(s, rng.choice([v for v in VALUES if v != spec.facts[s]])) for s in subjects]


def conflicts(spec: ConflictSpec) -> list[Conflict]:
    """Texts that contradict memory, each subject asked for equally often.

    >>> one = conflicts(ConflictSpec())[0]
    >>> one.memory != one.context, f"{one.subject}:{one.context}" in one.words
    (True, True)
    """
    rng = random.Random(f"conflicts {spec.seed}")
    found = []
    for number in range(spec.prompts):
        asked = SUBJECTS[number % len(SUBJECTS)]
        said = statements(spec, rng, 1 + rng.randrange(MOST), asked)
        words = (*(f"{s}:{v}" for s, v in said), asked)
        found.append(Conflict(words, asked, spec.facts[asked], dict(said)[asked]))
    return found


def write_prompts(out: Path, spec: ConflictSpec, found: list[Conflict]) -> None:
    """Write ``conflicts.jsonl``: text, memory, context, and the subject as group."""
    lines = []
    for number, one in enumerate(found):
        row = {"id": f"c{number:03}", "text": " ".join(one.words), "memory": one.memory, "context": one.context}
        lines.append(json.dumps(row | {"group": one.subject}) + "\n")
    (out / "conflicts.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
