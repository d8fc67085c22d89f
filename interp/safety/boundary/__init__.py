"""How far harmful requests lie from harmless ones that look like them, and training that draws the line sharper."""

from __future__ import annotations
