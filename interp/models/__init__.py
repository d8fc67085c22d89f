"""The hooked-model wrapper: `load_model` gives a `Model`; only `hooks` registers a hook."""

from __future__ import annotations

from .load import load_model
from .model import Model, Sizes

__all__ = ["Model", "Sizes", "load_model"]
