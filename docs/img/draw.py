"""Draw the pictures of this folder again.

``python docs/img/draw.py demo`` draws those of the memory bed, from the folder that ``interp demo --out demo`` wrote;
``python docs/img/draw.py report.json NAME`` those of any saved report.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from interp import Report, plots

HERE = Path(__file__).parent
DEMO = {
    "recall": "memory_recall",
    "training": "memory_training",
    "signature": "memory_signature",
    "gap": "memory_gap",
    "project-out": "memory_project_out",
    "erasure": "memory_erasure",
}


def draw(report: Report, name: str, suffixes: tuple[str, ...] = ("svg", "png")) -> list[Path]:
    """Every figure of the report in both themes; the second figure is called ``NAME_2``."""
    paths = []
    for theme in ("paper", "screen"):
        for number, figure in enumerate(plots.figures(report, theme), 1):
            stem = name if number == 1 else f"{name}_{number}"
            paths += [plots.export(figure, HERE / f"{stem}.{theme}.{suffix}", dpi=200) for suffix in suffixes]
    return paths


def draw_demo(folder: Path) -> list[Path]:
    """The figures of the demo, and the one that the README shows."""
    reports = {stem: Report.load(folder / f"{name}.json") for name, stem in DEMO.items()}
    paths = [path for stem, report in reports.items() for path in draw(report, stem, ("svg",))]
    return [*paths, Path(shutil.copyfile(folder / "signature.svg", HERE / "demo.svg"))]


if __name__ == "__main__":
    source = Path(sys.argv[1])
    for path in draw_demo(source) if source.is_dir() else draw(Report.load(source), sys.argv[2]):
        print(path)  # noqa: T201
