"""Fixtures for prompt tests: the shared files, where they exist, and the real tokenizer among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the shared material is not beside the repository")
    return SHARED


@pytest.fixture(scope="session")
def stories(shared: Path) -> Any:
    """The tokenizer of stories260K: adds <s>, pads on the left, and its padding token is </s>."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(shared / "models" / "stories260K")
