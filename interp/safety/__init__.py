"""Is a request judged harmful, is it refused, where does each live, and what does steering them cost?

Names load when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ablation import ablation_effect, remove_direction, remove_heads, remove_sites
    from .boundary.loss import boundary_loss
    from .boundary.training import draw_boundary
    from .cliff.study import CliffStudy
    from .cliff.thinking import find_thinking, think
    from .gating import fit_condition
    from .neutral import Arm
    from .refusal.guard import latent_guard
    from .refusal.loading import load_requests
    from .refusal.requests import Requests
    from .refusal.study import RefusalStudy, refusal_study
    from .spread.study import SpreadStudy
    from .steering import steer_dose_response
    from .texts import side_by_side

# Public name -> the module that has it. What shares its name with its module is imported from there.
_HOME: dict[str, str] = {
    "Arm": "neutral",
    "CliffStudy": "cliff.study",
    "RefusalStudy": "refusal.study",
    "Requests": "refusal.requests",
    "SpreadStudy": "spread.study",
    "ablation_effect": "ablation",
    "boundary_loss": "boundary.loss",
    "draw_boundary": "boundary.training",
    "find_thinking": "cliff.thinking",
    "fit_condition": "gating",
    "latent_guard": "refusal.guard",
    "load_requests": "refusal.loading",
    "refusal_study": "refusal.study",
    "remove_direction": "ablation",
    "remove_heads": "ablation",
    "remove_sites": "ablation",
    "side_by_side": "texts",
    "steer_dose_response": "steering",
    "think": "cliff.thinking",
}

__all__ = [
    "Arm",
    "CliffStudy",
    "RefusalStudy",
    "Requests",
    "SpreadStudy",
    "ablation_effect",
    "boundary_loss",
    "draw_boundary",
    "find_thinking",
    "fit_condition",
    "latent_guard",
    "load_requests",
    "refusal_study",
    "remove_direction",
    "remove_heads",
    "remove_sites",
    "side_by_side",
    "steer_dose_response",
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
