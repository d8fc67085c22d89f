"""``Frame``: a grid of panels with shared axes, one legend below and no clutter, in a theme's sizes."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .themes import PALETTE, Theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_BOLD = 0.68  # width of a bold letter, by its height
Limits = tuple[float, float]
Ticks = tuple[Limits, list[float], list[str]]  # range, places, texts


@dataclass(frozen=True)
class Axis:
    """One axis of one panel: its range, its title, and its ticks, which are round numbers unless given."""

    span: Limits
    title: str = ""
    places: Sequence[float] | None = None
    texts: Sequence[str] | None = None
    grid: bool = False
    labelled: bool = True
    line: bool = False
    most: int = 7  # round numbers at most


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
    left: float = 4.2  # room for the y axis, in letters
    named: bool = False  # its rows have names, with nothing beside the titles of panels

    def apply(
        self,
        figure: Figure,
        title: str,
        x_title: str,
        y_title: str | Sequence[str],
        ticks: Sequence[Ticks],
        limits: tuple[float, float] | Sequence[Limits],
    ) -> None:
        """Give the figure its axes, panel titles, legend and size; ``ticks`` is one per panel.

        One ``y_title`` and one pair of ``limits`` are shared by all panels; a sequence gives each panel its own.
        """
        own = not isinstance(y_title, str)
        y_titles = list(y_title) if own else [y_title if p.column == 0 else "" for p in self.panels]
        ranges = [limits] * len(self.panels) if isinstance(limits[0], (int, float)) else list(limits)
        self.dress(figure, title, left=4.2 if any(y_titles) else 2.9)
        for panel, (across, places, texts), name, reach in zip(self.panels, ticks, y_titles, ranges, strict=True):
            below = any(p.column == panel.column and p.row > panel.row for p in self.panels)
            x = Axis(across, "" if below and not own else x_title, places, texts, line=True)
            y = Axis(reach, name, grid=True, labelled=own or panel.column == 0)  # type: ignore[arg-type]
            self.draw_axes(figure, panel, x, y)

    def dress(self, figure: Figure, title: str, left: float = 4.2, bottom: float = 3.4) -> None:
        """Give the figure its size, margins (``left`` and ``bottom`` in letters), title and legend."""
        theme, size = self.theme, self.theme.font_size
        legend_height = _legend_rows(figure, self.width, size) * size * 1.55
        top = size * (2.2 if theme.titled else 0.4) + (size * 1.6 if any(p.title for p in self.panels) else 0)
        below = size * bottom + legend_height
        figure.update_layout(
            template={"layout": {}},
            width=self.width,
            height=round(self.plot_height + top + below),
            margin={"l": round(size * left), "r": round(size * 0.9), "t": round(top), "b": round(below)},
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

    def draw_axes(self, figure: Figure, panel: Panel, x: Axis, y: Axis) -> None:
        """Give one panel its two axes and its title."""
        size = self.theme.font_size
        figure.update_layout({
            _long(panel.x): {**self._look(x), "domain": panel.x_domain, "anchor": panel.y},
            _long(panel.y): {**self._look(y), "domain": panel.y_domain, "anchor": panel.x},
        })  # fmt: skip
        if panel.title:
            figure.add_annotation(
                text=f"<b>{panel.title}</b>", x=0, y=1, xref=f"{panel.x} domain", yref=f"{panel.y} domain",
                xanchor="left", yanchor="bottom", xshift=0 - self._beyond(panel), yshift=size * 0.25, showarrow=False,
                font={"size": size},
            )  # fmt: skip

    def _beyond(self, panel: Panel) -> float:
        """How far the title of a panel that stands alone in its row moves left, over the names of rows, to fit."""
        if not self.named or any(p.row == panel.row and p is not panel for p in self.panels):
            return 0.0
        size = self.theme.font_size
        beyond = _BOLD * size * len(html.unescape(panel.title)) - panel.width - 0.9 * size
        return float(round(min(max(beyond, 0.0), self.left * size)))

    def corner(self, figure: Figure, panel: Panel, text: str) -> None:
        """A few words above the right end of a panel, in line with its title."""
        size = self.theme.font_size
        figure.add_annotation(
            text=text, x=1, y=1, xref=f"{panel.x} domain", yref=f"{panel.y} domain", xanchor="right",
            yanchor="bottom", yshift=size * 0.25, showarrow=False,
            font={"size": size * 0.95, "color": PALETTE["muted"]},
        )  # fmt: skip

    def _look(self, axis: Axis) -> dict[str, Any]:
        size, thin = self.theme.font_size, max(self.theme.font_size / 14, 0.75)
        look: dict[str, Any] = {
            "range": axis.span, "zeroline": False, "showline": axis.line, "linecolor": PALETTE["muted"],
            "linewidth": thin, "ticks": "outside" if axis.line else "", "tickcolor": PALETTE["muted"],
            "ticklen": size * 0.3, "tickwidth": thin, "showgrid": axis.grid, "showticklabels": axis.labelled,
            "title": {"text": axis.title, "standoff": size * 0.45, "font": {"size": size}},
        }  # fmt: skip
        if axis.grid:
            look |= {"gridcolor": PALETTE["grid"], "gridwidth": max(size / 16, 0.6)}
        if axis.places is not None:
            return look | {"tickvals": axis.places, "ticktext": axis.texts}
        step = _step(axis.span, axis.most)
        return look | {"nticks": 7, "dtick": step, "tickformat": ".2f" if step < 0.1 else ".1f" if step < 1 else ".0f"}


def panel_frame(theme: Theme, titles: Sequence[str], width: float | None = None, own_y: bool = False) -> Frame:
    """A grid for one panel per title: a single panel is one column wide, several share the wide format.

    ``own_y`` leaves room for a y axis at every panel, and for an x axis at every row.
    """
    count = len(titles)
    full = width or (theme.width if count == 1 else theme.wide)
    columns = min(count, max(1, int(full / (theme.font_size * 16))), 3 if count != 4 else 2)
    rows = math.ceil(count / columns)
    size = theme.font_size
    plot_width = full - size * (3.8 if own_y else 5.1)
    gap_x = size * (3.9 if own_y else 1.6) / plot_width
    height = theme.panel_height if rows == 1 else theme.panel_height * 0.85
    gap = size * (5.6 if own_y else 4.2)  # tick labels of one row and the title of the next
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


def rows_frame(theme: Theme, titles: Sequence[str], names: Sequence[str], width: float | None = None) -> Frame:
    """Panels that share an axis of named rows: the first as wide as the figure, the others in rows below it."""
    full, size = width or theme.wide, theme.font_size
    left = 0.56 * max(map(len, names), default=4) + 1.2
    plot_width = full - size * (left + 0.9)
    gap_x, gap = size * 1.8 / plot_width, size * 4.2
    others = len(titles) - 1
    columns = max(1, min(others, int((1 + gap_x) / (size * 8.2 / plot_width + gap_x))))
    columns = math.ceil(others / math.ceil(others / columns)) if others else 1
    rows = 1 + math.ceil(others / columns)
    first, below = size * 2.7 * max(len(names), 2), size * 1.9 * max(len(names), 2)
    height = first + (rows - 1) * (gap + below)
    share = (1 - gap_x * (columns - 1)) / columns
    panels = []
    for number, title in enumerate(titles):
        row, column = divmod(number - 1, columns) if number else (-1, 0)
        top = 1 - (0 if number == 0 else first + gap + row * (below + gap)) / height
        bottom = max(top - (below if number else first) / height, 0.0)
        edge = column * (share + gap_x)
        across = (edge, min(edge + share, 1.0)) if number else (0.0, 1.0)
        name = str(number + 1) if number else ""
        wide = (across[1] - across[0]) * plot_width
        panels.append(Panel(f"x{name}", f"y{name}", column, row + 1, across, (bottom, top), wide, title))
    return Frame(theme, full, tuple(panels), rows, height, left, named=True)


def _long(name: str) -> str:
    return f"{name[0]}axis{name[1:]}"


def _step(limits: Limits, most: int = 7) -> float:
    """A round distance between grid lines: about half of ``most`` to ``most`` of them."""
    span = limits[1] - limits[0]
    return next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1e9) if span / s <= most)


def _legend_rows(figure: Figure, width: float, size: float) -> int:
    """How many rows the legend takes, by the usual width of letters."""
    entries = [size * (3.6 + 0.6 * len(t.name)) for t in figure.data if t.name and t.showlegend is not False]
    for columns in range(len(entries), 0, -1):
        if sum(max(entries[c::columns]) + size * 1.3 for c in range(columns)) <= width or columns == 1:
            return math.ceil(len(entries) / columns)
    return 0
