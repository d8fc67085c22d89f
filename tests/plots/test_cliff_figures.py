"""Figures of the cliff and of spread: they show what the report holds, tidy on paper, screens and phones."""

from __future__ import annotations

import math
from typing import Any

import pytest

from interp.errors import ReportError
from interp.plots import domain_tables, head_grid, heads_against_random, likeness_against_loss, refusal_trajectory
from interp.plots.gallery import pictures
from interp.plots.themes import get_theme
from interp.plots.words import caption, explanations, how_to_read
from interp.report import Report
from tests.plots.conftest import SOURCE, triple
from tests.plots.looks import assert_offline, assert_tidy, page_of

SMALL = get_theme("screen").replace(width=400, wide=400, panel_height=240)
DOMAINS = ["biology", "chemistry", "computing", "explosives", "money", "people"]


def cliff_report(places: int = 30) -> Report:
    levels = {"harmful, answered": (0.9, 0.1), "harmful, refused": (0.92, 0.97), "harmless, answered": (0.1, 0.02)}
    path = [
        {"class": kind, "place": -k, "n": 40 - k} | triple("score", high if k > 1 else low, 0.04, 0, 1)
        for kind, (high, low) in levels.items()
        for k in range(places)
    ]
    rows = [
        {"class": kind} | triple("plateau", high, 0.02) | triple("final", low, 0.02) | triple("drop", high - low, 0.03)
        | {"n": 40, "n_groups": 20}
        for kind, (high, low) in levels.items()
    ]  # fmt: skip
    meta = {
        "trajectory": path, "template": 2, "left_out": 8, "prober_auc": 0.99, "thinking_auc": 0.97, "strict_p": 0.001,
        "ci_level": 0.95,
    }  # fmt: skip
    return Report("cliff", "Does it fall?", "It falls.", rows, SOURCE, meta=meta)


def heads_report(layers: int = 6, heads: int = 4) -> Report:
    rows: list[dict[str, Any]] = [
        {"rank": 1 + k, "part": f"z.{k // heads}.h{k % heads}", "layer": k // heads, "head": k % heads, "p_max": 0.5}
        | triple("contribution", math.sin(3.0 * k) - 2 * (k == 5), 0.2)
        for k in range(layers * heads)
    ]
    rows.append({"rank": None, "part": "mlp_out.1", "layer": 1, "head": None, "contribution": 3.0})
    meta = {"unit": "log odds", "sum_error": 1e-7, "ci_level": 0.95}
    return Report("cliff-heads", "Who speaks against it?", "One does.", rows, SOURCE, meta=meta)


def ablation_report() -> Report:
    rows = [
        {
            "heads": n,
            "p": 0.04,
            "refused_before": 0.0,
            "refused_after": 0.9,
            "random_refused": 0.02,
            "others_after": 0.0,
        }
        | triple("effect", 4.0 + n, 0.5)
        | triple("random", 0.1, 0.8)
        for n in (3, 1)
    ]
    meta = {"unit": "log odds of a refusal, first token", "how": "zero", "ci_level": 0.95}
    return Report("cliff-ablation", "Taken out", "It refuses.", rows, SOURCE, meta=meta)


def spread_report() -> Report:
    alike = [[1.0 if i == j else math.cos(3.0 * (i + j)) for j in range(6)] for i in range(6)]
    loss = [[12.0 if i == j else 4 + 3 * alike[i][j] for j in range(6)] for i in range(6)]
    rows = [{"mark": "t_inst", "third": t, "r": 0.7, "p": 0.01, "p_three": 0.02} for t in ("early", "middle", "late")]
    meta = {
        "domains": DOMAINS, "entanglement": {"t_inst, early": alike, "t_inst, late": alike}, "loss": loss, "stop": 0.1,
        "arrangements": 720, "exact": True,
    }  # fmt: skip
    return Report("spread", "Does it spread?", "It does.", rows, SOURCE, meta=meta)


def pairs_report() -> Report:
    rows = [
        {"unlearned": a, "measured": b, "own": a == b, "t_inst_early": math.sin(i + j), "t_post_early": math.cos(i + j)}
        | triple("loss", 5 + 3 * math.sin(i + j), 0.5)
        | {"refused_before": 1.0, "refused_after": 0.5}
        for i, a in enumerate(DOMAINS)
        for j, b in enumerate(DOMAINS)
    ]
    return Report("spread-pairs", "Pairs", "They go together.", rows, SOURCE, meta={"marks": ["t_inst", "t_post"]})


MADE = {r.kind: r for r in (cliff_report(), heads_report(), ablation_report(), spread_report(), pairs_report())}


@pytest.mark.parametrize("theme", ["paper", "screen", SMALL], ids=["paper", "screen", "phone"])
@pytest.mark.parametrize("kind", list(MADE))
def test_figures_are_tidy_and_have_words(kind, theme):
    for picture in pictures(MADE[kind], theme):
        assert_tidy(picture.figure)
        assert caption(MADE[kind], picture.name)
    assert explanations(MADE[kind])


@pytest.mark.parametrize("layers", [2, 40])
def test_grids_of_few_and_many_heads_are_tidy(layers):
    assert_tidy(head_grid(heads_report(layers, 32 if layers > 2 else 4)))


def test_a_trajectory_shows_what_is_there_and_where_the_template_is():
    figure = refusal_trajectory(cliff_report())
    suspects = figure.data[[(t.name or "").startswith("Harmful, answered") for t in figure.data].index(True)]
    drawn = [t for t in figure.data if t.name]
    assert len(drawn) == 3
    assert drawn[0].x[0] == -29
    assert drawn[0].y[-1] == 0.1
    assert suspects.name.endswith("95 % CI")
    shade = next(s for s in figure.layout.shapes if s.type == "rect")
    assert (shade.x0, shade.x1) == (-1.5, 0.5)
    bracket = next(s for s in figure.layout.shapes if s.type == "line")
    assert (bracket.y0, bracket.y1) == (0.1, 0.9)
    few = Report(
        "cliff", "T", "H.", [], SOURCE, meta={"trajectory": [{"class": "x", "place": 0, "score": 1.0, "n": 2}]}
    )
    assert not refusal_trajectory(few).data


def test_the_grid_frames_the_lowest_heads_and_holds_no_mlp():
    figure = head_grid(heads_report())
    assert len(figure.layout.shapes) == 3
    assert len(figure.data[0].z) == 6
    assert figure.data[0].z[1][1] == pytest.approx(math.sin(15.0) - 2)
    with pytest.raises(ReportError, match="no heads"):
        head_grid(heads_report(), field="elsewhere")


def test_tables_of_domains_read_from_the_top():
    figure = domain_tables(spread_report())
    assert figure.data[1].z[-1][0] == 12.0  # the first row stands on top
    assert figure.layout.yaxis.ticktext[-1] == "biology"
    assert len(likeness_against_loss(pairs_report()).data[0].x) == 30


def test_other_kinds_are_refused():
    for draw in (refusal_trajectory, heads_against_random, domain_tables, likeness_against_loss):
        with pytest.raises(ReportError, match="draws"):
            draw(heads_report())


def test_pages_are_offline_and_say_things_once(tmp_path):
    page = page_of([MADE["cliff"], MADE["cliff-heads"], MADE["cliff-ablation"]], tmp_path)
    assert_offline(page)
    assert "It falls." in page.text
    assert page.text.count(how_to_read(MADE["cliff"])[0]) == 1
