"""What has a model memorised, where can it be read, and what does erasing it take and cost?

Names load when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .curves import injection_curve, logged_curve, retention_curve, training_curve
    from .erasure import verdict
    from .features import read
    from .injection import Injection, inject
    from .metrics import Extraction, extract, to_open_unlearning
    from .recall import dose_response
    from .records import Records, load_records
    from .study import MemorisationStudy, memorisation

# Public name -> the module that has it. What shares its name with its module (signature, transfer, project_out) is
# imported from there.
_HOME = {
    "Extraction": "metrics",
    "Injection": "injection",
    "MemorisationStudy": "study",
    "Records": "records",
    "dose_response": "recall",
    "extract": "metrics",
    "inject": "injection",
    "injection_curve": "curves",
    "load_records": "records",
    "logged_curve": "curves",
    "memorisation": "study",
    "read": "features",
    "retention_curve": "curves",
    "to_open_unlearning": "metrics",
    "training_curve": "curves",
    "verdict": "erasure",
}

__all__ = [
    "Extraction",
    "Injection",
    "MemorisationStudy",
    "Records",
    "dose_response",
    "extract",
    "inject",
    "injection_curve",
    "load_records",
    "logged_curve",
    "memorisation",
    "read",
    "retention_curve",
    "to_open_unlearning",
    "training_curve",
    "verdict",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
