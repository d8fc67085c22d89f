"""Shapes, annotations and the title of a static figure, in data, panel or paper coordinates."""

from __future__ import annotations

from typing import Any

from .canvas import GAP, Canvas
from .spec import Props, get
from .style import POINTS, color, dash, plain


def draw_shape(canvas: Canvas, shape: Props) -> None:
    """Draw one line or rectangle of the layout."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle

    if not get(shape, "visible", True):
        return
    panel, transform, on_paper = _transform(canvas, shape)
    x0, x1, y0, y1 = (_coordinate(canvas, shape, key, False) for key in ("x0", "x1", "y0", "y1"))
    opacity = get(shape, "opacity", 1.0)
    look = {
        "linewidth": get(shape, "line.width", 2) * POINTS,
        "linestyle": dash(get(shape, "line.dash")),
        "zorder": 0.7 if get(shape, "layer") == "below" else 4,
        "transform": transform,
        "clip_on": not on_paper,
    }
    line = color(get(shape, "line.color", "#444"), opacity)
    if get(shape, "type", "rect") == "line":
        panel.add_artist(Line2D([x0, x1], [y0, y1], color=line, **look))
        return
    face = color(get(shape, "fillcolor", "rgba(0,0,0,0)"), opacity)
    panel.add_artist(Rectangle((x0, y0), x1 - x0, y1 - y0, facecolor=face, edgecolor=line, **look))


def draw_annotation(canvas: Canvas, note: Props) -> None:
    """Draw one text of the layout, with its arrow if it has one."""
    if not get(note, "visible", True):
        return
    panel, transform, _ = _transform(canvas, note)
    text, bold = plain(get(note, "text", ""))
    arrow, back = get(note, "showarrow", True), get(note, "bgcolor")
    if arrow:
        shift = get(note, "ax", -10), -get(note, "ay", -30)
    else:
        shift = get(note, "xshift", 0), get(note, "yshift", 0)
    ink = get(note, "font.color", canvas.font["color"])
    sides = {"auto": "center", "middle": "center"}
    across, along = (sides.get(a, a) for a in (get(note, "xanchor", "auto"), get(note, "yanchor", "auto")))
    line = {
        "arrowstyle": "->" if get(note, "arrowhead", 1) else "-",
        "color": color(get(note, "arrowcolor", ink)),
        "linewidth": get(note, "arrowwidth", 1) * POINTS,
        "shrinkA": 0,
        "shrinkB": 1,
    }
    panel.annotate(
        text,
        (_coordinate(canvas, note, "x", True), _coordinate(canvas, note, "y", True)),
        xycoords=transform,
        xytext=(shift[0] * POINTS, shift[1] * POINTS),
        textcoords="offset points",
        ha=across,
        va=along,
        rotation=-get(note, "textangle", 0),
        fontsize=get(note, "font.size", canvas.font["size"]) * POINTS,
        fontweight="bold" if bold else "normal",
        color=color(ink, get(note, "opacity", 1.0)),
        arrowprops=line if arrow else None,
        bbox={"facecolor": color(back), "linewidth": 0, "pad": 1.5} if back else None,
        annotation_clip=False,
        zorder=5,
    )


def draw_title(canvas: Canvas) -> Any:
    """Draw the title at the top left; returns its artist, or nothing."""
    layout = canvas.spec.layout
    if not get(layout, "title.text"):
        return None
    text, bold = plain(layout["title"]["text"])
    width, height = canvas.size
    return canvas.drawing.text(
        GAP / width,
        1 - GAP / height,
        text,
        ha="left",
        va="top",
        wrap=True,
        fontsize=get(layout, "title.font.size", canvas.font["size"] * 1.2) * POINTS,
        fontweight="bold" if bold else "normal",
        color=color(get(layout, "title.font.color", canvas.font["color"])),
    )


def _transform(canvas: Canvas, box: Props) -> tuple[Any, Any, bool]:
    """The panel of a shape or annotation, the transform of its coordinates, and whether one of them is the paper's."""
    from matplotlib.transforms import blended_transform_factory

    refs = [get(box, f"{letter}ref", "paper").split(" ") for letter in "xy"]
    owners = [
        next((axes for pair, axes in canvas.panels.items() if ref[0] == pair[i]), None) for i, ref in enumerate(refs)
    ]
    panel = next((axes for axes in owners if axes is not None), next(iter(canvas.panels.values())))
    parts = []
    for owner, ref in zip(owners, refs, strict=True):
        if owner is None:
            parts.append(canvas.paper)
        else:
            parts.append(owner.transAxes if "domain" in ref else owner.transData)
    return panel, blended_transform_factory(*parts), None in owners


def _coordinate(canvas: Canvas, box: Props, key: str, exponent: bool) -> float:
    ref = get(box, f"{key[0]}ref", "paper")
    value = get(box, key, 0)
    return canvas.scales[ref].position(value, exponent) if ref in canvas.scales else float(value)
