"""The beliefs report: a row per contrast, mark and depth, a summary per contrast and mark, and both in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...report import Report
from .beliefs import Reading
from .contrasts import HARM, OFF_READING, PLAIN_READING, REFUSAL
from .evaluate import CHANCE, Judged
from .requests import T_INST, T_POST
from .tables import Row, known, triple

Cell = Mapping[str, Any]

WORDS = {
    PLAIN_READING: "harmful and harmless requests",
    OFF_READING: "accepted harmful and refused harmless requests",
    HARM: "harmful and harmless requests with refusal held fixed",
    REFUSAL: "refused and accepted requests with harm held fixed",
}
RIVALS = {
    "untrained": "an untrained model", "embedding": "the embedding of the last token",
    "surface": "lengths, last tokens and the template", "bow": "a bag of the tokens",
}  # fmt: skip
PLACES = {T_INST: "the end of the instruction (t_inst)", T_POST: "the end of the prompt (t_post)"}


def belief_rows(reading: Reading) -> list[Row]:
    """One row per contrast, mark and depth; the last of each is the belief averaged over depths, its depth ``None``."""
    rows = []
    for j in reading.judged:
        last = len(j.raw_auc) - 1
        for k in range(last + 1):
            site = "mean" if k == last else str(reading.sites[k])
            row: Row = {"reading": j.contrast.name, "mark": j.mark, "depth": None if k == last else k, "site": site}
            row |= triple("auc", j.auc, k) | {"raw_auc": known(j.raw_auc[k])}
            if len(j.null):
                row |= {
                    "null_auc_lo": float(np.quantile(j.null[:, k], 0.05)),
                    "null_auc_hi": float(np.quantile(j.null[:, k], 0.95)), "p": float(j.p[k]),
                    "p_max": float(j.p_max[k]), "p_family": float(j.p_family[k]),
                }  # fmt: skip
            for name, values in j.rival_auc.items():
                row[f"{name}_auc"] = known(values[k] if len(values) > 1 else values[0])
            rows.append({**row, "n": len(j.contrast.rows), "n_groups": j.auc.groups})
    return rows


def belief_summary(j: Judged) -> Row:
    """A contrast at a mark as a whole: what to quote, its p, its controls and the verdict."""
    peak = int(np.argmax(np.abs(j.auc.estimate - CHANCE) if j.contrast.two_sided else j.auc.estimate))
    last = len(j.raw_auc) - 1
    row: Row = {
        "reading": j.contrast.name, "mark": j.mark, **triple("auc", j.quoted),
        "depths": ", ".join(sorted({"mean" if k == last else str(k) for k in j.chosen.values()})) or "mean",
        "peak_auc": known(j.auc.estimate[peak]), "peak_depth": "mean" if peak == last else str(peak),
        "p": known(j.p_max.min()), "p_family": known(j.p_family.min()), "min_p": j.min_p,
    }  # fmt: skip
    for name, rival in j.rivals.items():
        row |= {f"{name}_auc": known(rival.auc), **triple(f"ahead_of_{name}", rival.ahead)}
    if len(j.null):
        largest = np.abs(j.null - CHANCE).max(1) if j.contrast.two_sided else j.null.max(1)
        row["null_max_auc_95"] = float(np.quantile(largest, 0.95)) + (CHANCE if j.contrast.two_sided else 0.0)
    row["detectable"] = known(j.detectable)
    counts = {"n": len(j.contrast.rows), "n_groups": j.auc.groups}
    return {**row, **counts, "found": j.found, "unbeaten": j.unbeaten, "verdict": verdict(j)}


def verdict(j: Judged) -> str:
    """What was found, in a few words."""
    if not len(j.null):
        return "not tested: no permutations"
    if not j.significant:
        return f"not found; {power_words(j.detectable)}"
    if j.unbeaten:
        return f"not beyond {_list([RIVALS.get(n, n) for n in j.unbeaten])}"
    if j.contrast.two_sided:
        return "follows harmfulness" if j.value > CHANCE else "follows refusal"
    return "found"


def power_words(able: float) -> str:
    """What would have been found."""
    if math.isnan(able):
        return "so few requests allow no p-value small enough to find anything"
    return f"an AUC of {able:.2f} would have been found 4 times in 5"


def belief_report(reading: Reading, title: str, provenance: Any, level: float) -> Report:
    """The report of a reading."""
    cells = [belief_summary(j) for j in reading.judged]
    meta = {"cells": cells, "ci_level": level, "chance_auc": CHANCE, "unit": "groups of requests"}
    warning = reading.quadrants.warning()
    return Report(
        "beliefs", title, belief_headline(cells), belief_rows(reading), provenance,
        warnings=[warning] if warning else [], meta=meta,
    )  # fmt: skip


def belief_headline(cells: Sequence[Cell]) -> str:
    """One sentence: what is read where."""
    parts = []
    for name in (PLAIN_READING, OFF_READING):
        own = [c for c in cells if c["reading"] == name]
        parts += [_sentence(c) for c in own]
    return f"{_cap('; '.join(parts))}."


def _sentence(cell: Cell) -> str:
    what, where = WORDS[cell["reading"]], cell["mark"]
    number = f"AUC {cell['auc']:.2f} [{cell['auc_lo']:.2f}, {cell['auc_hi']:.2f}]"
    p = "" if cell["p_family"] is None else f", p = {cell['p_family']:.2g} over the whole table"
    if cell["verdict"].startswith("follows"):
        return f"at {where} {what} lie by {cell['verdict'].split()[1]} ({number}{p})"
    if cell["found"]:
        return f"at {where} {what} are told apart ({number}{p})"
    if cell["unbeaten"] and cell["p_family"] is not None and cell["verdict"].startswith("not beyond"):
        return f"at {where} {what} differ ({number}), but {cell['verdict']}"
    return f"at {where} {what} are not told apart ({number}{p})"


def _list(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"


def _cap(text: str) -> str:
    return text[:1].upper() + text[1:]
