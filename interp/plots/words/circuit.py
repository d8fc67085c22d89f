"""What a page says about circuits: the figure, the curve, the checks and the nulls."""

from __future__ import annotations

from ...report import Report
from .common import Note, has, interval_note, number_of

CAPTIONS = {
    "Edge by edge": "What each edge of the circuit costs when it alone is taken out as well.",
    "Without some edges": "The metric of the circuit and of the whole model when the same edges are taken out of both; "
    "where the circuit is complete, points lie on the line.",
    "Beside nulls": "The circuit found on the real pairs, and what the same search finds where there is nothing.",
    "Pair by pair": "The metric of each pair as it is, and with everything ablated.",
    "Circuit": "What flows goes upwards, from the input to the logits; h is a head, kv the key and value that several "
    "heads share. The wider a line, the more of the metric is lost when it alone is ablated; colours say what it "
    "enters. Dashed lines work against the metric, and the intervals of faint ones cross zero.",
    "Heads and MLPs": "Every head and MLP by layer, coloured by how much of the metric is lost when it alone is "
    "ablated; those chosen are framed. The input, which is a node too, is in the table.",
    "Strongest nodes": "How much of the metric is lost when each node alone is ablated, by the estimate, with its "
    "interval. Pale bars are not among those chosen.",
    "Strongest neurons": "How much of the metric is lost when each neuron alone is ablated, by the estimate, with its "
    "interval. m1.n37 is neuron 37 of layer 1's MLP.",
    "Strongest latents": "How much of the metric is lost when each latent alone is ablated, by the estimate, with its "
    "interval; error is what the SAE leaves out. Pale bars are not among those chosen.",
    "Faithfulness by size": "The share of the metric that is kept when only the circuit's {unit}s are left as they are "
    "and all others are ablated; beside it all {unit}s but these, and random ones, as many.",
    "Estimated and exact": "Each point is one {unit}: what attribution estimates, and what ablating it alone does. On "
    "the line both are equal.",
}
_READING = {
    "circuit": [
        "A circuit is faithful where few edges keep most of the metric while as many random ones keep little. It is "
        "complete where little is left without it: what is left then is the work of a backup.",
        "A share above 1 means that the circuit does better than the model: edges that work against the behaviour were "
        "left out. CMD counts that as an error, CPR does not.",
        "Everything depends on the corrupted prompts: what is the same in both prompts of a pair cannot show up.",
    ],
    "circuit-edges": [
        "A score is an estimate of what ablating one edge alone does; effects of several edges do not add up where one "
        "can replace the other, or where both are needed. The exact checks below say how good the estimates are.",
        "An unstable circuit is one of several that would do about as well. Read its strong edges, not its list.",
    ],
    "circuit-nodes": [
        "A score is an estimate of what ablating one node alone does, with everything behind it following. Nodes that "
        "can replace each other all have small scores, and the set of the strongest need not be enough by itself.",
    ],
    "circuit-neurons": [
        "Only MLP neurons are scored; attention is left as it is, and what heads do by themselves does not show here.",
        "A behaviour spread over many neurons has many small scores: the curve says how many it takes.",
    ],
    "circuit-latents": [
        "An SAE leaves an error, which is a node like the others: what it carries, no latent explains. Ablating a "
        "latent leaves the error as it is.",
        "Only what stands at the SAEs' sites is ablated; what goes around them is left as it is.",
    ],
    "circuit-null": [
        "With shuffled partners a prompt is compared with the corrupted version of another one, so that more differs "
        "than what the task is about. Edges found that way and kept by the real circuit are not specific to the task.",
        "An untrained copy solves some pairs by luck, and the pairs it solves are kept in the same way; its circuit is "
        "what the search finds where nothing was learnt.",
    ],
}


def captions(report: Report) -> dict[str, str]:
    """What stands under each figure; spans are explained where there are some."""
    unit = _unit(report)
    found = {name: text.replace("{unit}", unit) for name, text in CAPTIONS.items()}
    if report.meta.get("spans"):
        found["Circuit"] += (
            " Each column is a span of tokens: a line leaves the span that is read and arrives at the one that uses it."
        )
    return found


def reading(report: Report) -> list[str]:
    """What to make of it."""
    return _READING.get(report.kind, [])


def notes(report: Report) -> list[Note]:
    """A sentence for each number and null."""
    return {
        "task": _task, "circuit-edges": _edges, "circuit-nodes": _nodes, "circuit-neurons": _nodes,
        "circuit-latents": _nodes,
        "circuit": _curve, "minimality": _minimal,
        "completeness": _complete, "verification": _verified, "circuit-null": _null,
    }[report.kind](report)  # fmt: skip


def _unit(report: Report) -> str:
    return str(report.meta.get("unit", "edge"))


def _task(report: Report) -> list[Note]:
    right = "The right answers are together more likely than the wrong ones, or the likeliest token is a right one."
    return [("Right", right), ("Ablated", "The metric with every edge ablated.")]


def _nodes(report: Report) -> list[Note]:
    unit = _unit(report)
    found: list[Note] = [("Score", f"How much of the metric ({report.meta.get('metric')}) is lost without the {unit}.")]
    if has(report, "score_lo"):
        found.append(interval_note(report, "Whole groups of pairs", "It is about other pairs, in this one model."))
    if has(report, "frequency"):
        found.append(("Chosen again", f"In what share of resampled sets of pairs the {unit} is among those chosen."))
    return found


def _edges(report: Report) -> list[Note]:
    found: list[Note] = [("Score", f"How much of the metric ({report.meta.get('metric')}) is lost without the edge.")]
    if has(report, "score_lo"):
        found.append(interval_note(report, "Whole groups of pairs", "It is about other pairs, in this one model."))
    if has(report, "frequency"):
        found.append(("Chosen again", "In what share of resampled sets of pairs the edge is in the circuit."))
    found.append(("On a path", "Whether edges of the circuit join it to the input and to the logits."))
    return found


def _curve(report: Report) -> list[Note]:
    unit = _unit(report)
    found: list[Note] = [
        ("Faithfulness", f"Metric of the circuit, from 0 (every {unit} ablated) to 1 (the whole model)."),
        ("All others", f"The same with the circuit's {unit}s ablated and all others left."),
        ("CPR, CMD", f"Areas under the curve, and between the curve and 1, over the share of {unit}s."),
    ]
    if has(report, "random"):
        count = int(number_of(report, "random_circuits"))
        found.append(("Random ones", f"Mean of {count} random sets of each size, and the best of them."))
    if has(report, "faithfulness_lo"):
        found.append(interval_note(report, "Whole groups of pairs", "It is about other pairs, in this one model."))
    return found


def _minimal(report: Report) -> list[Note]:
    return [("Loss", "How much faithfulness the circuit loses when this edge, too, is ablated.")]


def _complete(report: Report) -> list[Note]:
    text = (
        "The same edges are taken out of the circuit and of the whole model. Where the model keeps more than the "
        "circuit, something outside does the same work."
    )
    return [("Gap", text)]


def _verified(report: Report) -> list[Note]:
    share, unit = number_of(report, "threshold"), _unit(report)
    text = (
        f"One {unit} below the top counts as missed when it changes the metric by {share:.0%} or more of what ablating "
        "everything does. "
    )
    text += (
        f"All {unit}s below were measured."
        if report.meta.get("every")
        else "The bound is the upper end of a 95 % Clopper-Pearson interval from the random sample."
    )
    return [("Exact", f"The {unit} alone is ablated, and the model run."), ("Missed", text)]


def _null(report: Report) -> list[Note]:
    unit = _unit(report)
    return [
        (
            "Faithfulness",
            f"Of {unit}s that each search chose, judged in the model on the pairs that judge the circuit.",
        ),
        ("Jaccard", f"What share of {unit}s the search's circuit and the real one have in common."),
        ("Strongest", "The largest score that the search found, in the model and on the pairs that it looked at."),
    ]
