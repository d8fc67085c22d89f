"""What a memorisation study claims: one row per claim, with what was measured, its null and the verdict in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..report import Report
from .project_out import costs_of
from .signature.arms import BASELINES
from .signature.contrasts import words_of
from .signature.findings import is_found, is_hint, listed, p_words, place, power_sentence
from .signature.gapwords import gap_found, gap_place
from .signature.power import ALPHA

Row = dict[str, Any]
Cell = Mapping[str, Any]
NOTHING, ALARM = "nothing, as it should be", "something, which needs another explanation"
NOT_TESTED = "not tested (no permutations)"


def claims(reports: Mapping[str, Report], doses: Sequence[Any] | None = None) -> list[Row]:
    """A row per claim, for whatever reports there are; of these doses, by default all."""
    rows: list[Row] = []
    if "recall" in reports:
        rows += recall_claims(reports["recall"], reports.get("recall-never"), doses)
    if "signature" in reports:
        rows += signature_claims(reports["signature"])
    for name in ("gap", "gap-never", "gap-twins"):
        if name in reports:
            rows += [gap_claim(part, name == "gap-never") for part in reports[name].meta["parts"]]
    if "transfer" in reports:
        rows += transfer_claims(reports["transfer"])
    if "project-out" in reports:
        rows += project_claims(reports["project-out"])
    return rows


def claim(
    text: str, value: float | None, null: str, verdict: str, p: float | None = None, low: float | None = None,
    high: float | None = None, holds: bool | None = None,
) -> Row:  # fmt: skip
    """One row. ``holds``: whether the claim holds; ``None`` where that cannot be said."""
    return {
        "claim": text, "value": value, "value_lo": low, "value_hi": high, "null": null, "p": p, "verdict": verdict,
        "holds": holds,
    }  # fmt: skip


def untested(part: Cell, p: float | None) -> str | None:
    """Why nothing can be said about a part of a study, found or not found; ``None`` where something can."""
    if p is None:
        return NOT_TESTED
    least = part["min_p"]
    return f"cannot be tested: with {part['groups']} groups no p-value is below {least:.2g}" if least > ALPHA else None


def top_of(report: Report, doses: Sequence[Any] | None = None) -> tuple[Cell | None, Cell | None]:
    """The rows of the highest of these doses: trained records, or all where none is labelled, and untrained ones."""
    rows = [row for row in report.rows if doses is None or row["dose"] in doses]
    known = [row["dose"] for row in rows if row["dose"] is not None]
    top = [row for row in rows if not known or row["dose"] == max(known)]
    seen = next((row for row in top if row["label"] != "untrained"), None)
    return seen, next((row for row in top if row["label"] == "untrained"), None)


def recall_claims(report: Report, never: Report | None, doses: Sequence[Any] | None = None) -> list[Row]:
    """Is it recited, and not by models that have not seen it?"""
    seen, unseen = top_of(report, doses)
    if seen is None:
        return []
    dose = "" if seen["dose"] is None else f" (shown {seen['dose']} times)"
    who = _unseen(report)
    null = "no twins" if unseen is None else f"{who}: {_percent(unseen['exact'])}"
    test = next((g for g in report.meta.get("exact_gaps", []) if g["dose"] == seen["dose"]), None)
    holds: bool | None = bool(seen["exact"] > 0)
    verdict = "recited" if holds else "not recited"
    if holds and unseen is not None:
        silent = "not tested" if test is None else untested(test, test["p"])
        holds = None if silent else bool(test is not None and test["p"] <= ALPHA)
        verdict = f"recited; {silent}" if silent else verdict if holds else f"not recited more than {who}"
    rows = [
        claim(
            f"Records are recited word for word{dose}", seen["exact"], null, verdict,
            None if test is None else test["p"], seen["exact_lo"], seen["exact_hi"], holds,
        )
    ]  # fmt: skip
    if never is not None:
        other, _ = top_of(never, doses)
        if other is not None:
            rows.append(
                claim(
                    f"The never-trained model recites them{dose}", other["exact"],
                    f"the model: {_percent(seen['exact'])}",
                    NOTHING if other["exact"] < 0.05 else ALARM, None, other["exact_lo"], other["exact_hi"],
                    bool(other["exact"] >= 0.05),
                )
            )  # fmt: skip
    return rows


def signature_claims(report: Report) -> list[Row]:
    """Can it be told apart, where, and not where it should not be?"""
    cells, first = report.meta["cells"], report.meta["cells"][0]["contrast"]
    rows, others = [], []
    for cell in cells:
        placebo, silent = cell["dose"] == 0 and cell["contrast"] == "twins", untested(cell, cell["p_max"])
        if silent is not None:
            verdict = silent
        elif is_found(cell):
            verdict = ALARM if placebo else "found"
        elif is_hint(cell):
            verdict = f"a hint: {p_words(cell)}"
        elif placebo:
            verdict = NOTHING
        elif cell["highest_auc_hi"] < 0.5:
            verdict = "below chance: the groups lean against each other"
        else:
            verdict = f"not found; {power_sentence([cell])}"
        name, luck = "nested_auc" if cell["nested_auc"] is not None else "peak_auc", cell["null_max_auc_95"]
        (rows if cell["contrast"] == first else others).append(claim(
            f"A probe tells {words_of(cell)} apart{place(cell)} (AUC)", cell[name],
            "none" if luck is None else f"permuted labels, best depth: {luck:.2f} (95 %)", verdict, cell["p_max"],
            cell.get(f"{name}_lo"), cell.get(f"{name}_hi"), None if silent else is_found(cell),
        ))  # fmt: skip
    found = [c for c in cells if is_found(c) and c["contrast"] == first and c["dose"] != 0]
    if found:
        rows += control_claims(report, found)
    for trend in report.meta["dose_trend"]:
        what = words_of(next(c for c in cells if c["contrast"] == trend["contrast"]))
        rows.append(claim(
            f"The AUC rises with the dose at {trend['mark']} ({what}; per step)", trend["slope"],
            "permuted labels at every dose", "rises" if trend["p"] <= ALPHA else "no rise shown", trend["p"],
            holds=bool(trend["p"] <= ALPHA),
        ))  # fmt: skip
    return rows + others


def control_claims(report: Report, found: Sequence[Cell]) -> list[Row]:
    """What the same protocol finds where the model found something, but with nothing to remember."""
    rows = []
    for control, name in (("never", "the never-trained model"), ("untrained", "random weights")):
        have = [c for c in found if c.get(f"{control}_p_max") is not None]
        if have:
            # Uncorrected: several looks may alarm for nothing, but none is to be excused for its company.
            worst = min(have, key=lambda c: c[f"{control}_p_max"])
            p = worst[f"{control}_p_max"]
            looks = "" if len(have) == 1 else f"; the lowest p of {len(have)} parts of the table"
            rows.append(claim(
                f"The same with {name}{place(worst)} (peak AUC)", worst[f"{control}_peak_auc"],
                f"the model: {worst['peak_auc']:.2f}{looks}", ALARM if _alarms(worst, control) else NOTHING, p,
                holds=_alarms(worst, control),
            ))  # fmt: skip
    best = max(found, key=lambda c: c["peak_auc"])
    same = [r for r in report.rows if all(r[k] == best[k] for k in ("contrast", "dose", "mark")) and r["depth"] == 0]
    for row in same:
        there = row["auc_lo"] > 0.5
        rows.append(claim(
            f"The same from the embedding alone{place(best)} (AUC)", row["auc"], f"the model: {best['peak_auc']:.2f}",
            ALARM if there else NOTHING, row.get("p_max"), row["auc_lo"], row["auc_hi"], there,
        ))  # fmt: skip
    there = best["bow_auc_lo"] > 0.5
    rows.append(claim(
        f"The same from a bag of tokens{place(best)} (AUC)", best["bow_auc"], f"the model: {best['peak_auc']:.2f}",
        ALARM if there else NOTHING, None, best["bow_auc_lo"], best["bow_auc_hi"], there,
    ))  # fmt: skip
    rows.append(claim(
        f"The same from each record's log p alone{place(best)} (AUC)", best["log_p_auc"],
        f"the model: {best['peak_auc']:.2f}", "the output shows it too" if best["log_p_auc_lo"] > 0.5 else
        "the output does not show it", None, best["log_p_auc_lo"], best["log_p_auc_hi"], best["log_p_auc_lo"] > 0.5,
    ))  # fmt: skip
    return rows


def gap_claim(part: Cell, never: bool = False) -> Row:
    """Is M further from C than the baseline?"""
    where, holds, silent = gap_place(part), gap_found(part), untested(part, part["p_mean"])
    clamped = f"{part['mean_gap_clamped']:+.2f} with the baseline clamped at chance"
    lucky = part["p_mean"] is None or part["p_mean"] > ALPHA
    able = "" if not lucky or part["detectable"] is None else _able("a mean gap", part["detectable"])
    who = "The same with the never-trained model: wordings" if never else "Memorised wordings"
    found, not_found = (ALARM, NOTHING) if never else ("found", "not found")
    return claim(
        f"{who} are told from paraphrases better than {BASELINES[part['baseline']]}{where} (mean gap)",
        part["mean_gap"], "a coin per group says which accuracy is which",
        f"{silent or (found if holds else not_found)}; {clamped}{able}",
        part["p_mean"], part["mean_gap_lo"], part["mean_gap_hi"], None if silent else holds,
    )  # fmt: skip


def transfer_claims(report: Report) -> list[Row]:
    """Does a probe carry over?"""
    rows = []
    for part in report.meta["parts"]:
        if part["train"] == part["test"]:
            continue
        silent = untested(part, part["p_max"])
        holds = None if silent else bool(part["p_max"] <= ALPHA)
        able = "" if part["detectable"] is None else _able("an AUC", part["detectable"])
        dose = "" if part["dose"] is None else f", dose {part['dose']}"
        rows.append(claim(
            f"A probe of the {part['train']} model reads the {part['test']} one at {part['mark']}{dose} (peak AUC)",
            part["peak_auc"], "permuted labels, best depth",
            silent or ("carries over" if holds else f"does not carry over{able}"),
            part["p_max"], part["peak_auc_lo"], part["peak_auc_hi"], holds,
        ))  # fmt: skip
    return rows


def project_claims(report: Report) -> list[Row]:
    """What taking the direction out costs, and what the in-sample number is."""
    most = min(report.rows, key=lambda r: r["log_p_change"])
    costs, beyond = costs_of(most)
    low = min(report.rows, key=lambda r: r["in_sample_acc"])
    return [
        claim(
            f"Projecting the probe's direction out makes memorised text less likely ({most['site']}; nats per token)",
            most["log_p_change"], f"random directions: {most['random_change']:+.2g}",
            "more than random directions" if beyond else "no more than random directions" if costs else
            "no change that can be told from none", None,
            most["log_p_change_lo"], most["log_p_change_hi"], beyond,
        ),
        claim(
            f"Accuracy falls below chance after in-sample erasure ({low['site']})", low["in_sample_acc"],
            f"nested: {low['nested_acc']:.2f}",
            "below chance, by construction: no erasure" if low["in_sample_acc"] < 0.5 else "not below chance", None,
            holds=bool(low["in_sample_acc"] < 0.5),
        ),
    ]  # fmt: skip


def headline(reports: Mapping[str, Report], name: str, doses: Sequence[Any] | None = None) -> str:
    """The study in one or two sentences; of these doses, by default all."""
    parts = []
    if "recall" in reports:
        seen, unseen = top_of(reports["recall"], doses)
        if seen is not None:
            many = "" if seen["dose"] is None else f" of the records that it was shown {seen['dose']} times"
            who = "their never-seen twins" if _paired(reports["recall"]) else "untrained records"
            beside = "" if unseen is None else f", and {_percent(unseen['exact'])} of {who}"
            parts.append(f"{name!r} recites {_percent(seen['exact'])}{many or ' of the records'} word for word{beside}")
    if "signature" in reports:
        parts.append(_signature_words(reports["signature"].meta["cells"]))
    text = "; ".join(parts) if parts else f"Nothing was measured on {name!r}"
    return f"{text[0].upper()}{text[1:]}."


def _signature_words(cells: Sequence[Cell]) -> str:
    first = cells[0]["contrast"]
    own = [c for c in cells if c["contrast"] == first]
    found = [c for c in own if is_found(c) and c["dose"] != 0]
    what = words_of(own[0])
    silent = [untested(c, c["p_max"]) for c in own]
    if all(silent):
        return f"whether a linear probe tells {what} apart: {silent[-1]}"
    if not found:
        return f"no depth tells {what} apart better than permuted labels do ({power_sentence(own)})"
    best = max(found, key=lambda c: c["nested_auc"] or c["peak_auc"])
    value = best["nested_auc"] if best["nested_auc"] is not None else best["peak_auc"]
    text = f"a linear probe tells {what} apart{place(best)} (AUC {value:.2f}, p = {best['p_max']:.2g})"
    alike = [
        word for key, word in (("never", "the never-trained model"), ("untrained", "a model with random weights"))
        if any(_alarms(c, key) for c in found)
    ]  # fmt: skip
    placebo = [c for c in own if c["dose"] == 0 and is_found(c)]
    if alike or placebo:
        where = [*alike, *(["dose 0, where neither twin was seen"] if placebo else [])]
        return f"{text}, but so it does with {listed(where)}: it need not be memory"
    checked = [
        word
        for key, word in (("never", "the never-trained model"), ("untrained", "random weights"))
        if f"{key}_peak_auc" in best
    ]
    if any(c["dose"] == 0 for c in own):
        checked.append("dose 0")
    return text + (f", and finds nothing with {listed(checked)}" if checked else "")


def _paired(report: Report) -> bool:
    return report.meta.get("twins") is not False


def _unseen(report: Report) -> str:
    return "never-seen twins" if _paired(report) else "untrained records"


def _alarms(cell: Cell, control: str) -> bool:
    """Whether a control shows it too."""
    p = cell.get(f"{control}_p_max")
    return p is not None and p <= ALPHA


def _able(what: str, value: float) -> str:
    return f"; {what} of {value:.2f} would have been found 4 times in 5"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
