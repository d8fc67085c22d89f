"""Which edges of a model carry a behaviour: attribution, exact patching, circuits and how faithful they are.

Names load when they are first used.

>>> from interp import circuits, load_model, testbeds
>>> model = load_model(testbeds.path("induction"))
>>> pairs = circuits.Pairs.from_tokens([[5, 9, 7, 8, 5]], [[5, 8, 7, 9, 5]], answers=[[9]], wrong=[[8]])
>>> scores = circuits.attribute(model, pairs, "logit_diff", method="eap-ig", replicates=0)
>>> circuits.top_edges(scores, 2).names
('input->a1.h0<v>', 'a1.h0->logits')
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .attention import attention_report
    from .attribution import attribute
    from .circuit import Circuit
    from .complete import completeness
    from .constants import Constants
    from .edgerows import edge_report
    from .evaluation import evaluate
    from .execute import run_circuits
    from .export import save_graphml, save_mib
    from .graph import Graph
    from .kept import run_kept
    from .latentexact import exact_latents
    from .latentrows import latent_report
    from .latentscores import LatentScores
    from .load import load_pairs
    from .minimal import minimality
    from .noderows import node_report
    from .nodeset import NodeSet
    from .occlusion import token_attribution
    from .optimal import fit_optimal
    from .pairs import Pairs
    from .patching import exact
    from .paths import PathEffects, path_patch
    from .scores import EdgeScores, NodeScores
    from .select import greedy, top_edges, top_nodes
    from .study import CircuitStudy, circuit_study
    from .verification import verify

# Public name -> the module that has it.
_HOME = {
    "Circuit": "circuit",
    "CircuitStudy": "study",
    "Constants": "constants",
    "EdgeScores": "scores",
    "Graph": "graph",
    "LatentScores": "latentscores",
    "NodeScores": "scores",
    "NodeSet": "nodeset",
    "Pairs": "pairs",
    "PathEffects": "paths",
    "attention_report": "attention",
    "attribute": "attribution",
    "circuit_study": "study",
    "completeness": "complete",
    "edge_report": "edgerows",
    "evaluate": "evaluation",
    "exact": "patching",
    "exact_latents": "latentexact",
    "fit_optimal": "optimal",
    "greedy": "select",
    "latent_report": "latentrows",
    "load_pairs": "load",
    "minimality": "minimal",
    "node_report": "noderows",
    "path_patch": "paths",
    "run_circuits": "execute",
    "run_kept": "kept",
    "save_graphml": "export",
    "save_mib": "export",
    "token_attribution": "occlusion",
    "top_edges": "select",
    "top_nodes": "select",
    "verify": "verification",
}

__all__ = [
    "Circuit",
    "CircuitStudy",
    "Constants",
    "EdgeScores",
    "Graph",
    "LatentScores",
    "NodeScores",
    "NodeSet",
    "Pairs",
    "PathEffects",
    "attention_report",
    "attribute",
    "circuit_study",
    "completeness",
    "edge_report",
    "evaluate",
    "exact",
    "exact_latents",
    "fit_optimal",
    "greedy",
    "latent_report",
    "load_pairs",
    "minimality",
    "node_report",
    "path_patch",
    "run_circuits",
    "run_kept",
    "save_graphml",
    "save_mib",
    "token_attribution",
    "top_edges",
    "top_nodes",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
