"""Models and pairs that the circuit tests share."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from interp import testbeds
from interp.circuits.pairs import Pairs
from interp.models import load_model
from tests.identity.architectures import fresh
from tests.unchecked import unchecked  # noqa: F401

THREE = ("gpt2", "llama", "gemma2")


@functools.cache
def small(name: str):
    """A tiny random model; Gemma-2 with its soft cap, which only eager attention has."""
    model = fresh(name)
    if name == "gemma2":
        model.hf.set_attn_implementation("eager")
    return model


def random_pairs(n: int = 3, width: int = 9, *, seed: int = 0, groups=None) -> Pairs:
    """Pairs of random tokens that differ at three positions; answer 5, foil 7."""
    rng = np.random.default_rng(seed)
    clean = rng.integers(8, 97, (n, width))
    corrupted = clean.copy()
    corrupted[:, [1, 3, 4]] = rng.integers(8, 97, (n, 3))
    return Pairs.from_tokens(
        clean.tolist(), corrupted.tolist(), answers=[[5]] * n, wrong=[[7]] * n, groups=groups
    )  # fmt: skip


def tokens(pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean and corrupted tokens of equally long pairs."""
    return torch.tensor(np.stack(pairs.clean.tokens)), torch.tensor(np.stack(pairs.corrupted.tokens))


def logit_gap(logits):
    """What the reference measures."""
    return logits[:, 5] - logits[:, 7]


def off(got, want) -> float:
    """Largest difference, relative to the largest entry."""
    got, want = (x.numpy() if isinstance(x, torch.Tensor) else np.asarray(x) for x in (got, want))
    return float(np.abs(got - want).max() / np.abs(want).max())


@pytest.fixture(scope="session")
def induction():
    """The hand-written induction model."""
    return load_model(testbeds.path("induction"))
