"""``beliefs_by_quadrant`` and ``beliefs_by_checkpoint``: mean beliefs of kinds of requests at both positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ReportError
from ..report import Report
from .beliefs import PLACES
from .named import dots_by_name
from .themes import ROLES, SERIES, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

CELLS = {
    "harmful-refused": "Harmful,\nrefused", "harmful-accepted": "Harmful,\naccepted",
    "harmless-refused": "Harmless,\nrefused", "harmless-accepted": "Harmless,\naccepted",
}  # fmt: skip
ROLE_NAMES = {
    "harmful": "Harmful", "jailbroken": "Jail-\nbroken", "overrefused": "Over-\nrefused", "harmless": "Harmless"
}  # fmt: skip
BELIEF = "Belief: above 0 as refused harmful"


def beliefs_by_quadrant(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """The mean belief of each quadrant with its interval, a panel for each position.

    >>> from interp.provenance import Provenance
    >>> rows = [{"mark": "t_inst", "cell": "harmful-refused", "belief": 1.2, "belief_lo": 1.1, "belief_hi": 1.3}]
    >>> made = Report("quadrants", "Quadrants", "One.", rows, Provenance("a1", "tiny"))
    >>> len(beliefs_by_quadrant(made, theme="paper").data)
    2

    Raises:
        ReportError: the report is not of kind "quadrants".
    """
    if report.kind != "quadrants":
        raise ReportError(f"beliefs_by_quadrant draws reports of kind 'quadrants', not {report.kind!r}")
    marks = dict.fromkeys(row.get("mark") for row in report.rows)
    panels = {PLACES.get(str(m), str(m)): [r for r in report.rows if r.get("mark") == m] for m in marks}
    there = {cell: name for cell, name in CELLS.items() if any(r.get("cell") == cell for r in report.rows)}
    one = {None: ("Mean belief", ROLES["result"])}
    return dots_by_name(report, panels, there, "cell", "belief", one, None, BELIEF, get_theme(theme), width)


def beliefs_by_checkpoint(report: Report, theme: str | Theme = "screen", width: float | None = None) -> Figure:
    """The mean belief of each kind of request in both checkpoints, by both sets of means.

    Raises:
        ReportError: the report is not of kind "checkpoints".
    """
    if report.kind != "checkpoints":
        raise ReportError(f"beliefs_by_checkpoint draws reports of kind 'checkpoints', not {report.kind!r}")
    marks = dict.fromkeys(row.get("mark") for row in report.rows)
    panels = {PLACES.get(str(m), str(m)): [r for r in report.rows if r.get("mark") == m] for m in marks}
    there = {role: name for role, name in ROLE_NAMES.items() if any(r.get("role") == role for r in report.rows)}
    kinds = dict.fromkeys(row.get("what") for row in report.rows)
    series = {kind: (str(kind)[:1].upper() + str(kind)[1:], SERIES[i % len(SERIES)]) for i, kind in enumerate(kinds)}
    return dots_by_name(report, panels, there, "role", "belief", series, "what", BELIEF, get_theme(theme), width)
