"""``table``: the rows of a report as a readable table: rounded numbers, intervals, p-values, pass and fail."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from ..errors import ReportError
from ..report import Report
from ..report.notebook import html_table
from .columns import KEY_COLUMNS, heading

# Words in a column's name that fix its decimals: two are what shares and log probabilities of a few hundred texts bear.
_DECIMALS = {
    **dict.fromkeys(("auc", "acc", "exact", "oriented", "detectable", "gap", "log"), 2),
    **dict.fromkeys(
        ("plateau", "final", "drop", "contribution", "contrast", "effect", "random", "refused", "harmless"), 2
    ),
    **dict.fromkeys(("loss", "kl"), 3),
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SAID = (
    "extraction",
    "recall",
    "curve",
    "circuit-edges",
    "circuit-nodes",
    "circuit-neurons",
    "circuit-latents",
    "minimality",
    "completeness",
    "task",
)  # kinds whose yes and no are no verdicts
# What goes under a table where all rows share it.
_SHARED = {"n": "{} examples", "n_groups": "{} groups", "mark": "read at '{}'", "dose": "records shown {} times"}
_LONG = 40  # characters; longer text may break into lines
MINUS, MISSING = "\N{MINUS SIGN}", "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """One cell: its text, what follows it in small, and ``look``: "", "pass", "fail", "none" or "long"."""

    text: str
    extra: str = ""
    look: str = ""


@dataclass(frozen=True, repr=False)
class Table:
    """A table ready to show. ``numeric`` says which columns align right; ``marked`` which rows stand out."""

    title: str
    headings: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[Cell, ...], ...]
    marked: tuple[bool, ...]
    note: str = ""

    def __repr__(self) -> str:
        return f"Table({self.title!r}, {len(self.rows)} rows: {', '.join(self.headings)})"

    def _repr_html_(self) -> str:
        cells = [[f"{cell.text} {cell.extra}".strip() for cell in row] for row in self.rows]
        note = f"<p><small>{escape(self.note)}</small></p>" if self.note else ""
        return html_table(self.headings, cells, self.numeric) + note


def table(
    report: Report, columns: Sequence[str] | None = None, title: str = "Results", max_rows: int | None = None
) -> Table:
    """The report's rows as a table. Without ``columns``, those that matter for its kind, or all of them.

    A field with ``_lo`` and ``_hi`` beside it shows its interval. Of the default columns, one that is the same in
    every row goes into the note instead. The row whose ``site`` is ``meta["best_site"]`` is marked. Of more than
    ``max_rows`` rows only the first ones are shown, and the note says so.

    >>> from interp.provenance import Provenance
    >>> row = {"site": "resid_post.3", "auc": 0.934, "auc_lo": 0.9, "auc_hi": 0.961, "p_max": 0.0004}
    >>> shown = table(Report("probe", "T", "H.", [row], Provenance("a1", "tiny")))
    >>> [cell.text + " " + cell.extra for cell in shown.rows[0]]
    ['resid_post.3 ', '0.93 [0.90, 0.96]', '4.0×10⁻⁴ ']

    Raises:
        ReportError: a named column does not exist.
    """
    available = report.columns
    if columns is None:
        chosen = [c for c in KEY_COLUMNS.get(report.kind, available) if c in available] or list(available)
    else:
        chosen = list(columns)
        if unknown := [c for c in chosen if c not in available]:
            raise ReportError(f"this report has no column {unknown[0]!r}; columns are: {', '.join(available)}")
    hidden = {
        f"{c}{end}" for c in chosen for end in ("_lo", "_hi") if f"{c}_lo" in available and f"{c}_hi" in available
    }
    chosen = [c for c in chosen if c not in hidden or columns is not None]
    note = ""
    if columns is None and len(report) > 1:
        shared = [c for c in _SHARED if c in chosen]
        same = [c for c in shared if len(set(map(str, report.column(c)))) == 1]
        chosen = [c for c in chosen if c not in same]
        note = _shared(report, same)
    cells = [_column(report, name)[:max_rows] for name in chosen]
    if max_rows is not None and len(report) > max_rows:
        note = f"{note} The first {max_rows} of {len(report)} rows; the report itself has all.".strip()
    best = report.meta.get("best_site")
    return Table(
        title=title,
        headings=tuple(heading(report.kind, name) for name in chosen),
        numeric=tuple(_is_numeric(report.column(name)) for name in chosen),
        rows=tuple(zip(*cells, strict=True)) if cells else (),
        marked=tuple(best is not None and row.get("site") == best for row in report.rows[:max_rows]),
        note=note,
    )


def _shared(report: Report, names: Sequence[str]) -> str:
    """The fields that all rows share, in words."""
    parts = [_SHARED[name].format(_plain(report.rows[0].get(name), {})) for name in names]
    if names[:2] == ["n", "n_groups"]:
        parts[:2] = [" in ".join(parts[:2])]
    return f"Every row: {', '.join(parts)}." if parts else ""


def _is_numeric(values: Sequence[Any]) -> bool:
    return all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in values)


def _column(report: Report, name: str) -> list[Cell]:
    values = report.column(name)
    low, high = (report.column(f"{name}{end}") if f"{name}{end}" in report.columns else None for end in ("_lo", "_hi"))
    if _is_p(name):
        return [Cell(p_value(v)) for v in values]
    fixed = next((_DECIMALS[word] for word in name.split("_") if word in _DECIMALS), None)
    style = {"decimals": _decimals(values) if fixed is None else fixed, "said": report.kind in _SAID}
    style["digits"] = 6 if report.kind == "diff" else None  # where two numbers are held side by side
    if low is None or high is None:
        return [_cell(v, style) for v in values]
    cells = []
    for value, lo, hi in zip(values, low, high, strict=True):
        if name == "value":  # every row measures something else
            style["decimals"] = 2 if value is None or value == 0 or abs(value) >= 0.005 else None
        interval = "" if lo is None or hi is None else f"[{_plain(lo, style)}, {_plain(hi, style)}]"
        cells.append(Cell(_plain(value, style), interval))
    return cells


def _is_p(name: str) -> bool:
    return name in ("p", "attack_p") or name.startswith("p_") or name.endswith("_p_max")


def _cell(value: Any, style: dict[str, Any]) -> Cell:
    if isinstance(value, bool) and not style.get("said"):
        return Cell("pass", look="pass") if value else Cell("FAIL", look="fail")
    text = _plain(value, style)
    return Cell(text, look="none" if value is None else "long" if len(text) > _LONG else "")


def _decimals(values: Sequence[Any]) -> int | None:
    """Decimals for a column of floats, ``None`` where its sizes are too far apart for one number of them."""
    sizes = [abs(v) for v in values if isinstance(v, float) and math.isfinite(v) and v != 0]
    return 3 if all(1e-2 <= s < 1e4 for s in sizes) else None


def _plain(value: Any, style: dict[str, Any]) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", MINUS)
    if isinstance(value, float) and style.get("digits") and math.isfinite(value):
        return f"{value:.{style['digits']}g}".replace("-", MINUS)
    if isinstance(value, float):
        return number(value, style.get("decimals"))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)


def number(value: float, decimals: int | None = None) -> str:
    """A float as a reader expects it: fixed decimals, or two significant digits with a power of ten.

    >>> number(0.934, 2), number(-0.002, 2), number(1.2e-6), number(-3.25), number(float("nan"))
    ('0.93', '0.00', '1.2×10⁻⁶', '−3.2', 'NaN')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if decimals is not None:
        return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", MINUS)  # no minus before nothing but zeros
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return f"{value:.2g}".replace("-", MINUS) if abs(value) < 100 else f"{value:.0f}".replace("-", MINUS)
    digits, power = f"{value:.1e}".split("e")
    return f"{digits}×10{str(int(power)).translate(_SUPERSCRIPTS)}".replace("-", MINUS)


def p_value(value: Any) -> str:
    """A p-value: three decimals, or a power of ten where they would be zero.

    >>> p_value(0.0314), p_value(0.0004), p_value(None)
    ('0.031', '4.0×10⁻⁴', '–')
    """
    if value is None:
        return MISSING
    value = float(value)
    return number(value, 3) if value == 0 or value >= 0.001 or math.isnan(value) else number(value)
