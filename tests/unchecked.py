"""A fixture that lets wrong values through the shape and type checks, which run under pytest only.

Users run without those checks, so a wrong option must meet an error of ours.
"""

from __future__ import annotations

import jaxtyping
import pytest


@pytest.fixture
def unchecked():
    """No jaxtyping checks, as for users."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
