from __future__ import annotations

import os

import plotly.graph_objects as go
import pytest

from interp.errors import ReportError
from interp.plots import accuracy_by_layer, export
from interp.plots.static import render

CORE = go.Figure(go.Scatter(x=[1, 2], y=[3, 4]), {"template": {}})
OTHER = go.Figure(go.Pie(values=[1, 2]), {"template": {}})


@pytest.fixture
def kaleido(monkeypatch):
    """What the figure would ask of kaleido, and an answer."""
    asked: list[dict] = []

    def answer(self, **options):
        asked.append(options)
        return b"from kaleido"

    monkeypatch.setattr(go.Figure, "to_image", answer)
    return asked


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png", "SVG"])
def test_core_figures_need_no_browser(tmp_path, kaleido, suffix):
    path = export(CORE, tmp_path / f"deep/figure.{suffix}")
    assert path.read_bytes() == render(CORE, suffix.lower())
    assert os.listdir(tmp_path / "deep") == [f"figure.{suffix}"]
    assert kaleido == []


def test_other_figures_go_through_kaleido(tmp_path, kaleido):
    assert export(OTHER, tmp_path / "pie.pdf").read_bytes() == b"from kaleido"
    export(OTHER, tmp_path / "pie.png", dpi=192)
    assert kaleido == [{"format": "pdf"}, {"format": "png", "scale": 2.0}]
    assert export(CORE, tmp_path / "core.svg", engine="kaleido").read_bytes() == b"from kaleido"


def test_matplotlib_can_be_insisted_on(tmp_path, kaleido):
    with pytest.raises(ReportError, match="trace type 'pie'"):
        export(OTHER, tmp_path / "pie.svg", engine="matplotlib")
    assert kaleido == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "error", [RuntimeError("\n\nKaleido requires Google Chrome.\nMore.\n"), ValueError("no kaleido")]
)
def test_a_missing_chrome_is_said_plainly(tmp_path, monkeypatch, error):
    def fail(self, **options):
        raise error

    monkeypatch.setattr(go.Figure, "to_image", fail)
    with pytest.raises(ReportError, match=r"trace type 'pie'.*(Chrome|kaleido)") as caught:
        export(OTHER, tmp_path / "pie.svg")
    assert "Install Chrome" in str(caught.value)
    assert caught.value.__cause__ is error
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["figure", "figure.jpg", "figure.svg.gz"])
def test_unknown_suffixes_are_named(tmp_path, name):
    with pytest.raises(ReportError, match=r"write \.svg, \.pdf, \.png, \.html or \.csv"):
        export(CORE, tmp_path / name)


def test_unknown_engines_are_named(tmp_path):
    with pytest.raises(ReportError, match="engines are: auto, matplotlib, kaleido"):
        export(CORE, tmp_path / "a.svg", engine="orca")


def test_an_interactive_page_is_whole(tmp_path, make_probe):
    text = export(accuracy_by_layer(make_probe(title="Is <it> 'so'?")), tmp_path / "figure.html").read_text("utf-8")
    assert "<h1>Is &lt;it&gt; &#39;so&#39;?</h1>" in text
    assert "Content-Security-Policy" in text
    assert "<script src" not in text
    assert "Plotly.newPlot" in text
    # The buttons are ours: plotly's own list has one that uploads the chart.
    assert '"modeBarButtons": [["toImage", "zoom2d", "pan2d", "resetScale2d"]]' in text
