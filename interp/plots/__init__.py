"""Figures, tables and pages of a `Report`. Nothing here computes: what is drawn stands in the report.

Names load when they are first used: plotly and matplotlib are heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ablation import heads_against_random
    from .attention import attention_patterns, heads_by_place
    from .beliefs import beliefs_by_depth, effects_by_depth
    from .boundary import boundary_by_depth
    from .circuit import circuit_graph
    from .cliff import refusal_trajectory
    from .erasure import erasure_verdicts
    from .export import export
    from .faithfulness import estimates_against_exact, faithfulness_curve
    from .gallery import figure, figures
    from .gap import gap_by_depth
    from .guard import guard_roc
    from .heads import head_grid
    from .html import write_html, write_studies
    from .inversion import dissociation, steered_answers
    from .layers import accuracy_by_layer
    from .maps import belief_map, beliefs_by_category
    from .plotted import plotted_rows
    from .positions import accuracy_by_position
    from .project_out import project_out_by_depth
    from .quadrants import beliefs_by_checkpoint, beliefs_by_quadrant
    from .raster import Image, image
    from .recall import dose_response
    from .removal import effects_beside_controls
    from .scatter import against
    from .selection import candidate_grid, judged_direction
    from .signature import signature_by_depth
    from .signature_doses import signature_by_dose
    from .spread import domain_tables, likeness_against_loss
    from .steering import steering_dose_response
    from .tables import Table, table
    from .themes import Theme, get_theme
    from .tokens import token_strip
    from .training import recall_over_training
    from .transfer import transfer_by_depth
    from .whiskers import forest

_HOME = {
    "Image": "raster",
    "Table": "tables",
    "Theme": "themes",
    "accuracy_by_layer": "layers",
    "accuracy_by_position": "positions",
    "against": "scatter",
    "attention_patterns": "attention",
    "belief_map": "maps",
    "beliefs_by_category": "maps",
    "beliefs_by_checkpoint": "quadrants",
    "beliefs_by_depth": "beliefs",
    "beliefs_by_quadrant": "quadrants",
    "boundary_by_depth": "boundary",
    "candidate_grid": "selection",
    "circuit_graph": "circuit",
    "dissociation": "inversion",
    "domain_tables": "spread",
    "dose_response": "recall",
    "effects_beside_controls": "removal",
    "effects_by_depth": "beliefs",
    "erasure_verdicts": "erasure",
    "estimates_against_exact": "faithfulness",
    "export": "export",
    "faithfulness_curve": "faithfulness",
    "figure": "gallery",
    "figures": "gallery",
    "forest": "whiskers",
    "gap_by_depth": "gap",
    "get_theme": "themes",
    "guard_roc": "guard",
    "head_grid": "heads",
    "heads_against_random": "ablation",
    "heads_by_place": "attention",
    "image": "raster",
    "judged_direction": "selection",
    "likeness_against_loss": "spread",
    "plotted_rows": "plotted",
    "project_out_by_depth": "project_out",
    "recall_over_training": "training",
    "refusal_trajectory": "cliff",
    "signature_by_depth": "signature",
    "signature_by_dose": "signature_doses",
    "steered_answers": "inversion",
    "steering_dose_response": "steering",
    "table": "tables",
    "token_strip": "tokens",
    "transfer_by_depth": "transfer",
    "write_html": "html",
    "write_studies": "html",
}

__all__ = [
    "Image",
    "Table",
    "Theme",
    "accuracy_by_layer",
    "accuracy_by_position",
    "against",
    "attention_patterns",
    "belief_map",
    "beliefs_by_category",
    "beliefs_by_checkpoint",
    "beliefs_by_depth",
    "beliefs_by_quadrant",
    "boundary_by_depth",
    "candidate_grid",
    "circuit_graph",
    "dissociation",
    "domain_tables",
    "dose_response",
    "effects_beside_controls",
    "effects_by_depth",
    "erasure_verdicts",
    "estimates_against_exact",
    "export",
    "faithfulness_curve",
    "figure",
    "figures",
    "forest",
    "gap_by_depth",
    "get_theme",
    "guard_roc",
    "head_grid",
    "heads_against_random",
    "heads_by_place",
    "image",
    "judged_direction",
    "likeness_against_loss",
    "plotted_rows",
    "project_out_by_depth",
    "recall_over_training",
    "refusal_trajectory",
    "signature_by_depth",
    "signature_by_dose",
    "steered_answers",
    "steering_dose_response",
    "table",
    "token_strip",
    "transfer_by_depth",
    "write_html",
    "write_studies",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    # A function may share its module's name (export); keep the function.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
