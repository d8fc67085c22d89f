"""What a page says about a report: captions, what each null and control means, and how to read the result."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ...report import Report
from .common import Note

# Kind of report -> the module with its NOTES, CAPTIONS and READING.
_HOME = {
    "probe": "probe",
    "direction": "directions",
    "selection": "directions",
    "selection-test": "directions",
    "heads": "directions",
    "doctor": "doctor",
    "diff": "diff",
    "diff-sources": "diff",
    "probe-grid": "grid",
    "sweep": "grid",
    "boundary": "grid",
    "tokens": "tokens",
    "token-attribution": "tokens",
    "attention": "tokens",
    "recall": "recall",
    "extraction": "recall",
    "curve": "curve",
    "signature": "signature",
    "gap": "gap",
    "transfer": "transfer",
    "erasure": "erasure",
    "project-out": "project_out",
    "memorisation": "summary",
    "steering": "steering",
    "ablation": "steering",
    "side-effects": "steering",
    "texts": "steering",
    "condition": "steering",
    "refusal": "summary",
    "refusal-behaviour": "refusal",
    "beliefs": "beliefs",
    "quadrants": "beliefs",
    "belief-regression": "beliefs",
    "belief-map": "refusal",
    "inversion": "refusal",
    "dissociation": "refusal",
    "guard": "refusal",
    "checkpoints": "refusal",
    "circuit-study": "summary",
    "circuit-edges": "circuit",
    "circuit-nodes": "circuit",
    "circuit-neurons": "circuit",
    "circuit-latents": "circuit",
    "circuit": "circuit",
    "sae": "sae",
    "latents": "sae",
    "circuit-null": "circuit",
    "verification": "circuit",
    "minimality": "circuit",
    "completeness": "circuit",
    "task": "circuit",
    "cliff": "cliff",
    "cliff-heads": "cliff",
    "cliff-ablation": "cliff",
    "cliff-judge": "cliff",
    "spread": "spread",
    "spread-pairs": "spread",
    "lens": "lens",
    "lens-held-out": "lens",
    "direct-logits": "lens",
    "retrieval-heads": "attention_heads",
    "retrieval-masks": "attention_heads",
    "conflict-heads": "attention_heads",
    "conflict-pruned": "attention_heads",
}

__all__ = ["Note", "caption", "explanations", "has_words", "how_to_read"]


def has_words(kind: str) -> bool:
    """Whether there is anything to say about reports of a kind."""
    return kind in _HOME


def explanations(report: Report) -> list[Note]:
    """A sentence for each null, control and measure that this report holds."""
    home = _home(report)
    return list(home.notes(report)) if home else []


def how_to_read(report: Report) -> list[str]:
    """What the result does and does not say."""
    home = _home(report)
    return list(_fitting(home, "reading", "READING", report)) if home else []


def caption(report: Report, name: str) -> str:
    """The line under the figure of that name."""
    home = _home(report)
    return str(_fitting(home, "captions", "CAPTIONS", report).get(name, "")) if home else ""


def _fitting(home: Any, chosen: str, fixed: str, report: Report) -> Any:
    """What a module says of this report where that depends on it, else what it says of all."""
    return getattr(home, chosen)(report) if hasattr(home, chosen) else getattr(home, fixed)


def _home(report: Report) -> Any:
    return import_module(f".{_HOME[report.kind]}", __name__) if report.kind in _HOME else None
