"""Colour scales of grids, and the scale beside a grid as a panel of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .frame import Axis, Frame, Panel
from .themes import PALETTE, Theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Scale = list[list[Any]]
# From nothing to all, ever darker, so that a greyscale print keeps the order.
RISING: Scale = [[0.0, "#ffffff"], [0.35, "#a9d3ec"], [0.7, "#2f8fc4"], [1.0, "#003a5c"]]
# Around a middle: what lies below it never gets as dark as what lies above, so that grey tells the two apart.
AROUND: Scale = [[0.0, "#e39a5f"], [0.5, "#ffffff"], [0.68, "#a9d3ec"], [0.85, "#2f8fc4"], [1.0, "#003a5c"]]


def room_for_scale(frame: Frame, letters: float = 6.0) -> Frame:
    """The frame with its panels moved to the left, so that a scale of so many letters fits at the right."""
    share = 1 - letters * frame.theme.font_size / (frame.width - frame.theme.font_size * (frame.left + 0.9))

    def narrower(panel: Panel) -> Panel:
        across = (panel.x_domain[0] * share, panel.x_domain[1] * share)
        return dataclasses.replace(panel, x_domain=across, width=panel.width * share)

    return dataclasses.replace(frame, panels=tuple(map(narrower, frame.panels)))


def add_scale(
    figure: Figure, frame: Frame, colours: Scale, reach: tuple[float, float], unit: str, texts: Mapping[float, str]
) -> None:
    """Draw the colours' scale at the right of the first row; a colour bar would be a picture of pixels.

    ``texts`` are the ticks: value and what it is called.
    """
    import plotly.graph_objects as go

    low, high = reach
    steps = [low + (high - low) * k / 24 for k in range(25)]
    name = str(len(frame.panels) + 1)
    figure.add_trace(
        go.Heatmap(
            z=[[v] for v in steps], x=[0], y=steps, colorscale=colours, zmin=low, zmax=high, showscale=False,
            hoverinfo="skip", xaxis=f"x{name}", yaxis=f"y{name}",
        )
    )  # fmt: skip
    first = [panel for panel in frame.panels if panel.row == 0]
    left = max(panel.x_domain[1] for panel in first) + 1.2 * frame.theme.font_size / frame.width
    thick = 0.9 * frame.theme.font_size / frame.width
    panel = Panel(f"x{name}", f"y{name}", 1, 0, (left, left + thick), first[0].y_domain, 1.0, "")
    edge = (high - low) / 48
    along = Axis((low - edge, high + edge), unit, list(texts), list(texts.values()))
    frame.draw_axes(figure, panel, Axis((-0.5, 0.5), labelled=False, places=[], texts=[]), along)
    figure.update_layout({f"yaxis{name}": {"side": "right"}})


def frame_cell(figure: Figure, panel: Panel, x: float, y: float, theme: Theme, weight: float = 1.0) -> None:
    """A frame around one cell of a grid."""
    figure.add_shape(
        type="rect", x0=x - 0.46, x1=x + 0.46, y0=y - 0.46, y1=y + 0.46, xref=panel.x, yref=panel.y,
        line={"color": PALETTE["ink"], "width": theme.line_width * weight},
    )  # fmt: skip


def cross_cells(figure: Figure, panel: Panel, cells: Sequence[tuple[float, float]], name: str, theme: Theme) -> None:
    """Small crosses in the corners of cells that do not count, with one entry in the legend."""
    import plotly.graph_objects as go

    if not cells:
        return
    cross = {"symbol": "x", "size": theme.marker_size * 0.75, "color": PALETTE["muted"]}
    shown = not any(trace.name == name for trace in figure.data)
    figure.add_trace(
        go.Scatter(
            x=[x + 0.36 for x, _ in cells], y=[y + 0.28 for _, y in cells], mode="markers", marker=cross, name=name,
            showlegend=shown, hoverinfo="skip", xaxis=panel.x, yaxis=panel.y,
        )
    )  # fmt: skip


def tick_every(count: int, room: float) -> list[int]:
    """Numbers 0, k, 2k, ... below ``count``, as many as fit."""
    step = next(s for s in (1, 2, 4, 5, 10, 20, 50, 100, 1000, 10**6) if count / s <= max(room, 1))
    return list(range(0, count, step))
