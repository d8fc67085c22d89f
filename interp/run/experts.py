"""``ExpertValues``: what each expert of a mixture adds to the residual stream, rebuilt from what the mixture reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..errors import ModelError
from ..models import Model
from ..models.hooks import Hooks
from ..models.resolve import Tap, _part
from ..models.wiring import _inputs, _run, wiring
from ..sites import Site
from .nodes import NodeValues

_TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


@dataclass(frozen=True, eq=False)
class Experts:
    """The mixture of one layer: ``count`` experts, and what it adds besides if ``shared``."""

    module: Any
    count: int
    shared: bool = False

    @property
    def n_nodes(self) -> int:
        """How many nodes `writes` gives."""
        return self.count + self.shared

    @torch.no_grad()
    def writes(self, read: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "expert *rows d_model"]:
        """What each expert adds where the mixture reads ``read``: weighted by the router, zero where it is not chosen.

        The router and the experts are the model's own. Where there is a shared part it comes last.
        """
        flat = read.reshape(1, -1, read.shape[-1])
        whole, call = _overheard(self.module, flat)
        found = whole.new_zeros(self.n_nodes, flat.shape[1], whole.shape[-1])
        for expert in range(self.count):
            token, choice = (call.index == expert).nonzero(as_tuple=True)
            if len(token):
                found[expert].index_add_(0, token, call.again(token, choice).to(found.dtype))
        if self.shared:
            found[-1] = whole.reshape(found.shape[1:]) - found[:-1].sum(0)
        return found.unflatten(1, read.shape[:-1])


@dataclass(frozen=True, eq=False)
class _Call:
    """How a mixture called its experts: hidden states, who is chosen, with which weight."""

    forward: Callable[..., Tensor]
    hidden: Float[Tensor, "token d_model"]
    index: Int[Tensor, "token choice"]
    weight: Float[Tensor, "token choice"]
    order: tuple[str, ...]

    def again(self, token: Tensor, choice: Tensor) -> Float[Tensor, "chosen d_model"]:
        """The same call for one chosen expert per token."""
        parts = {
            "hidden": self.hidden[token], "index": self.index[token, choice][:, None],
            "weight": self.weight[token, choice][:, None],
        }  # fmt: skip
        return self.forward(*(parts[name] for name in self.order))


def _overheard(module: nn.Module, x: Tensor) -> tuple[Tensor, _Call]:
    """Run a mixture, and what it asked of its experts."""
    experts: Any = module.experts
    calls: list[_Call] = []
    forward = experts.forward

    def listen(*args: Tensor, **kwargs: Tensor) -> Tensor:
        given = [*args, *kwargs.values()]
        order = tuple(
            "hidden" if i == 0 else "weight" if x.is_floating_point() else "index" for i, x in enumerate(given)
        )
        if sorted(order) != ["hidden", "index", "weight"]:
            raise ModelError(f"{type(experts).__name__} is not called with hidden states, indices and weights")
        named = dict(zip(order, given, strict=True))
        calls.append(_Call(forward, **named, order=order))  # type: ignore[arg-type]
        return forward(*args, **kwargs)

    experts.forward = listen
    try:
        out = module.forward(x)  # past its hooks: this may be called from one of them
    finally:
        del experts.forward
    if len(calls) != 1:
        raise ModelError(f"{type(module).__name__} calls its experts {len(calls)} times in one pass, not once")
    return (out[0] if isinstance(out, tuple) else out), calls[0]


def experts(model: Model) -> tuple[Experts | None, ...]:
    """The mixture of each layer, ``None`` where the MLP is an ordinary one; tried on a few tokens, found once.

    Raises:
        ModelError: what the experts add, as rebuilt here, is not what their layer adds to the stream.
    """
    known = model.__dict__.get("_experts")
    if known is None:
        with torch.inference_mode(False), torch.no_grad():
            known = model.__dict__["_experts"] = _found(model)
    return known


def _found(model: Model) -> tuple[Experts | None, ...]:
    modules = [_part(model, layer, "mlp") for layer in range(model.n_layers)]
    mixed = [i for i, m in enumerate(modules) if isinstance(getattr(m, "experts", None), nn.Module)]
    seen: dict[str, Tensor] = {}
    taps = {f"in.{i}": wiring(model).blocks[i].mlp.taps["mlp"] for i in mixed}
    taps |= {f"out.{i}": model.resolve(Site("mlp_out", i)) for i in mixed}
    reads = [(tap, lambda x, name=name: seen.update({name: x.detach().clone()})) for name, tap in taps.items()]
    with Hooks(model, reads) as hooks:
        hooks.run(lambda: _run(model), batch=len(_inputs(model)))
    found: list[Experts | None] = [None] * len(modules)
    for layer in mixed:
        found[layer] = _tried(model, layer, modules[layer], seen[f"in.{layer}"], seen[f"out.{layer}"])
    return tuple(found)


def _tried(model: Model, layer: int, module: Any, read: Tensor, wrote: Tensor) -> Experts:
    """The mixture of a layer, with a shared part if its experts alone do not make its output."""
    count = next(
        (getattr(module.experts, n) for n in ("num_experts", "n_routed_experts") if hasattr(module.experts, n)), 0
    )
    if not count:
        raise ModelError(f"{model.architecture}, layer {layer}: {type(module.experts).__name__} does not say how many "
                         "experts it has")  # fmt: skip
    whole, _ = _overheard(module, read)
    tolerance, size = _TOLERANCE.get(model.dtype, 6e-2), wrote.abs().max().clamp_min(1e-6)
    if not bool((whole - wrote).abs().max() < tolerance * size):
        raise ModelError(
            f"{model.architecture}, layer {layer}: something lies between its mixture of experts and the stream, so "
            "that the experts' shares are not defined"
        )
    plain = Experts(module, int(count))
    missing = (plain.writes(read).sum(0) - wrote).abs().max() / size
    return plain if bool(missing < tolerance) else Experts(module, int(count), shared=True)


@dataclass(frozen=True, eq=False)
class ExpertValues(NodeValues):
    """Node values in which a mixture of experts is one node per expert, behind the layer's heads."""

    mixtures: tuple[Experts | None, ...] = ()

    @classmethod
    def taps(cls, model: Model) -> dict[str, Tap]:
        """Those of `NodeValues`, and what each mixture reads, ``read.<layer>``."""
        reads = {
            f"read.{i}": wiring(model).blocks[i].mlp.taps["mlp"] for i, m in enumerate(experts(model)) if m is not None
        }
        return NodeValues.taps(model) | reads

    @classmethod
    def read(cls, model: Model, reads: dict[str, Tensor]) -> ExpertValues:
        """From what a tape read at `taps`, among other things."""
        return cls(wiring(model), {name: reads[name] for name in cls.taps(model)}, experts(model))

    @torch.no_grad()
    def layer(self, layer: int) -> Float[Tensor, "node row pos d_model"]:
        """What each head of a layer, then each expert of its mixture (or its MLP), adds to the stream."""
        mixture = self.mixtures[layer]
        if mixture is None:
            return super().layer(layer)
        heads = self.wiring.blocks[layer].output.writes(self.values[f"z.{layer}"])
        return torch.cat([heads, mixture.writes(self.values[f"read.{layer}"])])

    @property
    def n_nodes(self) -> int:
        """How many nodes `writes` gives."""
        mlps = sum(1 if m is None else m.n_nodes for m in self.mixtures)
        return 1 + mlps + sum(block.output.heads for block in self.wiring.blocks)
