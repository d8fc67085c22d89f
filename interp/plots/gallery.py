"""Which figures a kind of report has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..errors import ReportError
from ..report import Report
from .layers import METRICS, accuracy_by_layer
from .themes import Theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def _probe_figures(report: Report, theme: str | Theme) -> list[Figure]:
    return [accuracy_by_layer(report, metric, theme) for metric in METRICS if metric in report.columns]


# Kind of report -> its figures, the main one first.
FIGURES: dict[str, Callable[[Report, str | Theme], list[Figure]]] = {"probe": _probe_figures}


def figures(report: Report, theme: str | Theme = "screen") -> list[Figure]:
    """Every figure that a report of this kind has, the main one first.

    Raises:
        ReportError: reports of this kind have no figure, or this one lacks the columns that it needs.
    """
    if report.kind not in FIGURES:
        raise ReportError(f"reports of kind {report.kind!r} have no figure; kinds with one are: {', '.join(FIGURES)}")
    drawn = FIGURES[report.kind](report, theme)
    if not drawn:
        raise ReportError(f"this {report.kind!r} report has none of the columns that its figures show")
    return drawn


def figure(report: Report, theme: str | Theme = "screen") -> Figure:
    """The main figure of a report.

    Raises:
        ReportError: as for `figures`.
    """
    return figures(report, theme)[0]
