"""The cross-sequence protocol: what tells memorised from other text, at which depth, and beyond which controls."""

from __future__ import annotations

from .gap import gap
from .protocol import signature

__all__ = ["gap", "signature"]
