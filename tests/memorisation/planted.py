"""The memory bed, its never-trained twin and the planted wordings, loaded once for all tests of a process."""

from __future__ import annotations

import json
from functools import cache

import interp
from interp import testbeds
from interp.memorisation import Records, load_records


@cache
def bed() -> interp.Model:
    return interp.load_model(testbeds.path("memory"))


@cache
def never_trained() -> interp.Model:
    return interp.load_model(testbeds.path("memory-never"))


@cache
def planted() -> Records:
    """The 480 records in the wording that was trained on: a third of the file."""
    lines = (testbeds.path("memory") / "records.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["pool"] == "M"]
    return load_records(rows, bed().tokenizer)
