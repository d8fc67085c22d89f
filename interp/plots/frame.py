"""``Frame``: a grid of panels with shared axes, one legend below and no clutter, in a theme's sizes."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .themes import PALETTE, Theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Ticks = tuple[tuple[float, float], list[float], list[str]]


@dataclass(frozen=True)
class Panel:
    """One panel: its axes' short names, its place in the grid, its domains, and its width in pixels."""

    x: str
    y: str
    column: int
    row: int
    x_domain: tuple[float, float]
    y_domain: tuple[float, float]
    width: float
    title: str


@dataclass(frozen=True)
class Frame:
    """The panels of a figure and its size in CSS pixels, before the legend is added."""

    theme: Theme
    width: float
    panels: tuple[Panel, ...]
    rows: int
    plot_height: float

    def apply(
        self,
        figure: Figure,
        title: str,
        x_title: str,
        y_title: str,
        ticks: Sequence[Ticks],
        limits: tuple[float, float],
    ) -> None:
        """Give the figure its axes, panel titles, legend and size; ``ticks`` is one per panel, ``limits`` is shared."""
        theme = self.theme
        size = theme.font_size
        legend_height = _legend_rows(figure, self.width, size) * size * 1.55
        top = size * (2.2 if theme.titled else 0.4) + (size * 1.6 if len(self.panels) > 1 else 0)
        bottom = size * 3.4 + legend_height
        figure.update_layout(
            template={"layout": {}},
            width=self.width,
            height=round(self.plot_height + top + bottom),
            margin={"l": round(size * 4.2), "r": round(size * 0.9), "t": round(top), "b": round(bottom)},
            paper_bgcolor="#ffffff",
            plot_bgcolor="rgba(0,0,0,0)",
            font={"family": theme.font, "size": size, "color": PALETTE["ink"]},
            hovermode="closest",
            showlegend=True,
            legend={"orientation": "h", "x": 0.5, "xanchor": "center", "y": 0, "yanchor": "bottom",
                    "yref": "container", "xref": "container", "font": {"size": size}},
        )  # fmt: skip
        if theme.titled:
            look = {"font": {"size": size * 1.15}, "x": 0, "xref": "container", "y": 1, "yanchor": "top"}
            figure.update_layout(title={"text": html.escape(title), "pad": {"t": size * 0.5, "l": size * 0.5}, **look})
        for panel, (span, places, texts) in zip(self.panels, ticks, strict=True):
            self._apply_axes(figure, panel, (x_title, y_title), (span, places, texts), limits)

    def _apply_axes(
        self, figure: Figure, panel: Panel, titles: tuple[str, str], ticks: Ticks, limits: tuple[float, float]
    ) -> None:
        size = self.theme.font_size
        text = {"size": size}
        line = {
            "showline": True, "linecolor": PALETTE["muted"], "linewidth": max(size / 14, 0.75), "ticks": "outside",
            "tickcolor": PALETTE["muted"], "ticklen": size * 0.3, "tickwidth": max(size / 14, 0.75), "zeroline": False,
        }  # fmt: skip
        below = [p for p in self.panels if p.column == panel.column and p.row > panel.row]
        figure.update_layout({
            _long(panel.x): {
                **line, "domain": panel.x_domain, "anchor": panel.y, "range": ticks[0], "tickvals": ticks[1],
                "ticktext": ticks[2], "showgrid": False,
                "title": {"text": "" if below else titles[0], "standoff": size * 0.4, "font": text},
            },
            _long(panel.y): {
                **line, "domain": panel.y_domain, "anchor": panel.x, "range": limits, "nticks": 7, "tickformat": ".1f",
                "gridcolor": PALETTE["grid"], "gridwidth": max(size / 16, 0.6), "showgrid": True, "showline": False,
                "ticks": "", "showticklabels": panel.column == 0, "dtick": _step(limits),
                "title": {"text": titles[1] if panel.column == 0 else "", "standoff": size * 0.5, "font": text},
            },
        })  # fmt: skip
        if _step(limits) < 0.1:
            figure.update_layout({_long(panel.y): {"tickformat": ".2f"}})
        if panel.title:
            figure.add_annotation(
                text=f"<b>{panel.title}</b>", x=0, y=1, xref=f"{panel.x} domain", yref=f"{panel.y} domain",
                xanchor="left", yanchor="bottom", yshift=size * 0.25, showarrow=False, font={"size": size},
            )  # fmt: skip


def panel_frame(theme: Theme, titles: Sequence[str], width: float | None = None) -> Frame:
    """A grid for one panel per title: a single panel is one column wide, several share the wide format."""
    count = len(titles)
    full = width or (theme.width if count == 1 else theme.wide)
    columns = min(count, max(1, int(full / (theme.font_size * 16))), 3 if count != 4 else 2)
    rows = math.ceil(count / columns)
    size = theme.font_size
    plot_width = full - size * 5.1
    gap_x = size * 1.6 / plot_width
    height = theme.panel_height if rows == 1 else theme.panel_height * 0.85
    gap = size * 4.2  # tick labels of one row and the title of the next
    plot_height = rows * height + (rows - 1) * gap
    share_x, share_y = (1 - gap_x * (columns - 1)) / columns, height / plot_height
    panels = []
    for number, title in enumerate(titles):
        row, column = divmod(number, columns)
        left = column * (share_x + gap_x)
        top = 1 - row * (share_y + gap / plot_height)
        name = str(number + 1) if number else ""
        across = (left, min(left + share_x, 1.0))
        down = (max(top - share_y, 0.0), top)
        panels.append(Panel(f"x{name}", f"y{name}", column, row, across, down, share_x * plot_width, title))
    return Frame(theme, full, tuple(panels), rows, plot_height)


def _long(name: str) -> str:
    return f"{name[0]}axis{name[1:]}"


def _step(limits: tuple[float, float]) -> float:
    """A round distance between grid lines: 4 to 8 of them."""
    span = limits[1] - limits[0]
    return next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 1e9) if span / step <= 7)


def _legend_rows(figure: Figure, width: float, size: float) -> int:
    """How many rows the legend takes, by the usual width of letters."""
    entries = [size * (3.6 + 0.6 * len(t.name)) for t in figure.data if t.name and t.showlegend is not False]
    for columns in range(len(entries), 0, -1):
        if sum(max(entries[c::columns]) + size * 1.3 for c in range(columns)) <= width or columns == 1:
            return math.ceil(len(entries) / columns)
    return 0
