"""``export``: a figure as a file: .svg, .pdf, .png without a browser, interactive .html, or .csv of what it shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import ReportError
from ..report import csv_text, write_atomic
from .plotted import plotted_rows
from .static import render, unsupported

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_ENGINES = ("auto", "matplotlib", "kaleido")
_STATIC: dict[str, Literal["svg", "pdf", "png"]] = {"svg": "svg", "pdf": "pdf", "png": "png"}


def export(
    figure: Figure, path: str | os.PathLike[str], engine: str = "auto", dpi: float = 300, rows: bool = False
) -> Path:
    """Write a figure; the suffix says how: ``.svg``, ``.pdf``, ``.png`` or ``.html`` (interactive, offline, ~5 MB).

    ``.csv`` writes what the figure shows as rows (`plotted_rows`); ``rows=True`` does so beside the figure.

    ``engine="auto"`` is one rule: a figure that is made only of what `static` can draw goes through matplotlib, which
    needs no browser and gives equal bytes for equal figures; any other goes through kaleido, which needs Chrome.
    ``engine="matplotlib"`` and ``"kaleido"`` insist.

    Raises:
        ReportError: the suffix is unknown, the engine cannot draw the figure, Chrome is missing, or the file cannot
            be written.
    """
    suffix = Path(path).suffix.lower().lstrip(".")
    if engine not in _ENGINES:
        raise ReportError(f"unknown engine {engine!r}; engines are: {', '.join(_ENGINES)}")
    if suffix not in (*_STATIC, "html", "csv"):
        raise ReportError(f"cannot export to {os.fspath(path)!r}: write .svg, .pdf, .png, .html or .csv")
    made = write_atomic(path, _as_bytes(figure, suffix, engine, dpi))
    if rows:
        write_atomic(made.with_suffix(".csv"), _as_bytes(figure, "csv", engine, dpi))
    return made


def _as_bytes(figure: Figure, suffix: str, engine: str, dpi: float) -> bytes:
    if suffix == "csv":
        return csv_text(plotted_rows(figure)).encode("utf-8", "backslashreplace")
    if suffix == "html":
        from .html import figure_page

        return figure_page(figure).encode("utf-8")
    problems = unsupported(figure)
    if engine == "matplotlib" or (engine == "auto" and not problems):
        return render(figure, _STATIC[suffix], dpi=dpi)
    return _through_kaleido(figure, suffix, dpi, problems if engine == "auto" else [])


def _through_kaleido(figure: Figure, suffix: str, dpi: float, why: list[str]) -> bytes:
    try:
        options: dict[str, Any] = {"scale": dpi / 96} if suffix == "png" else {}
        return bytes(figure.to_image(format=suffix, **options))
    except Exception as error:
        # Kaleido raises its own, plotly's and asyncio's errors here; the cause stays attached.
        needs = f" (it has {'; '.join(why[:4])})" if why else ""
        lines = str(error).strip().splitlines()
        first = lines[0].rstrip(".") if lines else type(error).__name__
        raise ReportError(
            f"this figure needs kaleido and a Chrome for .{suffix}{needs}, and that failed: {first}. Install Chrome "
            "(plotly_get_chrome does it), or export to .html, which needs neither"
        ) from error
