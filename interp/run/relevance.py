"""Backward rules of relevance propagation: inside `relevance`, a model's norms and activations differentiate by rule.

Values stay what they are, bit for bit; only gradients change, and only inside the block. Nothing is copied or forked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import CircuitError
from ..models import Model
from ..models.hooks import Write
from ..models.resolve import Tap, _part
from ..sites import Site
from .held import hold

_GATED = ("GatedMLPBridge", "JointGateUpMLPBridge")
_PLAIN = ("MLPBridge", "BloomMLPBridge")


@contextmanager
def relevance(model: Model) -> Iterator[None]:
    """For the length of a block, gradients through every norm and activation function are those of its rule.

    A norm is the linear map that it is with its scale held (the LN-rule). An activation ``f`` multiplies by ``f(x)/x``
    (the identity rule). Linear maps need no rule. The rules of gates and of attention are `halves` and a pattern that
    counts as a constant (``secants`` of `interp.run.tape.Tape`).

    Raises:
        CircuitError: a part of the model that the rules do not speak of; see `halves` and `activations`.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("and_gate"))
    >>> act = activations(model)[0]
    >>> x = torch.tensor([-1.0, 2.0], requires_grad=True)
    >>> with relevance(model):
    ...     y = act(x)
    >>> y.tolist(), torch.autograd.grad(y.sum(), x)[0].tolist()
    ([0.0, 2.0], [0.0, 1.0])
    """
    rules: list[tuple[nn.Module, Callable[..., Tensor]]] = [(act, _scaled) for act in activations(model)]
    rules += [(norm, _held) for norm in norms(model)]
    changed = []
    try:
        for module, rule in rules:
            module.forward = partial(rule, module.forward)  # type: ignore[method-assign]
            changed.append(module)
        yield
    finally:
        for module in changed:
            del module.forward


def norms(model: Model) -> list[nn.Module]:
    """Every norm of the model: before and behind branches, of queries and keys, and the last one."""
    return [m for m in model.hf.modules() if "Norm" in type(m).__name__ and not any(True for _ in m.children())]


def activations(model: Model) -> list[nn.Module]:
    """The activation function of each layer's MLP.

    Raises:
        CircuitError: it is not a module of its own, there are several, or it is not zero at zero, so that it is no
            multiple of what it is given.
    """
    found = []
    for layer in range(model.n_layers):
        block = _part(model, layer)
        assert block is not None
        kind = _mlp_kind(model)
        own = [m for m in block.modules() if _is_function(m)]
        if kind is None or len(own) != 1:
            raise CircuitError(
                f"method 'relp' has no rule for the MLP of layer {layer} of this {model.architecture}: "
                + ("it is a mixture of experts or unknown" if kind is None else f"it has {len(own)} activation modules")
            )
        at_zero = own[0](torch.zeros(1, dtype=torch.float32, device=model.device))
        if bool(at_zero.abs() > 1e-6):
            raise CircuitError(
                f"the activation {type(own[0]).__name__} of layer {layer} is {float(at_zero):.3g} at 0, so that it is "
                "no multiple of what it is given, and method 'relp' has no rule for it"
            )
        found.append(own[0])
    return found


def halves(model: Model) -> list[tuple[Tap, Write]]:
    """Writes that halve the gradient behind each gate's product, so that either factor gets half (the half-rule)."""
    if _mlp_kind(model) != "gated":
        return []
    return [(model.resolve(Site("mlp_post", layer)), _halved) for layer in range(model.n_layers)]


def _mlp_kind(model: Model) -> str | None:
    name = type(model.parts["blocks"].submodules.get("mlp")).__name__
    return "gated" if name in _GATED else "plain" if name in _PLAIN else None


def _is_function(module: nn.Module) -> bool:
    """A module without parts and weights that is no norm, no dropout, and not what hands on."""
    bare = not any(True for _ in module.children()) and not any(True for _ in module.parameters(recurse=False))
    return bare and not any(word in type(module).__name__ for word in ("Norm", "Dropout", "Identity", "Rotary"))


def _like(value: Tensor, linear: Tensor) -> Tensor:
    """``value``, with the gradient of ``linear``."""
    return value.detach() + (linear - linear.detach()).to(value.dtype)


def _halved(x: Tensor) -> Tensor:
    return _like(x, x / 2)


def _scaled(forward: Callable[..., Tensor], x: Tensor) -> Tensor:
    """An activation as ``x * (f(x) / x)`` with the factor held; at 0 the factor is the slope there."""
    value = forward(x)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return value
    factor = torch.where(x == 0, _slope(forward, x), value / torch.where(x == 0, 1.0, x)).detach()
    return _like(value, x * factor)


def _slope(forward: Callable[..., Tensor], like: Tensor) -> Tensor:
    """The slope at 0, between the two sides."""
    step = 1e-3
    sides = forward(torch.tensor([-step, step], dtype=torch.float32, device=like.device))
    return ((sides[1] - sides[0]) / (2 * step)).to(like.dtype)


def _held(forward: Callable[..., Tensor], x: Float[Tensor, "*row d"], *args: Any, **kwargs: Any) -> Tensor:
    """A norm with the scale of each row held."""
    value = forward(x, *args, **kwargs)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return value
    with torch.no_grad():
        held = hold(forward, x.detach().reshape(-1, x.shape[-1]))
    factor = (held.scale[:, None] * held.gain).reshape(x.shape).to(x.dtype)
    middle = x - x.mean(-1, keepdim=True) if held.centred else x
    return _like(value, middle * factor)
