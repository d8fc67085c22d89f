"""The single direction that refusal hangs on, found on one part of the prompts and judged by two others."""

from __future__ import annotations

from .candidates import Candidates
from .parts import Parts, split_parts
from .select import Selection, select_direction

__all__ = ["Candidates", "Parts", "Selection", "select_direction", "split_parts"]
