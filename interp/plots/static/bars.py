"""Bars on matplotlib axes: grouped, stacked or overlaid, either way up, with error bars and hatches."""

from __future__ import annotations

from typing import Any

import numpy as np

from .axes import Scale, own_axes
from .spec import Props, Spec, get
from .style import HATCHES, POINTS, color
from .traces import draw_errors, each, listed

# Offset from the position, thickness, and where each bar starts.
Slot = tuple[float, float, np.ndarray]


def bar_slots(spec: Spec, pair: tuple[str, str], scales: dict[str, Scale]) -> dict[int, Slot]:
    """Where the bars of each bar trace of a panel stand, as ``barmode`` says; keys are trace numbers."""
    bars = [(i, t) for i, t in enumerate(spec.traces) if t["type"] == "bar" and own_axes(t) == pair]
    mode, gap = get(spec.layout, "barmode", "group"), get(spec.layout, "bargap", 0.2)
    share = (1 - gap) / (len(bars) if mode == "group" and bars else 1)
    tops: dict[tuple[float, bool], float] = {}
    slots = {}
    for rank, (number, trace) in enumerate(bars):
        place, size = _place_and_size(trace, (scales[pair[0]], scales[pair[1]]))
        start = np.full(len(place), float(get(trace, "base", 0)))
        if mode in ("stack", "relative"):
            keys = [(float(p), bool(v < 0)) for p, v in zip(place, size, strict=True)]
            start = np.array([tops.get(key, 0.0) for key in keys])
            tops.update({key: s + np.nan_to_num(v) for key, s, v in zip(keys, start, size, strict=True)})
        shift = (rank - (len(bars) - 1) / 2) * share if mode == "group" else 0.0
        slots[number] = (float(get(trace, "offset", shift)), float(get(trace, "width", share)), start)
    return slots


def draw_bars(axes: Any, trace: Props, scales: tuple[Scale, Scale], slot: Slot, order: float) -> list[Any]:
    """Draw one bar trace; returns the artist that stands for it in a legend."""
    flat = get(trace, "orientation", "v") == "h"
    place, size = _place_and_size(trace, scales)
    shift, thickness, start = slot
    opacity = get(trace, "opacity", 1.0) * get(trace, "marker.opacity", 1.0)
    bars = (axes.barh if flat else axes.bar)(
        place + shift,
        size,
        thickness,
        **{"left" if flat else "bottom": start},
        color=[color(fill, opacity) for fill in each(get(trace, "marker.color", trace["_color"]), len(place))],
        edgecolor=color(get(trace, "marker.line.color", "#ffffff")),
        linewidth=get(trace, "marker.line.width", 0) * POINTS,
        hatch=HATCHES[get(trace, "marker.pattern.shape", "")],
        zorder=order,
    )
    at = (size + start, place + shift) if flat else (place + shift, size + start)
    draw_errors(axes, trace, at, ("#1f2328", 1.0), order + 0.3, True)
    return [bars[0]] if len(bars) else []


def _place_and_size(trace: Props, scales: tuple[Scale, Scale]) -> tuple[np.ndarray, np.ndarray]:
    if get(trace, "orientation", "v") == "h":
        return scales[1].positions(listed(trace, "y")), scales[0].positions(listed(trace, "x"))
    return scales[0].positions(listed(trace, "x")), scales[1].positions(listed(trace, "y"))
