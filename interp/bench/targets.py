"""The targets of the capture specification, with what a benchmark run measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FLAT_MIB = 8.0  # what an allocator may move between the 50th and the 200th batch

# Measure, workload, at, peer, column, at most. Costs and memory are ours / theirs.
_RATIOS = (
    ("CPU cost vs names_filter", "A", "all", "TransformerLens, names_filter", 1 / 6),
    ("CPU cost vs + stop_at_layer", "A", "all", "TransformerLens, + stop_at_layer", 1 / 2.4),
    ("CPU cost vs + our batches", "A", "all", "TransformerLens, + our batches", 1.0),
    ("CPU cost vs + our batches", "B", "all", "TransformerLens, + our batches", 0.5),
    ("CPU cost vs the limit", "A", "all", "limit: forward only", 1.05),
    ("CPU cost vs the limit", "A", "last", "limit: forward only", 1.05),
)


def target_rows(rows: Sequence[Mapping[str, Any]], meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per target: what was measured (``None`` if it was not), the most it may be, and whether it was met."""
    by_place = {(row["workload"], row["at"], row["peer"]): row for row in rows}
    found = []
    for measure, workload, at, peer, most in _RATIOS:
        row = by_place.get((workload, at, peer))
        found.append(_row(measure, f"{workload}, {at}", None if row is None else row["cpu_ratio"], most))
    for at in ("all", "last"):
        found.append(
            _row("peak memory growth vs names_filter", f"A, {at}", _memory(meta["peak_mib"].get(f"A, {at}", {})), 0.1)
        )
    flat = meta["flat_mib"]
    grown = None if flat is None else flat["200"] - flat["50"]
    found.append(_row("growth from batch 50 to 200, MiB", "A, last", grown, FLAT_MIB))
    found.append(_row("import interp, s", "", meta["startup_s"]["import interp"], 0.5))
    found.append(_row("interp --help, s", "", meta["startup_s"]["interp --help"], 1.0))
    return found


def _row(measure: str, where: str, measured: float | None, most: float) -> dict[str, Any]:
    met = None if measured is None else measured <= most
    return {"measure": measure, "where": where, "measured": measured, "at_most": most, "met": met}


def _memory(peaks: Mapping[str, float]) -> float | None:
    ours, theirs = peaks.get("interp"), peaks.get("TransformerLens, names_filter")
    return None if ours is None or not theirs else ours / theirs
