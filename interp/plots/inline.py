"""A figure as SVG inside a page: the page's font, its colours light or dark, and values as tooltips."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from .static import render
from .static.style import plain
from .themes import PALETTE

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_THEMED = re.compile("|".join(map(re.escape, PALETTE.values())), re.IGNORECASE)
_NAMES = {value: f"var(--fig-{name})" for name, value in PALETTE.items()}


def inline_svg(figure: Figure, label: str, prefix: str) -> str:
    """The figure as an ``<svg>`` element. ``label`` is what a screen reader says; ``prefix`` keeps ids apart.

    Raises:
        ReportError: the figure cannot be drawn without a browser.
    """
    import plotly.graph_objects as go

    shown = go.Figure(figure)
    # The page has its own heading, background and font.
    shown.update_layout(title=None, margin_t=8, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)")
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _LINK)
    root = ElementTree.fromstring(render(shown, "svg", live_text=True))
    _strip(root)
    for number, trace in enumerate(shown.data):
        _add_tooltips(root, f"points-{number}", trace)
    for element in root.iter():
        _rename(element, prefix)
        if style := element.get("style"):
            element.set("style", _THEMED.sub(lambda m: _NAMES[m[0].lower()], style))
    width = float(root.get("viewBox", "0 0 0 0").split()[2]) * 96 / 72
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", label)
    root.set("style", f"max-width: {width:.0f}px; stroke-linejoin: round; stroke-linecap: butt")
    return ElementTree.tostring(root, encoding="unicode")


def _strip(root: Any) -> None:
    """Drop metadata, and matplotlib's style sheet, which would reach the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)


def _add_tooltips(root: Any, name: str, trace: Any) -> None:
    texts = trace.hovertext if hasattr(trace, "hovertext") else None
    if texts is None or isinstance(texts, str):
        return
    shown = [text for text, y in zip(texts, trace.y, strict=False) if y is not None and y == y]
    for group in root.iter(f"{{{_SVG}}}g"):
        if group.get("id") != name:
            continue
        points = list(group.iter(f"{{{_SVG}}}use"))
        # A point outside the figure is not drawn, and then the two cannot be matched.
        if len(points) == len(shown):
            for point, text in zip(points, shown, strict=True):
                ElementTree.SubElement(point, f"{{{_SVG}}}title").text = plain(text)[0]


def _rename(element: Any, prefix: str) -> None:
    if "id" in element.attrib:
        element.set("id", prefix + element.get("id"))
    link = f"{{{_LINK}}}href"
    if element.get(link, "").startswith("#"):
        # Browsers have read a plain href for years; the xlink form needs a namespace that HTML lacks.
        element.set("href", f"#{prefix}{element.attrib.pop(link)[1:]}")
    for name, value in element.attrib.items():
        if "url(#" in value:
            element.set(name, _REFERENCE.sub(lambda m: f"url(#{prefix}{m[1]})", value))
