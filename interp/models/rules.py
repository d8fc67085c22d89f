"""Backward rules: what a part of the model differentiates to, where its true derivative says too little.

A rule holds for the length of one attention call and changes gradients only, never a value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_SOFTMAX = (functional.softmax, torch.softmax, Tensor.softmax)


class SecantSoftmax(TorchFunctionMode):
    """Softmax whose derivative is that of the straight line, in log probabilities, to another pattern.

    With ``L`` the logarithmic mean of the two patterns the derivative is ``diag(L) - L L^T / sum(L)``: applied to the
    whole change of the scores it gives the whole change of the pattern exactly, however sharp the attention is. Where
    the two patterns are equal it is softmax's own. Probabilities count as at least ``e^-87``.
    """

    def __init__(self, other: Float[Tensor, "batch head query key"]) -> None:
        super().__init__()
        self._other = other

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _SOFTMAX:
            scores, *rest = args
            dim, dtype = (rest[0] if rest else kwargs.get("dim")), kwargs.get("dtype")
            if dim in (-1, scores.ndim - 1) and scores.shape == self._other.shape:
                return _Secant.apply(scores if dtype is None else scores.to(dtype), self._other)
        return func(*args, **kwargs)


class FrozenSoftmax(TorchFunctionMode):
    """Softmax that counts as a constant: no gradient goes on to the scores, and so none to queries and keys."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return found.detach() if func in _SOFTMAX else found


class _Secant(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, other: Tensor) -> Tensor:  # type: ignore[override]
        pattern = scores.softmax(-1)
        ctx.save_for_backward(_log_mean(pattern, other.to(pattern)))
        return pattern

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (mean,) = ctx.saved_tensors
        weighted = mean * gradient
        return weighted - mean * (weighted.sum(-1, keepdim=True) / mean.sum(-1, keepdim=True)), None


def _log_mean(a: Tensor, b: Tensor) -> Tensor:
    """``(a - b) / (log a - log b)``, the common value where the two are equal."""
    a, b = a.clamp_min(1.2e-38), b.clamp_min(1.2e-38)
    gap = a.log() - b.log()
    near = gap.abs() < 1e-2
    return torch.where(near, (a * b).sqrt() * (1 + gap.square() / 24), (a - b) / torch.where(near, 1.0, gap))
