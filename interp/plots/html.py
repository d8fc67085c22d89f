"""``write_html``: reports as one self-contained page that asks the network for nothing; ``write_studies``: many."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report, write_atomic
from .interactive import interactive_div, plotly_js
from .static.style import plain
from .studies import Study, study
from .tables import Table
from .themes import DARK, PALETTE

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


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
    one = study(several, 0, figures, tables, interactive, title, lead)
    return _write([one], path, one.title, interactive)


def write_studies(
    studies: Sequence[Sequence[Report]],
    path: str | os.PathLike[str],
    title: str | None = None,
    notices: Sequence[str] = (),
    interactive: bool = False,
) -> Path:
    """Write the reports of several commands as one HTML file: an index of headlines and warnings, then each in full.

    Each study is the sequence of reports that one command wrote; the first of a kind that sums up (or else the first)
    gives its headline. ``notices`` are sentences about the page as a whole, shown above the index. A page of one study
    has no index, and the study's own title if none is given.

    Raises:
        ReportError: no study, an empty one, or the file cannot be written.
    """
    if not studies or not all(studies):
        raise ReportError("write_studies needs at least one study, and each needs a report")
    made, number = [], 0
    for reports in studies:
        own = title if len(studies) == 1 else None
        made.append(study(list(reports), number, None, None, interactive, own, lead=True))
        number += len(reports)
    name = made[0].title if len(made) == 1 else title or "Results"
    return _write(made, path, name, interactive, notices)


def _write(
    studies: Sequence[Study], path: str | os.PathLike[str], title: str, interactive: bool, notices: Sequence[str] = ()
) -> Path:
    drawn = interactive and any(section.drawings for one in studies for section in one.sections)
    page = _environment().get_template("report.html.j2").render(
        title=title,
        studies=studies,
        models=list(dict.fromkeys(name for one in studies for name in one.models)),
        notices=notices,
        interactive=drawn,
        plotly_js=plotly_js() if drawn else "",
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
