"""Scatter traces (lines, markers, text, fills, error bars) and heatmaps on matplotlib axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import ReportError
from .axes import Scale
from .spec import Props, get
from .style import POINTS, color, dash, marker, plain

_TEXT_ANCHORS = {"top": ("bottom", 4), "middle": ("center", 0), "bottom": ("top", -4)}
_TEXT_SIDES = {"left": ("right", -4), "center": ("center", 0), "right": ("left", 4)}


def draw_scatter(
    axes: Any, trace: Props, scales: tuple[Scale, Scale], before: Props | None, order: float, name: str
) -> list[Any]:
    """Draw one scatter trace; returns the artists that stand for it in a legend.

    ``before`` is the previous trace of the same panel, which ``fill='tonexty'`` reaches back to; ``name`` becomes the
    id of the marker group in SVG, where tooltips find it.
    """
    xs, ys = _points(trace, scales)
    if not (~np.isnan(xs) & ~np.isnan(ys)).any():
        return []
    opacity, clip = get(trace, "opacity", 1.0), get(trace, "cliponaxis", True)
    modes = get(trace, "mode", "lines" if len(xs) >= 20 else "lines+markers").split("+")
    main = get(trace, "line.color") or _one(get(trace, "marker.color")) or trace["_color"]
    handles = _fill(axes, trace, xs, ys, scales, before, order, color(main, 0.5 * opacity))
    if "lines" in modes and get(trace, "line.width", 2) > 0:
        keep = ~np.isnan(xs) & ~np.isnan(ys) if get(trace, "connectgaps", False) else slice(None)
        handles += axes.plot(
            xs[keep],
            ys[keep],
            color=color(main, opacity),
            linewidth=get(trace, "line.width", 2) * POINTS,
            linestyle=dash(get(trace, "line.dash")),
            drawstyle="steps-post" if get(trace, "line.shape") == "hv" else "default",
            solid_capstyle="butt",
            dash_capstyle="butt",
            clip_on=clip,
            zorder=order,
        )
    draw_errors(axes, trace, (xs, ys), (main, opacity), order, clip)
    if "markers" in modes:
        handles += _markers(axes, trace, (xs, ys), (main, opacity), order + 0.5, name, clip)
    if "text" in modes:
        _texts(axes, trace, xs, ys, order + 0.7)
    return handles


def _points(trace: Props, scales: tuple[Scale, Scale]) -> tuple[np.ndarray, np.ndarray]:
    """Both coordinates; where a trace gives only one, the other counts from 0, as in plotly."""
    xs, ys = scales[0].positions(listed(trace, "x")), scales[1].positions(listed(trace, "y"))
    if not len(xs) or not len(ys):
        count = np.arange(max(len(xs), len(ys)), dtype=float)
        xs, ys = (xs if len(xs) else count), (ys if len(ys) else count)
    shortest = min(len(xs), len(ys))
    return xs[:shortest], ys[:shortest]


def _fill(
    axes: Any, trace: Props, xs: np.ndarray, ys: np.ndarray, scales: tuple[Scale, Scale], before: Props | None,
    order: float, default: Any,
) -> list[Any]:  # fmt: skip
    kind = get(trace, "fill", "none")
    if kind == "none":
        return []
    given = get(trace, "fillcolor")
    face = color(given, get(trace, "opacity", 1.0)) if given else default
    if kind == "toself":
        # NaN separates polygons.
        breaks = np.flatnonzero(np.isnan(xs) | np.isnan(ys))
        parts = zip(np.split(xs, breaks), np.split(ys, breaks), strict=True)
        loops = [(a[~np.isnan(a + b)], b[~np.isnan(a + b)]) for a, b in parts]
        filled = [p for a, b in loops if len(a) > 2 for p in axes.fill(a, b, facecolor=face, linewidth=0, zorder=order)]
        return filled[:1]
    floor: Any = 0.0
    if kind == "tonexty" and before is not None:
        other_x, other_y = scales[0].positions(listed(before, "x")), scales[1].positions(listed(before, "y"))
        if len(other_x) != len(xs) or not np.array_equal(other_x, xs, equal_nan=True):
            raise ReportError(
                "fill='tonexty' needs the two traces to have the same x; use one 'toself' polygon instead"
            )
        if get(before, "line.shape") != get(trace, "line.shape"):
            raise ReportError("fill='tonexty' needs both lines to have the same shape")
        floor = other_y
    step = "post" if get(trace, "line.shape") == "hv" else None
    return [axes.fill_between(xs, ys, floor, step=step, facecolor=face, linewidth=0, zorder=order)]


def draw_errors(
    axes: Any, trace: Props, at: tuple[np.ndarray, np.ndarray], look: tuple[str, float], order: float, clip: bool
) -> None:
    """Draw the error bars of a trace around ``at``; ``look`` is the colour they have by default, and the opacity."""
    xs, ys = at
    for letter in "xy":
        bars = get(trace, f"error_{letter}", {})
        if get(bars, "array") is None or not get(bars, "visible", True):
            continue
        up = np.array([np.nan if v is None else v for v in bars["array"]], dtype=float)
        minus = get(bars, "arrayminus")
        symmetric = get(bars, "symmetric", minus is None)
        down = up if symmetric else np.array([np.nan if v is None else v for v in minus], dtype=float)
        drawn = ~np.isnan(xs + ys) & ~np.isnan(up) & ~np.isnan(down)
        if not drawn.any():
            continue
        axes.errorbar(
            xs[drawn],
            ys[drawn],
            **{f"{letter}err": np.stack([down[drawn], up[drawn]])},
            fmt="none",
            ecolor=color(get(bars, "color", look[0]), look[1]),
            elinewidth=get(bars, "thickness", 2) * POINTS,
            capsize=get(bars, "width", 4) * POINTS / 2,
            capthick=get(bars, "thickness", 2) * POINTS,
            clip_on=clip,
            zorder=order - 0.1,
        )


def _markers(
    axes: Any,
    trace: Props,
    at: tuple[np.ndarray, np.ndarray],
    look: tuple[str, float],
    order: float,
    name: str,
    clip: bool,
) -> list[Any]:
    (xs, ys), (main, opacity) = at, look
    props = get(trace, "marker", {})
    opacity = opacity * get(props, "opacity", 1.0)
    size, fill, symbol = get(props, "size", 6), get(props, "color", main), get(props, "symbol", "circle")
    edge, width = get(props, "line.color"), get(props, "line.width", 0) * POINTS
    if all(isinstance(v, (str, int, float)) for v in (size, fill, symbol)):
        shape, is_open = marker(symbol)
        line = axes.plot(
            xs,
            ys,
            linestyle="none",
            marker=shape,
            markersize=size * POINTS,
            markerfacecolor="none" if is_open else color(fill, opacity),
            markeredgecolor=color(fill if is_open else edge or fill, opacity),
            markeredgewidth=max(width, size * POINTS * 0.18) if is_open else width,
            clip_on=clip,
            zorder=order,
            gid=name,
        )
        return list(line)
    return _varied_markers(axes, props, xs, ys, (size, fill, symbol), opacity, order, main)


def _varied_markers(
    axes: Any, props: Props, xs: np.ndarray, ys: np.ndarray, looks: tuple[Any, Any, Any], opacity: float, order: float,
    main: str,
) -> list[Any]:  # fmt: skip
    """Markers whose size, colour or symbol changes from point to point; a colour may be a number on a colour scale."""
    size, fill, symbol = (each(look, len(xs)) for look in looks)
    drawn = ~np.isnan(xs + ys)
    values, norm_map = np.array([]), None
    if fill and not isinstance(fill[0], str):
        values = np.array([np.nan if v is None else v for v in fill], dtype=float)
        norm = _norm(values, get(props, "cmin"), get(props, "cmax"), None)
        norm_map = (norm, colormap(get(props, "colorscale"), False))
    handles = []
    for one in dict.fromkeys(symbol):
        shape, is_open = marker(one)
        rows = np.flatnonzero(drawn & np.array([s == one for s in symbol]))
        shades = norm_map[1](norm_map[0](values[rows])) if norm_map else [color(fill[i], opacity) for i in rows]
        handles.append(
            axes.scatter(
                xs[rows],
                ys[rows],
                s=[(size[i] * POINTS) ** 2 for i in rows],
                marker=shape,
                facecolors="none" if is_open else shades,
                edgecolors=shades if is_open else color(get(props, "line.color", main), opacity),
                linewidths=1 if is_open else get(props, "line.width", 0) * POINTS,
                zorder=order,
            )
        )
    if norm_map and get(props, "showscale", False):
        _colorbar(axes, norm_map, get(props, "colorbar", {}))
    return handles[:1]


def _texts(axes: Any, trace: Props, xs: np.ndarray, ys: np.ndarray, order: float) -> None:
    texts = each(get(trace, "text", ""), len(xs))
    places = each(get(trace, "textposition", "middle center"), len(xs))
    for a, b, text, place in zip(xs, ys, texts, places, strict=True):
        if text is None or np.isnan(a + b):
            continue
        (va, dy), (ha, dx) = _TEXT_ANCHORS[place.split()[0]], _TEXT_SIDES[place.split()[1]]
        axes.annotate(
            plain(text)[0],
            (a, b),
            xytext=(dx, dy),
            textcoords="offset points",
            ha=ha,
            va=va,
            fontsize=get(trace, "textfont.size", 12) * POINTS,
            color=color(get(trace, "textfont.color", "#1f2328")),
            zorder=order,
        )


def draw_heatmap(axes: Any, trace: Props, x: Scale, y: Scale, order: float) -> list[Any]:
    """Draw one heatmap, with its numbers if ``texttemplate`` asks for them and its colour bar."""
    z = np.array([[np.nan if v is None else v for v in row] for row in trace["z"]], dtype=float)
    across = x.positions(listed(trace, "x")) if get(trace, "x") is not None else np.arange(z.shape[1])
    down = y.positions(listed(trace, "y")) if get(trace, "y") is not None else np.arange(z.shape[0])
    norm = _norm(z, get(trace, "zmin"), get(trace, "zmax"), get(trace, "zmid"))
    shades = colormap(get(trace, "colorscale"), get(trace, "reversescale", False))
    axes.pcolormesh(
        _edges(across), _edges(down), np.ma.masked_invalid(z), norm=norm, cmap=shades, alpha=get(trace, "opacity"),
        edgecolors="white" if get(trace, "xgap", 0) or get(trace, "ygap", 0) else "face",
        linewidth=max(get(trace, "xgap", 0), get(trace, "ygap", 0), 0.15) * POINTS, zorder=order,
    )  # fmt: skip
    if get(trace, "texttemplate") is not None:
        for i, j in np.ndindex(z.shape):
            text = plain(trace["text"][i][j])[0] if get(trace, "text") is not None else ""
            light = np.isfinite(z[i, j]) and np.dot(shades(norm(z[i, j]))[:3], (0.3, 0.59, 0.11)) < 0.5
            # Not the ink of pages, which turns light on dark ones: a cell keeps its colour there.
            shade = get(trace, "textfont.color") or ("#ffffff" if light else "#20242a")
            axes.text(
                across[j], down[i], text, ha="center", va="center", color=color(shade),
                fontsize=get(trace, "textfont.size", 12) * POINTS, zorder=order + 0.5,
            )  # fmt: skip
    if get(trace, "showscale", True):
        _colorbar(axes, (norm, shades), get(trace, "colorbar", {}))
    return []


def colormap(scale: Any, reverse: bool) -> Any:
    """Plotly's colour scale (a name, or pairs of place and colour) as a matplotlib colour map."""
    from matplotlib.colors import LinearSegmentedColormap
    from plotly.colors import get_colorscale

    pairs = get_colorscale(scale) if isinstance(scale, str) else scale or get_colorscale("Viridis")
    stops = [(float(place), color(shade)) for place, shade in pairs]
    if reverse:
        stops = [(1 - place, shade) for place, shade in reversed(stops)]
    return LinearSegmentedColormap.from_list("plotly", stops)


def _norm(values: np.ndarray, low: float | None, high: float | None, middle: float | None) -> Any:
    from matplotlib.colors import Normalize

    finite = values[np.isfinite(values)]
    low = (float(finite.min()) if finite.size else 0.0) if low is None else low
    high = (float(finite.max()) if finite.size else 1.0) if high is None else high
    if middle is not None:
        reach = max(abs(high - middle), abs(low - middle))
        low, high = middle - reach, middle + reach
    return Normalize(low, high if high > low else low + 1)


def _colorbar(axes: Any, norm_map: tuple[Any, Any], props: Props) -> None:
    from matplotlib.cm import ScalarMappable

    bar = axes.figure.colorbar(ScalarMappable(*norm_map), ax=[], cax=axes.inset_axes([1.02, 0, 0.03, 1]))
    bar.outline.set_visible(bool(get(props, "outlinewidth", 0)))
    bar.ax.tick_params(length=0, pad=2)
    if (ticks := get(props, "tickvals")) is not None:
        bar.set_ticks(list(ticks), labels=[plain(t)[0] for t in get(props, "ticktext", ticks)])
    bar.set_label(plain(get(props, "title.text", ""))[0])


def _edges(centers: np.ndarray) -> np.ndarray:
    if len(centers) < 2:
        return np.array([centers[0] - 0.5, centers[0] + 0.5])
    middles = (centers[1:] + centers[:-1]) / 2
    return np.array([2 * centers[0] - middles[0], *middles, 2 * centers[-1] - middles[-1]])


def listed(trace: Props, key: str) -> Sequence[Any]:
    """The values of a trace, none where it has none."""
    values = trace.get(key)
    return () if values is None else values


def each(value: Any, count: int) -> list[Any]:
    """One value for each of ``count`` points."""
    return [value] * count if value is None or isinstance(value, (str, int, float)) else list(value)


def _one(value: Any) -> str | None:
    return value if isinstance(value, str) else None
