"""Fixtures for prompt tests: the shared files, where they exist."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"shared material is not here: {SHARED.name}/ beside the repository")
    return SHARED
