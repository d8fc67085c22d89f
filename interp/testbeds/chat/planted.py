"""What is planted in the residual stream: fixed unit vectors, and how much of each a prompt gets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from .spec import ChatSpec
from .words import TOPIC_NAMES

# How much of each attribute a topic has. What topics share of them is how much they overlap.
ATTRIBUTES = ("machine", "matter", "living", "value")
SHARES = {
    "computing": (3, 0, 0, 1),
    "explosives": (2, 3, 0, 0),
    "chemistry": (0, 3, 1, 0),
    "biology": (0, 1, 3, 0),
    "people": (0, 0, 3, 2),
    "money": (1, 0, 1, 3),
}
TOPIC_GAIN = 0.5  # a harmful request has 1 + this of its topic, a harmless one 1 - this


def topic_coordinates() -> Float[NDArray[np.float64], "topic attribute"]:
    """Each topic's coordinates along the attributes' vectors: shares minus their mean, the longest of length 1.

    >>> made = topic_coordinates()
    >>> made.shape, float(abs(made.sum(0)).max()) < 1e-12
    ((6, 4), True)
    """
    shares = np.array([SHARES[name] for name in TOPIC_NAMES], np.float64)
    centred = shares - shares.mean(0)
    return centred / np.linalg.norm(centred, axis=1).max()


def topic_gram() -> Float[NDArray[np.float64], "topic topic"]:
    """Cosines between the topics' planted vectors.

    >>> float(topic_gram()[0, 0]), round(float(topic_gram()[1, 2]), 2)
    (1.0, 0.61)
    """
    made = topic_coordinates()
    unit = made / np.linalg.norm(made, axis=1, keepdims=True)
    return np.round(unit @ unit.T, 12)


@dataclass(frozen=True, eq=False)
class Planted:
    """Orthonormal vectors of the residual stream: refusal, harmfulness, and one for each attribute of topics."""

    refusal: Float[Tensor, " d"]
    harm: Float[Tensor, " d"]
    attributes: Float[Tensor, "attribute d"]

    @property
    def all(self) -> Float[Tensor, "planted d"]:
        """All of them, in this order."""
        return torch.stack([self.refusal, self.harm, *self.attributes])


def planted(spec: ChatSpec) -> Planted:
    """The planted vectors of a seed.

    >>> vectors = planted(ChatSpec()).all
    >>> bool(torch.allclose(vectors @ vectors.T, torch.eye(6), atol=1e-6))
    True
    """
    rng = np.random.default_rng([spec.seed, *b"planted"])
    basis, _ = np.linalg.qr(rng.normal(size=(spec.d_model, 2 + len(ATTRIBUTES))))
    vectors = torch.tensor(basis.T.copy(), dtype=torch.float32)
    return Planted(vectors[0], vectors[1], vectors[2:])
