"""Plotly figures drawn without a browser: the core traces, through matplotlib, as SVG, PDF or PNG bytes.

Kaleido needs a Chrome; a fresh machine has none. What is not drawn here is refused by name, never left out.
"""

from __future__ import annotations

from .figure import render
from .spec import unsupported

__all__ = ["render", "unsupported"]
