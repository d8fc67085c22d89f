"""``write_html``: a report as one self-contained page that asks the network for nothing."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..report import Report, write_atomic
from .gallery import FIGURES
from .gallery import figures as report_figures
from .inline import inline_svg
from .static.style import plain
from .tables import Table, table
from .themes import DARK, PALETTE, get_theme
from .words import caption, explanations, how_to_read

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_PHONE = 400  # CSS pixels
_SOURCES = (
    ("model_id", "Model"),
    ("model", "Model fingerprint"),
    ("revision", "Revision"),
    ("dtype", "Precision"),
    ("tokenizer", "Tokenizer hash"),
    ("chat_template", "Chat template hash"),
    ("bos", "BOS policy"),
    ("prompts", "Prompt set hash"),
    ("code", "Code version"),
    ("seed", "Seed"),
)
# Buttons are listed rather than taken as plotly has them: newer versions bring one that uploads the chart.
_CONFIG = {
    "displaylogo": False,
    "displayModeBar": "hover",
    "modeBarButtons": [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
    "responsive": True,
    "showSendToCloud": False,
}


@dataclass(frozen=True)
class _Drawing:
    """One figure of the page as HTML: ``narrow`` replaces ``wide`` on phones where there is one."""

    wide: str
    narrow: str
    caption: str
    name: str
    folded: bool  # behind a click, as it shows the same rows in another measure


def write_html(
    report: Report,
    path: str | os.PathLike[str],
    figures: Sequence[Figure] | None = None,
    tables: Sequence[Table] | None = None,
    interactive: bool = False,
) -> Path:
    """Write the report as one HTML file: headline, warnings, figures, tables, nulls, provenance, command.

    Figures are inline SVG by default: about 30 KB each, sharp in print, light or dark with the reader's system, with
    values as tooltips and without scripts. ``interactive=True`` embeds plotly (about 5 MB) instead. Without
    ``figures`` the page shows those of the report's kind, drawn for wide pages and for phones; without ``tables``
    it shows the columns that matter and, folded away, all of them.

    Raises:
        ReportError: a figure cannot be drawn without a browser (``interactive=True`` can show it), or the file
            cannot be written.
    """
    drawings = _drawings(report, figures, interactive)
    shown = [table(report)] if tables is None else list(tables)
    everything = table(report, report.columns, "All columns") if tables is None and report.rows else None
    page = _environment().get_template("report.html.j2").render(
        report=report,
        drawings=drawings,
        tables=shown,
        everything=everything if everything and len(everything.headings) > len(shown[0].headings) else None,
        notes=explanations(report),
        reading=how_to_read(report),
        sources=[(label, getattr(report.provenance, name)) for name, label in _SOURCES],
        details=[(key, _detail(value)) for key, value in report.meta.items()],
        command=report.provenance.command,
        interactive=interactive and bool(drawings),
        plotly_js=_plotly_js() if interactive and drawings else "",
        palettes=_palettes(),
    )  # fmt: skip
    return write_atomic(path, page.encode("utf-8", "backslashreplace"))


def figure_page(figure: Figure) -> str:
    """One interactive figure as an offline page, light or dark with the reader's system."""
    title = plain(figure.layout.title.text or "Figure")[0]
    return _environment().get_template("figure.html.j2").render(
        title=title, body=_interactive(figure, "figure"), plotly_js=_plotly_js(), palettes=_palettes()
    )  # fmt: skip


def _drawings(report: Report, figures: Sequence[Figure] | None, interactive: bool) -> list[_Drawing]:
    narrow: Sequence[Figure | None]
    if figures is not None:
        wide, narrow = list(figures), [None] * len(figures)
    elif report.kind not in FIGURES or not report.rows:
        return []
    else:
        screen = get_theme("screen")
        wide = report_figures(report, screen)
        narrow = report_figures(report, screen.replace(width=_PHONE, wide=_PHONE, panel_height=240))
    drawings = []
    for number, (large, small) in enumerate(zip(wide, narrow, strict=True)):
        name = large.layout.yaxis.title.text or "Figure"
        about = (caption(report, name) if figures is None else "", name, figures is None and number > 0)
        if interactive:
            drawings.append(_Drawing(_interactive(large, f"figure-{number}"), "", *about))
        else:
            label = f"{name}: {report.title}"
            phone = inline_svg(small, label, f"n{number}-") if small is not None else ""
            drawings.append(_Drawing(inline_svg(large, label, f"w{number}-"), phone, *about))
    return drawings


def _interactive(figure: Figure, name: str) -> str:
    import plotly.graph_objects as go

    shown = go.Figure(figure)
    shown.update_layout(paper_bgcolor="rgba(0,0,0,0)", title=None, width=None, autosize=True)
    shown.update_layout(margin={"t": 30})
    return str(
        shown.to_html(
            full_html=False,
            include_plotlyjs=False,
            include_mathjax=False,
            div_id=name,
            default_width="100%",
            config=_CONFIG,
        )
    )


def _palettes() -> list[tuple[str, str, str, str]]:
    """Name, light colour, dark colour, and the light one as browsers write it in plotly's inline styles."""
    rgb = {name: tuple(int(shade[i : i + 2], 16) for i in (1, 3, 5)) for name, shade in PALETTE.items()}
    return [(name, PALETTE[name], DARK[name], "rgb({}, {}, {})".format(*rgb[name])) for name in PALETTE]


def _plotly_js() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _detail(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else str(value)
    if isinstance(value, list):
        return ", ".join(_detail(v) for v in value)
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_detail(v)}" for k, v in value.items())
    return "\N{EN DASH}" if value is None else str(value)


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("interp.plots"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
