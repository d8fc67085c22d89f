"""``path_patch``: what nodes do to some targets along the direct path only, everything between frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import CircuitError
from ..provenance import Provenance
from ..run.nodes import write_taps
from ..run.progress import Progress
from ..run.tape import Tape
from .ablation import check_ablation, make_ablation
from .batches import PairBatch, pair_batches
from .constants import AblationLike
from .graph import Graph
from .metrics import Bound, Metric, bind
from .observe import Observed, observe
from .outcome import Outcome
from .pairs import Pairs
from .plan import plan_rows
from .rows import Streams, run_shifts
from .scores import Origin

if TYPE_CHECKING:
    from ..models import Model
    from ..models.hooks import Write

Sender = str | tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PathEffects:
    """Loss of the metric per sender when the receivers alone hear of its ablation.

    ``values``, ``lo`` and ``hi`` are means over pairs with a 95 % interval; ``per_pair`` is ``[sender, pair]``.
    """

    senders: tuple[Sender, ...]
    receivers: tuple[str, ...]
    values: Float[np.ndarray, " sender"]
    per_pair: Float[np.ndarray, "sender pair"]
    lo: Float[np.ndarray, " sender"] | None
    hi: Float[np.ndarray, " sender"] | None
    freeze_mlp: bool
    origin: Origin
    provenance: Provenance

    def __getitem__(self, sender: Sender) -> float:
        """The effect of one sender."""
        if sender not in self.senders:
            raise CircuitError(f"{sender!r} was not among the senders")
        return float(self.values[self.senders.index(sender)])


def path_patch(
    model: Model,
    pairs: Pairs,
    metric: Metric = "logit_diff",
    *,
    senders: Sequence[Sender],
    receivers: Sequence[str] = ("logits",),
    freeze_mlp: bool = True,
    ablation: AblationLike = "resample",
    replicates: int = 200,
    seed: int = 0,
    max_bytes: int | None = None,
    progress: bool | None = None,
) -> PathEffects:
    """Ablate each sender, let the receivers alone see it, and measure how much of the metric is lost.

    Between sender and receivers all heads are frozen at their clean values, and all MLPs too unless ``freeze_mlp`` is
    off. What comes after the receivers computes freely.

    Args:
        senders: nodes (``input``, ``a0.h1``, ``m3``), each by itself; nodes in a tuple are ablated together.
        receivers: targets (``a2.h0<q>``, ``m3``, ``logits``), all at once.

    Raises:
        CircuitError: a sender or receiver that the graph lacks, or a sender that no receiver comes after.

    Source: Wang et al. (arXiv 2211.00593), sec. 3.1.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> pairs = Pairs.from_tokens([[5, 9, 7, 8, 5]], [[5, 8, 7, 9, 5]], answers=[[9]], wrong=[[8]])
    >>> found = path_patch(model, pairs, senders=["a1.h0", "a0.h0"], replicates=0)
    >>> round(found["a1.h0"], 1), abs(found["a0.h0"]) < 1e-3
    (72.0, True)
    """
    pairs.check(model)
    check_ablation(model, pairs, ablation)
    graph, bound = Graph.of(model), bind(metric, pairs)
    rows, targets = _places(graph, senders, receivers)
    plan = plan_rows(model, graph, pairs, max_bytes)
    fill = make_ablation(model, pairs, ablation, n_pairs=plan.pairs)
    outcome, per_pair = Outcome(graph, pairs, replicates, seed), torch.empty(len(senders), len(pairs))
    writes_at = {name: tap for name, tap in write_taps(model).items() if name.startswith("attn")}
    with Progress(len(pairs), "pair", "path patching", progress) as bar:
        for batch in pair_batches(pairs, plan.pairs):
            seen, corrupted = observe(model, batch, reads={**Streams.taps(model), **writes_at})
            clean = bound(seen.logits, batch.example, seen.logits).float().cpu()
            run = _Paths(model, graph, batch, seen, seen.differences(fill)(slice(None)), targets, freeze_mlp)
            left, at_once = [], max(1, plan.rows // len(batch))
            for start in range(0, len(rows), at_once):
                left.append(_measure(run.logits(rows[start : start + at_once]), bound, batch, seen))
            loss = clean - torch.cat(left)
            per_pair[:, batch.example] = loss
            outcome.add(batch, loss.T, clean, bound(corrupted, batch.example, seen.logits).float().cpu())
            bar.advance(len(batch))
    about = outcome.origin("path-patching", bound.name, str(ablation), {"plan": plan.to_dict()})
    made = model.provenance(prompts=pairs.clean.hash, seed=seed if replicates else None)
    mean, ends = outcome.numbers()
    lo, hi = (None, None) if ends is None else ends
    return PathEffects(
        tuple(senders), tuple(receivers), mean, per_pair.numpy(), lo, hi, freeze_mlp, about, made
    )  # fmt: skip


def _places(graph: Graph, senders: Sequence[Sender], receivers: Sequence[str]) -> tuple[list[list[int]], list[int]]:
    """Rows of each sender's nodes, and columns of the receivers."""
    if not senders or not receivers:
        raise CircuitError("path patching needs a sender and a receiver")
    rows = []
    for sender in senders:
        names = (sender,) if isinstance(sender, str) else sender
        unknown = [n for n in names if n not in graph.sources]
        if unknown:
            raise CircuitError(
                f"there is no node {unknown[0]!r}; nodes that send are {', '.join(graph.sources[:6])} ..."
            )
        rows.append([graph.sources.index(n) for n in names])
    for name in receivers:
        if name not in graph.targets:
            raise CircuitError(f"there is no target {name!r}; targets are {', '.join(graph.targets[:6])} ... logits")
    targets = [graph.targets.index(n) for n in receivers]
    furthest = max(graph.reach[t] for t in targets)
    for sender, own in zip(senders, rows, strict=True):
        if min(own) >= furthest:
            raise CircuitError(f"sender {sender!r} comes after every receiver, so that it cannot reach one")
    return rows, targets


def _measure(logits: Tensor, metric: Bound, batch: PairBatch, seen: Observed) -> Float[Tensor, "sender pair"]:
    n = len(logits)
    value = metric(logits.flatten(0, 1), batch.example.repeat(n), seen.logits.repeat(n, 1))
    return value.unflatten(0, (n, -1)).float().cpu()


class _Paths:
    """One batch of pairs: what receivers read when senders are ablated, and the logits that come of it."""

    def __init__(
        self, model: Model, graph: Graph, batch: PairBatch, seen: Observed,
        delta: Float[Tensor, "src pair pos d_model"], targets: list[int], freeze_mlp: bool,
    ) -> None:  # fmt: skip
        self.model, self.graph, self.batch, self.seen = model, graph, batch, seen
        self.delta, self.freeze_mlp = delta, freeze_mlp
        self.streams = Streams.read(seen.streams, graph.n_layers)
        self.groups: dict[tuple[int, str], list[int]] = {}
        for target in targets:
            layer, part, head = graph.part_of(target)
            self.groups.setdefault((layer, part), []).append(head)

    def logits(self, senders: list[list[int]]) -> Float[Tensor, "sender pair vocab"]:
        """With each sender (rows of the graph) ablated for the receivers."""
        made = self._frozen(senders) if self.freeze_mlp else self._through_mlps(senders)
        shifts = {place: (heads, made[place]) for place, heads in self.groups.items()}
        return run_shifts(self.model, self.graph, self.batch, self.streams, shifts)

    def _frozen(self, senders: list[list[int]]) -> dict[tuple[int, str], Tensor]:
        """Only the direct path is left, so that what arrives is what was taken away."""
        found = {}
        for layer, part in self.groups:
            reach = self.graph.reach[self.graph.first_target(layer, part)]
            shift = [-self.delta[[r for r in own if r < reach]].sum(0) for own in senders]
            found[layer, part] = torch.stack(shift)
        return found

    def _through_mlps(self, senders: list[list[int]]) -> dict[tuple[int, str], Tensor]:
        """Heads frozen, MLPs computing: one pass, from which the receivers' streams are read."""
        n, taps, writes = len(senders), write_taps(self.model), []
        for name, tap in taps.items():
            part, _, number = name.partition(".")
            layer = int(number) if number else 0
            inside = range(*self.graph.rows_of(part, layer).indices(len(self.delta)))
            away = torch.stack([self.delta[[r for r in s if r in inside]].sum(0) for s in senders])
            if part == "mlp":
                chosen = torch.tensor([any(r in inside for r in s) for s in senders])
                base = self.seen.clean.values[f"mlp.{layer}"]
                last = base - away.to(base)
                writes.append((tap, _where(chosen, last)))
            else:
                base = self.seen.streams[name] if part == "attn" else self.seen.clean.values["input"]
                writes.append((tap, _where(torch.ones(n, dtype=torch.bool), base - away.to(base))))
        with Tape(self.model, reads=Streams.taps(self.model), writes=writes) as tape:
            after = Streams.read(tape.play(self.batch.clean.times(n)).reads, self.graph.n_layers)
        found = {}
        for layer, part in self.groups:
            now, was = (
                s.last if part == "logits" else (s.mid if part == "mlp" else s.pre)[layer]
                for s in (after, self.streams)
            )
            found[layer, part] = now.unflatten(0, (n, -1)) - was
        return found


def _where(chosen: Tensor, value: Float[Tensor, "sender pair pos d_model"]) -> Write:
    """The value in the copies of the pairs that are chosen, what is there in the others."""

    def write(x: Tensor) -> Tensor:
        rows = x.unflatten(0, (len(chosen), -1))
        return torch.where(chosen.to(x.device)[:, None, None, None], value.to(x), rows).flatten(0, 1)

    return write
