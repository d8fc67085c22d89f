"""What a circuit study claims: one row per claim, with what was measured, what it is held against and the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..report import Report
from .nulls import at_size
from .select import STABLE
from .task import accuracy_words

Row = dict[str, Any]
CHOSEN = ("circuit-edges", "circuit-nodes", "circuit-neurons", "circuit-latents")
FAITHFUL = 0.8  # of the metric kept: below it a circuit is not called faithful
AGREES = 0.8  # Pearson r of estimates with exact patching


def headline(reports: Mapping[str, Report], model_id: str, n: int) -> str:
    """The study in one or two sentences: first whether the model does the task at all."""
    task = reports["task"].meta
    verb = "does the task" if task["done"] else "cannot be said to do this task"
    text = f"{model_id} {verb}: it gives the right answer on {accuracy_words(task)}"
    if "circuit" not in reports:
        return f"{text}."
    curve = reports["circuit"]
    row = at_size(curve, n)
    unit = curve.meta["unit"]
    size = f"n_{unit}s"
    text += f"; on {curve.meta['n_pairs']} {_which(reports)}pairs {row[size]} of {curve.meta[size]} {unit}s "
    text += f"keep {100 * row['faithfulness']:.0f} % of {NAMES.get(curve.meta['metric'], curve.meta['metric'])}"
    if row.get("random") is not None:
        text += f" (random {unit}s {100 * row['random']:.0f} %)"
    text += f" and leave {100 * row['complement']:.0f} % without them."
    return text.replace(" -", " \N{MINUS SIGN}")


NAMES = {
    "logit_diff": "the logit difference", "prob_diff": "the difference of probabilities",
    "answer_logp": "the answer's log probability", "kl": "the KL divergence",
}  # fmt: skip


def _which(reports: Mapping[str, Report]) -> str:
    return "held-out " if reports["circuit"].provenance.prompts != chosen_report(reports).provenance.prompts else ""


def chosen_report(reports: Mapping[str, Report]) -> Report:
    """The report that lists the circuit's edges, nodes or neurons."""
    return next(reports[name] for name in CHOSEN if name in reports)


def claims(reports: Mapping[str, Report], n: int) -> list[Row]:
    """A row per claim."""
    rows = [_task(reports["task"].meta)]
    if "circuit" in reports:
        rows += _curve(reports["circuit"], n)
    if "completeness" in reports:
        rows.append(_complete(reports["completeness"].meta, at_size(reports["circuit"], n)))
    rows += _stability(chosen_report(reports))
    if "minimality" in reports:
        meta = reports["minimality"].meta
        rows.append(_claim(
            f"Edges of the circuit that each cost {meta['threshold']:.0%} of faithfulness or more (share)",
            meta["needed"], "every edge needed: 1", "minimal" if meta["needed"] >= 0.9 else "has edges to spare",
            holds=meta["needed"] >= 0.9,
        ))  # fmt: skip
    if "verification" in reports:
        rows += _verified(reports["verification"].meta)
    if "circuit-null" in reports:
        rows += _null(reports["circuit-null"])
    return rows


def _claim(
    text: str, value: float | None, null: str, verdict: str, low: float | None = None, high: float | None = None,
    holds: bool | None = None,
) -> Row:  # fmt: skip
    return {
        "claim": text, "value": value, "value_lo": low, "value_hi": high, "null": null, "verdict": verdict,
        "holds": holds,
    }  # fmt: skip


def _task(meta: Mapping[str, Any]) -> Row:
    chance = f"{meta['chance']:.2f} by chance; with everything ablated {meta['ablated_accuracy']:.2f}"
    return _claim(
        "The model gives the right answer (share of all pairs)", meta["accuracy"], chance,
        "does the task" if meta["done"] else "not shown to do it", meta.get("accuracy_lo"), meta.get("accuracy_hi"),
        bool(meta["done"]),
    )  # fmt: skip


def _curve(report: Report, n: int) -> list[Row]:
    row, meta = at_size(report, n), report.meta
    keeps = row["faithfulness"]
    by_luck = row.get("random_max")
    known = not math.isnan(row["faithfulness_lo"])
    beats = by_luck is None or (known and row["faithfulness_lo"] > by_luck)
    good = keeps >= FAITHFUL and beats
    verdict = "faithful" if good else f"not above random {meta['unit']}s" if not beats else f"below {FAITHFUL:.0%}"
    unit = meta["unit"]
    luck = f"not compared with random {unit}s" if by_luck is None else f"the best of some random sets: {by_luck:.2f}"
    found = [
        _claim(f"{row[f'n_{unit}s']} {unit}s keep the behaviour (faithfulness)", keeps, luck, verdict,
               _number(row["faithfulness_lo"]), _number(row["faithfulness_hi"]), good),
    ]  # fmt: skip
    words = {
        "cpr": ("Area under the faithfulness curve (CPR; more is better)", "0.5 for a straight line"),
        "cmd": ("Area between the curve and 1 (CMD; less is better)", "0.5 for a straight line"),
    }
    for name, (text, null) in words.items():
        area = meta[name]
        better = area["value"] > 0.5 if name == "cpr" else area["value"] < 0.5
        found.append(
            _claim(text, area["value"], null, "better" if better else "no better", _number(area["lo"]),
                   _number(area["hi"]), better)
        )  # fmt: skip
    return found


def _complete(meta: Mapping[str, Any], row: Mapping[str, Any]) -> Row:
    # The gap with nothing taken out is what the circuit lacks to begin with, and no backup's work.
    lacks = abs(1 - meta["faithfulness"])
    more = meta["worst"] > lacks + meta["threshold"]
    verdict = "complete" if meta["complete"] else "has a backup" if more else "lacks too much to say"
    return _claim(
        "Without some of its edges the circuit and the model lose as much (completeness: largest gap)", meta["worst"],
        f"0 where nothing outside does the same work; all other edges keep {row['complement']:.2f}",
        verdict, holds=bool(meta["complete"]),
    )  # fmt: skip


def _stability(report: Report) -> list[Row]:
    value = report.meta["stability"]
    if value is None:
        return []
    stable = value >= STABLE
    unit = report.kind.removeprefix("circuit-")
    return [
        _claim(f"The same {unit} are chosen from resampled pairs (mean Jaccard index)", value,
               f"{STABLE} asked for", "stable" if stable else "unstable", holds=stable)
    ]  # fmt: skip


def _verified(meta: Mapping[str, Any]) -> list[Row]:
    r, signs, unit = _number(meta["pearson"]), meta["sign_agreement"], meta["unit"]
    agrees = r is not None and r >= AGREES
    found = [
        _claim(f"Estimates of the top {meta['top']} {unit}s agree with exact patching (Pearson r)", r,
               f"{signs:.0%} have the same sign", "agrees" if agrees else "does not agree", holds=agrees)
    ]  # fmt: skip
    if meta["sample"]:
        few = meta["missed_hi"] <= 0.1
        bound, measured = ("", "of them, which is all,") if meta["every"] else (", upper bound", "sampled ones")
        found.append(
            _claim(f"{unit.capitalize()}s below the top {meta['top']} that matter after all (share{bound})",
                   meta["missed_hi"],
                   f"{meta['missed']} of {meta['sample']} {measured} change the metric by {meta['threshold']:.0%} or "
                   "more of what ablating everything does", "few missed" if few else "many may be missed", holds=few)
        )  # fmt: skip
    return found


def _null(report: Report) -> list[Row]:
    rows = report.rows
    real, found = rows[0], []
    what = f"{report.meta['unit'].capitalize()}s found"
    for name, text in (
        ("shuffled partners", f"{what} with shuffled corrupted partners keep the behaviour (faithfulness)"),
        ("untrained copy", f"{what} in an untrained copy keep the behaviour (faithfulness)"),
    ):
        kept = [row for row in rows if row["search"] == name]
        if kept:
            value = float(np.mean([row["faithfulness"] for row in kept]))
            overlap = float(np.mean([row["jaccard"] for row in kept]))
            specific = real["faithfulness"] > max(row["faithfulness"] for row in kept)
            found.append(
                _claim(text, value, f"{real['faithfulness']:.2f} of the real ones, of which they share {overlap:.0%}",
                       "less than the real ones" if specific else "as much as the real ones", holds=specific)
            )  # fmt: skip
    return found


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
