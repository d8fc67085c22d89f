"""``attribute``: scores of all edges, nodes or neurons from a few forward and backward passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch

from ..errors import CircuitError
from ..run.nodes import InputValues, NeuronValues, NodeValues, ungrouped
from ..run.progress import Progress
from .ablation import check_ablation, make_ablation
from .batches import pair_batches
from .constants import AblationLike, Constants
from .graph import Graph
from .latents import SHARE, Latents, latent_level, pairs_at_once
from .latentscores import LatentOutcome, LatentScores
from .levels import Setting, level_of
from .methods import method_of
from .metrics import Metric, bind
from .outcome import Outcome
from .pairs import Pairs
from .plan import Plan, auto_bytes, make_plan
from .scores import EdgeScores, NodeScores, Ranking
from .spans import SpanSums

if TYPE_CHECKING:
    from ..models import Model
    from ..sae import Sae

Level = Literal["edge", "node", "neuron", "latent"]


def attribute(
    model: Model,
    pairs: Pairs,
    metric: Metric = "logit_diff",
    *,
    level: Level = "edge",
    saes: Sequence[Sae] = (),
    method: str = "eap-ig",
    ablation: AblationLike = "resample",
    steps: int = 5,
    rule: str = "midpoint",
    grad_drop: bool = False,
    ranking: Ranking = "absolute",
    replicates: int = 200,
    seed: int = 0,
    by_span: bool = False,
    expand_kv: bool = False,
    experts: bool = False,
    max_bytes: int | None = None,
    progress: bool | None = None,
) -> EdgeScores | NodeScores | LatentScores:
    """Estimate how much of the metric is lost when each edge (node, neuron, latent) alone is ablated, all at once.

    Args:
        metric: a name (see `interp.circuits.metrics.bind`) or a function of logits ``[row, vocab]`` at the last token
            and the pairs' numbers ``[row]``; more is better.
        level: ``edge`` (query, key and value apart), ``node`` (input, heads, MLPs), ``neuron`` (of MLPs), or ``latent``
            (of ``saes``, with the error of each as a node of its own).
        saes: SAEs and transcoders of this model (`interp.sae.load_sae`); the model runs as it is, without them.
        method: ``eap`` takes the gradient at the clean run; ``eap-ig`` the mean gradient while the input goes from
            ablated to clean; ``eap-ig-act`` the same with each layer's own outputs going there; ``clean-corrupted``
            the mean of both ends; ``atp*`` the clean gradient with attention's softmax differentiated over its whole
            way from the clean to the corrupted pattern; ``relp`` the clean gradient by the rules of relevance
            propagation, with attention's patterns held, so that queries and keys score 0; ``relp-qk`` the same with
            attention differentiated as it is.
        ablation: what stands in for an ablated node's output: ``resample``, ``zero``, ``mean``, ``mean-position`` or
            ``mean-span``; or constants from `fit_optimal`, fitted on other pairs.
        steps, rule: of the integrals; ``rule`` is ``midpoint``, ``gauss`` or ``right`` (the published one).
        grad_drop: for ``atp*``: take the mean absolute score over as many runs as there are layers, in each of which
            one layer passes no gradient on, so that effects that cancel are seen. Scores lose their sign.
        ranking: how `top_edges` will rank: ``absolute`` or ``signed``.
        replicates: bootstrap replicates over groups of pairs, for confidence intervals and stability; 0 for none.
        by_span: for edges: also tell scores apart by the spans of the pairs, ``[span_src, span_dst, src, dst]``.
        expand_kv: with grouped queries: give every query head a key and a value of its own, as benchmarks have it.
        experts: in mixtures of experts, for edges and nodes: each expert's weighted output is a source of its own.
        max_bytes: how much memory to use besides the model's weights; planned for, and noted in the result.

    Raises:
        CircuitError: an unknown method, level, metric or ablation, or a combination that means nothing.
        TooLargeError: ``max_bytes`` is not enough for one pair.

    Source: attribution patching, Nanda 2023; EAP, Syed et al. (arXiv 2310.10348); EAP-IG and clean-corrupted, Hanna et
    al. (arXiv 2403.17806), eq. 4; activations as in Marks et al. (arXiv 2403.19647); AtP*, Kramár et al. (arXiv
    2403.00745); RelP, Rezaei Jafari et al. (arXiv 2508.21258). The softmax rule is ours; see
    ``docs/methods/edge-attribution.md``.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> pairs = Pairs.from_tokens([[5, 9, 7, 8, 5]], [[5, 8, 7, 9, 5]], answers=[[9]], wrong=[[8]])
    >>> scores = attribute(model, pairs, method="eap", replicates=0)
    >>> sorted(row["edge"] for row in scores.rows(2))
    ['a1.h0->logits', 'input->a1.h0<v>']
    """
    _check_saes(level, saes, expand_kv)
    kind = latent_level(model, saes) if level == "latent" else level_of(level, experts)
    how = method_of(method, steps, rule, grad_drop)
    pairs.check(model)
    check_ablation(model, pairs, ablation)
    graph, bound = Graph.of(model, expand_kv=expand_kv, experts=experts), bind(metric, pairs)
    how.check(bound, str(ablation), pairs, by_span)
    if by_span and level != "edge":
        raise CircuitError(f"by_span=True is for edges, not for level {level!r}")
    made = model.provenance(prompts=pairs.clean.hash, seed=seed if replicates else None)
    model = ungrouped(model) if graph.expand_kv else model
    plan = make_plan(model, graph, pairs, how.rows_per_pair(graph), _for_passes(model, kind, max_bytes))
    plan = kind.planned(plan, int(pairs.clean.lengths.max())) if isinstance(kind, Latents) else plan
    fill = make_ablation(model, pairs, ablation, n_pairs=_for_means(kind, pairs, plan, ablation), view=kind.view)
    start = (
        fill.first()
        if issubclass(kind.view, NodeValues) and kind.view is not NeuronValues and not isinstance(kind, Latents)
        else make_ablation(model, pairs, ablation, n_pairs=plan.pairs, view=InputValues)
    )
    spans = SpanSums(model, graph, pairs.span_names) if by_span else None
    setting = Setting(model, graph, bound, fill, start, plan, kind, spans)
    latents = LatentOutcome(kind, graph, pairs, replicates, seed) if isinstance(kind, Latents) else None
    outcome, legal = latents or Outcome(graph, pairs, replicates, seed), torch.from_numpy(graph.legal.copy())
    with Progress(len(pairs), "pair", method, progress) as bar:
        for batch in pair_batches(pairs, plan.pairs):
            scores, *ends = how.scores(setting, batch)
            outcome.add(batch, scores[:, legal] if level == "edge" else scores.flatten(1), *ends)
            bar.advance(len(batch))
    details = {"steps": steps, "rule": rule} if method in ("eap-ig", "eap-ig-act") else {}
    details |= {"grad_drop": True} if grad_drop else {}
    details |= {"constants": ablation.about()} if isinstance(ablation, Constants) else {}
    about = outcome.origin(method, bound.name, str(ablation), {**details, "plan": plan.to_dict()})
    if level == "edge":
        return outcome.edge_scores(about, made, ranking, spans=spans)
    if latents is not None:
        return latents.latent_scores(about, made, ranking)
    return outcome.node_scores("node" if level == "node" else "neuron", about, made, ranking)


def _check_saes(level: Level, saes: Sequence[Sae], expand_kv: bool) -> None:
    if level != "latent" and saes:
        raise CircuitError(f"saes= are for level='latent', not for level {level!r}")
    if level == "latent" and expand_kv:
        raise CircuitError("expand_kv=True is for edges: latents have no keys and values")


def _for_means(kind: object, pairs: Pairs, plan: Plan, ablation: AblationLike) -> int:
    """How many pairs at once where means are taken, for which all of a pair's latents are made."""
    if not isinstance(kind, Latents) or not str(ablation).startswith("mean"):
        return plan.pairs
    return pairs_at_once(kind.saes, plan.pairs, int(pairs.corrupted.lengths.max()), plan.max_bytes)


def _for_passes(model: Model, kind: object, max_bytes: int | None) -> int | None:
    """What of the memory the passes may take."""
    if not isinstance(kind, Latents):
        return max_bytes
    return int((1 - SHARE) * (auto_bytes(model) if max_bytes is None else max_bytes))
