"""Which figures a kind of report has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ReportError
from ..report import Report
from .ablation import heads_against_random
from .beliefs import beliefs_by_depth, effects_by_depth
from .circuit import circuit_graph
from .cliff import refusal_trajectory
from .erasure import erasure_verdicts
from .faithfulness import estimates_against_exact, faithfulness_curve
from .gap import gap_by_depth
from .guard import guard_roc
from .head_sets import sets_beside_random
from .heads import head_grid
from .inversion import dissociation, steered_answers
from .layers import METRICS, accuracy_by_layer
from .lens import lens_by_depth, lens_tokens
from .lists import LISTS, WITHOUT
from .maps import belief_map, beliefs_by_category
from .nodes import UNITS, strongest_nodes
from .project_out import project_out_by_depth
from .quadrants import beliefs_by_checkpoint, beliefs_by_quadrant
from .recall import dose_response
from .removal import effects_beside_controls
from .selection import candidate_grid, judged_direction
from .signature import signature_by_depth
from .signature_doses import signature_by_dose
from .spread import domain_tables, likeness_against_loss
from .steering import steering_dose_response
from .themes import Theme
from .training import recall_over_training
from .transfer import transfer_by_depth

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Picture:
    """One figure of a report. ``folded``: it shows in another way what one before it shows."""

    name: str
    figure: Figure
    folded: bool = False


def _probe(report: Report, theme: str | Theme) -> Iterator[Picture]:
    for metric, name in METRICS.items():
        if metric in report.columns:
            yield Picture(name, accuracy_by_layer(report, metric, theme), metric != "auc")


def _selection(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Candidates", candidate_grid(report, theme=theme))


def _selection_test(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("On test prompts", judged_direction(report, theme=theme))


def _heads(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Heads", head_grid(report, "above_chance", theme))


def _recall(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Recall by dose", dose_response(report, theme=theme))


def _signature(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("AUC by depth", signature_by_depth(report, theme=theme))
    if report.meta.get("cells"):
        yield Picture("AUC by dose", signature_by_dose(report, theme=theme))


def _gap(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Gap by depth", gap_by_depth(report, theme=theme))


def _transfer(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Transfer by depth", transfer_by_depth(report, theme=theme))


def _project_out(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Projected out, by depth", project_out_by_depth(report, theme=theme))


def _erasure(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Erasers", erasure_verdicts(report, theme=theme))


def _curve(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Over training", recall_over_training(report, theme=theme))


def _cliff(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Refusal over the thinking", refusal_trajectory(report, theme=theme))


def _cliff_heads(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Heads", head_grid(report, theme=theme))


def _cliff_ablation(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Lowest heads taken out", heads_against_random(report, theme=theme))


def _steering(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Dose and response", steering_dose_response(report, theme=theme))


def _beside_controls(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Beside controls", effects_beside_controls(report, theme=theme))


def _beliefs(report: Report, theme: str | Theme) -> Iterator[Picture]:
    there = {row.get("reading") for row in report.rows}
    for name, readings in (
        ("Told apart, by depth", ("plain",)), ("Off the diagonal, by depth", ("off-diagonal",)),
        ("Each with the other held fixed", ("harm", "refusal")),
    ):  # fmt: skip
        if there & set(readings):
            yield Picture(name, beliefs_by_depth(report, readings, theme))


def _effects(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("What the belief owes to each", effects_by_depth(report, theme))


def _quadrants(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Beliefs by quadrant", beliefs_by_quadrant(report, theme))


def _belief_map(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Belief map", belief_map(report, theme))
    if report.meta.get("cells"):
        yield Picture("Beliefs by category", beliefs_by_category(report, theme))


def _inversion(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Steering, dose by dose", steered_answers(report, theme))


def _dissociation(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("What each direction moves", dissociation(report, theme))


def _guard(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Guard", guard_roc(report, theme))


def _checkpoints(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Beliefs in both checkpoints", beliefs_by_checkpoint(report, theme))


def _spread(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Domains", domain_tables(report, theme=theme))


def _spread_pairs(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Pairs", likeness_against_loss(report, theme=theme))


def _lens(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("By depth", lens_by_depth(report, theme=theme))
    if report.meta.get("text"):
        yield Picture("Token by token", lens_tokens(report, theme=theme))


def _direct_logits(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Heads", head_grid(report, theme=theme))


def _retrieval_heads(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Heads", head_grid(report, "score", theme))


def _conflict_heads(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Heads", head_grid(report, "lean", theme))


def _masked(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Masked", sets_beside_random(report, theme=theme))


def _pruned(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Pruned", sets_beside_random(report, theme=theme))


def _circuit_edges(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Circuit", circuit_graph(report, theme=theme))


def _circuit_nodes(report: Report, theme: str | Theme) -> Iterator[Picture]:
    unit = UNITS.get(str(report.meta.get("metric")), "loss")
    yield Picture("Heads and MLPs", head_grid(report, "score", theme, unit=unit))
    yield Picture("Strongest nodes", strongest_nodes(report, theme))


def _circuit_neurons(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Strongest neurons", strongest_nodes(report, theme))


def _circuit_latents(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Strongest latents", strongest_nodes(report, theme))


def _circuit(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Faithfulness by size", faithfulness_curve(report, theme=theme))


def _verification(report: Report, theme: str | Theme) -> Iterator[Picture]:
    yield Picture("Estimated and exact", estimates_against_exact(report, theme=theme))


def _listed(report: Report, theme: str | Theme) -> Iterator[Picture]:
    for name, draw, there in LISTS[report.kind]:
        if there(report):
            yield Picture(name, draw(report, theme=theme))


# Kind of report -> its figures, the main one first.
FIGURES: dict[str, Callable[[Report, str | Theme], Iterator[Picture]]] = {
    "probe": _probe,
    "direction": _probe,
    "selection": _selection,
    "selection-test": _selection_test,
    "heads": _heads,
    "recall": _recall,
    "signature": _signature,
    "gap": _gap,
    "transfer": _transfer,
    "project-out": _project_out,
    "erasure": _erasure,
    "curve": _curve,
    "beliefs": _beliefs,
    "belief-regression": _effects,
    "quadrants": _quadrants,
    "belief-map": _belief_map,
    "inversion": _inversion,
    "dissociation": _dissociation,
    "guard": _guard,
    "checkpoints": _checkpoints,
    "steering": _steering,
    "ablation": _beside_controls,
    "side-effects": _beside_controls,
    "cliff": _cliff,
    "cliff-heads": _cliff_heads,
    "cliff-ablation": _cliff_ablation,
    "spread": _spread,
    "spread-pairs": _spread_pairs,
    "circuit-edges": _circuit_edges,
    "circuit-nodes": _circuit_nodes,
    "circuit-neurons": _circuit_neurons,
    "circuit-latents": _circuit_latents,
    "circuit": _circuit,
    "verification": _verification,
    "lens": _lens,
    "lens-held-out": _lens,
    "direct-logits": _direct_logits,
    "retrieval-heads": _retrieval_heads,
    "retrieval-masks": _masked,
    "conflict-heads": _conflict_heads,
    "conflict-pruned": _pruned,
    **dict.fromkeys(LISTS, _listed),
}


def pictures(report: Report, theme: str | Theme = "screen") -> list[Picture]:
    """Every figure that a report of this kind has, with its name, the main one first.

    Raises:
        ReportError: reports of this kind have no figure, or this one lacks the columns that it needs.
    """
    if report.kind not in FIGURES:
        why = f" ({WITHOUT[report.kind]})" if report.kind in WITHOUT else ""
        kinds = ", ".join(FIGURES)
        raise ReportError(f"reports of kind {report.kind!r} have no figure{why}; kinds with one are: {kinds}")
    drawn = list(FIGURES[report.kind](report, theme))
    if not drawn:
        raise ReportError(f"this {report.kind!r} report has none of the columns that its figures show")
    return drawn


def figures(report: Report, theme: str | Theme = "screen") -> list[Figure]:
    """Every figure that a report of this kind has, the main one first.

    Raises:
        ReportError: as for `pictures`.
    """
    return [picture.figure for picture in pictures(report, theme)]


def figure(report: Report, theme: str | Theme = "screen") -> Figure:
    """The main figure of a report.

    Raises:
        ReportError: as for `pictures`.
    """
    return figures(report, theme)[0]
