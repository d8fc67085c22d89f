"""Fixtures of the edit tests."""

from __future__ import annotations

from tests.unchecked import unchecked  # noqa: F401
