"""`chat`: a small chat model in which harmfulness and refusal are different things, planted where the card says."""

from __future__ import annotations

from .rows import KINDS, MARKS, prompts

__all__ = ["KINDS", "MARKS", "prompts"]
