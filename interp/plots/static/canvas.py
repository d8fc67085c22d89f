"""``Canvas``: a figure while it is drawn: its panels, its scales, and where its plot area lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .axes import Scale, panel_box
from .spec import Props, Spec, get

GAP = 6  # pixels kept free around everything


@dataclass(frozen=True)
class Canvas:
    """``area`` is the matplotlib transform from plotly's paper coordinates to the figure; `place` moves it."""

    drawing: Any
    spec: Spec
    panels: dict[tuple[str, str], Any]
    scales: dict[str, Scale]
    area: Any
    font: Props

    @property
    def paper(self) -> Any:
        """The transform of plotly's ``paper`` coordinates to pixels."""
        return self.area + self.drawing.transFigure

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the whole figure in pixels."""
        box = self.drawing.bbox
        return float(box.width), float(box.height)

    def place(self, margins: Sequence[float]) -> None:
        """Put the plot area inside margins (left, bottom, right, top) in pixels, and every panel inside it."""
        width, height = self.size
        left, bottom, right, top = margins
        # Never less than a sliver, so that a figure too small for its labels still draws.
        inner = max(width - left - right, 20) / width, max(height - bottom - top, 20) / height
        box = (left / width, bottom / height, *inner)
        self.area.clear().scale(*inner).translate(box[0], box[1])
        for pair, axes in self.panels.items():
            axes.set_position(panel_box(self.spec, pair, box))

    def fit(self, legend: Any, title: Any) -> None:
        """Widen the margins until labels, legend and title lie inside the figure and on nothing else."""
        least = [get(self.spec.layout, f"margin.{side}", 8) for side in "lbrt"]
        fixed = [0.0, 0.0, 0.0, 0.0]
        renderer = self.drawing.canvas.get_renderer()
        if title is not None:
            fixed[3] = title.get_window_extent(renderer).height + GAP
        floating = list(self.panels.values())
        if legend is not None and legend.at_bottom:
            least[1] = GAP  # the legend's own height is known here, so a margin that made room for it is not needed
            fixed[1] = legend.artist.get_window_extent(renderer).height + GAP
        elif legend is not None:
            floating.append(legend.artist)
        margins = list(least)
        for _ in range(3):
            self.place(margins)
            boxes = [b for a in floating if (b := a.get_tightbbox(renderer)) is not None]
            area = self.paper.transform_bbox(_unit_box())
            hang = (
                area.x0 - min(b.x0 for b in boxes),
                area.y0 - min(b.y0 for b in boxes),
                max(b.x1 for b in boxes) - area.x1,
                max(b.y1 for b in boxes) - area.y1,
            )
            margins = [max(a, h + GAP + f) for a, h, f in zip(least, hang, fixed, strict=True)]
        self.place(margins)


def _unit_box() -> Any:
    from matplotlib.transforms import Bbox

    return Bbox.unit()
