"""The legend of a static figure: one entry per named trace or legend group, in rows that fit the width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .canvas import GAP, Canvas
from .spec import Props, get
from .style import POINTS, color, plain

Entry = tuple[Props, list[Any]]


@dataclass(frozen=True)
class Legend:
    """The matplotlib legend, and whether it stands at the bottom of the figure rather than in the plot area."""

    artist: Any
    at_bottom: bool


def add_legend(canvas: Canvas, entries: list[Entry]) -> Legend | None:
    """Add the legend that the layout asks for; none if no trace would be in it."""
    labelled = _labelled(canvas, entries)
    if not labelled:
        return None
    wanted = get(canvas.spec.layout, "legend", {})
    flat = get(wanted, "orientation", "v") == "h"
    at_bottom = flat and (get(wanted, "yref") == "container" or get(wanted, "y", -0.1) < 0)
    width, height = canvas.size
    if not flat:
        return Legend(_make(canvas, labelled, 1, _in_plot(canvas, wanted)), False)
    place = _in_plot(canvas, wanted)
    if at_bottom:
        place = {
            "loc": "lower center",
            "bbox_to_anchor": (0.5, GAP / height),
            "bbox_transform": canvas.drawing.transFigure,
        }
    renderer = canvas.drawing.canvas.get_renderer()
    for columns in range(len(labelled), 0, -1):
        artist = _make(canvas, _by_rows(labelled, columns), columns, place)
        if columns == 1 or artist.get_window_extent(renderer).width <= width - 2 * GAP:
            break
        artist.remove()
    return Legend(artist, at_bottom)


def _labelled(canvas: Canvas, entries: list[Entry]) -> list[tuple[str, tuple[Any, ...]]]:
    """Text and handles of each entry. A group of traces is one entry that shows all of what they drew."""
    shown = get(canvas.spec.layout, "showlegend")
    if shown is False or (shown is None and len(entries) == 1 and get(entries[0][0], "showlegend") is not True):
        return []
    labelled = []
    for trace, handles in sorted(entries, key=lambda entry: get(entry[0], "legendrank", 1000)):
        if not get(trace, "showlegend", trace["type"] != "heatmap") or not get(trace, "name"):
            continue
        group = get(trace, "legendgroup")
        if group is not None:
            here = (trace.get("xaxis"), trace.get("yaxis"))
            together = [
                h for t, h in entries if (get(t, "legendgroup"), t.get("xaxis"), t.get("yaxis")) == (group, *here)
            ]
            handles = [one for several in together for one in several]
        if handles:
            labelled.append((plain(trace["name"])[0], tuple(handles)))
    return labelled


def _by_rows(entries: list[Any], columns: int) -> list[Any]:
    """Matplotlib fills a legend column by column; this order reads row by row."""
    return [entry for column in range(columns) for entry in entries[column::columns]]


def _in_plot(canvas: Canvas, wanted: Props) -> dict[str, Any]:
    across = {"left": "left", "center": "center", "right": "right", "auto": "left"}[get(wanted, "xanchor", "left")]
    along = {"top": "upper", "middle": "center", "bottom": "lower", "auto": "upper"}[get(wanted, "yanchor", "auto")]
    loc = "center" if along == across == "center" else f"{along} {across}"
    at = (get(wanted, "x", 1.02), get(wanted, "y", 1.0))
    return {"loc": loc, "bbox_to_anchor": at, "bbox_transform": canvas.paper}


def _make(canvas: Canvas, entries: list[Any], columns: int, place: dict[str, Any]) -> Any:
    wanted = get(canvas.spec.layout, "legend", {})
    size = get(wanted, "font.size", canvas.font["size"])
    back = get(wanted, "bgcolor")
    legend = canvas.drawing.legend(
        [handles for _, handles in entries],
        [text for text, _ in entries],
        ncols=columns,
        frameon=bool(back),
        fontsize=size * POINTS,
        labelcolor=color(get(wanted, "font.color", canvas.font["color"])),
        borderaxespad=0,
        borderpad=0.2 if back else 0,
        handlelength=2.4,
        handletextpad=0.6,
        columnspacing=1.3,
        labelspacing=0.35,
        **place,
    )
    if back:
        frame = legend.get_frame()
        frame.set_facecolor(color(back))
        frame.set_linewidth(get(wanted, "borderwidth", 0) * POINTS)
        frame.set_edgecolor(color(get(wanted, "bordercolor", "#444")))
    return legend
