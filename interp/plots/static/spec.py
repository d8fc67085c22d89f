"""What a plotly figure asks for, with its template applied, and whether this renderer can draw all of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import ReportError
from .style import DASHES, HATCHES, SYMBOLS, color, is_color

Props = dict[str, Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Only a screen can show these, so paper loses nothing without them.
_SCREEN_ONLY = re.compile(
    r"hover.*|x?y?z?hover.*|customdata.*|meta.*|uid|uirevision|ids|selected.*|unselected.*|selectedpoints|"
    r"hoverlabel.*|clickmode|dragmode|modebar.*|transition.*|datarevision|autosize|colorway|spike.*|showspikes|"
    r"fixedrange|automargin|hovermode|newshape.*|type|name|constraintext|separators|title\.automargin|"
    r"legend\.(itemclick|itemdoubleclick|title.*|traceorder|itemsizing|itemwidth|entrywidth.*|valign|tracegroupgap|"
    r"grouptitlefont.*)|minallowed|maxallowed|layer|error_[xy]\.type"
)


def _under(prefix: str, keys: str) -> str:
    return " ".join(f"{prefix}.{key}" for key in keys.split())


_ERRORS = "array arrayminus symmetric color thickness width visible"
# A bar stands beside its own panel, from end to end: `x`, `y` and `len` are how plotly is told so.
_COLORBAR = _under("colorbar", "title.text thickness x y len outlinewidth tickvals ticktext")
_COMMON = (
    "x y opacity visible showlegend legendgroup legendrank xaxis yaxis cliponaxis orientation "
    f"{_under('error_x', _ERRORS)} {_under('error_y', _ERRORS)}"
)
TRACES: dict[str, frozenset[str]] = {
    "scatter": _words(
        f"{_COMMON} mode text textposition textfont.color textfont.size connectgaps line.color line.width line.dash "
        "line.shape fill fillcolor marker.color marker.size marker.symbol marker.opacity marker.line.color "
        f"marker.line.width marker.colorscale marker.cmin marker.cmax marker.showscale {_under('marker', _COLORBAR)}"
    ),
    "bar": _words(
        f"{_COMMON} base width offset marker.color marker.opacity marker.line.color marker.line.width "
        "marker.pattern.shape"
    ),
    "heatmap": _words(
        "x y z text texttemplate textfont.color textfont.size colorscale reversescale zmin zmax zmid showscale xgap "
        f"ygap opacity visible showlegend xaxis yaxis {_COLORBAR}"
    ),
}
AXIS = _words(
    "anchor domain range autorange type title.text title.font.color title.font.size title.standoff tickvals ticktext "
    "tickmode tick0 dtick nticks tickformat tickangle ticks ticklen tickwidth tickcolor tickfont.color tickfont.size "
    "showticklabels showgrid gridcolor gridwidth griddash showline linecolor linewidth zeroline zerolinecolor "
    "zerolinewidth side matches visible categoryorder categoryarray rangemode"
)
LAYOUT = _words(
    "width height margin.l margin.r margin.t margin.b margin.pad paper_bgcolor plot_bgcolor font.family font.size "
    "font.color title.text title.x title.y title.xref title.yref title.xanchor title.yanchor title.font.color "
    "title.font.size title.pad.t title.pad.b title.pad.l title.pad.r showlegend legend.orientation legend.x legend.y "
    "legend.xanchor legend.yanchor legend.xref legend.yref legend.font.size legend.font.color legend.bgcolor "
    "legend.bordercolor legend.borderwidth barmode bargap bargroupgap"
)
SHAPE = _words(
    "type x0 x1 y0 y1 xref yref line.color line.width line.dash fillcolor opacity layer visible showlegend name"
)
ANNOTATION = _words(
    "text x y xref yref xanchor yanchor xshift yshift showarrow ax ay arrowcolor arrowwidth arrowhead align textangle "
    "font.color font.size bgcolor opacity visible name"
)
_AXIS_NAME = re.compile(r"([xy])axis(\d*)")
_NUMERIC_OR_DATE = re.compile(r"[-+]?\d[\d.eE+-]*|\d{4}-\d\d?(-\d\d?.*)?")


@dataclass(frozen=True)
class Spec:
    """A figure as plain dicts: traces, axes by their short names (``x``, ``y2``), the rest of the layout."""

    traces: tuple[Props, ...]
    axes: dict[str, Props]
    shapes: tuple[Props, ...]
    annotations: tuple[Props, ...]
    layout: Props


def read_spec(figure: Any) -> Spec:
    """The figure's traces and layout with its template merged in and every trace given a colour."""
    layout = figure.layout.to_plotly_json()
    template = layout.pop("template", None) or {}
    defaults = template.get("layout", {})
    colorway = layout.get("colorway") or defaults.get("colorway") or ["#0072b2", "#d55e00", "#009e73", "#aa4a8a"]
    traces = []
    for number, trace in enumerate(figure.data):
        styles = template.get("data", {}).get(trace.type) or [{}]
        props = _merged(_known(styles[0], TRACES.get(trace.type, frozenset())), trace.to_plotly_json())
        props.setdefault("_color", colorway[number % len(colorway)])
        traces.append(props)
    used = {t.get(f"{a}axis", a) for t in traces for a in "xy"}
    axes = {}
    for name in sorted(used | {m[1] + m[2] for key in layout if (m := _AXIS_NAME.fullmatch(key))}):
        own = layout.pop(f"{name[0]}axis{name[1:]}", {})
        axes[name] = _merged(_known(defaults.get(f"{name[0]}axis", {}), AXIS), own)
    shapes, annotations = layout.pop("shapes", ()), layout.pop("annotations", ())
    return Spec(tuple(traces), axes, tuple(shapes), tuple(annotations), _merged(_known(defaults, LAYOUT), layout))


def unsupported(figure: Any) -> list[str]:
    """Everything in the figure that `render` cannot draw, in words; empty when it can draw all of it."""
    spec = read_spec(figure)
    found: list[str] = []
    for number, trace in enumerate(spec.traces):
        kind, where = trace["type"], f"trace {number} ({trace['type']})"
        if kind not in TRACES:
            found.append(f"{where}: the trace type {kind!r} (known: {', '.join(TRACES)})")
            continue
        found += _strange(trace, TRACES[kind] | {"_color"}, where)
        found += _bad_values(trace, where)
    for name, axis in spec.axes.items():
        found += _strange(axis, AXIS, f"{name[0]}axis{name[1:]}")
        if axis.get("type", "-") not in ("-", "linear", "log", "category"):
            found.append(f"{name[0]}axis{name[1:]}: type {axis['type']!r}")
        if axis.get("ticks") not in (None, "", "outside", "inside"):
            found.append(f"{name[0]}axis{name[1:]}: ticks {axis['ticks']!r}")
    for boxes, known, word in ((spec.shapes, SHAPE, "shape"), (spec.annotations, ANNOTATION, "annotation")):
        for number, box in enumerate(boxes):
            found += _strange(box, known, f"{word} {number}")
            if word == "shape" and box.get("type", "rect") not in ("line", "rect"):
                found.append(f"shape {number}: type {box['type']!r}")
    return found + _strange(spec.layout, LAYOUT, "layout")


def require_supported(figure: Any) -> Spec:
    """The spec, or a ReportError that names everything this renderer cannot draw."""
    if problems := unsupported(figure):
        raise ReportError(
            "cannot draw this figure without a browser: " + "; ".join(problems[:8]) + "; use .html, or engine='kaleido'"
        )
    return read_spec(figure)


def _strange(props: Mapping[str, Any], known: frozenset[str], where: str) -> list[str]:
    return [f"{where}: {key}" for key in _flat(props) if key not in known and not _SCREEN_ONLY.fullmatch(key)]


def _bad_values(trace: Props, where: str) -> Iterator[str]:
    choices = {
        "fill": ("none", "toself", "tonexty", "tozeroy"),
        "line.shape": ("linear", "hv"),
        "orientation": ("v", "h"),
        "marker.pattern.shape": tuple(HATCHES),
        "texttemplate": ("%{text}",),
    }
    flat = dict(_flat_items(trace))
    for key, allowed in choices.items():
        if (value := flat.get(key)) is not None and value not in allowed:
            yield f"{where}: {key} {value!r} (known: {', '.join(allowed)})"
    dash = flat.get("line.dash")
    if dash is not None and dash not in DASHES and not re.fullmatch(r"(\d+(\.\d+)?(px)?[ ,]*)+", dash):
        yield f"{where}: line.dash {dash!r}"
    symbol = flat.get("marker.symbol")
    for one in [symbol] if isinstance(symbol, (str, int)) else list(symbol) if symbol is not None else []:
        if str(one).removesuffix("-open") not in SYMBOLS:
            yield f"{where}: marker.symbol {one!r} (known: {', '.join(SYMBOLS)}, each also with -open)"
    if trace.get("type") == "scatter" and set((trace.get("mode") or "lines").split("+")) - {
        "lines", "markers", "text", "none"
    }:  # fmt: skip
        yield f"{where}: mode {trace['mode']!r}"
    for key, value in flat.items():
        if key.endswith("color") and isinstance(value, str) and not is_color(value):
            yield f"{where}: {key} {value!r} is no colour this renderer reads"
    for axis in "xy":
        values = trace.get(axis)
        if values is not None and any(isinstance(v, str) and _NUMERIC_OR_DATE.fullmatch(v) for v in values):
            yield f"{where}: {axis} holds numbers or dates as text"


def _known(props: Mapping[str, Any], known: frozenset[str]) -> Props:
    """Only the known keys of a template: it styles traces and axes that this figure need not have."""
    result: Props = {}
    for key, value in _flat_items(props):
        if key in known:
            *path, last = key.split(".")
            box = result
            for step in path:
                box = box.setdefault(step, {})
            box[last] = value
    return result


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Props:
    result = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if both else value
    return result


def _flat_items(props: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in props.items():
        if isinstance(value, Mapping):
            yield from _flat_items(value, f"{before}{key}.")
        elif value is not None:
            yield f"{before}{key}", value


def _flat(props: Mapping[str, Any]) -> Iterator[str]:
    return (key for key, _ in _flat_items(props))


def get(props: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """The value at a dotted path, ``default`` where nothing is set."""
    value: Any = props
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return default if value is None else value


__all__ = ["Props", "Spec", "color", "get", "read_spec", "require_supported", "unsupported"]
