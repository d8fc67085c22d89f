"""``write_html``: reports as one self-contained page that asks the network for nothing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report, write_atomic
from .interactive import interactive_div, plotly_js
from .sections import SUMMARIES, Section, section
from .static.style import plain
from .tables import Table
from .themes import DARK, PALETTE

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

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


def write_html(
    reports: Report | Sequence[Report],
    path: str | os.PathLike[str],
    figures: Sequence[Figure] | None = None,
    tables: Sequence[Table] | None = None,
    interactive: bool = False,
    title: str | None = None,
    lead: bool = False,
) -> Path:
    """Write one report, or several, as one HTML file: headline, warnings, figures, tables, nulls, provenance, command.

    Figures are inline SVG by default: about 30 KB each, sharp in print, light or dark with the reader's system, with
    values as tooltips and without scripts. ``interactive=True`` embeds plotly (about 5 MB) instead. Without
    ``figures`` the page shows those of the report's kind, drawn for wide pages and for phones; without ``tables``
    it shows the columns that matter and, folded away, all of them.

    Several reports are sections of one page, in their order; a summary (of kind ``"memorisation"`` or ``"refusal"``)
    opens it. ``title`` replaces that of the first. ``lead`` opens the page with the first report's headline where there
    is no summary.

    Raises:
        ReportError: no report, or ``figures`` or ``tables`` for several; a figure cannot be drawn without a browser
            (``interactive=True`` can show it), or the file cannot be written.
    """
    several = [reports] if isinstance(reports, Report) else list(reports)
    if not several:
        raise ReportError("write_html needs at least one report")
    if len(several) > 1 and (figures is not None or tables is not None):
        raise ReportError("figures and tables of one's own are for a page of a single report")
    several.sort(key=lambda report: report.kind not in SUMMARIES)
    sections = [section(report, n, figures, tables, interactive) for n, report in enumerate(several)]
    page = _environment().get_template("report.html.j2").render(
        title=title or several[0].title,
        lead=several[0] if lead or len(several) == 1 or several[0].kind in SUMMARIES else None,
        sections=_said_once(sections),
        warnings=_warnings(several),
        sources=[(label, _values(several, name)) for name, label in _SOURCES],
        commands=list(dict.fromkeys(r.provenance.command for r in several if r.provenance.command)),
        models=_values(several, "model_id"),
        summary=several[0].kind in SUMMARIES,
        interactive=interactive and any(s.drawings for s in sections),
        plotly_js=plotly_js() if interactive and any(s.drawings for s in sections) else "",
        palettes=_palettes(),
    )  # fmt: skip
    return write_atomic(path, page.encode("utf-8", "backslashreplace"))


def figure_page(figure: Figure) -> str:
    """One interactive figure as an offline page, light or dark with the reader's system."""
    title = plain(figure.layout.title.text or "Figure")[0]
    return str(
        _environment().get_template("figure.html.j2").render(
            title=title, body=interactive_div(figure, "figure"), plotly_js=plotly_js(), palettes=_palettes()
        )
    )  # fmt: skip


def _said_once(sections: Sequence[Section]) -> list[Section]:
    """The sections without explanations that one before has given in the same words."""
    seen: set[tuple[str, str]] = set()
    result = []
    for one in sections:
        result.append(dataclasses.replace(one, notes=tuple(note for note in one.notes if note not in seen)))
        seen.update(one.notes)
    return result


def _warnings(reports: Sequence[Report]) -> list[str]:
    """Every warning once, with the report that it comes from where there are several."""
    found = [(r.title, text) for r in reports for text in r.warnings]
    where: dict[str, list[str]] = {}
    for name, text in found:
        where.setdefault(text, []).append(name)
    if len(reports) == 1:
        return list(where)
    return [text if len(names) > 1 else f"{names[0]}: {text}" for text, names in where.items()]


def _values(reports: Sequence[Report], name: str) -> list[Any]:
    """What the reports' provenance has under a name, each value once."""
    found = list(dict.fromkeys(getattr(r.provenance, name) for r in reports))
    return [value for value in found if value is not None]


def _palettes() -> list[tuple[str, str, str, str]]:
    """Name, light colour, dark colour, and the light one as browsers write it in plotly's inline styles."""
    rgb = {name: tuple(int(shade[i : i + 2], 16) for i in (1, 3, 5)) for name, shade in PALETTE.items()}
    return [(name, PALETTE[name], DARK[name], "rgb({}, {}, {})".format(*rgb[name])) for name in PALETTE]


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
