"""What can be read without a model: which tokens a prompt has, up to where the probe reads it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

MOST_TOKENS = 4096
"""Distinct token ids that are counted; beyond that, those in the most prompts."""


def visible_tokens(tokens: Sequence[np.ndarray], positions: np.ndarray) -> list[np.ndarray]:
    """The tokens of each prompt up to and including the position where it is read: all that a causal model has seen."""
    return [np.asarray(t[: int(p) + 1]) for t, p in zip(tokens, positions, strict=True)]


def token_counts(tokens: Sequence[np.ndarray]) -> Float[Tensor, "example token"]:
    """How often each distinct token occurs in each prompt, for at most `MOST_TOKENS` of them.

    >>> token_counts([np.array([5, 6, 5]), np.array([7])]).tolist()
    [[2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    names, prompts = np.unique(np.concatenate([np.unique(t) for t in tokens]), return_counts=True)
    names = np.sort(names[np.argsort(-prompts, kind="stable")[:MOST_TOKENS]])
    counts = torch.zeros(len(tokens), len(names))
    for row, t in zip(counts, tokens, strict=True):
        t = t[np.isin(t, names)]
        row += torch.from_numpy(np.bincount(np.searchsorted(names, t), minlength=len(names))).float()
    return counts


def last_token(tokens: Sequence[np.ndarray]) -> Float[Tensor, "example token"]:
    """Which token each prompt is read at, one column per distinct token.

    >>> last_token([np.array([5, 6]), np.array([7]), np.array([6])]).tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    return token_counts([t[-1:] for t in tokens])
