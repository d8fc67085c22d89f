"""A norm as the linear map that it is once its scale is held: so that what goes in can be shared out over its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ModelError

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
HALF_PRECISION = 0.05
"""How far a norm may lie from the linear map found for it, as a share of its largest output: rounding, and no more."""


@dataclass(frozen=True, eq=False)
class HeldNorm:
    """``norm(x) = scale * gain * (x - mean(x) if centred else x) + shift``, with the ``scale`` of each row held.

    Exact at the rows that it was made from, and linear: applied to the parts of a row it gives parts of its output.
    """

    scale: Float[Tensor, " row"]
    gain: Float[Tensor, " d"]
    shift: Float[Tensor, " d"]
    centred: bool

    def to(self, device: torch.device) -> HeldNorm:
        """The same on another device."""
        return HeldNorm(self.scale.to(device), self.gain.to(device), self.shift.to(device), self.centred)

    def pull(self, u: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
        """The direction in the norm's input that reads what ``u`` reads in its output, up to ``shift @ u``."""
        back = self.gain * u
        if self.centred:
            back = back - back.mean(-1, keepdim=True)
        return self.scale[:, None] * back


def hold(norm: Callable[[Tensor], Tensor], x: Float[Tensor, "row d"]) -> HeldNorm:
    """What a norm does to these rows, with its scale held, found by asking it: LayerNorm, RMSNorm and their like.

    A norm is asked for the output of zeros (its shift), of ones (whether it takes the mean out) and of plus and minus
    ones (its gain). Each row's scale follows from the row itself. Nothing is assumed of its class or its settings.

    Args:
        norm: the module; called with rows of the dtype of ``x``.
        x: the rows that it is held at.

    Raises:
        ModelError: what is found is not what the norm does.

    >>> x = torch.tensor([[1.0, 2.0, 6.0]], dtype=torch.float64)
    >>> held = hold(torch.nn.LayerNorm(3, dtype=torch.float64), x)
    >>> held.centred, (held.pull(torch.eye(3, dtype=torch.float64)[:1]) @ x[0]).item() > 0
    (True, False)
    """
    with torch.no_grad():
        d = x.shape[-1]
        shift = norm(x.new_zeros(1, d))[0].double()
        ones = norm(x.new_ones(1, d))[0].double() - shift
        signs = x.new_ones(d)
        signs[1::2] = -1
        wide = norm(signs[None])[0].double() - shift
        centred = bool(ones.abs().max() < 1e-2 * wide.abs().max())
        through = signs.double()
        if centred:
            through = through - through.mean()
        gain = wide / through
        rows = x.double()
        plain = gain * (rows - rows.mean(-1, keepdim=True) if centred else rows)
        out = norm(x).double() - shift
        scale = (out * plain).sum(-1) / plain.square().sum(-1).clamp_min(torch.finfo(torch.float64).tiny)
        off = float((out - scale[:, None] * plain).abs().max() / out.abs().max().clamp_min(1e-12))
    if not off <= TOLERANCE.get(x.dtype, HALF_PRECISION):
        raise ModelError(
            f"{type(norm).__name__} is no norm whose scale can be held: its output is off by {off:.2g} of its largest "
            "value from gain * x * scale, so contributions through it are not defined"
        )
    return HeldNorm(scale, gain, shift, centred)
