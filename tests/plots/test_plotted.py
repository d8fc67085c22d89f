"""What a figure shows, as rows: nothing that is drawn is missing, nothing that is not drawn is there."""

from __future__ import annotations

import csv
import os

import plotly.graph_objects as go
import pytest

from interp.errors import ReportError
from interp.plots import accuracy_by_layer, export, plotted_rows
from interp.plots.frame import Axis, rows_frame
from interp.plots.gallery import pictures
from interp.plots.themes import get_theme


def scatter(layout=None, **trace):
    return go.Figure(go.Scatter(**trace), {"template": {}, **(layout or {})})


def test_points_with_both_kinds_of_error_bars():
    figure = scatter(
        x=[1.0, 2.0], y=[0.5, 0.7], name="probe", hovertext=["<b>a</b><br>b", "c"],
        error_y={"array": [0.1, 0.2], "arrayminus": [0.05, 0.1]}, error_x={"array": [1.0, None]},
    )  # fmt: skip
    one, other = plotted_rows(figure)
    assert one["text"] == "a; b"
    assert (one["y_low"], one["y_high"]) == pytest.approx((0.45, 0.6))
    assert (one["x_low"], one["x_high"]) == (0.0, 2.0)
    assert other["x_low"] is None


def test_missing_and_unseen_points_and_bare_lines_are_no_rows():
    figure = scatter({"xaxis_range": [0, 3]}, x=[1, 2, -10_000], y=[None, 0.5, 0.5], name="probe")
    figure.add_trace(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", showlegend=False))
    assert [(row["x"], row["y"]) for row in plotted_rows(figure)] == [(2, 0.5)]


def test_a_band_is_its_places_with_both_ends_across_gaps():
    figure = scatter(
        x=[0, 1, 2, 2, 1, 0, 0, None, 4, 5, 5, 4, 4], y=[1, 2, 3, 6, 5, 4, 1, None, 0, 0, 2, 1, 0], fill="toself",
        legendgroup="null",
    )  # fmt: skip
    rows = plotted_rows(figure)
    assert [(row["x"], row["y_low"], row["y_high"]) for row in rows] == [
        (0, 1, 4), (1, 2, 5), (2, 3, 6), (4, 0, 1), (5, 0, 2),
    ]  # fmt: skip
    assert {row["series"] for row in rows} == {"null"}


def test_places_have_the_names_of_their_axis_also_a_little_beside():
    layout = {"xaxis": {"tickvals": [0, 1], "ticktext": ["none", "leace<br>rank 1"]}}
    assert [row["x_name"] for row in plotted_rows(scatter(layout, x=[0.12, 1.12], y=[1, 2], name="a"))] == [
        "none", "leace rank 1",
    ]  # fmt: skip
    (row,) = plotted_rows(scatter(layout, x=[0.5], y=[1], name="a"))
    assert "x_name" not in row
    # On a scale of numbers, near is not at.
    scale = {"xaxis": {"tickvals": [0, 0.5, 1], "ticktext": ["0", "half", "1"]}}
    assert [row["x_name"] for row in plotted_rows(scatter(scale, x=[0.5, 0.6], y=[1, 2], name="a"))] == ["half", None]


def test_cells_of_a_grid():
    figure = go.Figure(go.Heatmap(z=[[1.0, None], [3.0, 4.0]], x=[5, 6], y=[7, 8], hovertext=[["a", ""], ["b", "c"]]))
    rows = plotted_rows(figure)
    assert [(row["x"], row["y"], row["z"], row["text"]) for row in rows] == [
        (5, 7, 1.0, "a"), (5, 8, 3.0, "b"), (6, 8, 4.0, "c"),
    ]  # fmt: skip


def test_every_point_of_a_report_is_there_with_every_digit(make_probe, tmp_path):
    report = make_probe(3, ("resid_post", "mlp_out"))
    figure = accuracy_by_layer(report, theme="paper")
    written = export(figure, tmp_path / "auc.svg", rows=True)
    assert written.name == "auc.svg"
    assert sorted(os.listdir(tmp_path)) == ["auc.csv", "auc.svg"]
    assert export(figure, tmp_path / "alone.csv").read_bytes() == (tmp_path / "auc.csv").read_bytes()
    with (tmp_path / "auc.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shown = {float(row["y"]) for row in rows if row["y"]}
    assert {row["auc"] for row in report.rows} | {row["untrained_auc"] for row in report.rows} <= shown
    assert any("resid_post.2" in row["text"] for row in rows)


def test_rows_are_not_written_beside_a_figure_that_cannot_be(tmp_path):
    with pytest.raises(ReportError):
        export(go.Figure(go.Pie(values=[1])), tmp_path / "a.svg", engine="matplotlib", rows=True)
    assert os.listdir(tmp_path) == []


def test_every_kind_of_figure_has_rows(make):
    for kind in ("recall", "signature", "gap", "transfer", "erasure", "curve", "project-out"):
        for picture in pictures(make(kind), "paper"):
            rows = plotted_rows(picture.figure)
            assert len(rows) > 3, picture.name
            assert all(row.get("y") is not None or row.get("y_low") is not None for row in rows), picture.name


def test_a_long_title_over_named_rows_moves_left_until_it_fits():
    theme = get_theme("screen").replace(width=400, wide=400)
    for title, moved in (("KL", 0), ("Change of the refusal score, log odds", 100)):
        figure = go.Figure(go.Scatter(x=[0], y=[0]))
        frame = rows_frame(theme, [title], ["Folded into the weights"])
        frame.dress(figure, "", left=frame.left)
        frame.draw_axes(figure, frame.panels[0], Axis((0, 1)), Axis((0, 1)))
        (note,) = figure.layout.annotations
        assert -note.xshift == pytest.approx(moved, abs=30)
        assert -note.xshift <= figure.layout.margin.l
