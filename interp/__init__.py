"""Cached activations, probes and circuits for causal language models, at the price of the forward pass.

Names load when they are first used, so that ``import interp`` stays light:

>>> import interp
>>> interp.Site.parse("resid_post.2")
Site('resid_post.2')
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import circuits, directions, memorisation, plots, safety, testbeds
    from .directions import Direction
    from .doctor import doctor
    from .edits import Edit, ablate, add, patch, scale
    from .errors import InterpError
    from .models import Model, load_model
    from .probes import Probe
    from .probes.study import probe
    from .prompts import PromptSet, load_prompts
    from .provenance import Provenance
    from .report import Report
    from .run import capture, capture_stats, forward, generate, grads
    from .sites import Site
    from .store import Activations, open_store, verify

__version__ = "0.1.0"

# Public name -> the module that has it; None where the name is itself a module of this package.
_HOME: dict[str, str | None] = {
    "Activations": "store",
    "Direction": "directions",
    "Edit": "edits",
    "InterpError": "errors",
    "Model": "models",
    "Probe": "probes",
    "PromptSet": "prompts",
    "Provenance": "provenance",
    "Report": "report",
    "Site": "sites",
    "ablate": "edits",
    "add": "edits",
    "capture": "run",
    "capture_stats": "run",
    "circuits": None,
    "directions": None,
    "doctor": "doctor",
    "forward": "run",
    "generate": "run",
    "grads": "run",
    "load_model": "models",
    "load_prompts": "prompts",
    "memorisation": None,
    "open_store": "store",
    "patch": "edits",
    "plots": None,
    "probe": "probes.study",
    "safety": None,
    "scale": "edits",
    "testbeds": None,
    "verify": "store",
}

__all__ = [
    "Activations",
    "Direction",
    "Edit",
    "InterpError",
    "Model",
    "Probe",
    "PromptSet",
    "Provenance",
    "Report",
    "Site",
    "__version__",
    "ablate",
    "add",
    "capture",
    "capture_stats",
    "circuits",
    "directions",
    "doctor",
    "forward",
    "generate",
    "grads",
    "load_model",
    "load_prompts",
    "memorisation",
    "open_store",
    "patch",
    "plots",
    "probe",
    "safety",
    "scale",
    "testbeds",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'interp' has no attribute {name!r}")
    home = _HOME[name]
    value = import_module(f".{name}", __name__) if home is None else getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps `interp.doctor` the function: importing the module of that name would put itself in its place."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and _HOME.get(name)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
