"""``attribute``: scores of all edges, nodes or neurons from a few forward and backward passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from ..run.nodes import InputValues, NodeValues
from ..run.progress import Progress
from .ablation import make_ablation
from .batches import PairBatch, pair_batches
from .graph import Graph
from .levels import Setting, level_of
from .methods import method_of
from .metrics import Metric, bind
from .pairs import Pairs
from .plan import make_plan
from .resample import Totals
from .scores import EdgeScores, NodeScores, Origin, Ranking

if TYPE_CHECKING:
    from ..models import Model

Level = Literal["edge", "node", "neuron"]


def attribute(
    model: Model,
    pairs: Pairs,
    metric: Metric = "logit_diff",
    *,
    level: Level = "edge",
    method: str = "eap-ig",
    ablation: str = "resample",
    steps: int = 5,
    rule: str = "midpoint",
    grad_drop: bool = False,
    ranking: Ranking = "absolute",
    replicates: int = 200,
    seed: int = 0,
    max_bytes: int | None = None,
    progress: bool | None = None,
) -> EdgeScores | NodeScores:
    """Estimate how much of the metric is lost when each edge (node, neuron) alone is ablated, for all of them at once.

    Args:
        metric: a name (see `interp.circuits.metrics.bind`) or a function of logits ``[row, vocab]`` at the last token
            and the pairs' numbers ``[row]``; more is better.
        level: ``edge`` (query, key and value apart), ``node`` (input, heads, MLPs) or ``neuron`` (of MLPs).
        method: ``eap`` takes the gradient at the clean run; ``eap-ig`` the mean gradient while the input goes from
            ablated to clean; ``eap-ig-act`` the same with each layer's own outputs going there; ``clean-corrupted``
            the mean of both ends; ``atp*`` the clean gradient with attention's softmax differentiated over its whole
            way from the clean to the corrupted pattern.
        ablation: what stands in for an ablated node's output: ``resample``, ``zero``, ``mean``, ``mean-position`` or
            ``mean-span``.
        steps, rule: of the integrals; ``rule`` is ``midpoint``, ``gauss`` or ``right`` (the published one).
        grad_drop: for ``atp*``: take the mean absolute score over as many runs as there are layers, in each of which
            one layer passes no gradient on, so that effects that cancel are seen. Scores lose their sign.
        ranking: how `top_edges` will rank: ``absolute`` or ``signed``.
        replicates: bootstrap replicates over groups of pairs, for confidence intervals and stability; 0 for none.
        max_bytes: how much memory to use besides the model's weights; planned for, and noted in the result.

    Raises:
        CircuitError: an unknown method, level, metric or ablation, or a combination that means nothing.
        TooLargeError: ``max_bytes`` is not enough for one pair.

    Source: attribution patching, Nanda 2023; EAP, Syed et al. (arXiv 2310.10348); EAP-IG and clean-corrupted, Hanna et
    al. (arXiv 2403.17806), eq. 4; activations as in Marks et al. (arXiv 2403.19647); AtP*, Kramár et al. (arXiv
    2403.00745). The softmax rule is ours; see ``docs/methods/edge-attribution.md``.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> pairs = Pairs.from_tokens([[5, 9, 7, 8, 5]], [[5, 8, 7, 9, 5]], answers=[[9]], wrong=[[8]])
    >>> scores = attribute(model, pairs, method="eap", replicates=0)
    >>> sorted(row["edge"] for row in scores.rows(2))
    ['a1.h0->logits', 'input->a1.h0<v>']
    """
    kind, how = level_of(level), method_of(method, steps, rule, grad_drop)
    graph, bound = Graph.of(model), bind(metric, pairs)
    how.check(bound, ablation, pairs)
    plan = make_plan(model, graph, pairs, how.rows_per_pair(graph), max_bytes)
    fill = make_ablation(model, pairs, ablation, n_pairs=plan.pairs, view=kind.view)
    start = (
        fill.first()
        if kind.view is NodeValues
        else make_ablation(model, pairs, ablation, n_pairs=plan.pairs, view=InputValues)
    )
    setting = Setting(model, graph, bound, fill, start, plan, kind)
    totals, run = Totals(pairs.groups, replicates, seed), _Metrics(len(pairs))
    legal = torch.from_numpy(graph.legal.copy())
    with Progress(len(pairs), "pair", method, progress) as bar:
        for batch in pair_batches(pairs, plan.pairs):
            scores, *ends = how.scores(setting, batch)
            totals.add(batch.example, scores[:, legal] if level == "edge" else scores.flatten(1))
            run.put(batch, *ends)
            bar.advance(len(batch))
    ends = run.means(ablation == "resample" and pairs.even)
    details = {"steps": steps, "rule": rule} if method in ("eap-ig", "eap-ig-act") else {}
    details |= {"grad_drop": True} if grad_drop else {}
    origin = Origin(method, bound.name, ablation, *ends, len(pairs), {**details, "plan": plan.to_dict()})
    made = model.provenance(prompts=pairs.clean.hash, seed=seed if replicates else None)
    if level == "edge":
        return _edge_scores(graph, totals, origin, made, ranking)
    return _node_scores(graph, level, totals, origin, made, ranking)


def _edge_scores(graph: Graph, totals: Totals, origin: Origin, made: Any, ranking: Ranking) -> EdgeScores:
    ends = totals.interval()
    lo, hi = (None, None) if ends is None else (_spread(graph, e) for e in ends)
    return EdgeScores(graph, _spread(graph, totals.mean), origin, made, ranking, lo, hi, totals.draws)


def _spread(graph: Graph, flat: np.ndarray) -> np.ndarray:
    """Legal edges' numbers as a matrix, zero elsewhere."""
    found = np.zeros(graph.legal.shape)
    found[graph.legal] = flat
    return found


def _node_scores(graph: Graph, level: Any, totals: Totals, origin: Origin, made: Any, ranking: Ranking) -> NodeScores:
    shape = (len(graph.sources),) if level == "node" else (graph.n_layers, -1)
    ends = totals.interval()
    lo, hi = (None, None) if ends is None else (e.reshape(shape) for e in ends)
    return NodeScores(graph, level, totals.mean.reshape(shape), origin, made, ranking, lo, hi)


class _Metrics:
    """The metric of every pair, clean and with everything ablated."""

    def __init__(self, n: int) -> None:
        self._values = torch.full((2, n), torch.nan)

    def put(self, batch: PairBatch, clean: torch.Tensor, ablated: torch.Tensor) -> None:
        self._values[:, batch.example] = torch.stack([clean, ablated]).float().cpu()

    def means(self, ablated_is_corrupted: bool) -> tuple[float, float]:
        clean, ablated = self._values.mean(1).tolist()
        return clean, ablated if ablated_is_corrupted else float("nan")
