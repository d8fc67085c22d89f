"""Directions in activation space, as values that know where they came from, and erasers that take some out.

What runs a model loads when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .ablation import ablation_edits, ablation_sites, eraser_of
from .diff_means import diff_means
from .direction import Direction
from .erasers import (
    ERASERS,
    Attack,
    Eraser,
    Erasure,
    attack,
    erase,
    fit_inlp,
    fit_leace,
    fit_mdpga,
    fit_mean,
    fit_probe_direction,
    fit_random,
    nested_erasure,
)
from .fit import METHODS, fit_direction
from .null_space import NullSpaceMap, fit_null_space_map

if TYPE_CHECKING:
    from .contrast import answer_prompts, caa
    from .heads import HeadShifts, fit_heads, iti
    from .selection import Selection, select_direction
    from .study import DirectionStudy, fit_directions

# Public name -> the module that has it.
_HOME = {
    "DirectionStudy": "study",
    "HeadShifts": "heads",
    "Selection": "selection",
    "answer_prompts": "contrast",
    "caa": "contrast",
    "fit_directions": "study",
    "fit_heads": "heads",
    "iti": "heads",
    "select_direction": "selection",
}

__all__ = [
    "ERASERS",
    "METHODS",
    "Attack",
    "Direction",
    "DirectionStudy",
    "Eraser",
    "Erasure",
    "HeadShifts",
    "NullSpaceMap",
    "Selection",
    "ablation_edits",
    "ablation_sites",
    "answer_prompts",
    "attack",
    "caa",
    "diff_means",
    "erase",
    "eraser_of",
    "fit_direction",
    "fit_directions",
    "fit_heads",
    "fit_inlp",
    "fit_leace",
    "fit_mdpga",
    "fit_mean",
    "fit_null_space_map",
    "fit_probe_direction",
    "fit_random",
    "iti",
    "nested_erasure",
    "select_direction",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
