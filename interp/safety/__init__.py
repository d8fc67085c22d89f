"""Is a request judged harmful, is it refused, where does each live, and what does steering them cost?

Names load when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Public name -> the module that has it, in alphabetical order. What shares its name with its module is imported from
# there. A new name goes here, and under TYPE_CHECKING for type checkers if others use it from here.
_HOME: dict[str, str] = {}

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
