"""Take the signature of a memory out of a model, and say honestly what remains and what it cost."""

from __future__ import annotations

from .contrast import Contrast, contrast_of
from .methods import METHODS, QUICK
from .treatment import Treatment, erase_every_depth
from .verdict import Judgement, judge, verdict

__all__ = [
    "METHODS",
    "QUICK",
    "Contrast",
    "Judgement",
    "Treatment",
    "contrast_of",
    "erase_every_depth",
    "judge",
    "verdict",
]
