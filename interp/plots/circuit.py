"""``circuit_graph``: a circuit by depth and token span: how wide, how sure, and into query, key or value."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ReportError
from ..report import Report
from .circuit_layout import Layout, Node, lay_out
from .circuit_routes import Curve, route
from .frame import Axis, Frame, Panel
from .themes import PALETTE, Style, Theme, get_theme

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Colour and name of what a line arrives at.
PARTS = {
    "q": (Style("blue"), "Into queries"),
    "k": (Style("vermillion"), "Into keys"),
    "v": (Style("green"), "Into values"),
    "": (Style("muted"), "Into MLPs and logits"),
}
_FAINT = 0.25
_PART = 0.1  # of an edge's largest part between two spans: smaller ones are not drawn
_AWAY = -1e4  # where samples for the legend lie
_UNITS = {"logit_diff": "logits", "answer_logp": "nats", "kl": "nats", "prob_diff": "of probability"}


def circuit_graph(
    report: Report, theme: str | Theme = "screen", width: float | None = None, top: int | None = None
) -> Figure:
    """A circuit's nodes in rows by depth, heads side by side, in a column for each token span where there are spans.

    What a line carries goes upwards. Its width is the size of its effect, its colour what it arrives at; a dashed line
    works against the metric; a faint one has an interval that crosses zero. ``top`` shows only so many of the
    strongest. Nothing is computed here but places.

    >>> from interp.provenance import Provenance
    >>> rows = [{"edge": "input->m0", "source": "input", "target": "m0", "part": "mlp", "score": 0.5, "sure": True}]
    >>> meta = {"graph": {"n_layers": 1, "n_heads": 1, "n_kv_heads": 1}}
    >>> made = Report("circuit-edges", "Circuit", "One edge.", rows, Provenance("a1", "tiny"), meta=meta)
    >>> [note.text for note in circuit_graph(made, theme="paper").layout.annotations]
    ['input', 'MLP', 'widest: 0.50']

    Raises:
        ReportError: the report is not of kind "circuit-edges", or has no edges or no graph.
    """
    import plotly.graph_objects as go

    graph = report.meta.get("graph")
    if report.kind != "circuit-edges" or not report.rows or not isinstance(graph, dict):
        raise ReportError(f"circuit_graph draws 'circuit-edges' reports with edges, not {report.kind!r}")
    theme = get_theme(theme)
    rows = _shown(report.rows, top)
    if not rows:
        raise ReportError("every edge of this report has a score of zero; there is nothing to draw")
    letter, full = theme.font_size, width or theme.wide
    left = 2.9
    spans = [str(span) for span in report.meta.get("spans", [])]
    layout = lay_out(rows, graph, spans, full - letter * (left + 0.9), letter)
    frame = Frame(theme, full, (Panel("x", "y", 0, 0, (0, 1), (0, 1), layout.width, ""),), 1, layout.height, left)
    widest = max(abs(float(row["score"])) for row in rows)
    curves = route(layout, letter)
    lines = _lines(layout, curves, widest, theme)
    figure = go.Figure([*_groups(layout, theme), *lines, _tooltips(layout, curves, theme), *_samples(rows, theme)])
    spans = [name for name, _, _ in layout.columns if name]
    frame.dress(figure, report.title, left=left, bottom=1.6 + 1.6 * bool(spans))
    bands = {f"{layer}": (low + high) / 2 for layer, low, high in layout.bands if 0 <= layer < graph["n_layers"]}
    middles = [(low + high) / 2 for name, low, high in layout.columns if name]
    x = Axis((0, layout.width), "", middles, [html.escape(name) for name in spans])
    y = Axis((0, layout.height), "Layer", list(bands.values()), list(bands))
    frame.draw_axes(figure, frame.panels[0], x, y)
    nodes = layout.nodes.values()
    figure.update_layout(
        shapes=[*_ground(layout, graph["n_layers"], theme), *(_box(n, layout.node_height, theme) for n in nodes)],
        annotations=[_name(n, layout.node_height, theme) for n in nodes],
    )
    unit = _UNITS.get(str(report.meta.get("metric")), "")
    # On the left: plotly's buttons are on the right.
    figure.add_annotation(
        text=f"widest: {widest:.2g} {unit}".rstrip(), x=0, y=1, xref="x domain", yref="y domain", xanchor="left",
        yanchor="bottom", yshift=letter * 0.25, showarrow=False, font={"size": letter, "color": PALETTE["muted"]},
    )  # fmt: skip
    return figure


def _shown(rows: Sequence[Mapping[str, Any]], top: int | None) -> list[Mapping[str, Any]]:
    """The rows of the strongest edges; of the parts of an edge between spans, those not far below its largest."""
    edges: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row.get("score"):
            edges.setdefault(str(row["edge"]), []).append(row)
    found = []
    for parts in list(edges.values())[:top]:
        most = max(abs(float(row["score"])) for row in parts)
        found += [row for row in parts if abs(float(row["score"])) >= _PART * most]
    return found


def _widths(count: int, theme: Theme) -> tuple[float, float]:
    """The thinnest line and the widest, in pixels: thinner where there are many."""
    most = theme.font_size * (0.42 if count <= 20 else 0.36 if count <= 80 else 0.28)
    return max(0.045 * theme.font_size, 0.5), most


def _lines(layout: Layout, curves: Sequence[Curve], widest: float, theme: Theme) -> list[Any]:
    """Lines that look alike are one trace; faint and thin ones lie below."""
    import plotly.graph_objects as go

    least, most = _widths(len(layout.lines), theme)
    alike: dict[tuple[bool, float, str, bool], tuple[list[float | None], list[float | None]]] = {}
    for line, (xs, ys) in zip(layout.lines, curves, strict=True):
        score = float(line.row["score"])
        wide = max(least, round(4 * most * abs(score) / widest) / 4)
        part = line.part if line.part in PARTS else ""
        kind = (line.row.get("sure") is not False, wide, part, score < 0)
        across, up = alike.setdefault(kind, ([], []))
        across += [*xs.round(1).tolist(), None]
        up += [*ys.round(1).tolist(), None]
    found = []
    for (sure, wide, part, against), (across, up) in sorted(alike.items()):
        look = {"color": PARTS[part][0].hex, "width": wide, "dash": _dash(wide) if against else "solid"}
        found.append(
            go.Scatter(
                x=across, y=up, mode="lines", line=look, opacity=0.92 if sure else _FAINT, showlegend=False,
                hoverinfo="skip",
            )
        )  # fmt: skip
    return found


def _dash(width: float) -> str:
    return f"{max(2.0 * width, 3.5):.1f}px,{max(1.1 * width, 2.2):.1f}px"


def _groups(layout: Layout, theme: Theme) -> list[Any]:
    """Keys and values that query heads share, joined to those heads."""
    import plotly.graph_objects as go

    xs: list[float | None] = []
    ys: list[float | None] = []
    for low, high in layout.groups:
        a, b = layout.nodes[low], layout.nodes[high]
        xs += [a.x, b.x, None]
        ys += [a.y, b.y, None]
    look = {"color": PALETTE["band"], "width": 0.5 * theme.font_size}
    return [go.Scatter(x=xs, y=ys, mode="lines", line=look, showlegend=False, hoverinfo="skip")] if xs else []


def _tooltips(layout: Layout, curves: Sequence[Curve], theme: Theme) -> Any:
    """A point that cannot be seen in the middle of each line, with what is known of it."""
    import plotly.graph_objects as go

    middle = [(float(xs[len(xs) // 2]), float(ys[len(ys) // 2])) for xs, ys in curves]
    return go.Scatter(
        x=[round(x, 1) for x, _ in middle], y=[round(y, 1) for _, y in middle], mode="markers", showlegend=False,
        marker={"size": 0.8 * theme.font_size, "color": PALETTE["muted"]}, opacity=0, hoverinfo="text",
        hovertext=[_words(line.row) for line in layout.lines],
    )  # fmt: skip


def _words(row: Mapping[str, Any]) -> str:
    text = f"{row['edge']}: {float(row['score']):.3g}"
    if row.get("score_lo") is not None and row.get("score_hi") is not None:
        text += f" [{float(row['score_lo']):.3g}, {float(row['score_hi']):.3g}]"
    if row.get("frequency") is not None:
        text += f", in {100 * float(row['frequency']):.0f} % of resampled circuits"
    if row.get("read_span"):
        text += f", {row['read_span']} → {row['use_span']}"
    return html.escape(text, quote=False).replace("-&gt;", " → ")


def _samples(rows: Sequence[Mapping[str, Any]], theme: Theme) -> list[Any]:
    """The legend: a sample of each look that occurs."""
    import plotly.graph_objects as go

    there = {str(row["part"]) if row["part"] in PARTS else "" for row in rows}
    wide = 0.2 * theme.font_size
    looks: list[tuple[str, dict[str, Any], float]] = [
        (name, {"color": style.hex, "width": wide}, 1.0) for part, (style, name) in PARTS.items() if part in there
    ]
    ink = PALETTE["ink"]
    if any(float(row["score"]) < 0 for row in rows):
        looks.append(("Works against", {"color": ink, "width": wide, "dash": _dash(wide)}, 1.0))
    if any(row.get("sure") is False for row in rows):
        looks.append(("Interval crosses zero", {"color": ink, "width": wide}, _FAINT))
    return [
        go.Scatter(
            x=[_AWAY, _AWAY], y=[_AWAY, _AWAY + 1], mode="lines", line=line, opacity=opacity, name=name,
            legendrank=rank, hoverinfo="skip",
        )
        for rank, (name, line, opacity) in enumerate(looks)
    ]  # fmt: skip


def _ground(layout: Layout, n_layers: int, theme: Theme) -> list[dict[str, Any]]:
    """Every other layer on a faint ground, and thin lines between spans."""
    across = {"xref": "x", "yref": "y", "layer": "below"}
    found: list[dict[str, Any]] = [
        {"type": "rect", "x0": 0, "x1": layout.width, "y0": low, "y1": high, "line": {"width": 0},
         "fillcolor": PALETTE["grid"], "opacity": 0.45, **across}
        for layer, low, high in layout.bands
        if 0 <= layer < n_layers and layer % 2 == 0
    ]  # fmt: skip
    line = {"color": PALETTE["band"], "width": theme.line_width * 0.4, "dash": "dot"}
    return found + [
        {"type": "line", "x0": low, "x1": low, "y0": 0, "y1": layout.height, "line": line, **across}
        for _, low, _ in layout.columns[1:]
    ]


def _box(node: Node, height: float, theme: Theme) -> dict[str, Any]:
    x, y = (node.x - node.width / 2, node.x + node.width / 2), (node.y - height / 2, node.y + height / 2)
    return {
        "type": "rect", "x0": x[0], "x1": x[1], "y0": y[0], "y1": y[1], "xref": "x", "yref": "y",
        "fillcolor": PALETTE["band" if node.kind == "mlp" else "grid"],
        "line": {"color": PALETTE["muted"], "width": theme.line_width * 0.35},
    }  # fmt: skip


def _name(node: Node, height: float, theme: Theme) -> dict[str, Any]:
    size = min(0.85 * theme.font_size, 1.45 * node.width / max(len(node.label), 1), 0.8 * height)
    return {
        "text": node.label, "x": node.x, "y": node.y, "xref": "x", "yref": "y", "xanchor": "center",
        "yanchor": "middle", "showarrow": False, "font": {"size": size, "color": PALETTE["ink"]},
    }  # fmt: skip
