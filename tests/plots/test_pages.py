"""Pages of several reports: one order, nothing said twice, nothing from outside."""

from __future__ import annotations

import re

import plotly.graph_objects as go
import pytest

from interp.errors import ReportError
from interp.plots import table, write_html
from interp.provenance import Provenance
from tests.plots.looks import assert_offline, page_of

KINDS = ("recall", "signature", "memorisation", "erasure")
PAYLOAD = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&<b>"


@pytest.fixture(scope="module")
def page(make, tmp_path_factory):
    reports = [make(kind, warnings=[f"Mind the {kind}.", "Few groups."]) for kind in KINDS]
    return page_of(reports, tmp_path_factory.mktemp("page"))


def test_the_summary_opens_the_page_and_warnings_stand_above_everything(page):
    text = page.text
    places = [
        text.index(words)
        for words in (
            "The memorisation of planted records",
            "One sentence about memorisation.",
            "The recall of planted records: Mind the recall.",
            "Records shown 512 times are recited",
            "Against untrained twins: 0.00.",
            "One sentence about recall.",
            "Recited exactly, share of records",
            "Other half",
            "Reproduce",
            "Provenance",
        )
    ]
    assert places == sorted(places)
    assert text.count("Few groups.") == 1


def test_every_report_is_a_section_that_the_contents_lead_to(page):
    links = [a["href"] for a in page.all("a")]
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert links == ["#report-1", "#report-2", "#report-3"]
    assert {link[1:] for link in links} <= set(ids)
    assert len(ids) == len(set(ids))
    assert len([a for t, a in page.tags if t == "h2" and a.get("class") == "report"]) == 4  # and Reproduce
    used = set(re.findall(r"url\(#([^)]+)\)", page.raw)) | set(re.findall(r'href="#([^"]+)"', page.raw))
    assert used <= set(ids)


def test_the_page_asks_for_nothing_and_is_small(page):
    assert_offline(page)
    assert not page.all("script")
    assert len(page.raw) < 900_000
    wide, narrow = (
        sum(1 for a in page.all("div") if name in str(a.get("class")).split()) for name in ("wide", "narrow")
    )
    assert wide == narrow == 4  # recall, signature twice, erasure


def test_what_a_control_means_is_said_once(page):
    terms = re.findall(r"<dt>([^<]+)</dt>", page.raw)
    assert terms.count("Recited exactly") == 2  # recall's own, and the erasers', in other words
    assert terms.count("95 % CI") == 1
    assert "The eraser saw what the probe saw" in page.text
    assert "Below one half is no erasure" in page.text
    assert "did not see" in page.text


def test_without_a_summary_all_headlines_come_first(make, tmp_path):
    page = page_of([make("recall"), make("gap")], tmp_path, title="Two things")
    assert page.text.index("Two things") < page.text.index("One sentence about recall.")
    assert page.text.index("One sentence about gap.") < page.text.index("Recited exactly, share of records")
    assert page.text.count("One sentence about gap.") == 2  # in the contents and in its section


def test_commands_and_sources_are_listed_once_each(make, tmp_path):
    other = Provenance(model="b", model_id="other", command="interp erase tiny records.jsonl --out out")
    page = page_of([make("recall", []), make("gap", []), make("erasure", [], provenance=other)], tmp_path)
    assert len(page.all("pre")) == 2
    assert "interp erase tiny records.jsonl --out out" in page.text
    assert "tiny, other" in page.text


def test_data_never_becomes_markup(make, tmp_path):
    source = Provenance(model=PAYLOAD, model_id=PAYLOAD, command=PAYLOAD)
    about = {"title": PAYLOAD, "headline": PAYLOAD, "warnings": [PAYLOAD], "provenance": source}
    erasers = [{**row, "method": PAYLOAD, "attack": PAYLOAD, "verdict": PAYLOAD} for row in make("erasure").rows]
    marks = [{**row, "mark": PAYLOAD} for row in make("signature").rows if row["mark"] == "key" and row["dose"] == 8]
    claims = [{"claim": PAYLOAD, "verdict": PAYLOAD, "null": PAYLOAD}]
    reports = [
        make("erasure", erasers, meta={"rules": [PAYLOAD], PAYLOAD: PAYLOAD}, **about),
        make("signature", marks, meta={}, **about),
        make("transfer", [{**row, "train": PAYLOAD} for row in make("transfer").rows[:10]], **about),
        make("recall", [{**row, "label": PAYLOAD} for row in make("recall").rows[::2]], **about),
        make("memorisation", claims, **about),
    ]
    page = page_of(reports, tmp_path)
    assert_offline(page)
    for tag in ("script", "img", "b"):
        assert not page.all(tag)
    assert page.text.count(PAYLOAD) > 20


def test_long_tables_are_folded_and_cut(make, tmp_path):
    rows = [
        {"record": f"r{i}", "label": "trained", "dose": 8, "exact": i % 2 == 0, "log_p": -i / 100} for i in range(300)
    ]
    page = page_of(make("extraction", rows), tmp_path)
    assert "The first 200 of 300 rows; the report itself has all." in page.text
    assert "r199" in page.text
    assert "r200" not in page.text
    inside = [parents for (tag, _), parents in zip(page.tags, page.parents, strict=True) if tag == "thead"]
    assert inside
    assert all("details" in parents for parents in inside)


def test_cells_are_the_table_of_a_signature(make, tmp_path):
    report = make("signature")
    page = page_of(make("signature", [row for row in report.rows if row["dose"] == 512]), tmp_path)
    assert page.text.index("Over all depths") < page.text.index("Depth by depth")
    assert "20 entries, in the report's file" in page.text


def test_a_page_needs_a_report_and_takes_figures_for_one_only(make, tmp_path):
    with pytest.raises(ReportError, match="at least one report"):
        write_html([], tmp_path / "a.html")
    with pytest.raises(ReportError, match="single report"):
        write_html([make("recall"), make("gap")], tmp_path / "a.html", figures=[go.Figure()])
    with pytest.raises(ReportError, match="single report"):
        write_html([make("recall"), make("gap")], tmp_path / "a.html", tables=[table(make("gap"))])


def test_several_reports_can_be_interactive(make, tmp_path):
    page = page_of([make("recall"), make("erasure")], tmp_path, interactive=True)
    assert len(page.all("script")) == 3
    assert "figure-1-0" in page.raw
