"""Take the signature of a memory out of a model, and say honestly what remains and what it cost."""

from __future__ import annotations

from .contrast import Contrast, contrast_of
from .methods import CHEAP, METHODS, QUICK
from .probe_alignment import PGAResult, PGASettings, pga
from .treatment import Treatment, erase_every_depth, fold_everywhere
from .verdict import Judgement, judge, verdict

__all__ = [
    "CHEAP",
    "METHODS",
    "QUICK",
    "Contrast",
    "Judgement",
    "PGAResult",
    "PGASettings",
    "Treatment",
    "contrast_of",
    "erase_every_depth",
    "fold_everywhere",
    "judge",
    "pga",
    "verdict",
]
