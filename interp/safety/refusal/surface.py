"""What tells classes apart without a model: lengths, last tokens, what the template says, words."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ...probes.baselines import last_token, token_counts, visible_tokens
from ...probes.crossfit import held_out_scores
from ...prompts import PromptSet
from .requests import T_INST

Array = NDArray[Any]


def surface_features(prompts: PromptSet, mark: str) -> Float[Tensor, "prompt feature"]:
    """Lengths (of the instruction, and up to the mark), the tokens at ``t_inst`` and at the mark, and counts of the
    tokens up to the mark that are not of the instruction: of the template, and of any context.

    >>> prompts = PromptSet.from_tokens([[5, 6, 7], [5, 7]], marks={"t_inst": [1, 0]})
    >>> surface_features(prompts, "last").shape
    torch.Size([2, 8])
    """
    positions = prompts.marks[mark]
    span = prompts.spans.get("instruction")
    stop = prompts.marks[T_INST] + 1
    start = np.zeros_like(stop) if span is None else span[:, 0]
    around = [
        np.concatenate([t[:a], t[b : p + 1]]) for t, a, b, p in zip(prompts.tokens, start, stop, positions, strict=True)
    ]
    lengths = torch.from_numpy(np.stack([stop - start, positions + 1], 1).astype(np.float32))
    inside = [t[: int(p) + 1] for t, p in zip(prompts.tokens, prompts.marks[T_INST], strict=True)]
    at = last_token(visible_tokens(prompts.tokens, positions))
    frame = token_counts(around) if any(len(a) for a in around) else torch.zeros(len(prompts), 0)
    return torch.cat([lengths, torch.log(lengths), last_token(inside), at, frame], 1)


def bag_features(prompts: PromptSet, mark: str) -> Float[Tensor, "prompt feature"]:
    """Counts of the tokens up to the mark."""
    return token_counts(visible_tokens(prompts.tokens, prompts.marks[mark]))


def surface_scores(
    features: Float[Tensor, "prompt feature"], positive: Array, negative: Array, rows: Array
) -> Float[np.ndarray, " row"]:
    """Log-odds of ``rows`` under a logistic probe of the features, fitted on the prompts ``positive`` and ``negative``.

    >>> x = torch.tensor([[0.0], [1.0], [0.2], [0.8]])
    >>> surface_scores(x, np.array([1]), np.array([0]), np.array([2, 3])).round(2).tolist()[0] < 0
    True
    """
    train = np.concatenate([positive, negative])
    x = features[torch.from_numpy(np.concatenate([train, rows]))]
    y = torch.zeros(1, len(x), dtype=torch.float64)
    y[0, : len(positive)] = 1
    split = (torch.arange(len(train)), torch.arange(len(train), len(x)))
    [scores] = held_out_scores(x, y, [split], tol=1e-4)
    return scores[0].cpu().numpy()
