"""The pictures of docs/img: every kind of report has one in both themes, drawn again to the same bytes."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from interp.plots import export, figure
from interp.plots.gallery import FIGURES, pictures
from interp.plots.lists import WITHOUT
from interp.plots.static import unsupported
from interp.plots.words import caption
from interp.report import Report
from tests.plots.looks import assert_tidy

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs/img"
# Drawn in every run: the newest, and one of each kind of figure; the others where there is time.
QUICK = ("probe-grid", "sweep", "tokens", "attention", "minimality", "task", "boundary", "probe", "selection", "heads")
STORED = {path.stem: path for path in sorted((IMAGES / "reports").glob("*.json"))}


@pytest.fixture(scope="module")
def gallery():
    spec = importlib.util.spec_from_file_location("picture_gallery", IMAGES / "gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["picture_gallery"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["picture_gallery"]


def test_every_kind_has_a_report_a_chapter_and_pictures(gallery):
    assert set(FIGURES) == set(STORED) | set(gallery.ALIKE)
    assert set(gallery.ALIKE.values()) <= set(STORED)
    chapters = [kind for kinds in gallery.CHAPTERS.values() for kind in kinds]
    assert sorted(chapters) == sorted(STORED)
    assert not set(FIGURES) & set(WITHOUT)
    for kind in STORED:
        for name in gallery.names(kind):
            for theme in ("paper", "screen"):
                assert (IMAGES / f"{name}.{theme}.svg").is_file(), (name, theme)


def test_every_kind_that_the_package_reports_has_a_figure_or_a_reason():
    found = set()
    for path in (ROOT / "interp").rglob("*.py"):
        text = path.read_text("utf-8")
        if "Report(" in text and "plots" not in path.parts:
            found |= set(re.findall(r'\bReport\(\s*"([a-z-]+)"|\bkind="([a-z-]+)"', text))
    kinds = {one or other for one, other in found} - {"stable"}  # numpy's kind of sort
    assert len(kinds) > 40
    assert kinds <= set(FIGURES) | set(WITHOUT)


def test_reports_and_pictures_are_small_and_say_where_they_are_from(gallery):
    for kind, path in STORED.items():
        report = Report.load(path)
        assert report.kind == kind
        assert report.provenance.command, kind
        assert "/work" not in path.read_text()
        assert "/tmp" not in path.read_text()
    names = [f"{name}.{theme}.svg" for kind in STORED for name in gallery.names(kind) for theme in ("paper", "screen")]
    assert sum((IMAGES / name).stat().st_size for name in names) < 4e6
    assert sum(path.stat().st_size for path in STORED.values()) < 1.2e6


@pytest.mark.parametrize("kind", [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in STORED])
def test_pictures_are_what_the_reports_say(gallery, kind, tmp_path):
    report = Report.load(STORED[kind])
    for name, (paper, screen) in gallery.drawn(report).items():
        assert unsupported(paper.figure) == unsupported(screen.figure) == []
        made = export(paper.figure, tmp_path / f"{name}.svg").read_bytes()
        assert made == (IMAGES / f"{name}.paper.svg").read_bytes(), "run: python docs/img/gallery.py"
        assert_tidy(paper.figure)
        assert caption(report, paper.name), f"{paper.name} of {kind} has no caption"


def test_the_page_shows_every_picture(gallery):
    text = (ROOT / "docs/figures.md").read_text("utf-8")
    for kind in STORED:
        for name in gallery.names(kind):
            assert f"(img/{name}.paper.svg)" in text
            assert f"(img/{name}.screen.svg)" in text
    for kind in WITHOUT:
        assert f"`{kind}`" in text


_TWICE = """
import sys
from pathlib import Path
from interp.plots import export
from interp.plots.gallery import pictures
from interp.report import Report
for path in sorted(Path(sys.argv[1]).glob("*.json")):
    for number, picture in enumerate(pictures(Report.load(path), "paper")):
        export(picture.figure, f"{sys.argv[2]}/{path.stem}-{number}.svg", engine="matplotlib")
"""


@pytest.mark.slow
def test_all_figures_have_the_same_bytes_in_other_processes(tmp_path):
    made = []
    for seed in ("1", "4242"):
        out = tmp_path / seed
        out.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        words = [sys.executable, "-c", _TWICE, str(IMAGES / "reports"), str(out)]
        subprocess.run(words, check=True, env=environment, cwd=ROOT)
        made.append({path.name: path.read_bytes() for path in sorted(out.iterdir())})
    assert made[0].keys() == made[1].keys()
    for name, data in made[0].items():
        assert data == made[1][name], name


def test_pdfs_need_no_browser_and_are_the_same_again(tmp_path, monkeypatch):
    import plotly.graph_objects as go

    def fail(self, **options):
        raise AssertionError("a browser was asked for")

    monkeypatch.setattr(go.Figure, "to_image", fail)
    drawn = figure(Report.load(STORED["condition"]), "paper")
    one, other = (export(drawn, tmp_path / f"{n}.pdf").read_bytes() for n in (1, 2))
    assert one == other
    assert one.startswith(b"%PDF")


@pytest.mark.parametrize("kind", ["probe-grid", "tokens", "attention"])
def test_the_same_on_a_phone(kind):
    from interp.plots.themes import get_theme

    small = get_theme("screen").replace(width=400, wide=400, panel_height=240)
    for picture in pictures(Report.load(STORED[kind]), small):
        assert_tidy(picture.figure)
