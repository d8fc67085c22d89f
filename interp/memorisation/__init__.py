"""What has a model memorised, where can it be read, and what does erasing it take and cost?

Names load when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .features import read
    from .records import Records, load_records

# Public name -> the module that has it.
_HOME = {"Records": "records", "load_records": "records", "read": "features"}

__all__ = ["Records", "load_records", "read"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
