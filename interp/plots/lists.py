"""Figures of reports that list results, tokens or heads: kind -> names and functions, and the kinds that have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..report import Report
from .attention import attention_patterns, heads_by_place
from .boundary import boundary_by_depth
from .positions import accuracy_by_position
from .scatter import against
from .tokens import token_strip
from .whiskers import forest

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Kind of report -> its figures, the main one first: name, function, and whether the report has what it shows.
Drawn = tuple[str, Callable[..., "Figure"], Callable[[Report], Any]]


def _always(report: Report) -> bool:
    return bool(report.rows)


LISTS: dict[str, tuple[Drawn, ...]] = {
    "probe-grid": (("By layer and position", accuracy_by_position, _always),),
    "sweep": (("By layer and position", accuracy_by_position, _always),),
    "tokens": (("Token by token", token_strip, _always),),
    "token-attribution": (("Token by token", token_strip, _always),),
    "attention": (
        ("Where heads look", heads_by_place, _always),
        ("Patterns", attention_patterns, lambda report: report.meta.get("patterns")),
    ),
    "boundary": (("Boundary by depth", boundary_by_depth, _always),),
    "minimality": (("Edge by edge", forest, _always),),
    "completeness": (("Without some edges", against, _always),),
    "circuit-null": (("Beside nulls", forest, _always),),
    "task": (("Pair by pair", against, _always),),
    "condition": (("Where the gate opens", forest, _always),),
    "refusal-behaviour": (("Refused", forest, _always),),
    "cliff-judge": (("Example by example", against, _always),),
    "extraction": (("Record by record", against, _always),),
    "sae": (("Beside controls", forest, _always),),
    "latents": (("Latents one by one", forest, _always),),
    "doctor": (("Checks", forest, lambda report: any(row.get("worst") is not None for row in report.rows)),),
}
# Kinds without a figure, and why: what their rows say is words, or numbers of different units.
WITHOUT = {
    "memorisation": "a list of claims, each with its number, null and verdict; the figures are those of its parts",
    "refusal": "a list of claims, each with its number, null and verdict; the figures are those of its parts",
    "circuit-study": "a list of claims, each with its number, null and verdict; the figures are those of its parts",
    "texts": "what a model writes, side by side",
    "diff": "what differs between two results, as a table",
    "diff-sources": "what differs between the sources of two results, as a table",
    "history": "the loss of every training step, as CSV",
    "bench": "timings of one machine; docs/benchmarks.md has them as tables",
    "bench-targets": "targets that are met or not",
}
