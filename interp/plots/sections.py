"""``Section``: one report as a part of a page: its figures, its tables, and the words to both."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .claims import Claim, claims
from .gallery import FIGURES, Picture, pictures
from .inline import inline_svg
from .interactive import interactive_div
from .tables import Table, table
from .themes import get_theme
from .words import Note, caption, explanations, how_to_read

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

SUMMARIES = (
    "memorisation",
    "refusal",
    "circuit-study",
)  # the kinds that list claims, and open a page of several reports
_WHOLE = {"signature": "signature-cells", "beliefs": "belief-cells"}  # kinds with a table over all depths
_PHONE = 400  # CSS pixels
_ROWS = 40  # of a table that is not behind a click
_MOST = 200  # of one that is; the rest is in the report's file


@dataclass(frozen=True)
class Drawing:
    """One figure of the page as HTML: ``narrow`` replaces ``wide`` on phones where there is one."""

    wide: str
    narrow: str
    caption: str
    name: str
    folded: bool  # behind a click


@dataclass(frozen=True)
class Section:
    """What a page shows of one report, ready for its template."""

    number: int
    report: Report
    drawings: tuple[Drawing, ...]
    claims: tuple[Claim, ...]
    tables: tuple[Table, ...]
    folded: tuple[Table, ...]
    notes: tuple[Note, ...]
    reading: tuple[str, ...]
    details: tuple[tuple[str, str], ...]
    undrawn: str  # why it has no figure, though others of its kind do


def section(
    report: Report, number: int, figures: Sequence[Figure] | None, tables: Sequence[Table] | None, interactive: bool
) -> Section:
    """The report as a section; ``number`` keeps the ids of its figures apart from those of other sections.

    Raises:
        ReportError: a figure cannot be drawn without a browser.
    """
    shown, folded = _tables(report) if tables is None else (list(tables), [])
    drawn, undrawn = _pictures(report) if figures is None else ([], "")
    return Section(
        number=number,
        report=report,
        drawings=tuple(_drawings(report, number, figures, drawn, interactive)),
        claims=claims(report) if report.kind in SUMMARIES and tables is None else (),
        tables=tuple(shown),
        folded=tuple(folded),
        notes=tuple(explanations(report)),
        reading=tuple(how_to_read(report)),
        details=tuple((key, _detail(value)) for key, value in report.meta.items()),
        undrawn=undrawn,
    )


def _tables(report: Report) -> tuple[list[Table], list[Table]]:
    """The tables that are shown, and those behind a click: long ones, and all columns."""
    shown, folded = [], []
    cells = report.meta.get("cells")
    if report.kind in SUMMARIES:
        everything = table(report, report.columns, f"All {len(report)} claims, all columns", _MOST)
        return [], [everything] if report.rows else []
    if report.kind in _WHOLE and isinstance(cells, list) and cells:
        whole = dataclasses.replace(report, kind=_WHOLE[report.kind], rows=cells, meta={})
        shown.append(table(whole, title="Over all depths", max_rows=_MOST))
        folded.append(table(report, title="Depth by depth", max_rows=_MOST))
    else:
        main = table(report, max_rows=_MOST)
        (shown if len(main.rows) <= _ROWS or report.kind == "probe" else folded).append(main)
    first = (*shown, *folded)[-1]
    if report.rows:
        everything = table(report, report.columns, "", max_rows=_MOST)
        if len(everything.headings) > len(first.headings):
            title = f"All {len(everything.headings)} columns"
            folded.append(dataclasses.replace(everything, title=title))
    return shown, folded


def _pictures(report: Report) -> tuple[list[Picture], str]:
    """The figures of the report's kind, or why it has none: one by hand, or of an older version, may lack a column."""
    if report.kind not in FIGURES or not report.rows:
        return [], ""
    try:
        return pictures(report, "screen"), ""
    except ReportError as error:
        return [], str(error)


def _drawings(
    report: Report, number: int, figures: Sequence[Figure] | None, drawn: Sequence[Picture], interactive: bool
) -> list[Drawing]:
    narrow: list[Figure | None]
    if figures is not None:
        wide, narrow = list(figures), [None] * len(figures)
        about = [("", large.layout.yaxis.title.text or "Figure", False) for large in wide]
    else:
        wide = [picture.figure for picture in drawn]
        small = get_theme("screen").replace(width=_PHONE, wide=_PHONE, panel_height=240)
        phones = drawn and not interactive
        narrow = [picture.figure for picture in pictures(report, small)] if phones else [None] * len(wide)
        about = [(caption(report, picture.name), picture.name, picture.folded) for picture in drawn]
    drawings = []
    for place, (large, phone, words) in enumerate(zip(wide, narrow, about, strict=True)):
        if interactive:
            drawings.append(Drawing(interactive_div(large, f"figure-{number}-{place}"), "", *words))
        else:
            label = f"{words[1]}: {report.title}"
            little = inline_svg(phone, label, f"n{number}-{place}-") if phone is not None else ""
            drawings.append(Drawing(inline_svg(large, label, f"w{number}-{place}-"), little, *words))
    return drawings


def _detail(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    if isinstance(value, list):
        if len(value) > 3 and all(isinstance(v, dict) for v in value):
            return f"{len(value)} entries, in the report's file"
        return ", ".join(_detail(v) for v in value)
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_detail(v)}" for k, v in value.items())
    return "\N{EN DASH}" if value is None else str(value)
