"""Plotly's words for colours, dashes, markers and rich text, in matplotlib's."""

from __future__ import annotations

import html
import math
import re
from typing import Any

from ...errors import ReportError

POINTS = 0.75  # per CSS pixel

# Lengths in pixels, as plotly draws them for thin lines.
DASHES: dict[str, tuple[float, ...]] = {
    "solid": (),
    "dot": (3, 3),
    "dash": (9, 9),
    "longdash": (15, 15),
    "dashdot": (9, 3, 3, 3),
    "longdashdot": (15, 3, 3, 3),
}
SYMBOLS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "cross": "P",
    "x": "X",
    "triangle-up": "^",
    "triangle-down": "v",
    "triangle-left": "<",
    "triangle-right": ">",
    "star": "*",
    "pentagon": "p",
    "hexagon": "h",
}
HATCHES = {"": "", "/": "//", "\\": "\\\\", "x": "xx", "-": "--", "|": "||", "+": "++", ".": ".."}
_RGB = re.compile(r"rgba?\(\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([\d.]+)\s*(?:,\s*([\d.]+)\s*)?\)")
_TAG = re.compile(r"</?(b|i|em|strong|sub|sup|span|a)(\s[^>]*)?>", re.IGNORECASE)
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_BOLD = re.compile(r"\s*<(b|strong)>.*</\1>\s*", re.IGNORECASE | re.DOTALL)


def is_color(text: str) -> bool:
    """Whether `color` reads it."""
    from matplotlib.colors import is_color_like

    return bool(_RGB.fullmatch(text)) or is_color_like(text)


def color(text: str, opacity: float = 1.0) -> tuple[float, float, float, float]:
    """A CSS colour as red, green, blue and alpha from 0 to 1.

    >>> color("rgba(255, 0, 0, 0.5)")
    (1.0, 0.0, 0.0, 0.5)
    """
    from matplotlib.colors import to_rgba

    if match := _RGB.fullmatch(text):
        parts = [float(match[i]) / 255 for i in (1, 2, 3)]
        return parts[0], parts[1], parts[2], float(match[4] or 1) * opacity
    if not is_color(text):
        raise ReportError(f"cannot read the colour {text!r}; write '#rrggbb', 'rgb(...)', 'rgba(...)' or a CSS name")
    named = to_rgba(text)
    return float(named[0]), float(named[1]), float(named[2]), float(named[3]) * opacity


def dash(text: str | None) -> Any:
    """A dash as matplotlib's line style, in points."""
    lengths = DASHES.get(text or "solid")
    if lengths is None:
        lengths = tuple(float(part) for part in re.findall(r"\d+(?:\.\d+)?", str(text)))
    return (0, tuple(part * POINTS for part in lengths)) if lengths else "-"


def marker(symbol: str | int) -> tuple[str, bool]:
    """Matplotlib's marker, and whether it is open (drawn as an outline)."""
    text = str(symbol)
    return SYMBOLS[text.removesuffix("-open")], text.endswith("-open")


def plain(text: Any) -> tuple[str, bool]:
    """Plotly's rich text as plain text with line breaks, and whether all of it is bold.

    >>> plain("<b>Layer &lt;3&gt;</b>")
    ('Layer <3>', True)
    """
    raw = str(text)
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", raw))), bool(_BOLD.fullmatch(raw))


def number(value: Any) -> float:
    """The value as a float, NaN for nothing."""
    return math.nan if value is None else float(value)


def formatted(value: float, spec: str) -> str:
    """One tick label; d3's simple formats are Python's."""
    return format(value, spec.replace("~", "")).replace("-", "\N{MINUS SIGN}")
