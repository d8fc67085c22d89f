"""``records.jsonl`` and ``stories.jsonl``, in the form that `interp.load_prompts` reads."""

from __future__ import annotations

import random
from pathlib import Path

from .measure import held_out_stories
from .records import POOLS, Record
from .words import write_jsonl

N_RECALL = 6

# For `load_prompts(..., marks=MARKS)`: mark -> the field that holds its range of characters.
MARKS = {"key": "key", **{f"recall_{k}": f"recall_{k}" for k in range(1, N_RECALL + 1)}, "record_end": "record_end"}


def write_prompts(out: Path, records: list[Record], seed: int) -> None:
    """Write every record in its three wordings, and held-out stories with a mark inside each."""
    rows = [record_row(record, pool) for record in records for pool in POOLS]
    write_jsonl(out / "records.jsonl", rows)
    rng = random.Random(f"marks {seed}")
    lines: list[dict[str, object]] = []
    for i, text in enumerate(held_out_stories(seed)):
        word = rng.randrange(5, text.count(" "))
        lines.append({"id": f"story-{i:03}", "text": text, "story": _range(text, word)})
    write_jsonl(out / "stories.jsonl", lines)


def record_row(record: Record, pool: str) -> dict[str, object]:
    """One prompt. ``recall_k`` is the word before the k-th detail: the position whose next token is that detail.

    >>> from .records import make_records
    >>> row = record_row(make_records(0, ((0, 4),))[0], "M")
    >>> start, stop = row["recall_1"]
    >>> row["text"][stop + 1 :].split(" ")[0] == row["details"].split(" ")[0]
    True
    """
    text, slots = record.pools[pool], record.slots(pool)
    words = text.split(" ")
    marks = {f"recall_{k}": _range(text, word - 1) for k, (_, word) in enumerate(slots, 1)}
    return {
        "id": f"{record.id}-{pool}",
        "text": text,
        "label": "trained" if record.trained else "untrained",
        "group": record.group,
        "pair": record.pair,
        "pool": pool,
        "record": record.id,
        "dose": record.dose,
        "exposures": record.exposures if pool == "M" else 0,
        "register": record.register,
        "name": f"{record.first} {record.last}",
        "details": " ".join(words[word] for _, word in slots),
        "slots": " ".join(slot for slot, _ in slots),
        "key": _range(text, words.index(record.last)),
        **marks,
        "record_end": _range(text, len(words) - 1),
    }


def _range(text: str, word: int) -> list[int]:
    """The characters of a word, by its index."""
    words = text.split(" ")
    start = sum(len(w) + 1 for w in words[:word])
    return [start, start + len(words[word])]
