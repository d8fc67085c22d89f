"""Words and prompts of the hand-written beds: a few words that mean something among others that do not."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..induction.words import SPECIAL
from .parts import GAIN, N_WORDS, Axes

SLOTS = tuple((f"{letter}0", f"{letter}1") for letter in "abc")
FILLERS = tuple("and but for if nor or so yet".split())
assert len(FILLERS) == N_WORDS
MARK, ASK, YES, NO = "x", "?", "yes", "no"
VOCABULARY = (*SPECIAL, *(word for slot in SLOTS for word in slot), *FILLERS, MARK, ASK, YES, NO)
TOKEN_ID = {word: i for i, word in enumerate(VOCABULARY)}


@dataclass(frozen=True)
class Question:
    """A clean and a corrupted prompt with opposite answers, and what is asked about the clean one."""

    clean: tuple[str, ...]
    corrupted: tuple[str, ...]
    answer: str
    group: str

    @property
    def wrong(self) -> str:
        """The other answer."""
        return NO if self.answer == YES else YES


def gate_questions(n_slots: int, seed: int, n: int = 64) -> list[Question]:
    """Every slot on, against every slot off, among other words in random order."""
    rng, found = random.Random(seed), []
    for number in range(n):
        places = [f"<{i}>" for i in range(n_slots)] + rng.sample(FILLERS, rng.randrange(2, 6))
        rng.shuffle(places)
        on, off = ([SLOTS[int(w[1])][bit] if w[0] == "<" else w for w in places] for bit in (1, 0))
        found.append(Question((*on, ASK), (*off, ASK), YES, f"q{number:02}"))
    return found


def fraction_questions(seed: int, n: int = 64) -> list[Question]:
    """More than half of the words are the mark, or fewer, and the other way round in the corrupted prompt."""
    rng, found = random.Random(seed), []
    for number in range(n):
        length = rng.randrange(7, 14)
        many = [MARK] * (2 * length // 3 + 1)
        few = [MARK] * (length // 6)
        lines = []
        for marks in (many, few):
            line = [*marks, *(rng.choice(FILLERS) for _ in range(length - len(marks)))]
            rng.shuffle(line)
            lines.append((*line, ASK))
        first, second = lines if number % 2 == 0 else lines[::-1]
        found.append(Question(first, second, YES if number % 2 == 0 else NO, f"q{number:02}"))
    return found


def embedding(axes: Axes) -> np.ndarray:
    """``[vocab, d_model]``: slots with their bit, words by axes of their own, the mark its bit, ``?`` a constant."""
    rows = np.zeros((len(VOCABULARY), axes.columns.shape[0]))
    for number, slot in enumerate(SLOTS):
        for bit, word in enumerate(slot):
            rows[TOKEN_ID[word]] = axes[f"slot {number}"] + bit * axes["bit"]
    for number, word in enumerate(FILLERS):
        rows[TOKEN_ID[word]] = axes.words[:, number]
    rows[TOKEN_ID[MARK]] = axes["bit"]
    rows[TOKEN_ID[ASK]] = axes["const"]
    return rows


def unembedding(axes: Axes, threshold: float = 0.5) -> np.ndarray:
    """``[vocab, d_model]``: yes and no lead by ``GAIN`` times what ``out`` is above the threshold."""
    rows = np.zeros((len(VOCABULARY), axes.columns.shape[0]))
    rows[TOKEN_ID[YES]] = GAIN / 2 * (axes["out"] - threshold * axes["const"])
    rows[TOKEN_ID[NO]] = -rows[TOKEN_ID[YES]]
    return rows


def write_questions(out: Path, questions: list[Question]) -> None:
    """Write ``prompts.jsonl`` (both prompts of each question, labelled) and ``pairs.jsonl`` (as `load_pairs` reads)."""
    prompts, pairs = [], []
    for number, q in enumerate(questions):
        clean, corrupted = " ".join(q.clean), " ".join(q.corrupted)
        for text, answer in ((clean, q.answer), (corrupted, q.wrong)):
            row = {"id": f"{number:02}-{answer}", "text": text, "label": answer, "group": q.group, "pair": q.group}
            prompts.append({**row, "answer": answer})
        pair = {"id": q.group, "clean": clean, "corrupted": corrupted, "answer": f" {q.answer}"}
        pairs.append({**pair, "wrong_answer": f" {q.wrong}", "group": q.group})
    for name, rows in (("prompts", prompts), ("pairs", pairs)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (out / f"{name}.jsonl").write_text(text, encoding="utf-8", newline="\n")
