"""A signature in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .contrasts import words_of
from .power import ALPHA

Cell = Mapping[str, Any]


def headline(cells: Sequence[Cell]) -> str:
    """One sentence: where the first contrast was found, where not, and what would have been."""
    name = cells[0]["contrast"]
    own = [c for c in cells if c["contrast"] == name]
    what = words_of(own[0])
    tested = [c for c in own if c["p_max"] is not None]
    if not tested:
        best = max(own, key=lambda c: c["peak_auc"])
        return f"{_cap(what)}: peak AUC {best['peak_auc']:.2f}{place(best)}; without permutations this may be luck."
    found, missed = [c for c in tested if is_found(c)], [c for c in tested if not is_found(c)]
    if not found:
        best = max(missed, key=lambda c: c["peak_auc"])
        return (
            f"No depth tells {what} apart better than permuted labels do (best{place(best)}: AUC "
            f"{best['peak_auc']:.2f}, {p_words(best)}); {power_sentence(missed)}."
        )
    best = max(found, key=lambda c: _quoted(c))
    text = f"{_cap(what)} can be told apart{place(best)}: {number(best)}, {p_words(best)}"
    text += controls_of(best)
    others = [c for c in found if c is not best]
    if others:
        text += f"; also{_places(others)}"
    for hint in (c for c in missed if is_hint(c)):
        text += f"; a hint{place(hint)} ({p_words(hint)})"
    missed = [c for c in missed if not is_hint(c)]
    if missed:
        text += f"; not{_places(missed)}, where {power_sentence(missed)}"
    return text + "."


def is_found(cell: Cell) -> bool:
    """Whether the best depth beats the best of the whole table under permuted labels: one false alarm in 20 tables."""
    return cell["p_family"] is not None and cell["p_family"] <= ALPHA


def is_hint(cell: Cell) -> bool:
    """Whether it only beats the best of its own part of the table, which some part will do by luck."""
    return not is_found(cell) and cell["p_max"] is not None and cell["p_max"] <= ALPHA


def p_words(cell: Cell) -> str:
    """Its p-values: among its own depths, and over the whole table where that differs."""
    own, whole = f"{cell['p_max']:.2g}", f"{cell['p_family']:.2g}"
    return f"p = {own}" if own == whole else f"p = {own}, {whole} over the whole table"


def number(cell: Cell) -> str:
    """The AUC to quote, and how its depth was chosen."""
    if cell["nested_auc"] is None:
        return f"AUC {cell['peak_auc']:.2f} at the peak, picked on these data"
    interval = f"[{cell['nested_auc_lo']:.2f}, {cell['nested_auc_hi']:.2f}]"
    peak = f"(peak {cell['peak_auc']:.2f} at {cell['peak_site']})"
    return f"AUC {cell['nested_auc']:.2f} {interval} with the depth chosen inside the folds {peak}"


def controls_of(cell: Cell) -> str:
    """What the same protocol finds where nothing was trained on these records."""
    parts = []
    for control, name in (("untrained", "an untrained model"), ("never", "the never-trained model")):
        p, peak = cell.get(f"{control}_p_max"), cell.get(f"{control}_peak_auc")
        if peak is not None:
            verdict = "" if p is None else f", p = {p:.2g}"
            parts.append(f"{name} peaks at {peak:.2f}{verdict}")
    return f" ({'; '.join(parts)})" if parts else ""


def power_sentence(cells: Sequence[Cell]) -> str:
    """What would have been found, of the cells where nothing was."""
    able = [c for c in cells if c["detectable"] is not None]
    if not able:
        few = [c for c in cells if c["min_p"] > ALPHA]
        if not few:
            return "what could have been found is unknown"
        worst = min(few, key=lambda c: c["min_p"])
        return f"nothing could have been found: with {worst['groups']} groups no p-value is below {worst['min_p']:.2g}"
    parts = [f"with {c['units']} {c['unit']} an AUC of {c['detectable']:.2f}" for c in _by_power(able)]
    return f"{listed(parts)} would have been found 4 times in 5"


def place(cell: Cell) -> str:
    """Where a cell read: its mark and dose."""
    dose = "" if cell["dose"] is None else f" at dose {cell['dose']}"
    return f" at {cell['mark']}{dose}"


def warnings_of(cells: Sequence[Cell]) -> list[str]:
    """What should keep a reader from believing more than the numbers say."""
    out = []
    few = [c for c in cells if c["groups"] < 10]
    if few:
        worst = min(few, key=lambda c: c["groups"])
        least = "" if worst["p_max"] is None else f", and no p-value there can be below {worst['min_p']:.2g}"
        out.append(
            f"Few groups in {len(few)} of {len(cells)} parts of the table (down to {worst['groups']}): intervals are "
            f"rough{least}."
        )
    for c in cells:
        for control, name in (("untrained", "An untrained model"), ("never", "The never-trained model")):
            p = c.get(f"{control}_p_max")
            if p is not None and p <= ALPHA and is_found(c):
                out.append(
                    f"{name} tells {words_of(c)} apart too{place(c)} (peak AUC "
                    f"{c[f'{control}_peak_auc']:.2f}, p = {p:.2g}): what is read there need not be memory."
                )
    for c in cells:
        low = c.get("bow_auc_lo")
        if low is not None and low > 0.5 and is_found(c):
            out.append(f"A bag of the tokens tells {words_of(c)} apart{place(c)} (AUC {c['bow_auc']:.2f}).")
    low = [c for c in cells if c["highest_auc_hi"] < 0.5]
    if low:
        which = listed([f"{words_of(c)}{place(c)}" for c in low])
        out.append(
            f"Held-out AUCs far below chance ({which}): where a group is left out, the others lean against it, as when "
            "a few wordings serve as M here and as C there. Compare such a contrast with its baseline, not with .5."
        )
    missing = sorted({c["nested_missing"] for c in cells if c.get("nested_missing")})
    out += [f"No nested choice of a depth in some parts: {reason}." for reason in missing]
    return out


def _by_power(cells: Sequence[Cell]) -> list[Cell]:
    """The design that can do least and, if it differs, the one that can do most."""
    ordered = sorted(cells, key=lambda c: c["detectable"])
    best, worst = ordered[0], ordered[-1]
    same = (best["units"], round(best["detectable"], 2)) == (worst["units"], round(worst["detectable"], 2))
    return [best] if same else [best, worst]


def _places(cells: Sequence[Cell]) -> str:
    marks = dict.fromkeys(c["mark"] for c in cells)
    parts = []
    for mark in marks:
        doses = [str(c["dose"]) for c in cells if c["mark"] == mark and c["dose"] is not None]
        parts.append(f"at {mark}" + (f" at dose{'s' if len(doses) > 1 else ''} {listed(doses)}" if doses else ""))
    return f" {listed(parts)}"


def listed(words: Sequence[str]) -> str:
    """``a, b and c``.

    >>> listed(["8"]), listed(["8", "32", "512"])
    ('8', '8, 32 and 512')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _quoted(cell: Cell) -> float:
    return float(cell["peak_auc"] if cell["nested_auc"] is None else cell["nested_auc"])


def _cap(text: str) -> str:
    return text[0].upper() + text[1:]
