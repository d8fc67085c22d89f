"""``run_kept``: the model with only some of its edges, nodes, neurons or latents left, and all others ablated."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import CircuitError
from ..run.nodes import NeuronValues
from ..run.tape import Tape
from .ablation import make_ablation
from .batches import pair_batches
from .circuit import Circuit
from .constants import AblationLike
from .execute import run_circuits
from .latentsets import run_latents
from .metrics import Metric, bind
from .nodeset import Kept, NodeSet
from .observe import observe
from .pairs import Pairs
from .plan import plan_rows

if TYPE_CHECKING:
    from ..models import Model


def run_kept(
    model: Model,
    pairs: Pairs,
    sets: Sequence[Kept],
    metric: Metric = "logit_diff",
    *,
    ablation: AblationLike = "resample",
    max_bytes: int | None = None,
) -> Float[np.ndarray, "set pair"]:
    """The metric of every pair under each set, several sets in one pass.

    A node outside a set writes what it writes when ablated, to everything that reads it. Neurons outside a set have
    their ablated activation, and latents their ablated value; all else runs as it does, on what is then in the stream.

    Raises:
        CircuitError: no sets, sets of different levels, or of another model.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> pairs = Pairs.from_tokens([[5, 9, 7, 8, 5]], [[5, 8, 7, 9, 5]], answers=[[9]], wrong=[[8]])
    >>> from interp.circuits.graph import Graph
    >>> heads = NodeSet(Graph.of(model), "node", np.array([True] + 4 * [True] + [False] + 4 * [True] + [False]))
    >>> run_kept(model, pairs, [heads, heads.complement()])[:, 0].round(1).tolist()
    [36.0, -36.0]
    """
    circuits = [c for c in sets if isinstance(c, Circuit)]
    nodes = [s for s in sets if isinstance(s, NodeSet)]
    if not sets or len({type(s) for s in sets}) > 1 or len({s.level for s in nodes}) > 1:
        raise CircuitError("sets to run must be one or more, all of edges, all of nodes, of neurons or of latents")
    if circuits or nodes[0].level == "node":
        circuits = circuits or [s.circuit() for s in nodes]
        return run_circuits(model, pairs, circuits, metric, ablation=ablation, max_bytes=max_bytes)
    if nodes[0].level == "latent":
        return run_latents(model, pairs, nodes, metric, ablation, max_bytes)
    return _run_neurons(model, pairs, nodes, metric, ablation, max_bytes)


def _run_neurons(
    model: Model, pairs: Pairs, sets: list[NodeSet], metric: Metric, ablation: AblationLike, max_bytes: int | None
) -> Float[np.ndarray, "set pair"]:
    shape = (model.n_layers, model.sizes.d_mlp)
    if any(s.mask.shape != shape for s in sets):
        raise CircuitError(f"sets of {sets[0].mask.shape} neurons for a model with {shape} (layer, neuron)")
    pairs.check(model)
    bound, plan = bind(metric, pairs), plan_rows(model, sets[0].graph, pairs, max_bytes)
    fill = make_ablation(model, pairs, ablation, n_pairs=plan.pairs, view=NeuronValues)
    masks = torch.from_numpy(np.stack([s.mask for s in sets]))
    taps = {name: tap for name, tap in NeuronValues.taps(model).items() if name != "input"}
    found = torch.empty(len(sets), len(pairs))
    for batch in pair_batches(pairs, plan.pairs):
        seen, _ = observe(model, batch, NeuronValues)
        ablated = fill.writes(batch, seen.corrupted)
        at_once = max(1, plan.rows // len(batch))
        for start in range(0, len(sets), at_once):
            some = masks[start : start + at_once].to(ablated.device)
            n = len(some)
            writes = [(tap, partial(_only, some[:, i], ablated[i])) for i, tap in enumerate(taps.values())]
            with Tape(model, writes=writes) as tape:
                logits = tape.play(batch.clean.times(n)).logits
            value = bound(logits, batch.example.repeat(n), seen.logits.repeat(n, 1))
            found[start : start + n, batch.example] = value.unflatten(0, (n, -1)).float().cpu()
    return found.numpy()


def _only(
    mask: Bool[Tensor, "set neuron"], ablated: Float[Tensor, "pair pos neuron"], x: Float[Tensor, "row pos neuron"]
) -> Float[Tensor, "row pos neuron"]:
    """Activations, ablated where a row's set lacks the neuron."""
    split = x.unflatten(0, (len(mask), -1))
    return torch.where(mask[:, None, None], split, ablated.to(x)).flatten(0, 1)
