"""Notebooks: both halves in step, run from top to bottom, nothing of the machine in them; and what they show."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path
from typing import Any

import pytest

from interp import Report, plots
from interp.errors import ReportError
from interp.plots.tables import table
from interp.provenance import Provenance

FOLDER = Path(__file__).parents[1] / "notebooks"
PAIRS = sorted(FOLDER.glob("[0-9]*.py"))
MOST = 400 * 1024
# Where files of somebody's machine lie; what a notebook reads it names relative to itself.
ABSOLUTE = re.compile(r"(?<![\w.:/])/(?:home|root|Users|work|tmp|var|mnt|private|opt|usr|media|srv)/|\b[A-Z]:\\\\?\w")


def load(source: Path) -> dict[str, Any]:
    return json.loads(source.with_suffix(".ipynb").read_text(encoding="utf-8"))


def outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [out for cell in notebook["cells"] for out in cell.get("outputs", [])]


def shown(out: dict[str, Any]) -> str:
    """Everything of an output that is text."""
    data = {kind: value for kind, value in out.get("data", {}).items() if not kind.startswith("image/")}
    return "".join(out.get("text", "")) + json.dumps(data, ensure_ascii=False)


def test_every_notebook_has_both_halves_and_a_number():
    names = [path.stem for path in PAIRS]
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == names
    assert [int(name[:2]) for name in names] == list(range(1, len(names) + 1))


@pytest.mark.parametrize("source", PAIRS, ids=lambda path: path.stem)
def test_both_halves_are_in_step(source):
    jupytext = pytest.importorskip("jupytext")
    written = [(cell.cell_type, cell.source) for cell in jupytext.read(source).cells]
    run = [(cell["cell_type"], "".join(cell["source"])) for cell in load(source)["cells"]]
    assert run == written, f"run `python notebooks/run.py {source.name[:2]}`"


@pytest.mark.parametrize("source", PAIRS, ids=lambda path: path.stem)
def test_it_was_run_from_top_to_bottom(source):
    notebook = load(source)
    counts = [cell["execution_count"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))
    kinds = {(out["output_type"], out.get("name")) for out in outputs(notebook)}
    assert kinds <= {("stream", "stdout"), ("display_data", None), ("execute_result", None)}


@pytest.mark.parametrize("source", PAIRS, ids=lambda path: path.stem)
def test_it_opens_with_the_question_and_ends_with_the_figure(source):
    cells = load(source)["cells"]
    assert cells[0]["cell_type"] == "markdown"
    opening = "".join(cells[0]["source"])
    assert opening.startswith("# ")
    assert "**Question.**" in opening
    assert any("**Answer.**" in "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert any("image/png" in out.get("data", {}) for out in cells[-1]["outputs"])


@pytest.mark.parametrize("source", PAIRS, ids=lambda path: path.stem)
def test_nothing_of_the_machine_is_in_it_and_it_is_small(source):
    texts = [shown(out) for out in outputs(load(source))]
    assert not [found[0] for text in texts if (found := ABSOLUTE.search(text))]
    host = platform.node()
    assert len(host) < 4 or not any(re.search(rf"\b{re.escape(host)}\b", text) for text in texts)
    assert source.with_suffix(".ipynb").stat().st_size < MOST


@pytest.mark.parametrize("text", ["saved /home/ann/x.json", "'/tmp/tmpab/tiny'", r"C:\\Users\\ann", "/root/.cache"])
def test_paths_of_a_machine_are_recognised(text):
    assert ABSOLUTE.search(text)


@pytest.mark.parametrize("text", ["../shared/models", "https://example.org/home/x", "and/or", "0.5 tokens/s"])
def test_other_slashes_are_not(text):
    assert not ABSOLUTE.search(text)


# ---- what a notebook shows -------------------------------------------------------------------------------------------


def report(**changes: Any) -> Report:
    rows = [{"site": f"resid_post.{i}", "auc": 0.5 + i / 10, "auc_lo": 0.4, "auc_hi": 0.9} for i in range(3)]
    values = {"kind": "probe", "title": "T", "headline": "a < b & c.", "rows": rows, "warnings": ["<few> groups"]}
    return Report(provenance=Provenance("a1", "tiny"), **{**values, **changes})


def test_a_report_is_a_table_with_its_headline_and_warnings():
    html = report()._repr_html_()
    assert "<b>a &lt; b &amp; c.</b>" in html
    assert "<li>&lt;few&gt; groups</li>" in html
    assert html.count("<tr>") == 4
    assert "0.600 [0.400, 0.900]" in html


def test_a_long_report_says_how_much_it_leaves_out():
    many = report(rows=[{"site": f"resid_post.{i}", "auc": 0.5} for i in range(40)], warnings=[])
    html = many._repr_html_()
    assert html.count("<tr>") == 25
    assert "... and 16 more rows" in html
    assert "Warnings" not in html


def test_a_report_without_rows_has_no_table():
    assert "<table" not in report(rows=[])._repr_html_()


def test_a_table_shows_its_headings_and_is_short_as_text():
    found = table(report())
    assert "AUC" in found._repr_html_()
    assert repr(found).startswith("Table('Results', 3 rows: Site, AUC")


def test_an_image_is_a_small_png_of_the_figure_and_always_the_same():
    found = plots.image(report())
    png, size = found._repr_png_()
    assert png[:4] == b"\x89PNG"
    assert len(png) < 60_000
    assert size == {"width": found.width, "height": found.height}
    assert png == plots.image(plots.figure(report())).png
    assert "png" not in repr(found)


def test_an_image_keeps_the_colours_of_the_figure():
    import io

    from PIL import Image

    with Image.open(io.BytesIO(plots.image(report()).png)) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 16)}
        assert (0x00, 0x72, 0xB2) in colours
        assert picture.size[0] == 1.5 * 720


def test_a_figure_that_is_not_there_is_refused():
    with pytest.raises(ReportError, match="figures 1 to 1, not 2"):
        plots.image(report(), 2)
