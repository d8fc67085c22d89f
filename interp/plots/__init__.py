"""Figures, tables and pages of a `Report`. Nothing here computes: what is drawn stands in the report.

Names load when they are first used: plotly and matplotlib are heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .export import export
    from .gallery import figure, figures
    from .html import write_html
    from .layers import accuracy_by_layer
    from .tables import Table, table
    from .themes import Theme, get_theme

_HOME = {
    "Table": "tables",
    "Theme": "themes",
    "accuracy_by_layer": "layers",
    "export": "export",
    "figure": "gallery",
    "figures": "gallery",
    "get_theme": "themes",
    "table": "tables",
    "write_html": "html",
}

__all__ = [
    "Table",
    "Theme",
    "accuracy_by_layer",
    "export",
    "figure",
    "figures",
    "get_theme",
    "table",
    "write_html",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    # A function may share its module's name (export); keep the function.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
