"""``Theme``: sizes and colours of figures. ``paper`` for print, ``screen`` for pages that are light or dark.

Colours are Okabe and Ito's, which readers with any common colour blindness can tell apart; every role also has its
own dash and marker, so that a greyscale print reads the same.

Source: Okabe & Ito (2002), "Color Universal Design: how to make figures that are colourblind-friendly".
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..errors import ReportError

PX_PER_INCH = 96  # CSS pixels, which plotly, browsers and `static` agree on

# Names that pages use for CSS variables: `html.py` recolours them in the dark.
PALETTE = {
    "ink": "#1f2328",
    "muted": "#6b7280",
    "grid": "#e3e6ea",
    "band": "#c9ced6",
    "blue": "#0072b2",
    "vermillion": "#d55e00",
    "green": "#009e73",
    "purple": "#aa4a8a",  # Okabe-Ito's #cc79a7, darkened until it holds 3:1 against white
    "sky": "#2f8fc4",
    "orange": "#b87a00",
}
# The same names on a dark page.
DARK = {
    "ink": "#e6e8eb",
    "muted": "#9aa3ad",
    "grid": "#30363d",
    "band": "#4c545e",
    "blue": "#56b4e9",
    "vermillion": "#ff9248",
    "green": "#2fc79a",
    "purple": "#e08cc4",
    "sky": "#9bd4f5",
    "orange": "#e6a52e",
}


@dataclass(frozen=True)
class Style:
    """How one role is drawn: colour name, dash (plotly's words or pixels), marker symbol, width as a share."""

    color: str
    dash: str = "solid"
    symbol: str = "circle"
    weight: float = 1.0

    @property
    def hex(self) -> str:
        """The colour as ``#rrggbb``."""
        return PALETTE[self.color]

    def faint(self, alpha: float) -> str:
        """The colour as ``rgba(...)``, for bands."""
        red, green, blue = (int(self.hex[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({red},{green},{blue},{alpha:g})"


ROLES = {
    "result": Style("blue"),
    "untrained": Style("vermillion", "5px,3px", "square-open", 0.85),
    "difference": Style("green", "solid", "diamond"),
    "never": Style("green", "7px,2px,1.5px,2px", "diamond-open", 0.85),
    "baseline": Style("green", "7px,2px,1.5px,2px", weight=0.75),
    "baseline_2": Style("purple", "7px,2px,1.5px,2px,1.5px,2px", weight=0.75),
    "null": Style("band"),
    "null_max": Style("muted", "1.5px,2px", weight=0.75),
    "chance": Style("muted", "solid", weight=0.5),
}
# For several results in one panel.
SERIES = (
    Style("blue", "solid", "circle"),
    Style("vermillion", "6px,3px", "square"),
    Style("green", "2px,2px", "diamond"),
    Style("purple", "8px,2px,2px,2px", "triangle-up"),
    Style("orange", "10px,4px", "triangle-down"),
    Style("sky", "4px,2px,1px,2px", "cross"),
)


@dataclass(frozen=True)
class Theme:
    """Sizes of one kind of output. Lengths in CSS pixels (96 to the inch); ``width`` one column, ``wide`` two."""

    name: str
    width: float
    wide: float
    panel_height: float
    font_size: float
    line_width: float
    marker_size: float
    font: str = "DejaVu Sans"
    titled: bool = False

    def replace(self, **changes: object) -> Theme:
        """A copy with some sizes changed, such as ``get_theme("paper").replace(font="Arial")``."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


_POINT = PX_PER_INCH / 72
THEMES = {
    "paper": Theme("paper", 3.3 * PX_PER_INCH, 6.75 * PX_PER_INCH, 150, 8 * _POINT, 1.25 * _POINT, 3.5 * _POINT),
    "screen": Theme("screen", 720, 720, 300, 13, 2, 7, font="system-ui, sans-serif", titled=True),
}


def get_theme(theme: str | Theme) -> Theme:
    """The theme of that name; a `Theme` passes through.

    >>> get_theme("paper").width / 96
    3.3

    Raises:
        ReportError: no theme has the name.
    """
    if isinstance(theme, Theme):
        return theme
    if theme not in THEMES:
        raise ReportError(f"unknown theme {theme!r}; themes are: {', '.join(THEMES)}")
    return THEMES[theme]
