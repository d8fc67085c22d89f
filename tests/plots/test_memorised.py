"""Figures of the memorisation job: they draw what stands in the report, clip nothing, and do not rest on colour."""

from __future__ import annotations

import math

import pytest

from interp.errors import ReportError
from interp.plots import figures, get_theme, table
from interp.plots.depths import choose
from interp.plots.erasure import eraser_name, erasure_verdicts
from interp.plots.gallery import FIGURES, pictures
from interp.plots.gap import gap_by_depth
from interp.plots.project_out import project_out_by_depth
from interp.plots.recall import dose_response
from interp.plots.signature import signature_by_depth
from interp.plots.signature_doses import signature_by_dose
from interp.plots.static import render
from interp.plots.training import recall_over_training
from interp.plots.transfer import transfer_by_depth
from interp.plots.words import caption, explanations, how_to_read
from tests.plots.looks import assert_tidy

DRAWS = {
    "recall": dose_response,
    "signature": signature_by_depth,
    "gap": gap_by_depth,
    "transfer": transfer_by_depth,
    "erasure": erasure_verdicts,
    "curve": recall_over_training,
    "project-out": project_out_by_depth,
}
PHONE = get_theme("screen").replace(width=400, wide=400, panel_height=240, titled=False)


def named(figure, axis=None):
    """Name -> trace, of one panel."""
    return {t.name: t for t in figure.data if t.name and (axis is None or t.yaxis == axis)}


@pytest.mark.parametrize("theme", ["paper", PHONE], ids=["paper", "phone"])
@pytest.mark.parametrize("kind", DRAWS)
def test_nothing_is_clipped_and_nothing_overlaps(make, kind, theme):
    for picture in pictures(make(kind), theme):
        assert_tidy(picture.figure)


def test_the_screen_has_room_for_the_fullest_figure(make):
    assert_tidy(erasure_verdicts(make("erasure")))


@pytest.mark.parametrize("kind", DRAWS)
def test_lines_of_a_panel_differ_without_colour(make, kind):
    for drawn in figures(make(kind), "paper"):
        for axis in {t.yaxis for t in drawn.data}:
            shown = [t for t in drawn.data if t.yaxis == axis and t.name and t.fill is None]
            looks = {(t.line.dash if "lines" in t.mode else None, t.marker.symbol if "markers" in t.mode else None)
                     for t in shown}  # fmt: skip
            assert len(looks) == len({t.name for t in shown}), axis


@pytest.mark.parametrize("kind", ["recall", "erasure"])
def test_equal_reports_give_equal_bytes(make, kind):
    first, again = (render(DRAWS[kind](make(kind), theme="paper"), "svg") for _ in range(2))
    assert first == again


@pytest.mark.parametrize("kind", DRAWS)
def test_another_kind_is_refused_by_name(make, kind):
    with pytest.raises(ReportError, match=f"kind '{kind}', not 'doctor'"):
        DRAWS[kind](make(kind).__class__("doctor", "T", "H.", [], make(kind).provenance))


@pytest.mark.parametrize("kind", DRAWS)
def test_every_figure_has_a_caption_and_every_kind_its_words(make, kind):
    report = make(kind)
    assert all(caption(report, picture.name).endswith(".") for picture in pictures(report))
    notes = explanations(report)
    assert len({term for term, _ in notes}) == len(notes) >= 2
    assert all(text.rstrip().endswith(".") for _, text in notes)
    assert how_to_read(report)


def test_every_kind_has_a_figure():
    assert set(DRAWS) <= set(FIGURES)


# ---- recall ----------------------------------------------------------------------------------------------------------


def test_recall_is_drawn_as_it_stands(make):
    report = make("recall")
    drawn = dose_response(report)
    trained = named(drawn, "y")["Trained on, 95 % CI"]
    rows = [row for row in report.rows if row["label"] == "trained"]
    assert list(trained.y) == [row["exact"] for row in rows]
    assert trained.error_y.array[1] == pytest.approx(rows[1]["exact_hi"] - rows[1]["exact"])
    assert list(named(drawn, "y2")["Untrained twins"].y) == [
        row["log_p"] for row in report.rows if row["label"] == "untrained"
    ]
    assert list(drawn.layout.xaxis.ticktext) == ["0", "8", "32", "128", "512"]
    assert list(drawn.layout.xaxis.tickvals) == [0, 1, 2, 3, 4]
    assert [a.text for a in drawn.layout.annotations] == [
        "<b>Recited exactly, share of records</b>", "<b>Log probability, nats per token</b>",
    ]  # fmt: skip


def test_untrained_records_that_nothing_pairs_are_no_twins(make):
    paired = make("recall")
    report = make("recall", meta={**paired.meta, "twins": False})
    drawn = dose_response(report)
    assert "Not trained on" in named(drawn)
    lone = make("recall", [{"dose": None, "label": None, "exact": 0.25}], meta={"twins": False})
    for one in (report, lone):
        said = [caption(one, "Recall by dose"), *how_to_read(one), *(" ".join(note) for note in explanations(one))]
        assert not any("twin" in text and "no twins" not in text for text in said)
    assert "Untrained twins" in named(dose_response(paired))
    assert "untrained twins" in caption(paired, "Recall by dose")


def test_recall_without_doses_or_twins(make):
    drawn = dose_response(make("recall", [{"dose": None, "label": None, "exact": 0.25}]), theme="paper")
    assert list(drawn.layout.xaxis.ticktext) == ["all"]
    assert list(named(drawn)) == ["Records"]
    assert_tidy(drawn)


def test_other_metrics_are_named_and_missing_ones_refused(make):
    rows = [{"dose": 1, "label": "trained", "odd<i>": 0.5, "odd<i>_lo": 0.4, "odd<i>_hi": 0.6}]
    drawn = dose_response(make("recall", rows), ["odd<i>"])
    assert drawn.layout.annotations[0].text == "<b>odd&lt;i&gt;</b>"
    with pytest.raises(ReportError, match=r"no metric 'exact' to draw; it has: odd<i>"):
        dose_response(make("recall", rows), ["exact"])
    with pytest.raises(ReportError, match="it has: none"):
        dose_response(make("recall", [{"dose": 1, "label": "trained"}]))


# ---- signature -------------------------------------------------------------------------------------------------------


def test_a_panel_per_dose_with_its_nulls_and_controls(make):
    report = make("signature")
    drawn = signature_by_depth(report)
    rows = [r for r in report.rows if (r["contrast"], r["mark"], r["dose"]) == ("twins", "recall", 512)]
    panel = named(drawn, "y5")
    assert list(panel["Probe, 95 % CI"].y) == [r["auc"] for r in rows]
    assert list(panel["Random weights"].y) == [r["untrained_auc"] for r in rows]
    assert list(panel["Never trained on records"].y) == [r["never_auc"] for r in rows]
    assert set(panel["Shuffled, 5–95 %"].y) == {rows[0]["null_auc_lo"], rows[0]["null_auc_hi"]}
    cell = next(c for c in report.meta["cells"] if (c["contrast"], c["mark"], c["dose"]) == ("twins", "recall", 512))
    assert set(panel["Shuffled, best depth"].y) == {cell["null_max_auc_95"]}
    titles = [a.text for a in drawn.layout.annotations]
    assert titles[:5] == [f"<b>Shown {dose} times</b>" for dose in (0, 8, 32, 128, 512)]
    assert titles[-1] == f"p = {cell['p_max']:.3f}"
    assert len({drawn.layout[f"yaxis{n}"].range for n in ("", 2, 3, 4, 5)}) == 1


def test_marks_and_contrasts_are_chosen_or_refused(make):
    report = make("signature")
    drawn = signature_by_depth(report, mark="key", contrast="M-C")
    wanted = [r["auc"] for r in report.rows if (r["contrast"], r["mark"], r["dose"]) == ("M-C", "key", 0)]
    assert list(named(drawn, "y")["Probe, 95 % CI"].y) == wanted
    with pytest.raises(ReportError, match="nothing with mark 'verb'; it has: recall, key"):
        signature_by_depth(report, mark="verb")
    assert choose(report, "mark", None, ("last", "key")) == "key"


def test_a_bare_signature_is_a_line(make):
    rows = [{"contrast": "twins", "dose": None, "mark": "last", "depth": d, "auc": 0.5 + d / 20} for d in range(3)]
    drawn = signature_by_depth(make("signature", rows, meta={}), theme="paper")
    assert list(named(drawn)) == ["Chance", "Probe"]
    assert len(figures(make("signature", rows, meta={}))) == 1
    assert_tidy(drawn)


def test_two_rows_at_one_depth_are_no_line(make):
    rows = [{"contrast": "twins", "dose": 8, "mark": "last", "depth": 1, "auc": 0.5}] * 2
    with pytest.raises(ReportError, match="two rows of this 'signature' report are at depth 1 with dose 8"):
        signature_by_depth(make("signature", rows))
    with pytest.raises(ReportError, match="has the depth None"):
        signature_by_depth(make("signature", [{**rows[0], "depth": None}]))


def test_marks_are_compared_by_dose_with_what_would_be_found(make):
    report = make("signature")
    drawn = named(signature_by_dose(report))
    cells = [c for c in report.meta["cells"] if c["contrast"] == "twins" and c["mark"] == "key"]
    assert list(drawn["At key"].y) == [c["nested_auc"] for c in cells]
    first = [c for c in report.meta["cells"] if c["contrast"] == "twins" and c["mark"] == "recall"]
    assert list(drawn["Found 4 times in 5, if it is there"].y) == [c["detectable"] for c in first]
    one = make("signature", meta={"cells": cells})
    alone = named(signature_by_dose(one))
    assert list(alone["Best depth, picked by looking"].y) == [c["peak_auc"] for c in cells]
    assert list(alone["Depth chosen blind, 95 % CI"].y) == [c["nested_auc"] for c in cells]
    without = [{**c, "nested_auc": None} for c in cells]
    assert "Best depth, picked by looking" in named(signature_by_dose(make("signature", meta={"cells": without})))
    with pytest.raises(ReportError, match="no meta"):
        signature_by_dose(make("signature", meta={}))


# ---- gap, transfer, training -----------------------------------------------------------------------------------------


def test_the_gap_is_the_reports(make):
    report = make("gap")
    drawn = gap_by_depth(report)
    rows = [row for row in report.rows if row["dose"] == 512]
    assert list(named(drawn, "y2")["Gap, 95 % CI"].y) == [r["gap"] for r in rows]
    assert list(named(drawn, "y2")["Baseline at least chance"].y) == [r["gap_clamped"] for r in rows]
    assert list(named(drawn, "y")["One paraphrase or another"].y) == [r["acc_cb"] for r in rows]
    twins = gap_by_depth(make("gap", [{**row, "baseline": "twins"} for row in rows]))
    assert "The same, never-seen twins" in named(twins)
    with pytest.raises(ReportError, match="no column 'acc_cb'"):
        gap_by_depth(make("gap", [{"depth": 0, "acc_mc": 0.5, "gap": 0.1}]))


def test_transfer_has_a_panel_per_test(make):
    report = make("transfer")
    drawn = transfer_by_depth(report)
    wanted = [r["auc"] for r in report.rows if (r["train"], r["test"], r["dose"]) == ("injected", "natural", 512)]
    assert list(named(drawn, "y")["Fitted on injected"].y) == wanted
    assert [a.text for a in drawn.layout.annotations] == ["<b>Tested on natural</b>", "<b>Tested on injected</b>"]
    with pytest.raises(ReportError, match="nothing with dose 9"):
        transfer_by_depth(report, dose=9)


def test_training_has_a_line_per_dose_and_the_loss_beside(make):
    report = make("curve")
    drawn = recall_over_training(report)
    top = [r["exact"] for r in report.rows if r.get("dose") == 512 and r["label"] == "trained"]
    assert list(named(drawn, "y")["512 times"].y) == top
    assert list(named(drawn, "y2")["Other text"].y) == [r["loss"] for r in report.rows if "loss" in r]
    shown = [t.name for t in drawn.data if t.showlegend]
    assert sorted(shown) == sorted(
        ["0 times", "8 times", "32 times", "128 times", "512 times", "Untrained twins", "Never shown"]
    )
    with pytest.raises(ReportError, match="has the step None"):
        recall_over_training(make("curve", [{"dose": 1, "label": "trained", "exact": 0.5}]))
    rows = [{"step": 1, "dose": d, "label": "trained", "exact": 0.5} for d in range(7)]
    with pytest.raises(ReportError, match="7 doses are too many"):
        recall_over_training(make("curve", rows))


def test_projecting_out_shows_every_reading_and_its_cost(make):
    report = make("project-out")
    drawn = project_out_by_depth(report)
    assert list(named(drawn, "y")["Other half, 95 % CI"].y) == list(report.column("fresh_auc"))
    assert list(named(drawn, "y")["In-sample (artefact)"].y) == list(report.column("in_sample_auc"))
    assert list(named(drawn, "y2")["Random directions"].y) == list(report.column("random_change"))
    assert "below chance = artefact" in [a.text for a in drawn.layout.annotations]
    with pytest.raises(ReportError, match="lacks a reading or a change"):
        project_out_by_depth(make("project-out", [{"depth": 1, "nested_auc": 0.5}]))


# ---- erasure ---------------------------------------------------------------------------------------------------------


def test_each_eraser_is_a_line_with_what_is_read_and_what_it_cost(make):
    report = make("erasure")
    drawn = erasure_verdicts(report)
    for field, name in (("nested_auc", "Nested"), ("fresh_auc", "Other half"), ("attack_auc", "Best attacker")):
        assert list(named(drawn, "y")[name].x) == list(report.column(field)), name
    assert list(named(drawn, "y2")["After"].x) == list(report.column("exact_after"))
    assert list(named(drawn, "y4")["Before"].x) == list(report.column("loss_before"))
    assert list(named(drawn, "y5")["After"].x) == list(report.column("kl"))
    assert list(drawn.layout.yaxis.ticktext)[:3] == ["none", "random, rank 1", "mean, rank 1"]
    assert drawn.layout.yaxis.ticktext[-1] == "pga, rank 8, weights"
    assert drawn.layout.yaxis.range[0] > drawn.layout.yaxis.range[1]  # the first eraser is on top
    bars = [t for t in drawn.data if t.name == "Best attacker, shuffled labels"]
    assert [max(t.x) for t in bars] == list(report.column("chance_auc"))


def test_below_chance_is_called_what_it_is(make):
    report = make("erasure")
    drawn = erasure_verdicts(report)
    assert "below chance = artefact" in [a.text for a in drawn.layout.annotations]
    (shade,) = [s for s in drawn.layout.shapes if s.type == "rect"]
    assert shade.x1 == 0.5
    honest = [{**row, "in_sample_acc": 0.6, "nested_auc_lo": 0.46, "nested_auc": 0.5} for row in report.rows]
    high = erasure_verdicts(make("erasure", honest))
    assert "below chance = artefact" not in [a.text for a in high.layout.annotations]


def test_an_auc_replaces_the_accuracy_of_the_same_reading(make):
    rows = [{**row, "in_sample_auc": 0.1} for row in make("erasure").rows]
    drawn = named(erasure_verdicts(make("erasure", rows)))
    assert "In-sample" in drawn
    assert "In-sample (accuracy)" not in drawn


def test_erasers_without_numbers(make):
    rows = [{"method": "none", "nested_auc": 0.6}, {"method": "<b>mine</b>", "rank": 2, "nested_auc": math.nan}]
    drawn = erasure_verdicts(make("erasure", rows), theme="paper")
    assert list(drawn.layout.yaxis.ticktext) == ["none", "&lt;b&gt;mine&lt;/b&gt;, rank 2"]
    assert_tidy(drawn)
    with pytest.raises(ReportError, match="none of: in_sample_auc"):
        erasure_verdicts(make("erasure", [{"method": "none"}]))
    assert eraser_name({"method": "pga", "where": "weights"}) == "pga, weights"


def test_tables_of_the_job(make):
    shown = table(make("erasure"))
    assert [shown.headings[i] for i in (0, 1, 5)] == ["Eraser", "Verdict", "Nested AUC"]
    assert shown.rows[1][7].text == "kernel ridge"
    assert (shown.rows[0][13].text, shown.headings[13]) == ("0.00", "Log p after, nats")  # -0.003
    yes = table(make("extraction", [{"record": "a", "exact": True}, {"record": "b", "exact": False}]))
    assert [row[1].text for row in yes.rows] == ["yes", "no"]
    cut = table(make("recall"), max_rows=3)
    assert len(cut.rows) == len(cut.marked) == 3
    assert cut.note == "The first 3 of 10 rows; the report itself has all."


def test_every_public_name_is_what_it_says():
    """A module of the same name must not stand in for a function, whatever was imported before."""
    from interp import plots

    assert all(callable(getattr(plots, name)) for name in plots.__all__)
