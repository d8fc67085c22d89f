"""Does the model do the task at all? On which pairs it gives the right answer, before any circuit is looked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from ..report import Report
from ..stats import cluster_bootstrap
from .circuit import Circuit
from .constants import AblationLike
from .execute import run_circuits
from .graph import Graph
from .metrics import Metric, MetricFunction, bind
from .pairs import Pairs

if TYPE_CHECKING:
    from ..models import Model


@dataclass(frozen=True, eq=False)
class Task:
    """What `do_task` found: its report, and which pairs the model solves."""

    report: Report
    solved: Bool[np.ndarray, " pair"]

    @property
    def done(self) -> bool:
        """Whether the model does the task more often than not, beyond what the pairs drawn could explain."""
        return bool(self.report.meta["done"])


def do_task(
    model: Model,
    pairs: Pairs,
    metric: Metric = "logit_diff",
    *,
    ablation: AblationLike = "resample",
    seed: int = 0,
    max_bytes: int | None = None,
) -> Task:
    """How often the model gives the right answer, with nothing and with everything ablated.

    A pair is solved where the right answers are together more likely than the wrong ones; without wrong answers, where
    the likeliest token is a right one. The task counts as done where the interval of the share of solved pairs, over
    groups of pairs, lies above one half; without wrong answers, above the share with everything ablated.

    Returns:
        A task whose report, of kind ``task``, has a row per pair with ``right`` and the metric, and the shares with
        their interval in ``meta``.

    Raises:
        CircuitError: pairs and metric that do not go together.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> pairs = Pairs.from_tokens([[5, 9, 7, 8, 5]] * 2, [[5, 8, 7, 9, 5]] * 2, answers=[9, 8], wrong=[8, 9])
    >>> do_task(model, pairs).solved.tolist()
    [True, False]
    """
    graph = Graph.of(model)
    ends = [Circuit(graph, graph.legal), Circuit.of(graph, [])]
    found = [
        run_circuits(model, pairs, ends, which, ablation=ablation, max_bytes=max_bytes)
        for which in (_is_right(pairs), metric)
    ]
    right, values = found[0] > 0.5, found[1].astype(np.float64)
    compared = all(len(w) for w in pairs.wrong)
    accuracy, ablated = right.mean(1).tolist()
    meta: dict[str, Any] = {"accuracy": accuracy, "n_pairs": len(pairs), "n_solved": int(right[0].sum())}
    n_groups = len(np.unique(pairs.groups))
    least = 0.0
    if n_groups > 1:
        solved = right[0].astype(np.float64)
        ci = cluster_bootstrap(lambda w: (w @ solved) / w.sum(-1), pairs.groups, method="logit", seed=seed)
        meta |= {"accuracy_lo": float(ci.low), "accuracy_hi": float(ci.high)}
        least = float(ci.low)
    chance = 0.5 if compared else ablated
    meta |= {
        "ablated_accuracy": ablated, "chance": chance, "done": bool(least > chance), "n_groups": n_groups,
        "metric": bind(metric, pairs).name, "ablation": str(ablation), "clean": values[0].mean(),
        "ablated": values[1].mean(),
    }  # fmt: skip
    rows = [
        {"pair": str(pairs.clean.ids[i]), "right": bool(right[0, i]), "metric": values[0, i], "ablated": values[1, i]}
        for i in range(len(pairs))
    ]
    report = Report(
        kind="task",
        title=f"Does {model.id} do the task?",
        headline=_headline(model.id, meta),
        rows=rows,
        provenance=model.provenance(prompts=pairs.clean.hash, seed=seed),
        meta=meta,
    )
    return Task(report, right[0])


def _is_right(pairs: Pairs) -> MetricFunction:
    right = bind("answer_logp", pairs)
    if all(len(w) for w in pairs.wrong):
        other = bind("answer_logp", replace(pairs, answers=pairs.wrong, wrong=pairs.answers))

        def beats(logits: Tensor, example: Tensor) -> Tensor:
            return (right(logits, example) > other(logits, example)).to(logits)

        return beats

    def likeliest(logits: Tensor, example: Tensor) -> Tensor:
        best = logits.argmax(-1).tolist()
        hits = [token in pairs.answers[i] for token, i in zip(best, example.tolist(), strict=True)]
        return torch.tensor(hits, dtype=logits.dtype, device=logits.device)

    return likeliest


def _headline(name: str, meta: dict[str, Any]) -> str:
    share = accuracy_words(meta)
    if not meta["done"]:
        return f"{name} cannot be said to do this task: it gives the right answer on {share}."
    return f"{name} does the task: it gives the right answer on {share}."


def accuracy_words(meta: Any) -> str:
    """The share of solved pairs in words.

    >>> accuracy_words({"accuracy": 0.9, "n_pairs": 20, "accuracy_lo": 0.7, "accuracy_hi": 0.97})
    '90 % of 20 pairs (interval 70 to 97 %)'
    """
    n = meta["n_pairs"]
    text = f"{100 * meta['accuracy']:.0f} % of {n} pair{'s' * (n != 1)}"
    if "accuracy_lo" in meta:
        text += f" (interval {100 * meta['accuracy_lo']:.0f} to {100 * meta['accuracy_hi']:.0f} %)"
    return text
