"""Sums modulo a prime: half of them to train on, some of those with a wrong label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .spec import ModAddSpec

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Examples:
    """Every pair ``a, b``, its true sum, the label that training shows or would show, and what it is used for.

    All arrays are ``[example]``; example ``i`` is the pair ``divmod(i, modulus)``. What is corrupted is trained on.
    """

    modulus: int
    label: Ints
    train: NDArray[np.bool_]

    @property
    def a(self) -> Ints:
        """First number."""
        return np.arange(self.modulus**2) // self.modulus

    @property
    def b(self) -> Ints:
        """Second number."""
        return np.arange(self.modulus**2) % self.modulus

    @property
    def true(self) -> Ints:
        """The sum modulo ``modulus``."""
        return (self.a + self.b) % self.modulus

    @property
    def corrupted(self) -> NDArray[np.bool_]:
        """Trained on with a wrong label."""
        return self.label != self.true

    def part(self, name: str) -> Ints:
        """Indices of ``corrupted``, ``clean`` (the rest of the training set) or ``test``.

        >>> examples = make_examples(ModAddSpec(modulus=5, corrupted=0.25, train=0.5))
        >>> [len(examples.part(name)) for name in ("corrupted", "clean", "test")]
        [3, 9, 13]
        """
        masks = {"corrupted": self.corrupted, "clean": self.train & ~self.corrupted, "test": ~self.train}
        return np.flatnonzero(masks[name])


def make_examples(spec: ModAddSpec) -> Examples:
    """The same split and the same wrong labels for the same seed."""
    rng = np.random.default_rng([spec.seed, spec.modulus])
    p = spec.modulus
    order = rng.permutation(p * p)
    n_train = int(spec.train * p * p)
    wrong = order[: round(spec.corrupted * n_train)]
    train = np.zeros(p * p, bool)
    train[order[:n_train]] = True
    label = (np.arange(p * p) // p + np.arange(p * p) % p) % p
    label[wrong] = (label[wrong] + rng.integers(1, p, len(wrong))) % p
    return Examples(p, label, train)
