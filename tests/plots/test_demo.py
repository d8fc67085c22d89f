"""``interp demo``: the memorisation job on the shipped model, as one page."""

from __future__ import annotations

import pytest

from interp.cli import demo, main
from interp.cli.demo import Demo
from interp.report import Report
from tests.plots.looks import Page, assert_offline


@pytest.fixture
def measured(make, monkeypatch):
    """What the demo would measure, made by hand."""
    kinds = {"summary": "memorisation", "training": "curve"}
    reports = {n: make(kinds.get(n, n)) for n in ("summary", "extraction", *demo.SHOWN)}
    top = [row for row in reports["signature"].rows if row["dose"] == 512]
    reports["signature"] = make("signature", top, meta={})
    monkeypatch.setattr(Demo, "reports", lambda self, command: dict(reports))
    return reports


def test_the_demo_writes_a_page_its_figures_and_every_report(measured, tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "new" / "demo")]) == 0
    out = tmp_path / "new" / "demo"
    names = {f"{n}.{end}" for n in ("report", "extraction", *demo.SHOWN) for end in ("json", "csv")}
    assert {p.name for p in out.iterdir()} == names | {f"{n}.svg" for n in demo.FIGURES} | {
        "report.html",
        "inputs.json",
    }
    page = Page((out / "report.html").read_text("utf-8"))
    assert_offline(page)
    for name in demo.SHOWN:
        assert measured[name].headline in page.text
        assert Report.load(out / f"{name}.json") == measured[name]
    assert "What the memory model has memorised" in page.text
    printed = capsys.readouterr().out
    assert measured["summary"].headline in printed
    assert str(out / "report.html") in printed


def test_the_demo_asks_for_what_there_is():
    from interp.directions.erasers import SUITE
    from interp.memorisation.erasure import METHODS
    from interp.plots.gallery import FIGURES

    assert set(demo.ERASERS) <= set(METHODS)
    assert set(demo.ATTACKERS) <= set(SUITE)
    assert 1 / (1 + demo.ATTACK_PERMUTATIONS) < 0.05
    assert {"recall", "signature", "gap", "project-out", "erasure"} <= set(demo.SHOWN) & set(FIGURES)


@pytest.mark.slow
def test_the_demo_shows_what_was_planted(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path)]) == 0
    recall = {(r["dose"], r["label"]): r["exact"] for r in Report.load(tmp_path / "recall.json").rows}
    assert recall[512, "trained"] >= 0.95
    assert recall[512, "untrained"] == recall[0, "trained"] == 0
    cells = {c["dose"]: c for c in Report.load(tmp_path / "signature.json").meta["cells"] if c["contrast"] == "twins"}
    assert cells[512]["p_max"] < 0.01
    assert cells[512]["nested_auc_lo"] > 0.5
    assert cells[0]["p_max"] > 0.05
    erased = {r["method"]: r for r in Report.load(tmp_path / "erasure.json").rows}
    assert erased["leace"]["in_sample_auc"] < 0.4 < erased["leace"]["nested_auc"]
    assert erased["leace"]["exact_after"] > 0.5
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert_offline(page)
    assert "below chance = artefact" in page.text
