"""What tests of figures and pages look at: pages as a strict reader sees them, figures as they are laid out."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import plotly.graph_objects as go

from interp.plots import write_html
from interp.plots.static import figure as drawing
from interp.plots.static.spec import require_supported

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """A strict reader: every tag closed in order; collects what a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.parents: list[tuple[str, ...]] = []
        self.words: list[str] = []
        self.raw = text
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.parents.append(tuple(self.open))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.parents.append(tuple(self.open))

    def handle_endtag(self, tag):
        assert self.open, f"stray </{tag}>"
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def page_of(report, tmp_path, **options) -> Page:
    return Page(write_html(report, tmp_path / "report.html", **options).read_text("utf-8"))


def assert_offline(page: Page) -> None:
    """Nothing in the page makes a browser ask for anything."""
    for tag, attrs in page.tags:
        for name, value in attrs.items():
            if name in ("src", "href", "xlink:href", "action", "srcset", "data", "poster", "background", "formaction"):
                assert value is not None
                assert value.startswith("#"), (tag, name, value)
            if name == "style" and value:
                assert "url(" not in value or re.search(r"url\(#", value), value
    assert not page.all("link")
    assert not page.all("iframe")
    style = "".join(re.findall(r"<style.*?</style>", page.raw, re.DOTALL))
    assert "@import" not in style
    assert "url(" not in style
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def assert_tidy(figure: go.Figure) -> None:
    """Everything lies inside the figure; legend, title and panels do not overlap."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    spec = require_supported(figure)
    with drawing._settings(spec, False):
        picture = Figure(figsize=(spec.layout["width"] / 96, spec.layout["height"] / 96), dpi=96)
        renderer = FigureCanvasAgg(picture).get_renderer()
        drawing._draw(picture, spec)
        boxes = [a.get_tightbbox(renderer) for a in picture.axes] + [
            t.get_window_extent(renderer) for t in picture.texts
        ]
        boxes += [legend.get_window_extent(renderer) for legend in picture.legends]
    for box in boxes:
        assert box.x0 >= 0, box
        assert box.y0 >= 0, box
        assert box.x1 <= picture.bbox.width, box
        assert box.y1 <= picture.bbox.height, box
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            across, along = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert across < 1 or along < 1, (a, b)
