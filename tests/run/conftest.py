"""Fixtures of the run tests."""

from __future__ import annotations

from tests.unchecked import unchecked  # noqa: F401
