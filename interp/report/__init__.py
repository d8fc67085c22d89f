"""What a job found, as a value: reports, the results that they make up, and what differs between two of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .report import FORMAT, VERSION, Report, csv_text, table_cells, write_atomic

if TYPE_CHECKING:
    from .diff import Comparison, compare
    from .result import Result, load_result

_HOME = {"Comparison": "diff", "Result": "result", "compare": "diff", "load_result": "result"}

__all__ = [
    "FORMAT",
    "VERSION",
    "Comparison",
    "Report",
    "Result",
    "compare",
    "csv_text",
    "load_result",
    "table_cells",
    "write_atomic",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
