"""The refusal cliff: does a model that means to refuse while it thinks stop meaning to as it begins to answer?

Names load when they are first used.
"""

from __future__ import annotations
