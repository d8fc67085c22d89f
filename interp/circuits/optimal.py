"""``fit_optimal``: for each node the constant that, in its place, leaves the model closest to itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import CircuitError
from ..run.nodes import write_taps
from ..run.progress import Progress
from ..run.tape import Tape
from ..sites import Site
from .ablation import make_ablation
from .batches import PairBatch, pair_batches
from .circuit import Circuit
from .constants import Constants, digests
from .execute import ablated_metric
from .graph import Graph
from .metrics import Bound, Metric, bind
from .observe import Observed, observe
from .pairs import Pairs
from .plan import plan_circuits, plan_rows
from .rows import Streams, put

if TYPE_CHECKING:
    from ..models import Model
    from ..models.hooks import Write
    from ..models.resolve import Tap


def fit_optimal(
    model: Model,
    pairs: Pairs,
    metric: Metric = "kl",
    *,
    circuit: Circuit | None = None,
    steps: int = 60,
    rate: float = 0.1,
    restarts: int = 0,
    seed: int = 0,
    max_bytes: int | None = None,
    progress: bool | None = None,
) -> Constants:
    """Fit one constant per node, so that the model with that node alone ablated loses as little as it can.

    Adam on all pairs at once, from the better of the node's mean and zero; the best constant met on the way is kept, so
    that on these pairs none is worse than mean or zero ablation. Use it on other pairs: ``ablation=`` of `attribute`,
    `exact`, `evaluate`, `run_circuits` and `path_patch` takes the result, and refuses the pairs it was fitted on.

    Args:
        metric: more is better, as everywhere. ``kl`` (minus KL from the model's own predictions) is the paper's. A
            metric without an upper bound, such as ``logit_diff``, is refused: constants would drive it up for ever.
        circuit: fit all constants together, for the model in which every edge outside this circuit is ablated.
        steps: of Adam.
        rate: its step, in standard deviations of what the node writes; it falls to 0 along a half cosine.
        restarts: how many more times to start, each time from what every node writes at a random token (``seed``).

    Raises:
        CircuitError: a metric without an upper bound, or numbers that make no sense.
        TooLargeError: ``max_bytes`` is not enough for one pair.

    Source: Li and Janson (arXiv 2409.09951), section 2: optimal ablation, the loss being KL from the model. They fit a
    head's constant in ``d_head`` numbers; here it is a vector of the residual stream, as for every other node.

    >>> import interp
    >>> from interp.circuits.load import load_pairs
    >>> folder = interp.testbeds.path("or_gate")
    >>> model = interp.load_model(folder)
    >>> pairs = load_pairs(folder / "pairs.jsonl", model.tokenizer, limit=4)
    >>> found = fit_optimal(model, pairs, steps=2)
    >>> bool((found.losses["optimal"] <= found.losses["mean"]).all())
    True
    """
    pairs.check(model)
    if metric == "logit_diff":
        raise CircuitError(
            "logit_diff has no upper bound, so no constant is best for it; use kl, answer_logp, prob_diff"
        )
    if steps < 1 or restarts < 0 or not rate > 0:
        raise CircuitError(f"steps={steps}, restarts={restarts}, rate={rate}: at least one step, a positive rate")
    if circuit is not None and circuit.graph != Graph.of(model):
        raise CircuitError("the circuit is of another graph than this model's")
    with torch.inference_mode(False), torch.enable_grad():
        return _fitted(model, pairs, metric, circuit, steps, rate, restarts, seed, max_bytes, progress)


def _fitted(
    model: Model, pairs: Pairs, metric: Metric, circuit: Circuit | None, steps: int, rate: float, restarts: int,
    seed: int, max_bytes: int | None, progress: bool | None,
) -> Constants:  # fmt: skip
    graph = Graph.of(model)
    fit = _Fit(model, graph, pairs, bind(metric, pairs), circuit, max_bytes)
    spread = fit.spread()
    means = make_ablation(model, pairs, "mean", n_pairs=fit.n_pairs).means
    assert means is not None
    start = means[0].float()
    losses = {"mean": fit.losses(start)[0], "zero": fit.losses(torch.zeros_like(start))[0]}
    best, least = _better(start, losses["mean"], torch.zeros_like(start), losses["zero"])
    rng = np.random.default_rng(seed)
    with Progress(steps * (restarts + 1), "step", "optimal", progress) as bar:
        for attempt in range(restarts + 1):
            begin = best.clone() if attempt == 0 else fit.token(rng)
            for values, loss in _descent(fit, begin, spread, steps, rate):
                best, least = _better(best, least, values, loss)
                bar.advance(1)
    details = {"steps": steps, "rate": rate, "restarts": restarts, "seed": seed, "together": circuit is not None}
    made = model.provenance(prompts=pairs.clean.hash, seed=seed)
    found = {name: loss.double().numpy() for name, loss in {"optimal": least, **losses}.items()}
    return Constants(graph, best.cpu(), fit.metric.name, found, frozenset(digests(pairs)), made, details)


def _better(a: Tensor, loss_a: Tensor, b: Tensor, loss_b: Tensor) -> tuple[Tensor, Tensor]:
    """Unit by unit (a node, or all of them) the values of the lower loss. NaN is never lower."""
    lower = (loss_b < loss_a).to(a.device)
    return torch.where(lower[:, None], b, a), torch.where(lower.cpu(), loss_b, loss_a)


def _descent(
    fit: _Fit, start: Float[Tensor, "src d_model"], spread: Float[Tensor, "src 1"], steps: int, rate: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Adam in units of each node's spread; the values after each step with their losses."""
    moved = torch.zeros_like(start, requires_grad=True)
    adam = torch.optim.Adam([moved], lr=rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    _, slope = fit.losses(start, gradients=True)
    for _ in range(steps):
        moved.grad = slope * spread
        adam.step()
        falling.step()
        values = (start + moved * spread).detach()
        loss, slope = fit.losses(values, gradients=True)
        yield values, loss


@dataclass(frozen=True, eq=False)
class _Held:
    """One batch of pairs with all that its clean run gave."""

    batch: PairBatch
    seen: Observed
    writes: Float[Tensor, "src pair pos d_model"]


class _Fit:
    """The loss of given constants on the pairs: with each node alone ablated, or with all outside a circuit."""

    def __init__(
        self, model: Model, graph: Graph, pairs: Pairs, metric: Bound, circuit: Circuit | None, max_bytes: int | None
    ) -> None:
        plan = (plan_rows if circuit is None else plan_circuits)(model, graph, pairs, max_bytes)
        self.n_pairs, self.metric = plan.pairs, metric
        self._model, self._graph, self._pairs, self._circuit = model, graph, pairs, circuit
        # A graph is kept of each row, about four times what a row without one takes.
        self._rows = max(plan.pairs, plan.rows // 4)
        self._kept = list(self._read()) if plan.pairs >= len(pairs) else None

    def _held(self) -> Iterator[_Held]:
        yield from self._read() if self._kept is None else self._kept

    def _read(self) -> Iterator[_Held]:
        for batch in pair_batches(self._pairs, self.n_pairs):
            seen, _ = observe(self._model, batch, reads=Streams.taps(self._model))
            yield _Held(batch, seen, seen.clean.writes())

    def spread(self) -> Float[Tensor, "src 1"]:
        """How far what each node writes lies from its mean, root mean square over tokens and dimensions."""
        tokens = torch.cat([h.writes[:, h.batch.real.to(h.writes.device)].float() for h in self._held()], 1)
        found = (tokens - tokens.mean(1, keepdim=True)).square().mean((1, 2)).sqrt()
        return found.clamp_min(1e-3 * float(found.max().clamp_min(1e-6)))[:, None]

    def token(self, rng: np.random.Generator) -> Float[Tensor, "src d_model"]:
        """What every node writes at one token, each at another."""
        held = list(self._held())
        found = []
        for source in range(len(self._graph.sources)):
            one = held[rng.integers(len(held))]
            rows, columns = one.batch.real.nonzero(as_tuple=True)
            k = int(rng.integers(len(rows)))
            found.append(one.writes[source, rows[k], columns[k]].float())
        return torch.stack(found)

    def losses(
        self, values: Float[Tensor, "src d_model"], *, gradients: bool = False
    ) -> tuple[Float[Tensor, " unit"], Float[Tensor, "src d_model"]]:
        """Minus the metric, mean over pairs, per unit; with ``gradients`` also the slope of their sum."""
        live = values.clone().requires_grad_(gradients)
        slope, total = torch.zeros_like(values), torch.zeros(1 if self._circuit else len(values))
        for held in self._held():
            parts = self._together(held, live, gradients) if self._circuit else self._alone(held, live, gradients)
            for units, loss in parts:
                loss = loss / len(self._pairs)
                total[units] += loss.detach().float().cpu()
                if gradients:
                    slope += torch.autograd.grad(loss.sum(), live)[0]
        return total, slope

    def _together(self, held: _Held, live: Tensor, gradients: bool) -> Iterator[tuple[slice, Tensor]]:
        assert self._circuit is not None
        ablated = live[:, None, None].expand_as(held.writes).to(held.writes.dtype)
        value = ablated_metric(
            self._model, self._graph, held.batch, ablated, torch.from_numpy(self._circuit.mask.copy())[None],
            self.metric, held.seen.logits, gradients=gradients,
        )  # fmt: skip
        yield slice(0, 1), -value.sum(1)

    def _alone(self, held: _Held, live: Tensor, gradients: bool) -> Iterator[tuple[slice, Tensor]]:
        streams = Streams.read(held.seen.streams, self._graph.n_layers)
        at_once = max(1, self._rows // len(held.batch))
        for name, tap in write_taps(self._model).items():
            part, _, number = name.partition(".")
            layer = int(number) if number else 0
            own = self._graph.rows_of(part, layer)
            for start in range(own.start, own.stop, at_once):
                some = slice(start, min(own.stop, start + at_once))
                away = held.writes[some] - live[some, None, None].to(held.writes.dtype)
                writes: list[tuple[Tap, Write]] = [(tap, _less(away.flatten(0, 1)))]
                if layer:
                    stream = streams.pre[layer].repeat(len(away), 1, 1)
                    writes.append((self._model.resolve(Site("resid_pre", layer)), put(stream)))
                yield some, -self._metric(held, writes, layer, len(away), gradients).sum(1)

    def _metric(
        self, held: _Held, writes: list[tuple[Tap, Write]], layer: int, n: int, gradients: bool
    ) -> Float[Tensor, "unit pair"]:
        with Tape(self._model, writes=writes, start=layer) as tape:
            logits = tape.play(held.batch.clean.times(n), gradients=gradients).logits
            value = self.metric(logits, held.batch.example.repeat(n), held.seen.logits.repeat(n, 1))
        return value.unflatten(0, (n, -1))


def _less(away: Tensor) -> Write:
    return lambda x: x - away.to(x)
