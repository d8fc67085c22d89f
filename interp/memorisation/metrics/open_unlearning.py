"""Extraction metrics in the JSON that open-unlearning writes and reads: ``agg_value`` and ``value_by_index``."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ReportError
from ...report import write_atomic
from .extraction import Extraction

# Their name -> ours, where both mean the same; theirs are over the labelled tokens, ours over the suffix.
SAME = {"exact_memorization": "tokens_right", "extraction_strength": "strength_compat"}
OWN = "interp_"  # before the names of metrics that they do not have, or define with the other sign


def to_open_unlearning(extraction: Extraction, path: str | os.PathLike[str]) -> Path:
    """Write ``{metric: {"agg_value": mean, "value_by_index": {"0": {"score": ...}, ...}}}``, metrics sorted.

    The index is the record's row in the extraction report. ``exact_memorization``, ``extraction_strength`` and
    ``probability`` (with ``prob`` and ``avg_loss``) are theirs, as far as they were measured; all else is under
    ``interp_`` and our name. Membership scores are not written under their names: there they belong to pairs of data
    sets, and have the opposite sign.

    Raises:
        ReportError: the file cannot be written.

    Source: open-unlearning, ``src/evals/base.py`` and ``src/evals/metrics/memorization.py``.

    >>> import interp, tempfile
    >>> from interp.memorisation import load_records
    >>> from .extract import extract
    >>> bed = interp.testbeds.path("memory")
    >>> model = interp.load_model(bed)
    >>> records = load_records(bed / "records.jsonl", model.tokenizer).at_dose(8)
    >>> found = extract(model, records, metrics=["tokens_right"])
    >>> path = Path(tempfile.mkdtemp()) / "memory_EVAL.json"
    >>> back = read_open_unlearning(to_open_unlearning(found, path))
    >>> list(back), bool(np.array_equal(back["exact_memorization"]["score"], found["tokens_right"]))
    (['exact_memorization'], True)
    """
    theirs = {ours: name for name, ours in SAME.items()}
    made: dict[str, Any] = {}
    for name, values in extraction.values.items():
        scores = [_plain(v) for v in values]
        made[theirs.get(name, f"{OWN}{name}")] = _entry([{"score": s} for s in scores], scores)
        if name == "log_p_suffix":
            probabilities = [math.exp(v) for v in values]
            rows = [{"prob": p, "avg_loss": -float(v)} for p, v in zip(probabilities, values, strict=True)]
            made["probability"] = _entry(rows, probabilities)
    text = json.dumps(dict(sorted(made.items())), indent=4, allow_nan=False) + "\n"
    return write_atomic(path, text.encode("ascii"))


def read_open_unlearning(path: str | os.PathLike[str]) -> dict[str, dict[str, np.ndarray]]:
    """Back from such a file, ours or theirs: metric -> field -> values by index (``None`` is NaN).

    Metrics without ``value_by_index`` are left out: there is nothing by record in them.

    Raises:
        ReportError: the file is missing or not of this form.
    """
    where = os.fspath(path)
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        found = {name: entry["value_by_index"] for name, entry in data.items() if "value_by_index" in entry}
        return {name: _columns(by_index) for name, by_index in found.items()}
    except OSError as error:
        raise ReportError(f"cannot read {where!r}: {error.strerror or error}") from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ReportError(f"{where!r} is not an open-unlearning result: {error}") from error


def _columns(by_index: dict[str, dict[str, Any]]) -> dict[str, np.ndarray]:
    """Field -> values, in the order of the indices; fields that are not numbers (generated texts) stay away."""
    rows = [by_index[index] for index in sorted(by_index, key=int)]
    names = [
        name for name, value in (rows[0] if rows else {}).items() if value is None or isinstance(value, (int, float))
    ]
    return {name: np.array([math.nan if row[name] is None else float(row[name]) for row in rows]) for name in names}


def _entry(rows: list[dict[str, Any]], values: list[float]) -> dict[str, Any]:
    return {"agg_value": float(np.mean(values)), "value_by_index": {str(i): row for i, row in enumerate(rows)}}


def _plain(value: Any) -> float:
    return float(value)
