"""The methods of attribution: at which points gradients are taken, and of which run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import CircuitError
from ..run.nodes import write_taps
from ..run.relevance import halves, relevance
from ..run.tape import Take
from ..sites import Site
from .batches import PairBatch
from .contract import Differences
from .graph import Graph
from .levels import Setting, Slopes
from .metrics import Bound
from .observe import Observed, gradient_pass, less, observe, observe_corrupted, patterns
from .pairs import Pairs
from .steps import BOTH_ENDS, CLEAN, Points, points

if TYPE_CHECKING:
    from ..models.hooks import Write
    from ..models.resolve import Tap

METHODS = {
    "eap": "gradient at the clean run (attribution patching, where level is 'node')",
    "eap-ig": "mean gradient while the input goes from ablated to clean",
    "eap-ig-act": "mean gradient while the node's own layer goes from ablated to clean",
    "clean-corrupted": "mean of the gradients with the input clean and ablated",
    "atp*": "clean gradient, with attention's softmax differentiated over its whole way to the corrupted pattern",
    "relp": "clean gradient by the rules of relevance propagation, with attention's patterns held",
    "relp-qk": "the same with attention differentiated as it is, so that queries and keys get scores too",
}
AT_CLEAN = ("eap", "atp*", "relp", "relp-qk")
"""Methods that take gradients at the clean run alone."""


@dataclass(frozen=True)
class Method:
    """A method with its settings."""

    name: str
    points: Points
    grad_drop: bool = False

    def rows_per_pair(self, graph: Graph) -> int:
        """Copies of a pair that have to stand side by side at best."""
        return graph.n_layers if self.grad_drop else len(self.points)

    def check(self, metric: Bound, ablation: str, pairs: Pairs, by_span: bool) -> None:
        """Raise where a combination would mean nothing."""
        if metric.against_clean and self.name in AT_CLEAN:
            raise CircuitError(
                f"metric {metric.name!r} compares with the clean run, where its gradient is zero, so method "
                f"{self.name!r} would score everything 0; use eap-ig, or another metric"
            )
        if self.name == "atp*" and (ablation != "resample" or not pairs.even):
            raise CircuitError(
                "method 'atp*' compares attention patterns of the clean and the corrupted run, so it needs "
                f"ablation='resample' (got {ablation!r}) and pairs that match token by token"
            )
        if by_span and (self.name == "eap-ig-act" or self.grad_drop):
            raise CircuitError(
                f"method {self.name!r}{' with grad_drop' if self.grad_drop else ''} has no scores by span"
            )
        if self.grad_drop and self.name != "atp*":
            raise CircuitError(f"grad_drop is a part of method 'atp*', not of {self.name!r}")

    def scores(self, setting: Setting, batch: PairBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Scores of every pair, and the metric of each, clean and corrupted (NaN where that was not run)."""
        if self.name == "atp*":
            return _softened(setting, batch, self.grad_drop)
        if self.name in ("relp", "relp-qk"):
            return _relevant(setting, batch, held=self.name == "relp")
        if self.name == "eap-ig-act":
            return _staged(setting, batch, self.points)
        return _at_clean(setting, batch) if self.points.only_clean else _straight(setting, batch, self.points)


def method_of(name: str, steps: int, rule: str, grad_drop: bool) -> Method:
    """A method by name.

    Raises:
        CircuitError: there is none of this name, or no such rule.
    """
    if name not in METHODS:
        raise CircuitError(f"there is no method {name!r}; there are {', '.join(METHODS)}")
    if name in AT_CLEAN:
        return Method(name, CLEAN, grad_drop)
    return Method(name, BOTH_ENDS if name == "clean-corrupted" else points(steps, rule), grad_drop)


def _at_clean(setting: Setting, batch: PairBatch) -> tuple[Tensor, Tensor, Tensor]:
    """The clean run with gradients gives the node values as well."""
    level, model = setting.level, setting.model
    reads = level.reads(model) | level.view.taps(model)
    take, found, value = gradient_pass(
        model, batch, setting.metric, setting.cuts(), CLEAN, reads=reads, keep=setting.spans is not None
    )
    clean = level.view.read(model, take.reads)
    corrupted, ablated = clean, torch.full_like(value[0], torch.nan)
    if setting.ablation.kind == "resample":
        corrupted, logits = observe_corrupted(model, batch, level.view)
        ablated = setting.metric(logits, batch.example)
    seen = Observed(batch, clean, corrupted, take.logits, {})
    return _met(setting, batch, seen.differences(setting.ablation), take, found, CLEAN), value[0], ablated


def _relevant(setting: Setting, batch: PairBatch, held: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The clean gradient by the rules of relevance propagation; ``held``: attention's patterns are constants."""
    level, model = setting.level, setting.model
    seen, clean, ablated = _observed(setting, batch, {})
    patterns = dict.fromkeys(range(setting.graph.n_layers)) if held else None
    with relevance(model):  # norms pull gradients back to the stream by the same rule
        take, found, _ = gradient_pass(
            model, batch, setting.metric, setting.cuts(), CLEAN, writes=halves(model), reads=level.reads(model),
            secants=patterns, keep=setting.spans is not None,
        )  # fmt: skip
        return _met(setting, batch, seen.differences(setting.ablation), take, found, CLEAN), clean, ablated


def _straight(setting: Setting, batch: PairBatch, path: Points) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients while the input alone goes from ablated to clean."""
    level, model = setting.level, setting.model
    seen, clean, ablated = _observed(setting, batch, {})
    away = seen.input_difference(setting.start)
    differences, total = seen.differences(setting.ablation), None
    for some in path.chunks(setting.plan.steps):
        writes = [(model.resolve(Site("resid_pre", 0)), less(away, some.alphas))]
        take, found, _ = gradient_pass(
            model, batch, setting.metric, setting.cuts(), some, clean=seen.logits, writes=writes,
            reads=level.reads(model), keep=setting.spans is not None,
        )  # fmt: skip
        part = _met(setting, batch, differences, take, found, some)
        total = part if total is None else total + part
    assert total is not None
    return total, clean, ablated


def _staged(setting: Setting, batch: PairBatch, path: Points) -> tuple[Tensor, Tensor, Tensor]:
    """Layer by layer: gradients while this layer's heads (or its MLP) go from ablated to clean, all else clean."""
    level, model = setting.level, setting.model
    pre = {f"pre.{layer}": model.resolve(Site("resid_pre", layer)) for layer in range(model.n_layers)}
    seen, clean, ablated = _observed(setting, batch, pre)
    differences, total = seen.differences(setting.ablation), None
    for stage in _stages(setting, batch, differences):
        for some in path.chunks(setting.plan.steps):
            writes = [(stage.tap, less(stage.away, some.alphas))]
            if stage.layer:
                stream = seen.streams[f"pre.{stage.layer}"].repeat(len(some), 1, 1)
                writes.append((pre[f"pre.{stage.layer}"], _put(stream)))
            take, found, _ = gradient_pass(
                model, batch, setting.metric, level.cuts(model, stage.layer), some, clean=seen.logits, writes=writes,
                reads=level.reads(model, stage.layer), start=stage.layer,
            )  # fmt: skip
            slopes = Slopes(found, take.reads, _weights(some, take.logits))
            part = level.meet(setting, stage.own(differences), slopes, stage.sources, stage.layer)
            total = part if total is None else total + part
    assert total is not None
    return total, clean, ablated


def _met(
    setting: Setting, batch: PairBatch, differences: Differences, take: Take, found: dict[str, Tensor], path: Points
) -> Float[Tensor, "pair ..."]:
    """Gradients of one pass with the differences; by span as well, if that is wanted."""
    weights = _weights(path, take.logits)
    if setting.spans is not None:
        setting.spans.add(batch, differences, take, found, weights, setting.plan.heads)
    return setting.level.meet(setting, differences, Slopes(found, take.reads, weights))


@dataclass(frozen=True, eq=False)
class _Stage:
    """One place where nodes write: who writes there, and what their ablation takes away together."""

    layer: int
    sources: slice
    tap: Tap
    away: Float[Tensor, "pair pos width"]

    def own(self, differences: Differences) -> Differences:
        """The differences of the stage's sources alone."""
        return lambda columns: differences(columns)[self.sources]


def _stages(setting: Setting, batch: PairBatch, differences: Differences) -> list[_Stage]:
    level = setting.level
    return [
        _Stage(layer, sources, tap, level.away(setting, batch, differences, sources))
        for layer, sources, tap in level.places(setting.model, setting.graph)
    ]


def _softened(setting: Setting, batch: PairBatch, grad_drop: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The clean gradient with secant softmaxes; with ``grad_drop``, mean sizes over runs that each drop a layer."""
    level, model, n = setting.level, setting.model, setting.graph.n_layers
    seen, clean, ablated = _observed(setting, batch, {})
    other = patterns(model, batch)
    differences = seen.differences(setting.ablation)
    layers = list(range(n)) if grad_drop else [-1]
    total = None
    for start in range(0, len(layers), setting.plan.steps):
        dropped = layers[start : start + setting.plan.steps]
        rows = Points((1.0,) * len(dropped), (1.0,) * len(dropped))
        take, found, _ = gradient_pass(
            model, batch, setting.metric, setting.cuts(), rows, writes=_drops(setting, dropped, len(batch)),
            reads=level.reads(model), secants={i: p.repeat(len(dropped), 1, 1, 1) for i, p in other.items()},
            keep=setting.spans is not None,
        )  # fmt: skip
        if not grad_drop:
            return _met(setting, batch, differences, take, found, rows), clean, ablated
        for k in range(len(dropped)):
            own = slice(k * len(batch), (k + 1) * len(batch))
            gradients, reads = ({name: x[own] for name, x in kept.items()} for kept in (found, take.reads))
            part = level.meet(setting, differences, Slopes(gradients, reads, _weights(CLEAN, take.logits)))
            part = part.abs() / max(1, n - 1)
            total = part if total is None else total + part
    assert total is not None
    return total, clean, ablated


def _drops(setting: Setting, dropped: list[int], n_pairs: int) -> list[tuple[Tap, Write]]:
    """Writes that change no value and block gradients through what a layer adds: another in each copy of the pairs."""
    taps = write_taps(setting.model)
    writes: list[tuple[Tap, Write]] = []
    for k, layer in enumerate(dropped):
        for part in ("attn", "mlp"):
            if layer >= 0:
                writes.append((taps[f"{part}.{layer}"], _blocking(slice(k * n_pairs, (k + 1) * n_pairs))))
    return writes


def _blocking(rows: slice) -> Write:
    def write(x: Tensor) -> Tensor:
        blocked = torch.zeros(len(x), 1, 1, dtype=torch.bool, device=x.device)
        blocked[rows] = True
        return torch.where(blocked, x.detach(), x)

    return write


def _put(value: Tensor) -> Write:
    return lambda x: value.to(x)


def _observed(setting: Setting, batch: PairBatch, reads: dict[str, Tap]) -> tuple[Observed, Tensor, Tensor]:
    seen, corrupted = observe(setting.model, batch, setting.level.view, reads)
    clean = setting.metric(seen.logits, batch.example, seen.logits)
    return seen, clean, setting.metric(corrupted, batch.example, seen.logits)


def _weights(path: Points, like: Tensor) -> Float[Tensor, " step"]:
    return torch.tensor(path.weights, dtype=like.dtype, device=like.device)
