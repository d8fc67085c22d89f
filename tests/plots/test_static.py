from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import plotly.graph_objects as go
import pytest

from interp.errors import ReportError
from interp.plots import accuracy_by_layer
from interp.plots.static import render, unsupported
from interp.plots.static.spec import TRACES, require_supported
from interp.plots.static.style import DASHES, SYMBOLS
from tests.plots.looks import assert_tidy

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def pixels(figure: go.Figure) -> np.ndarray:
    from matplotlib.image import imread

    return imread(io.BytesIO(render(figure, "png", dpi=96)))[..., :3]


def texts(figure: go.Figure) -> list[str]:
    """Texts of the SVG, in drawing order."""
    root = ElementTree.fromstring(render(figure, "svg", live_text=True))
    return ["".join(e.itertext()).strip() for e in root.iter(f"{SVG}text")]


def core_figure() -> go.Figure:
    """A bit of everything that the renderer draws."""
    names = ["cat", "dog", "emu"]
    figure = go.Figure()
    figure.add_bar(x=names, y=[1, 2, 3], name="bars", error_y={"type": "data", "array": [0.1, 0.2, 0.3]})
    figure.add_bar(x=names, y=[2, 1, 1], name="more", marker={"color": ["red", "green", "rgba(0,0,255,0.4)"]})
    figure.add_scatter(
        x=names, y=[1, None, 2], mode="lines+markers+text", text=["a", "b", "c"], textposition="top center"
    )
    figure.add_scatter(
        x=[0, 1, 2], y=[3, 2, 1], xaxis="x2", yaxis="y2", fill="tozeroy", line={"dash": "dot", "shape": "hv"}
    )
    figure.add_scatter(
        x=[0, 1, 2], y=[4, 4, 3], xaxis="x2", yaxis="y2", fill="tonexty", line_shape="hv", name="between"
    )  # fmt: skip
    figure.add_scatter(
        x=[0, 1, 2], y=[1, 2, 1], xaxis="x2", yaxis="y2", mode="markers",
        marker={"color": [0.1, 0.5, 0.9], "size": [5, 9, 13], "symbol": ["circle", "x", "square-open"],
                "showscale": True, "colorbar": {"title": {"text": "shade"}}},
    )  # fmt: skip
    figure.add_heatmap(z=[[1, None], [3, 4]], x=["p", "q"], y=["r", "s"], xaxis="x3", yaxis="y3",
                       text=[["1", ""], ["3", "4"]], texttemplate="%{text}", colorscale="RdBu", zmid=2)  # fmt: skip
    figure.add_scatter(
        x=[1, 10, 100], y=[1, 2, 3], xaxis="x4", yaxis="y4", error_x={"type": "data", "array": [0.5, 4, 40]}
    )
    figure.add_hline(y=1.5, line_dash="dash")
    figure.add_shape(type="rect", x0=0, x1=1, y0=0, y1=1, xref="x2", yref="y2", fillcolor="gold", opacity=0.3)
    figure.add_annotation(text="here", x=1, y=2, xref="x2", yref="y2", ax=20, ay=-20)
    figure.add_annotation(text="log", x=1, y=2, xref="x4", yref="y4", showarrow=False)
    figure.update_layout(
        title="All of it", width=900, height=600,
        xaxis={"domain": [0, 0.44]}, yaxis={"domain": [0.56, 1], "title": {"text": "count"}},
        xaxis2={"domain": [0.56, 1], "anchor": "y2"}, yaxis2={"domain": [0.56, 1], "anchor": "x2", "tickformat": ".1f"},
        xaxis3={"domain": [0, 0.4], "anchor": "y3"},
        yaxis3={"domain": [0, 0.42], "anchor": "x3", "autorange": "reversed"},
        xaxis4={"domain": [0.56, 1], "anchor": "y4", "type": "log"}, yaxis4={"domain": [0, 0.42], "anchor": "x4"},
    )  # fmt: skip
    return figure


@pytest.mark.parametrize("format", ["svg", "pdf", "png"])
def test_equal_figures_give_equal_bytes(make_probe, format):
    first, second = (render(accuracy_by_layer(make_probe(4), theme="paper"), format, dpi=60) for _ in range(2))
    assert first == second
    other = render(accuracy_by_layer(make_probe(5), theme="paper"), format, dpi=60)
    assert other != first
    assert {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}[format] == first[
        : {"svg": 5, "pdf": 4, "png": 4}[format]
    ]


def test_another_process_another_day_the_same_bytes():
    code = (
        "import sys, hashlib, plotly.graph_objects as go; from interp.plots.static import render\n"
        "figure = go.Figure(go.Scatter(x=[1, 2], y=[3, 4], name='a', showlegend=True), {'template': {}})\n"
        "print([hashlib.sha256(render(figure, f, dpi=60)).hexdigest() for f in ('svg', 'pdf', 'png')])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )

    def run(**changes: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, **changes},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run(PYTHONHASHSEED="1", TZ="UTC") == run(PYTHONHASHSEED="2", TZ="Asia/Tokyo", SOURCE_DATE_EPOCH="0")


def test_the_users_matplotlib_settings_neither_matter_nor_change(make_probe):
    figure = accuracy_by_layer(make_probe(3), theme="paper")
    plain = render(figure, "svg")
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "svg.hashsalt": None, "lines.linewidth": 9}):
        assert render(figure, "svg") == plain
        assert matplotlib.rcParams["font.size"] == 30


FOUR = ("resid_post", "attn_out", "mlp_out", "resid_mid")


@pytest.mark.parametrize("theme", ["paper", "screen"])
@pytest.mark.parametrize(("layers", "kinds"), [(0, FOUR[:1]), (1, FOUR[:1]), (80, FOUR[:1]), (80, FOUR)])
def test_nothing_is_clipped_and_the_legend_covers_nothing(make_probe, layers, kinds, theme):
    report = make_probe(layers, kinds, title="A rather long title about the number of the subject of the sentence")
    figure = accuracy_by_layer(report, theme=theme)
    assert_tidy(figure)


def test_every_core_thing_draws():
    figure = core_figure()
    assert unsupported(figure) == []
    shown = texts(figure)
    words = ["cat", "dog", "emu", "a", "here", "log", "100", "bars", "more", "between", "shade", "p", "s", "4"]
    for text in ["All of it", "count", *words]:
        assert text in shown, text
    image = pixels(figure)
    assert image.shape[:2] == (600, 900)
    assert (image[:2] == 1).all()
    assert (image[:, -2:] == 1).all()


def test_each_drawn_thing_leaves_ink():
    """A trace that were dropped would leave the picture as it is without it."""
    whole = core_figure()
    full = pixels(whole)
    for number in range(len(whole.data)):
        less = go.Figure(whole)
        less.data[number].visible = False
        assert not np.array_equal(pixels(less), full), whole.data[number]
    for part in ("shapes", "annotations"):
        less = go.Figure(whole)
        less.layout[part][-1].visible = False
        assert not np.array_equal(pixels(less), full), whole.layout[part][-1]


@pytest.mark.parametrize("kind", ["scatter3d", "pie", "violin", "sankey", "scattergl", "box", "histogram"])
def test_an_unknown_trace_is_refused_by_name(kind):
    figure = go.Figure({"data": [{"type": kind}]})
    with pytest.raises(ReportError, match=f"trace type '{kind}'.*known: {', '.join(TRACES)}"):
        render(figure, "svg")


@pytest.mark.parametrize(
    ("trace", "layout", "words"),
    [
        ({"stackgroup": "one"}, {}, "trace 0 .scatter.: stackgroup"),
        ({"fill": "tonextx"}, {}, "fill 'tonextx'"),
        ({"line": {"shape": "spline"}}, {}, "line.shape 'spline'"),
        ({"marker": {"symbol": "hourglass"}}, {}, "marker.symbol 'hourglass'"),
        ({"line": {"color": "hsl(10,50%,50%)"}}, {}, "no colour"),
        ({"x": ["2024-01-01"]}, {}, "dates as text"),
        ({}, {"xaxis": {"type": "date"}}, "xaxis: type 'date'"),
        ({}, {"yaxis2": {"overlaying": "y"}}, "yaxis2: overlaying"),
        ({}, {"xaxis": {"rangeslider": {"visible": True}}}, "xaxis: rangeslider.visible"),
        ({}, {"shapes": [{"type": "circle"}]}, "shape 0: type 'circle'"),
        ({}, {"sliders": [{}]}, "layout: sliders"),
        ({}, {"images": [{"source": "x"}]}, "layout: images"),
    ],
)
def test_what_it_cannot_draw_is_named_not_dropped(trace, layout, words):
    figure = go.Figure({"data": [{"type": "scatter", "x": [1], "y": [1], **trace}], "layout": layout})
    with pytest.raises(ReportError, match=words):
        render(figure, "svg")


@pytest.mark.parametrize("dash", [*DASHES, "4px,2px", "7px 2px 1.5px 2px"])
def test_dashes(dash):
    figure = go.Figure(go.Scatter(x=[0, 1], y=[0, 1], line={"dash": dash}), {"template": {}})
    assert (b"stroke-dasharray" in render(figure, "svg")) == (dash != "solid")


def test_symbols_differ():
    symbols = [s + end for s in SYMBOLS for end in ("", "-open")]
    traces = [go.Scatter(x=[i], y=[0], mode="markers", marker={"symbol": s}) for i, s in enumerate(symbols)]
    root = ElementTree.fromstring(render(go.Figure(traces, {"template": {}}), "svg"))
    groups = {e.get("id"): e for e in root.iter() if (e.get("id") or "").startswith("points-")}
    looks = []
    for number in range(len(symbols)):
        path, use = (next(groups[f"points-{number}"].iter(f"{SVG}{tag}")) for tag in ("path", "use"))
        looks.append((path.get("d"), "fill: #" in str(use.get("style"))))
    assert len(set(looks)) == len(looks) == 24


def test_text_is_literal_and_rich_text_is_plain():
    names = ["$x_1$", "a_b^c", "&lt;unk&gt;", "<b>bold</b>", "two<br>lines"]
    figure = go.Figure(go.Bar(x=names, y=[1, 2, 3, 4, 5]), {"width": 900})
    shown = texts(figure)
    for text in ("$x_1$", "a_b^c", "<unk>", "bold", "two", "lines"):
        assert text in shown, text


@pytest.mark.parametrize("mode", ["group", "stack", "relative", "overlay"])
def test_bar_modes_place_bars_as_plotly_does(mode):
    from interp.plots.static.axes import make_scales
    from interp.plots.static.bars import bar_slots

    figure = go.Figure(
        [go.Bar(x=["a", "b"], y=[1, -2]), go.Bar(x=["a", "b"], y=[3, 4])], {"barmode": mode, "bargap": 0.2}
    )
    spec = require_supported(figure)
    (_, second) = bar_slots(spec, ("x", "y"), make_scales(spec)).values()
    shift, thickness, start = second
    assert shift == pytest.approx(0.2 if mode == "group" else 0)
    assert thickness == pytest.approx(0.4 if mode == "group" else 0.8)
    assert list(start) == ([1, 0] if mode in ("stack", "relative") else [0, 0])


def test_a_template_styles_the_figure():
    red = {
        "data": {"scatter": [{"type": "scatter", "line": {"color": "#ff0000"}}]},
        "layout": {"font": {"color": "#00ff00"}},
    }
    drawn = render(go.Figure(go.Scatter(x=[0, 1], y=[0, 1]), {"template": red}), "svg", live_text=True)
    assert b"#ff0000" in drawn
    assert b"#00ff00" in drawn


def test_importing_plots_loads_nothing_heavy():
    code = (
        "import sys; import interp.plots; "
        "bad = {'numpy', 'torch', 'plotly', 'matplotlib', 'jinja2'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
