"""The points of a straight path, from ablated (0) to clean (1), at which gradients are taken, and their weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import CircuitError

RULES = ("gauss", "midpoint", "right")


@dataclass(frozen=True)
class Points:
    """Where gradients are taken (1 is the clean run), and the weight of each; the weights sum to one."""

    alphas: tuple[float, ...]
    weights: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.alphas)

    @property
    def only_clean(self) -> bool:
        """Whether the clean run is all there is."""
        return self.alphas == (1.0,)

    def chunks(self, n: int) -> Iterator[Points]:
        """The same, at most ``n`` at a time."""
        for start in range(0, len(self), n):
            yield Points(self.alphas[start : start + n], self.weights[start : start + n])


def points(steps: int, rule: str) -> Points:
    """Nodes of an integral over [0, 1].

    ``gauss`` (Gauss-Legendre) is exact for polynomials of degree ``2 steps - 1``; ``midpoint`` is even; ``right``,
    which takes ``1/n ... 1``, is what the published EAP-IG does.

    Raises:
        CircuitError: fewer than one step, or an unknown rule.

    >>> points(2, "right")
    Points(alphas=(0.5, 1.0), weights=(0.5, 0.5))
    >>> p = points(3, "gauss")
    >>> round(sum(w * a**5 for a, w in zip(p.alphas, p.weights)), 6)  # 1/6
    0.166667
    """
    if steps < 1:
        raise CircuitError(f"an integral needs one step or more, got {steps}")
    if rule not in RULES:
        raise CircuitError(f"there is no rule {rule!r} of integration; there are {', '.join(RULES)}")
    if rule == "gauss":
        x, w = np.polynomial.legendre.leggauss(steps)
        return Points(tuple(((x + 1) / 2).tolist()), tuple((w / 2).tolist()))
    offset = 0.5 if rule == "midpoint" else 1.0
    return Points(tuple((i + offset) / steps for i in range(steps)), (1 / steps,) * steps)


CLEAN = Points((1.0,), (1.0,))
BOTH_ENDS = Points((1.0, 0.0), (0.5, 0.5))
