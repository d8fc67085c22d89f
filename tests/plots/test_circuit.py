"""Figures of circuits: every edge is drawn as what it is, nothing overlaps, at ten edges and at three hundred."""

from __future__ import annotations

import numpy as np
import pytest

from interp.circuits.edgerows import edge_report
from interp.circuits.graph import Graph
from interp.circuits.select import top_edges
from interp.errors import ReportError
from interp.plots import circuit_graph, estimates_against_exact, faithfulness_curve
from interp.plots.circuit_layout import lay_out
from interp.plots.circuit_routes import route
from interp.plots.gallery import pictures
from interp.plots.themes import get_theme
from interp.plots.words import caption, explanations
from interp.report import Report
from tests.circuits.test_outputs import made_up
from tests.plots.conftest import SOURCE, triple
from tests.plots.looks import assert_offline, assert_tidy, page_of

SMALL = get_theme("screen").replace(width=400, wide=400, panel_height=240)
GPT2, LLAMA = Graph(12, 12, 12, (False,) * 12), Graph(5, 8, 4, (False,) * 5)


def drawn(n: int, graph: Graph = GPT2, spans: tuple[str, ...] = ()) -> Report:
    scores = made_up(graph, seed=n, spans=spans)
    return edge_report(scores, top_edges(scores, n))


def curve() -> Report:
    rows = [
        {"n_edges": n, "share": n / 100, "random": n / 200, "random_max": n / 150}
        | triple("faithfulness", 1 - 1 / n, 0.1)
        | triple("complement", 1 / n, 0.1)
        for n in (1, 3, 10, 30, 100)
    ]
    return Report("circuit", "Circuits", "Ten do.", rows, SOURCE, meta={"random_circuits": 3, "metric": "logit_diff"})


def checked() -> Report:
    rows = [
        {"edge": f"input->a0.h{k}<q>", "group": "top" if k < 6 else "below", "estimated": 2.0 / (k + 1)}
        | triple("exact", 1.8 / (k + 1), 0.1)
        for k in range(12)
    ]
    meta = {"threshold": 0.05, "metric": "logit_diff"}
    return Report("verification", "Exact", "They agree.", rows, SOURCE, meta=meta)


@pytest.mark.parametrize("theme", ["paper", "screen", SMALL], ids=["paper", "screen", "phone"])
def test_circuits_are_tidy(theme):
    assert_tidy(circuit_graph(drawn(50 if theme == "paper" else 10), theme))


def test_three_hundred_edges_and_columns_of_spans_are_tidy():
    figure = circuit_graph(drawn(300), "paper")
    assert_tidy(figure)
    assert figure.layout.height <= 9.5 * 96
    figure = circuit_graph(drawn(20, LLAMA, ("subject", "middle", "last")), "paper")
    assert_tidy(figure)
    assert list(figure.layout.xaxis.ticktext) == ["subject", "middle", "last"]


@pytest.mark.parametrize("graph, spans", [(GPT2, ()), (LLAMA, ("a", "b"))], ids=["gpt2", "grouped, spans"])
def test_boxes_do_not_overlap_and_lines_go_up_around_them(graph, spans):
    rows = drawn(60, graph, spans).rows
    layout = lay_out(rows, graph.to_dict(), spans, 640, 10)
    nodes = list(layout.nodes.values())
    for i, a in enumerate(nodes):
        assert a.width / 2 <= a.x <= layout.width - a.width / 2
        for b in nodes[i + 1 :]:
            assert a.row != b.row or abs(a.x - b.x) >= (a.width + b.width) / 2
    inside = 0
    for line, (xs, ys) in zip(layout.lines, route(layout, 10), strict=True):
        source, target = layout.nodes[line.source], layout.nodes[line.target]
        assert source.row < target.row
        assert (np.diff(ys) >= 0).all()
        assert (ys[0], ys[-1]) == pytest.approx((source.y + layout.node_height / 2, target.y - layout.node_height / 2))
        assert abs(xs[0] - source.x) <= source.width / 2
        assert abs(xs[-1] - target.x) <= target.width / 2
        for node in nodes:
            if source.row < node.row < target.row:
                inside += int(np.interp(node.y, ys, xs) > node.x - node.width / 2) & int(
                    np.interp(node.y, ys, xs) < node.x + node.width / 2
                )
    assert inside == 0


def test_rows_go_by_depth_and_columns_by_span():
    layout = lay_out(drawn(40, LLAMA, ("a", "b")).rows, LLAMA.to_dict(), ("a", "b"), 640, 10)
    edges = {name: (low, high) for name, low, high in layout.columns}
    for (name, span), node in layout.nodes.items():
        assert edges[span][0] < node.x < edges[span][1]
        if node.kind == "mlp":
            assert all(n.y < node.y for n in layout.nodes.values() if n.layer == node.layer and n.kind != "mlp")
        assert name != "logits" or node.row == max(n.row for n in layout.nodes.values())


def test_width_colour_dash_and_faintness_say_what_the_row_says():
    def row(target: str, part: str, score: float, sure: bool | None) -> dict:
        edge = f"input->{target}"
        return {"edge": edge, "source": "input", "target": target, "part": part, "score": score, "sure": sure}

    rows = [row("a0.h0<q>", "q", 4.0, True), row("a0.h1<v>", "v", -2.0, True), row("m0", "mlp", 1.0, False)]
    report = Report("circuit-edges", "C", "H.", rows, SOURCE, meta={"graph": Graph(1, 2, 2, (False,)).to_dict()})
    figure = circuit_graph(report)
    lines = {t.line.color: t for t in figure.data if t.mode == "lines" and not t.name}
    query, value, mlp = lines["#0072b2"], lines["#009e73"], lines["#6b7280"]
    assert query.line.width == pytest.approx(2 * value.line.width, rel=0.1)
    assert query.line.width == pytest.approx(4 * mlp.line.width, rel=0.2)
    assert (query.line.dash, mlp.line.dash) == ("solid", "solid")
    assert value.line.dash != "solid"
    assert mlp.opacity < 0.5 < query.opacity
    names = {t.name for t in figure.data if t.name}
    assert names == {
        "Into queries", "Into values", "Into MLPs and logits", "Works against", "Interval crosses zero"
    }  # fmt: skip
    hover = next(t for t in figure.data if t.mode == "markers").hovertext
    assert hover[1] == "input → a0.h1&lt;v&gt;: -2"
    few = circuit_graph(report, top=1)
    assert {t.name for t in few.data if t.name} == {"Into queries"}


def test_small_parts_between_spans_are_not_drawn_but_no_edge_is_lost():
    about = {"source": "input", "target": "logits", "part": "logits", "edge": "input->logits", "sure": True}
    rows = [
        {**about, "read_span": "a", "use_span": "a", "score": 0.001}, {**about, "read_span": "b", "use_span": "b",
        "score": 0.00001}, {**about, "edge": "m0->logits", "source": "m0", "read_span": "b", "use_span": "b",
        "score": 5.0},
    ]  # fmt: skip
    meta = {"graph": Graph(1, 2, 2, (False,)).to_dict(), "spans": ["a", "b"]}
    figure = circuit_graph(Report("circuit-edges", "C", "H.", rows, SOURCE, meta=meta))
    assert len(next(t for t in figure.data if t.mode == "markers").x) == 2


@pytest.mark.parametrize("theme", ["paper", "screen", SMALL], ids=["paper", "screen", "phone"])
def test_curves_and_checks_are_tidy_and_have_words(theme):
    for report in (curve(), checked()):
        for picture in pictures(report, theme):
            assert_tidy(picture.figure)
            assert caption(report, picture.name)
        assert explanations(report)


def test_pages_of_circuits_are_offline(tmp_path):
    page = page_of([drawn(10), curve(), checked()], tmp_path)
    assert_offline(page)
    assert "What flows goes upwards" in page.text


def test_what_is_no_circuit_is_refused():
    for draw in (circuit_graph, faithfulness_curve, estimates_against_exact):
        with pytest.raises(ReportError, match="draws"):
            draw(Report("probe", "T", "H.", [{"site": "x"}], SOURCE))
