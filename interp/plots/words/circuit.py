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
    "Faithfulness by size": "The share of the metric that is kept when only the circuit's edges are left as they are "
    "and all others are ablated; beside it all edges but these, and random circuits of the same size.",
    "Estimated and exact": "Each point is an edge: what attribution estimates, and what ablating it alone does. On the "
    "line both are equal.",
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
    "circuit-null": [
        "With shuffled partners a prompt is compared with the corrupted version of another one, so that more differs "
        "than what the task is about. Edges found that way and kept by the real circuit are not specific to the task.",
        "An untrained copy solves some pairs by luck, and the pairs it solves are kept in the same way; its circuit is "
        "what the search finds where nothing was learnt.",
    ],
}


def captions(report: Report) -> dict[str, str]:
    """What stands under each figure; spans are explained where there are some."""
    found = dict(CAPTIONS)
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
        "task": _task, "circuit-edges": _edges, "circuit": _curve, "minimality": _minimal,
        "completeness": _complete, "verification": _verified, "circuit-null": _null,
    }[report.kind](report)  # fmt: skip


def _task(report: Report) -> list[Note]:
    right = "The right answers are together more likely than the wrong ones, or the likeliest token is a right one."
    return [("Right", right), ("Ablated", "The metric with every edge ablated.")]


def _edges(report: Report) -> list[Note]:
    found: list[Note] = [("Score", f"How much of the metric ({report.meta.get('metric')}) is lost without the edge.")]
    if has(report, "score_lo"):
        found.append(interval_note(report, "Whole groups of pairs", "It is about other pairs, in this one model."))
    if has(report, "frequency"):
        found.append(("Chosen again", "In what share of resampled sets of pairs the edge is in the circuit."))
    found.append(("On a path", "Whether edges of the circuit join it to the input and to the logits."))
    return found


def _curve(report: Report) -> list[Note]:
    found: list[Note] = [
        ("Faithfulness", "Metric of the circuit, from 0 (every edge ablated) to 1 (the whole model)."),
        ("All other edges", "The same with the circuit's edges ablated and all others left."),
        ("CPR, CMD", "Areas under the curve, and between the curve and 1, over the share of edges."),
    ]
    if has(report, "random"):
        count = int(number_of(report, "random_circuits"))
        found.append(("Random edges", f"Mean of {count} random circuits of each size, and the best of them."))
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
    share = number_of(report, "threshold")
    bound = (
        f"An edge below the top counts as missed when it changes the metric by {share:.0%} or more of what ablating "
        "everything does. The bound is the upper end of a 95 % Clopper-Pearson interval from the random sample."
    )
    return [("Exact", "The edge alone is ablated, and the model run."), ("Missed", bound)]


def _null(report: Report) -> list[Note]:
    return [
        ("Faithfulness", "Of edges that each search chose, judged in the model on the pairs that judge the circuit."),
        ("Jaccard", "What share of edges the search's circuit and the real one have in common."),
        ("Strongest", "The largest score that the search found, in the model and on the pairs that it looked at."),
    ]
