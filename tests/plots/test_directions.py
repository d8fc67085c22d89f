"""Figures of directions: grids of candidates, the chosen one beside random ones, sites by depth, heads."""

from __future__ import annotations

import pytest

from interp.errors import ReportError
from interp.plots import accuracy_by_layer, candidate_grid, figures, get_theme, judged_direction, table
from interp.plots.static import render
from interp.plots.words import caption, explanations, how_to_read
from interp.report import Report
from tests.plots.conftest import SOURCE
from tests.plots.looks import assert_tidy, page_of

PHONE = get_theme("screen").replace(width=400, wide=400, panel_height=240, titled=False)


def selection(layers=6, marks=("post-3", "post-2", "post-1")) -> Report:
    chosen = (layers // 2, marks[-1])
    rows = []
    for number, mark in enumerate(marks):
        for layer in range(layers):
            one = (layer, mark)
            there = layer > 0
            rows.append({
                "site": f"resid_pre.{layer}", "layer": layer, "mark": mark, "norm": 1.0 * layer,
                "bypass": 8.0 - 14 * (one == chosen) - number if there else None,
                "induce": -8.0 + 2 * layer if there else None, "kl": 0.001 * 3**layer if there else None,
                "cosine": 0.1 if there else None, "chosen": one == chosen,
                "reason": "chosen" if one == chosen else "legal, higher bypass" if layer % 2 else "KL 0.4 > 0.1",
            })  # fmt: skip
    meta = {
        "kl_limit": 0.1, "induce_limit": 0.0, "depth_limit": 0.8, "first_barred": int(0.8 * layers), "p": 0.05,
        "shuffles": 19, "null_without_choice": 4,
    }  # fmt: skip
    return Report("selection", "Candidates", "A refusal direction was found.", rows, SOURCE, meta=meta)


def judged() -> Report:
    rows = []
    for prompts, act, base in (("harmful", "ablate", 8.0), ("harmless", "add", -8.0)):
        for direction, score in (("none", base), ("selected", -base), ("random", base - 1), ("shuffled labels", base)):
            rows.append({
                "prompts": prompts, "act": "nothing" if direction == "none" else act, "direction": direction,
                "draws": 1, "score": score, "score_lo": score - 0.5, "score_hi": score + 0.5,
                "refused": float(score > 0), "n": 96,
            })  # fmt: skip
    rows += [
        {"prompts": "harmless", "act": "ablate", "direction": d, "score": -7.0, "kl": k, "kl_lo": k / 2, "kl_hi": k * 2}
        for d, k in (("selected", 0.01), ("random", 0.1))
    ]
    return Report("selection-test", "On test prompts", "It moves refusal.", rows, SOURCE, meta={"ci_level": 0.95})


def heads() -> Report:
    rows = [
        {"site": f"z.{k}.h{h}", "layer": k, "head": h, "val_acc": 0.5 + 0.04 * h, "above_chance": 0.04 * h - 0.05,
         "test_acc": 0.5, "p_max": 0.4, "rank": 1 if (k, h) == (1, 3) else None}
        for k in range(3) for h in range(4)
    ]  # fmt: skip
    return Report("heads", "Heads", "The best head is right.", rows, SOURCE, meta={"unit": "above guessing"})


MADE = {"selection": selection, "selection-test": judged, "heads": heads}


@pytest.mark.parametrize("theme", ["paper", "screen", PHONE], ids=["paper", "screen", "phone"])
@pytest.mark.parametrize("kind", MADE)
def test_nothing_is_clipped_and_nothing_overlaps(kind, theme):
    for figure in figures(MADE[kind](), theme):
        assert_tidy(figure)
        assert render(figure, "svg") == render(figure, "svg")


def test_a_deep_model_with_many_positions_fits():
    many = selection(48, tuple(f"post-{k}" for k in range(9, 0, -1)))
    for theme in ("paper", "screen", PHONE):
        assert_tidy(candidate_grid(many, theme))


def test_cells_hold_what_the_report_says():
    report = selection()
    grids = [t for t in candidate_grid(report).data if t.type == "heatmap"]
    assert len(grids) == 3
    for grid, field in zip(grids, ("bypass", "induce", "kl"), strict=True):
        for row in report.rows:
            drawn = grid.z[("post-3", "post-2", "post-1").index(row["mark"])][row["layer"]]
            assert drawn == row[field]
    crosses = [t for t in candidate_grid(report).data if t.type == "scatter"]
    wanted = sum("KL" in r["reason"] for r in report.rows)
    assert [len(t.x) for t in crosses] == [wanted] * 3
    frames = [s for s in candidate_grid(report).layout.shapes if s.type == "rect"]
    assert len(frames) == 3


def test_the_test_figure_shows_each_arm_once_per_panel():
    drawn = judged_direction(judged())
    assert list(drawn.layout.yaxis.ticktext) == ["As it is", "Selected", "Random", "Shuffled labels"]
    assert {t.x[0] for t in drawn.data if t.xaxis in (None, "x")} == {8.0, -8.0, 7.0}
    looks = {(t.marker.symbol, t.marker.color) for t in drawn.data}
    assert len(looks) == 4


def test_a_direction_report_is_drawn_as_a_probe_is(make_probe):
    report = make_probe(kind="direction")
    names = [t.name or "" for t in accuracy_by_layer(report, theme="paper").data]
    assert any(name.startswith("Direction") for name in names)
    assert caption(report, "AUC").startswith("How well the direction")
    assert any(term == "AUC" for term, _ in explanations(report))


def test_pages_explain_what_they_show(tmp_path):
    page = page_of([selection(), judged()], tmp_path)
    assert "http" not in page.text
    for words in (
        "A refusal direction was found",
        "Bypass",
        "In 4 of 19 runs none kept to the limits",
        "Random",
    ):
        assert words in page.text
    for make in MADE.values():
        assert how_to_read(make())
        assert explanations(make())
        assert table(make()).rows


def test_reports_of_other_kinds_are_refused(make_probe):
    for draw in (candidate_grid, judged_direction):
        with pytest.raises(ReportError, match="selection"):
            draw(make_probe())
    empty = Report("selection", "None", "No direction found.", [], SOURCE)
    with pytest.raises(ReportError, match="has none"):
        candidate_grid(empty)
