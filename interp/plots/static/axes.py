"""Axes of a static figure: what a coordinate means, where the panels lie, and how ticks and titles look."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .spec import Props, Spec, get
from .style import POINTS, color, dash, formatted, number, plain


@dataclass(frozen=True)
class Scale:
    """How one axis turns data into positions; ``categories`` are at 0, 1, 2, ..."""

    kind: str
    categories: tuple[str, ...] = ()

    def positions(self, values: Iterable[Any]) -> np.ndarray:
        """Data as floats: NaN for a missing value, an index for a category."""
        if self.kind != "category":
            return np.array([number(v) for v in values], dtype=float)
        order = {name: float(i) for i, name in enumerate(self.categories)}
        return np.array([number(v) if not isinstance(v, str) else order[v] for v in values], dtype=float)

    def position(self, value: Any, exponent: bool = False) -> float:
        """One coordinate; plotly gives ranges and annotations of a log axis as ``exponent``."""
        place = float(self.positions([value])[0])
        return 10.0**place if exponent and self.kind == "log" else place


def make_scales(spec: Spec) -> dict[str, Scale]:
    """The scale of every axis, from its own type and from what is drawn on it."""
    scales = {}
    for name, props in spec.axes.items():
        letter = name[0]
        drawn = [t for t in spec.traces if t.get(f"{letter}axis", letter) == name]
        texts: dict[str, None] = dict.fromkeys(v for v in get(props, "categoryarray", ()) if isinstance(v, str))
        for trace in drawn:
            texts.update(dict.fromkeys(v for v in _values(trace, letter) if isinstance(v, str)))
        kind = get(props, "type", "-")
        kind = kind if kind != "-" else "category" if texts else "linear"
        scales[name] = Scale(kind, tuple(texts))
    return scales


def _values(trace: Props, letter: str) -> Iterable[Any]:
    values = trace.get(letter)
    return () if values is None else values


def own_axes(trace: Props) -> tuple[str, str]:
    """The short names of the two axes that a trace is drawn on."""
    return trace.get("xaxis", "x"), trace.get("yaxis", "y")


def panel_box(spec: Spec, pair: tuple[str, str], area: tuple[float, float, float, float]) -> list[float]:
    """Left, bottom, width and height of a panel inside the plot area, as shares of the figure."""
    left, bottom, width, height = area
    x0, x1 = get(spec.axes[pair[0]], "domain", (0, 1))
    y0, y1 = get(spec.axes[pair[1]], "domain", (0, 1))
    return [left + x0 * width, bottom + y0 * height, (x1 - x0) * width, (y1 - y0) * height]


def style_axis(axes: Any, letter: str, props: Props, scale: Scale, font: Mapping[str, Any]) -> None:
    """Range, ticks, grid, line and title of one axis."""
    axis = getattr(axes, f"{letter}axis")
    _range(axes, letter, props, scale)
    _ticks(axis, props, scale)
    size = get(props, "tickfont.size", font["size"]) * POINTS
    shown = get(props, "visible", True) and get(props, "showticklabels", True)
    inward = get(props, "ticks", "") == "inside"
    axis.set_tick_params(
        which="major",
        labelsize=size,
        labelcolor=color(get(props, "tickfont.color", font["color"])),
        length=get(props, "ticklen", 5) * POINTS if get(props, "ticks", "") else 0,
        width=get(props, "tickwidth", 1) * POINTS,
        color=color(get(props, "tickcolor", "#444")),
        direction="in" if inward else "out",
        labelrotation=-get(props, "tickangle", 0) if letter == "x" else 0,
        pad=2.5,
        **({"labelbottom": shown} if letter == "x" else {"labelleft": shown}),
    )
    axis.set_tick_params(which="minor", length=0)
    far = {"x": "top", "y": "right"}[letter]
    if get(props, "side") == far:
        getattr(axis, f"tick_{far}")()
        axis.set_label_position(far)
        axis.set_tick_params(**{f"label{far}": shown})
    if get(props, "showgrid", True) and get(props, "visible", True):
        axis.grid(
            True,
            color=color(get(props, "gridcolor", "#eee")),
            linewidth=get(props, "gridwidth", 1) * POINTS,
            linestyle=dash(get(props, "griddash")),
            zorder=0.5,
        )
    spine = axes.spines[get(props, "side", {"x": "bottom", "y": "left"}[letter])]
    spine.set_visible(bool(get(props, "showline", False) and get(props, "visible", True)))
    spine.set_color(color(get(props, "linecolor", "#444")))
    spine.set_linewidth(get(props, "linewidth", 1) * POINTS)
    if get(props, "zeroline", False):
        line = axes.axvline if letter == "x" else axes.axhline
        zero_width = get(props, "zerolinewidth", 1) * POINTS
        line(0, color=color(get(props, "zerolinecolor", "#444")), linewidth=zero_width, zorder=0.6)
    if title := get(props, "title.text"):
        text, bold = plain(title)
        getattr(axes, f"set_{letter}label")(
            text,
            fontsize=get(props, "title.font.size", font["size"]) * POINTS,
            color=color(get(props, "title.font.color", font["color"])),
            fontweight="bold" if bold else "normal",
            labelpad=get(props, "title.standoff", 4) * POINTS,
        )


def _range(axes: Any, letter: str, props: Props, scale: Scale) -> None:
    if scale.kind == "log":
        getattr(axes, f"set_{letter}scale")("log")
    limits = get(props, "range")
    set_limits = getattr(axes, f"set_{letter}lim")
    if limits is not None and None not in tuple(limits):
        set_limits(*(scale.position(v, exponent=True) for v in limits))
    elif scale.kind == "category":
        set_limits(-0.5, max(len(scale.categories), 1) - 0.5)
    if limits is None and get(props, "rangemode") == "tozero":
        low, high = getattr(axes, f"get_{letter}lim")()
        set_limits(min(low, 0), max(high, 0))
    if get(props, "autorange") in ("reversed", "min reversed", "max reversed"):
        getattr(axes, f"invert_{letter}axis")()


def _ticks(axis: Any, props: Props, scale: Scale) -> None:
    from matplotlib import ticker

    values, step = get(props, "tickvals"), get(props, "dtick")
    if values is not None:
        axis.set_major_locator(ticker.FixedLocator([scale.position(v) for v in values]))
        texts = get(props, "ticktext")
        texts = [str(v) for v in values] if texts is None else [plain(t)[0] for t in texts]
        axis.set_major_formatter(ticker.FixedFormatter(texts))
        axis.set_minor_locator(ticker.NullLocator())
        return
    if scale.kind == "category":
        axis.set_major_locator(ticker.FixedLocator(list(range(len(scale.categories)))))
        axis.set_major_formatter(ticker.FixedFormatter([plain(c)[0] for c in scale.categories]))
        return
    if scale.kind == "linear":
        if step is not None:
            start = number(get(props, "tick0", 0))
            axis.set_major_locator(ticker.MultipleLocator(float(step), offset=start))
        else:
            axis.set_major_locator(ticker.MaxNLocator(get(props, "nticks", 7), steps=[1, 2, 5, 10]))
    if scale.kind == "log":
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(ticker.NullFormatter())
    if spec := get(props, "tickformat"):
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: formatted(value, spec)))
