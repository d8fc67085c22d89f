"""sae-lens, imported when it is needed; it is an optional extra."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from ..errors import SaeError


def library() -> Any:
    """The ``sae_lens`` module.

    Raises:
        SaeError: it is not installed.
    """
    try:
        with others_warnings():
            return import_module("sae_lens")
    except ImportError as error:
        raise SaeError(
            f"sparse autoencoders need sae-lens, which cannot be imported ({error}): pip install 'interp[sae]'"
        ) from error


@contextmanager
def others_warnings() -> Iterator[None]:
    """Silence what sae-lens says about its own dependencies; what matters to a user is said by us."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
