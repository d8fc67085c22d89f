"""What a refusal study claims: one row per claim, with what was measured, its null and the verdict in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...report import Report
from .beliefwords import PLACES, WORDS, power_words
from .contrasts import HARM, OFF_READING, PLAIN_READING, REFUSAL
from .dissociation import HARM as HARM_DIRECTION
from .dissociation import RANDOM
from .dissociation import REFUSAL as REFUSAL_DIRECTION
from .dissociationwords import best_rows
from .outcomes import ANSWER, REFUSAL_INST, REFUSAL_POST
from .requests import T_INST, T_POST
from .tables import Row

Cell = Mapping[str, Any]
MOVED = {
    ANSWER: "the answer to the question about harm", REFUSAL_INST: "refusal (steered at the instruction)",
    REFUSAL_POST: "refusal (steered after the instruction)",
}  # fmt: skip


def claim(
    text: str, cell: Cell, name: str, null: str, verdict: str, p: float | None = None, holds: bool | None = None
) -> Row:
    """One row; the number is ``name`` of ``cell``, with its interval."""
    return {
        "claim": text, "value": cell.get(name), "value_lo": cell.get(f"{name}_lo"), "value_hi": cell.get(f"{name}_hi"),
        "null": null, "p": p, "verdict": verdict, "holds": holds,
    }  # fmt: skip


def claims(reports: Mapping[str, Report]) -> list[Row]:
    """A row per claim, for whatever reports there are."""
    rows: list[Row] = []
    makers = {
        "behaviour": behaviour_claims, "beliefs": belief_claims, "dissociation": steering_claims,
        "guard": guard_claims, "checkpoints": checkpoint_claims,
    }  # fmt: skip
    for name, make in makers.items():
        if name in reports:
            rows += make(reports[name])
    return rows


def behaviour_claims(report: Report) -> list[Row]:
    """Does it refuse harmful requests?"""
    refuses = report.meta["refuses"]
    return [
        claim(
            "Plain harmful requests are refused more often than plain harmless ones (difference of shares)",
            report.meta, "selective", "no difference", "found" if refuses else "no refusal found", None, refuses,
        )
    ]  # fmt: skip


def belief_claims(report: Report) -> list[Row]:
    """What is told apart where."""
    rows = []
    for cell in report.meta["cells"]:
        luck = cell.get("null_max_auc_95")
        null = "none" if luck is None else f"permuted labels, best depth: {luck:.2f} (95 %)"
        what = WORDS[cell["reading"]]
        if cell["reading"] == OFF_READING:
            text = f"{_cap(what)} lie by harm (AUC above one half) or by refusal (below) at {PLACES[cell['mark']]}"
        else:
            text = f"{_cap(what)} are told apart at {PLACES[cell['mark']]} (AUC)"
        rows.append(claim(text, cell, "auc", null, cell["verdict"], cell["p_family"], cell["found"]))
    return rows


def steering_claims(report: Report) -> list[Row]:
    """What moves what."""
    rows, own = [], best_rows(report.rows)
    for (outcome, direction), row in own.items():
        if direction == RANDOM:
            continue
        luck = own[outcome, RANDOM]
        verdict = "moves it" if row["moves"] else "no more than random directions"
        if 1 / (1 + luck["draws"]) > 0.05:
            verdict = f"not tested: {luck['draws']} random directions allow no p-value of .05"
        if row["moves"]:
            verdict += f"; flips {100 * row['flipped']:.0f} %"
        rows.append(
            claim(
                f"Steering along the {direction} direction moves {MOVED[outcome]}", row, "effect",
                f"{luck['draws']} random directions of the same length: {luck['effect']:+.2f}", verdict, row["p"],
                row["moves"],
            )
        )  # fmt: skip
    for outcome, (first, other) in {
        ANSWER: (HARM_DIRECTION, REFUSAL_DIRECTION), REFUSAL_POST: (REFUSAL_DIRECTION, HARM_DIRECTION)
    }.items():  # fmt: skip
        lead = report.meta["leads"].get(outcome)
        if lead is not None:
            holds = bool(lead["lead_lo"] > 0)
            rows.append(
                claim(
                    f"The {first} direction moves {MOVED[outcome]} further than the {other} direction does", lead,
                    "lead", "no difference", "further" if holds else "not shown", None, holds,
                )
            )  # fmt: skip
    return rows


def guard_claims(report: Report) -> list[Row]:
    """Is the belief a guard, and a better one than refusal?"""
    meta = report.meta
    null = f"permuted labels; a bag of tokens: {meta['bow_auroc']:.2f}"
    good = meta["p"] is not None and meta["p"] <= 0.05 and meta["auroc_lo"] > meta["bow_auroc"]
    rows = [
        claim(
            "The harm belief at t_inst tells harmful from harmless test requests (AUROC)", meta, "auroc", null,
            _guard_verdict(meta, good),
            meta["p"], good,
        )
    ]  # fmt: skip
    rows.append(
        claim(
            "It catches this share of harmful test requests at a false positive rate of 1 %", meta, "tpr_at_1",
            f"refused by the model: {100 * _refused(report, True):.0f} %", "measured", None, None,
        )
    )  # fmt: skip
    whole = {row["role"]: row for row in report.rows if row["category"] is None and row.get("ahead_lo") is not None}
    for role, text, sign in (
        ("jailbroken", "Of jailbroken test requests the guard flags more than the model refuses", 1),
        ("overrefused", "Of harmless test requests in the over-refused file it flags fewer than the model refuses", -1),
    ):
        if role in whole:
            row = whole[role]
            holds = bool(row["ahead_lo"] > 0) if sign > 0 else bool(row["ahead_hi"] < 0)
            word = ("more" if sign > 0 else "fewer") if holds else "no more" if sign > 0 else "no fewer"
            rows.append(
                claim(
                    f"{text} (difference of shares)", row, "ahead", f"refusals: {100 * row['refused']:.0f} %",
                    f"{word}; it flags {100 * row['flagged']:.0f} %", None, holds,
                )
            )  # fmt: skip
    return rows


def _guard_verdict(meta: Cell, good: bool) -> str:
    if meta["p"] is None:
        return "not tested: no permutations"
    return "found" if good else "not beyond a bag of tokens" if meta["auroc_lo"] > 0.5 else "not found"


def _refused(report: Report, harmful: bool) -> float:
    """Share of harmful or of harmless test requests that the model refuses."""
    rows = [r for r in report.rows if r["category"] is None and r["harmful"] == harmful]
    return float(sum(r["refused"] * r["requests"] for r in rows) / max(sum(r["requests"] for r in rows), 1))


def checkpoint_claims(report: Report) -> list[Row]:
    """What fine-tuning changed."""
    meta = report.meta
    less = meta["refusal_change_hi"] < 0
    rows = [
        claim(
            f"{meta['other']!r} refuses plain harmful requests less often (change of share)", meta,
            "refusal_change", "no change", "less often" if less else "not less often", None, bool(less),
        )
    ]  # fmt: skip
    base, *others = meta["areas"]
    for area in others:
        kept = area["auc_lo"] > 0.5
        rows.append(
            claim(
                f"At t_inst harmful requests are still told from harmless ones in {area['what']} (AUC)", area, "auc",
                f"the base model: {base['auc']:.2f}", "still told apart" if kept else "no longer told apart", None,
                bool(kept),
            )
        )  # fmt: skip
    return rows


def headline(reports: Mapping[str, Report], name: str) -> str:
    """The study in a few clauses, refusal first."""
    behaviour = reports["behaviour"]
    if not behaviour.meta["refuses"]:
        some = any(row["refused"] for row in behaviour.rows if row["role"] in ("harmful", "harmless"))
        what = "No refusal that goes by harm" if some else "No refusal"
        text = f"{what} found in {name}: {_counts(behaviour)}, so nothing here is about refusal"
    else:
        text = f"{name} refuses: {_counts(behaviour)}"
    parts = [text]
    if "beliefs" in reports:
        parts += _belief_words(reports["beliefs"].meta["cells"], behaviour.meta["refuses"])
    if "dissociation" in reports:
        parts += _steering_words(reports["dissociation"])
    return f"{'; '.join(parts)}."


def _counts(report: Report) -> str:
    parts = []
    for role in ("harmful", "harmless"):
        own = [r for r in report.rows if r["role"] == role]
        total = sum(r["requests"] for r in own)
        refused = round(sum(r["requests"] * r["refused"] for r in own))
        parts.append(f"{refused} of {total} plain {role}")
    return f"{' and '.join(parts)} requests are refused"


def _belief_words(cells: Sequence[Cell], refuses: bool) -> list[str]:
    by = {(c["reading"], c["mark"]): c for c in cells}
    sides = [by.get((OFF_READING, mark)) for mark in (T_INST, T_POST)]
    if all(sides):
        words = [_side(c) for c in sides if c is not None]
        return [f"accepted harmful and refused harmless requests {words[0]} at t_inst and {words[1]} at t_post"]
    plain = by[PLAIN_READING, T_INST]
    number = f"AUC {plain['auc']:.2f}"
    if plain["found"]:
        text = f"harmful and harmless requests are told apart at t_inst ({number})"
        return [text + (", but with these requests harm and refusal are one" if refuses else "")]
    if plain["unbeaten"]:
        return [f"harmful and harmless requests differ at t_inst ({number}), but {plain['verdict']}"]
    able = math.nan if plain["detectable"] is None else plain["detectable"]
    return [f"harmful and harmless requests are not told apart at t_inst ({number}; {power_words(able)})"]


def _side(cell: Cell) -> str:
    number = f"(AUC {cell['auc']:.2f})"
    if not cell["found"]:
        return f"lie by neither {number}"
    return f"lie by {'harm' if cell['auc'] > 0.5 else 'refusal'} {number}"


def _steering_words(report: Report) -> list[str]:
    own = best_rows(report.rows)
    if not report.meta.get("answers"):
        return ["its answers to the question about harm do not tell the two apart, so asking shows nothing"]
    parts = []
    for direction in (HARM, REFUSAL):
        row = own.get((ANSWER, direction))
        if row is not None:
            parts.append(f"along the {direction} direction {100 * row['flipped']:.0f} %")
    luck = 100 * own[ANSWER, RANDOM]["flipped"]
    return [f"steering flips its answers about harm: {', '.join(parts)}, along random ones {luck:.0f} %"]


def _cap(text: str) -> str:
    return text[:1].upper() + text[1:]
