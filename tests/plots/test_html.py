from __future__ import annotations

import re

import plotly.graph_objects as go
import pytest

from interp.errors import ReportError
from interp.plots import accuracy_by_layer, table, write_html
from interp.provenance import Provenance
from tests.plots.looks import assert_offline, page_of


def test_the_page_has_all_its_parts(make_probe, tmp_path):
    page = page_of(
        make_probe(warnings=["Only 57 groups."], meta={**make_probe().meta, "best_site": "resid_post.4"}), tmp_path
    )
    assert_offline(page)
    for words in (
        "Probe report · tiny",
        "Is the subject's number readable?",
        "It is read best at the last layer.",
        "Only 57 groups.",
        "0.94 [0.89, 0.98]",
        "Shuffled, best site",
        "Here: AUC 0.60, accuracy 0.59.",
        "The same probe on a model of the same shape with random weights",
        "interp probe tiny pairs.jsonl --label label --out out",
        "9f3c2a71d0e84b55",
        "Every row: 400 examples in 57 groups.",
    ):
        assert words in page.text, words
    assert page.text.index("Only 57 groups.") < page.text.index("Results")
    assert len(page.all("svg")) == 4  # two measures, each for wide pages and for phones
    assert not page.all("script")
    assert [a.get("class") for t, a in page.tags if t == "tr"].count("best") == 2  # in the table and among all columns
    assert len(page.raw) < 200_000


def test_equal_reports_give_equal_pages(make_probe, tmp_path):
    first = write_html(make_probe(3, bare=True), tmp_path / "a.html").read_bytes()
    assert write_html(make_probe(3, bare=True), tmp_path / "b.html").read_bytes() == first


def test_points_have_their_values_as_tooltips(make_probe, tmp_path):
    page = page_of(make_probe(3), tmp_path)
    titles = re.findall(r"<title>(resid_post\.\d: [^<]+)</title>", page.raw)
    report = make_probe(3)
    row = report.rows[2]
    assert f"resid_post.2: {row['auc']:.3f} [{row['auc_lo']:.3f}, {row['auc_hi']:.3f}], p = 0.005" in titles
    # Three layers, two lines, two measures, two widths.
    assert len(titles) == 24


def test_ids_are_unique_and_references_lead_somewhere(make_probe, tmp_path):
    page = page_of(make_probe(2, ("resid_post", "mlp_out")), tmp_path)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#([^)]+)\)", page.raw)) | set(re.findall(r'href="#([^"]+)"', page.raw))
    assert used
    assert used <= set(ids)


PAYLOAD = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&<b>"


@pytest.mark.parametrize("kind", ["probe", "doctor", "other"])
@pytest.mark.parametrize("interactive", [False, True])
def test_data_never_becomes_markup(make_probe, tmp_path, kind, interactive):
    rows = [
        {**row, "detail": PAYLOAD, PAYLOAD: PAYLOAD, "mark": PAYLOAD, "all": [PAYLOAD]} for row in make_probe(2).rows
    ]
    source = Provenance(model=PAYLOAD, model_id=PAYLOAD, revision=PAYLOAD, command=PAYLOAD, bos=PAYLOAD)
    meta = {**make_probe().meta, PAYLOAD: PAYLOAD, "nested": {PAYLOAD: [PAYLOAD]}}
    report = make_probe(
        rows=rows, kind=kind, title=PAYLOAD, headline=PAYLOAD, warnings=[PAYLOAD], provenance=source, meta=meta
    )
    page = page_of(report, tmp_path, interactive=interactive)
    assert_offline(page)
    assert not page.all("img")
    assert not page.all("b")
    drawn = interactive and kind == "probe"
    # One for plotly itself, and one for each of the two figures.
    assert len(page.all("script")) == (3 if drawn else 0)
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")]
    assert page.text.count(PAYLOAD) >= 7
    if drawn:
        scripts = re.findall(r"<script[^>]*>(.*?)</script>", page.raw, re.DOTALL)
        assert all("alert(1)<" not in s for s in scripts[1:])


@pytest.mark.parametrize("interactive", [False, True])
def test_no_rows(make_probe, tmp_path, interactive):
    page = page_of(make_probe(0), tmp_path, interactive=interactive)
    assert "No rows." in page.text
    assert not page.all("svg")
    assert not page.all("script")


def test_nan_and_missing_values_are_shown_as_such(make_probe, tmp_path):
    rows = [
        {"site": "resid_post.0", "auc": float("nan"), "auc_lo": None, "auc_hi": None, "p": None},
        *make_probe(2).rows[1:],
    ]
    page = page_of(make_probe(rows=rows), tmp_path)
    assert "NaN" in page.text
    assert "[–" not in page.text


def test_many_layers(make_probe, tmp_path):
    page = page_of(make_probe(80, bare=True), tmp_path)
    assert "resid_post.79" in page.text
    assert len(page.raw) < 1_000_000


def test_a_doctor_report_is_a_table_of_passes(make_probe, tmp_path):
    rows = [
        {"check": "HF parity", "ok": True, "worst": 1.9e-7, "tolerance": 1e-5, "detail": "worst at resid_post.3"},
        {"check": "pad invariance", "ok": False, "worst": 4.1, "tolerance": 1e-5, "detail": "left padding " * 8},
        {"check": "experts", "ok": None, "worst": None, "tolerance": None, "detail": "no experts"},
    ]
    page = page_of(make_probe(rows=rows, kind="doctor", meta={"ok": False, "sites": ["embed", "logits"]}), tmp_path)
    assert_offline(page)
    assert "✓ pass" in page.text
    assert "✗ FAIL" in page.text
    assert "1.9×10⁻⁷" in page.text
    assert [a.get("class") for t, a in page.tags if t == "span"].count("fail") == 1
    assert "The check does not apply to this model." in page.text
    assert "embed, logits" in page.text
    assert [a.get("class") for t, a in page.tags if t == "td"].count("long") == 1


def test_a_report_that_lacks_what_its_figures_show_says_so_and_is_a_page(make_probe, tmp_path):
    page = page_of(make_probe(rows=[{"site": "resid_post.0", "score": 0.5}]), tmp_path)
    assert "No figure: this 'probe' report has none of the columns that its figures show." in page.text
    assert "resid_post.0" in page.text
    assert not page.all("svg")


def test_figures_and_tables_of_ones_own(make_probe, tmp_path):
    report = make_probe(kind="sweep")
    figure = accuracy_by_layer(make_probe(), theme="paper")
    page = page_of(report, tmp_path, figures=[figure], tables=[table(report, ["site", "p"], "Only p")])
    assert len(page.all("svg")) == 1
    assert "Only p" in page.text
    assert len(page.all("th")) == 2 + 2 * 10 - 10 + len(report.meta)
    with pytest.raises(ReportError, match="trace type 'pie'"):
        page_of(report, tmp_path, figures=[go.Figure(go.Pie(values=[1]))])
    page_of(report, tmp_path, figures=[go.Figure(go.Pie(values=[1]))], interactive=True)


def test_wide_things_scroll_in_their_own_box(make_probe, tmp_path):
    """The page itself never scrolls sideways: tables with many columns are in boxes that do."""
    page = page_of(make_probe(), tmp_path)
    boxes = [a for t, a in page.tags if t == "div" and a.get("class") == "scroll"]
    tables = [a for t, a in page.tags if t == "table"]
    sizes = (None, "many", "many most")  # by the number of columns, for print
    assert len(boxes) == sum(a.get("class") in sizes for a in tables) == 2
    assert all(a.get("class") in (*sizes, "facts", "facts hashes") for a in tables)
    assert ".scroll { overflow-x: auto" in page.raw
    assert "prefers-color-scheme: dark" in page.raw
    assert "@media print" in page.raw
    assert any(m.get("name") == "viewport" for m in page.all("meta"))
