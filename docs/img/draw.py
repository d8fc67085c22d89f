"""Draw the pictures of this folder again, from what ``interp demo --out demo`` wrote or from any saved report.

python docs/img/draw.py demo                  # the figures of the memory bed
python docs/img/draw.py report.json NAME      # the figures of one report
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


def draw(report: Report, name: str, folder: Path = HERE) -> list[Path]:
    """Every figure of the report in both themes, as SVG and PNG; the second is called ``NAME_2``."""
    paths = []
    for theme in ("paper", "screen"):
        for number, figure in enumerate(plots.figures(report, theme), 1):
            stem = name if number == 1 else f"{name}_{number}"
            paths += [plots.export(figure, folder / f"{stem}.{theme}.{suffix}", dpi=200) for suffix in ("svg", "png")]
    return paths


def draw_demo(folder: Path) -> list[Path]:
    """The figures of the demo, and the one that the README shows."""
    paths = [path for name, stem in DEMO.items() for path in draw(Report.load(folder / f"{name}.json"), stem)]
    return [*paths, Path(shutil.copyfile(folder / "signature.svg", HERE / "demo.svg"))]


if __name__ == "__main__":
    source = Path(sys.argv[1])
    for path in draw_demo(source) if source.is_dir() else draw(Report.load(source), sys.argv[2]):
        print(path)  # noqa: T201
