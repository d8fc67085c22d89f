"""Notebooks that need the data beside the repository are skipped, with the reason, where it is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"
NEEDS_SHARED = {"08_number_on_a_real_model.ipynb"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what cannot run here."""
    if SHARED.is_dir():
        return
    for item in items:
        if item.path.name in NEEDS_SHARED:
            item.add_marker(pytest.mark.skip(reason="needs ../shared (a real model) beside the repository"))
