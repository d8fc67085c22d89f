"""Figures of the refusal job: they draw what stands in the report, clip nothing, and do not rest on colour."""

from __future__ import annotations

from typing import Any

import pytest

from interp.errors import ReportError
from interp.plots import (
    belief_map,
    beliefs_by_checkpoint,
    beliefs_by_depth,
    beliefs_by_quadrant,
    dissociation,
    effects_by_depth,
    get_theme,
    guard_roc,
    steered_answers,
    table,
    write_html,
)
from interp.plots.gallery import pictures
from interp.plots.words import caption, explanations, how_to_read
from interp.report import Report
from tests.plots.conftest import SOURCE, triple
from tests.plots.looks import assert_offline, assert_tidy, page_of

PHONE = get_theme("screen").replace(width=400, wide=400, panel_height=240, titled=False)
MARKS = ("t_inst", "t_post")
CELLS = ("harmful-refused", "harmful-accepted", "harmless-refused", "harmless-accepted")
ROLES = {"harmful": "plain", "harmless": "plain", "jailbroken": "roleplay", "overrefused": "strict"}


def belief_rows() -> list[dict[str, Any]]:
    rows = []
    for reading, ends in (("plain", (1, 1)), ("off-diagonal", (1, 0)), ("harm", (1, 0.5)), ("refusal", (0.5, 1))):
        for mark, end in zip(MARKS, ends, strict=True):
            for depth in (*range(6), None):
                part = min((5 if depth is None else depth) / 3, 1)
                rows.append(
                    {"reading": reading, "mark": mark, "depth": depth, "site": f"resid_post.{depth}"}
                    | triple("auc", 0.5 + part * (end - 0.5), 0.05, 0, 1)
                    | {"raw_auc": 0.5, "null_auc_lo": 0.41, "null_auc_hi": 0.6, "p": 0.01, "p_family": 0.02}
                    | {"untrained_auc": 0.52, "surface_auc": 0.55, "bow_auc": 0.31, "n": 96, "n_groups": 48}
                )
    return rows


def belief_cells() -> list[dict[str, Any]]:
    return [
        {"reading": reading, "mark": mark, "verdict": "found", "depths": "1, 3", "p_family": 0.01, "n": 96}
        | triple("auc", 0.97, 0.02, 0, 1)
        for reading in ("plain", "off-diagonal")
        for mark in MARKS
    ]


def regression_rows() -> list[dict[str, Any]]:
    return [
        {"mark": mark, "depth": depth, "site": f"resid_post.{depth}", "untrained_harm": 0.02, "untrained_refusal": 0.01}
        | triple("harm", (2.7 if mark == "t_inst" else 0.1) * (depth or 3) / 5, 0.1)
        | triple("refusal", (0.0 if mark == "t_inst" else 2.5) * (depth or 3) / 5, 0.1)
        for mark in MARKS
        for depth in (*range(6), None)
    ]


def quadrant_rows() -> list[dict[str, Any]]:
    return [
        {"mark": mark, "cell": cell, "what": cell, "n": 24, "raw_belief": 0.1}
        | triple("belief", 1.0 if cell.startswith("harmful") else -1.2, 0.1)
        | triple("near", 0.9, 0.05, 0, 1)
        for mark in MARKS
        for cell in CELLS
    ]


def map_rows() -> list[dict[str, Any]]:
    return [
        {"id": f"{cell}-{i}", "role": "harmful", "category": "plain", "cell": cell, "refusal_score": 1.0,
         "harm_belief": (1 if cell.startswith("harmful") else -1) + 0.05 * i,
         "refusal_belief": (1 if cell.endswith("refused") else -1) - 0.04 * i, "refused": cell.endswith("refused")}
        for cell in CELLS
        for i in range(6)
    ]  # fmt: skip


def map_means() -> list[dict[str, Any]]:
    return [
        {"role": role, "category": category, "requests": 24}
        | triple("harm_belief", 1.0, 0.1) | triple("refusal_belief", -1.0, 0.1)
        for role, category in ROLES.items()
    ]  # fmt: skip


def dose_rows() -> list[dict[str, Any]]:
    rows = []
    for outcome in ("answer", "refusal, instruction", "refusal, after it"):
        for direction in ("harm", "refusal", "random"):
            for side in (True, False):
                for dose in (0.0, 0.5, 1.0, 2.0, 3.0):
                    moved = {"harm": 1.8, "refusal": 0.0, "random": 0.1}[direction] * min(dose, 1)
                    value = 0.9 - moved if side else -0.9 + moved
                    rows.append(
                        {"outcome": outcome, "direction": direction, "depth": 3, "fitted": 3, "at_home": True,
                         "harmful": side, "coeff": -dose if side else dose, "flipped": 0.1, "n": 48}
                        | triple("value", value, 0.1)
                    )  # fmt: skip
    return rows


def effect_rows() -> list[dict[str, Any]]:
    return [
        {"outcome": outcome, "direction": direction, "depth": depth, "coeff": 1.0, "p": 0.05, "draws": 19}
        | triple("effect", 1.9 if direction == "harm" else 0.0, 0.05) | triple("flipped", 0.9, 0.05, 0, 1)
        for outcome in ("answer", "refusal, instruction", "refusal, after it")
        for direction in ("harm", "refusal", "random")
        for depth in (2, 3)
    ]  # fmt: skip


def guard_rows() -> list[dict[str, Any]]:
    return [
        {"role": role, "category": kind, "harmful": role in ("harmful", "jailbroken"), "requests": 24}
        | triple("flagged", 0.95 if role in ("harmful", "jailbroken") else 0.02, 0.03, 0, 1)
        | triple("refused", 0.98 if role in ("harmful", "overrefused") else 0.01, 0.02, 0, 1)
        | triple("ahead", 0.1, 0.05)
        for role in ROLES
        for kind in (None, "plain")
    ]


def checkpoint_rows() -> list[dict[str, Any]]:
    kinds = ("base model", "other model, the base model's means", "other model, means fitted anew")
    return [
        {"what": kind, "mark": mark, "role": role, "n": 24} | triple("belief", 1.0, 0.1)
        | triple("near", 0.9, 0.05, 0, 1) | triple("refused", 0.5, 0.1, 0, 1)
        for kind in kinds
        for mark in MARKS
        for role in ROLES
    ]  # fmt: skip


def behaviour_rows() -> list[dict[str, Any]]:
    return [
        {"role": role, "category": kind, "harmful": True, "requests": 96, "score": 3.1}
        | triple("refused", 0.9, 0.05, 0, 1)
        for role, kind in ROLES.items()
    ]


ROC = [[0.0, 0.0], [0.0, 0.8], [0.1, 0.95], [1.0, 1.0]]
MADE = {
    "beliefs": (beliefs_by_depth, belief_rows, {"cells": belief_cells()}),
    "belief-regression": (effects_by_depth, regression_rows, {}),
    "quadrants": (beliefs_by_quadrant, quadrant_rows, {}),
    "belief-map": (belief_map, map_rows, {"cells": map_means()}),
    "inversion": (steered_answers, dose_rows, {}),
    "dissociation": (dissociation, effect_rows, {}),
    "guard": (guard_roc, guard_rows, {"roc": ROC, "auroc": 0.97}),
    "checkpoints": (beliefs_by_checkpoint, checkpoint_rows, {}),
}


def made(kind: str, **changes: Any) -> Report:
    _, rows, meta = MADE[kind]
    values = {"title": f"The {kind}", "headline": f"One sentence about {kind}.", "rows": rows(), "provenance": SOURCE}
    return Report(kind=kind, **{**values, "meta": {"ci_level": 0.95, **meta}, **changes})


@pytest.mark.parametrize("theme", ["paper", PHONE], ids=["paper", "phone"])
@pytest.mark.parametrize("kind", MADE)
def test_nothing_is_clipped_and_nothing_overlaps(kind, theme):
    for picture in pictures(made(kind), theme):
        assert_tidy(picture.figure)


@pytest.mark.parametrize("kind", MADE)
def test_every_figure_has_a_caption_and_every_kind_its_words(kind):
    report = made(kind)
    assert all(caption(report, picture.name).endswith(".") for picture in pictures(report))
    notes = explanations(report)
    assert len({term for term, _ in notes}) == len(notes) >= 1
    assert all(text.rstrip().endswith(".") for _, text in notes)
    assert how_to_read(report)


@pytest.mark.parametrize("kind", MADE)
def test_another_kind_is_refused_by_name(kind):
    other = Report("doctor", "T", "H.", [], SOURCE)
    with pytest.raises(ReportError, match=f"kind '{kind}'"):
        MADE[kind][0](other)


def test_lines_are_drawn_as_they_stand_and_the_mean_over_depths_is_no_depth():
    report = made("beliefs")
    figure = beliefs_by_depth(report, ["off-diagonal"])
    lines = [t for t in figure.data if t.name and t.name.startswith("Accepted harmful")]
    for mark, line in zip(MARKS, lines, strict=True):
        rows = [r for r in report.rows if (r["reading"], r["mark"]) == ("off-diagonal", mark)]
        assert list(line.y) == [r["auc"] for r in rows if r["depth"] is not None]
        assert list(line.x) == list(range(6))
    assert figure.layout.yaxis.range[0] < 0
    assert beliefs_by_depth(report, ["plain"], "paper").layout.yaxis.range[0] < 0.31  # a bag of tokens lies there
    with pytest.raises(ReportError, match="no reading 'topic' to draw; it has: plain, off-diagonal, harm, refusal"):
        beliefs_by_depth(report, ["topic"])


def test_only_the_outcomes_own_depth_is_drawn_and_random_directions_are_an_area():
    rows = [*dose_rows(), *[{**r, "at_home": False, "value": 9.0} for r in dose_rows()]]
    figure = steered_answers(made("inversion", rows=rows))
    assert max(v for t in figure.data for v in t.y if v is not None) < 2
    assert {t.name for t in figure.data if t.fill} == {"Random directions, 95 %"}
    assert len({t.yaxis for t in figure.data}) == 3


def test_of_several_depths_the_one_that_does_most_is_shown():
    rows = [{**r, "effect": r["effect"] + (0.5 if r["depth"] == 3 else 0)} for r in effect_rows()]
    figure = dissociation(made("dissociation", rows=rows))
    dots = [t for t in figure.data if t.mode == "markers"]
    assert [list(t.y) for t in dots] == [[2.4, 0.5, 0.5]] * 3


def test_the_guards_points_are_shares_over_roles():
    figure = guard_roc(made("guard"))
    points = {t.name: (t.x[0], t.y[0]) for t in figure.data if t.mode == "markers"}
    assert points["Guard at its threshold"] == pytest.approx((0.02, 0.95))
    assert points["Model refuses"] == pytest.approx((0.495, 0.495))


def test_a_summary_opens_the_page_and_beliefs_are_summed_up(tmp_path):
    row = {"claim": "Harm is read", "value": 1.0, "null": "permuted labels", "p": 0.01, "verdict": "found"}
    summary = Report("refusal", "Harm and refusal", "It refuses.", [row], SOURCE)
    behaviour = Report("refusal-behaviour", "What is refused", "All.", behaviour_rows(), SOURCE)
    page = page_of([made("beliefs"), behaviour, summary], tmp_path)
    assert page.text.index("It refuses.") < page.text.index("Against permuted labels.") < page.text.index("Told apart")
    assert [a["href"] for a in page.all("a")] == ["#report-1", "#report-2"]
    assert_offline(page)
    assert "Over all depths" in page.text
    assert table(made("guard")).headings[3:5] == ("Guard flags", "Model refuses")
    assert write_html(made("guard"), tmp_path / "one.html").exists()
