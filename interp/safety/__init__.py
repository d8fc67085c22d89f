"""Is a request judged harmful, is it refused, where does each live, and what does steering them cost?

Names load when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .boundary.loss import boundary_loss
    from .boundary.training import draw_boundary
    from .cliff.study import CliffStudy
    from .cliff.thinking import find_thinking, think
    from .refusal.guard import latent_guard
    from .refusal.loading import load_requests
    from .refusal.requests import Requests
    from .refusal.study import RefusalStudy, refusal_study
    from .spread.study import SpreadStudy

# Public name -> the module that has it. What shares its name with its module is imported from there.
_HOME: dict[str, str] = {
    "CliffStudy": "cliff.study",
    "RefusalStudy": "refusal.study",
    "Requests": "refusal.requests",
    "SpreadStudy": "spread.study",
    "boundary_loss": "boundary.loss",
    "draw_boundary": "boundary.training",
    "find_thinking": "cliff.thinking",
    "latent_guard": "refusal.guard",
    "load_requests": "refusal.loading",
    "refusal_study": "refusal.study",
    "think": "cliff.thinking",
}

__all__ = [
    "CliffStudy",
    "RefusalStudy",
    "Requests",
    "SpreadStudy",
    "boundary_loss",
    "draw_boundary",
    "find_thinking",
    "latent_guard",
    "load_requests",
    "refusal_study",
    "think",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
