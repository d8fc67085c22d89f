"""Draw the pictures of this folder again from a saved report: ``python docs/img/draw.py report.json NAME``."""

from __future__ import annotations

import sys
from pathlib import Path

from interp import Report, plots


def draw(report: Report, name: str, folder: Path) -> list[Path]:
    """The main figure of the report in both themes, as SVG and PNG."""
    figures = {theme: plots.figure(report, theme) for theme in ("paper", "screen")}
    return [
        plots.export(figure, folder / f"{name}.{theme}.{suffix}", dpi=200)
        for theme, figure in figures.items()
        for suffix in ("svg", "png")
    ]


if __name__ == "__main__":
    for path in draw(Report.load(sys.argv[1]), sys.argv[2], Path(__file__).parent):
        print(path)  # noqa: T201
