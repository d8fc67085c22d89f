"""Scores from log probabilities: means, Min-K%, Min-K%++, zlib ratio. Higher is always more like training data."""

from __future__ import annotations

import zlib as _zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from ...errors import PromptError, StatisticsError

LEAST_SD = 1e-3


def mean_where(
    values: Float[np.ndarray, "record pos"], mask: Bool[np.ndarray, "record pos"]
) -> Float[np.ndarray, " record"]:
    """Mean over the positions of each record's mask.

    Raises:
        PromptError: a record with no position.

    >>> mean_where(np.array([[-1.0, -3.0, np.nan]]), np.array([[True, True, False]])).tolist()
    [-2.0]
    """
    count = mask.sum(1)
    if (count < 1).any():
        raise PromptError(f"record {int((count < 1).argmax())} has no token to be scored")
    return np.where(mask, values, 0.0).sum(1) / count


def min_k(
    log_p: Float[np.ndarray, "record pos"], mask: Bool[np.ndarray, "record pos"], share: float = 0.2
) -> Float[np.ndarray, " record"]:
    """Min-K%: mean log p of the ``share`` least likely tokens of each text, in nats; at least one token.

    Sign: log p, not loss. Higher (nearer 0) is more like training data. At ``share`` 1 it is the mean log p.

    Raises:
        StatisticsError: a share outside (0, 1].

    Source: Shi et al. (2024), "Detecting pretraining data from large language models", Equation 1. open-unlearning
    reports the negative.

    >>> log_p, mask = np.array([[-1.0, -4.0, -2.0, -3.0]]), np.ones((1, 4), bool)
    >>> [float(min_k(log_p, mask, share)[0]) for share in (0.25, 0.5, 1.0)]
    [-4.0, -3.5, -2.5]
    """
    if not 0 < share <= 1:
        raise StatisticsError(f"the share of tokens in Min-K% lies in (0, 1], got {share!r}")
    ordered = np.sort(np.where(mask, log_p, np.inf), axis=1)
    # As the source: rounded down. The 1e-9 keeps 0.29 * 100 at 29.
    count = np.maximum(1, np.floor(mask.sum(1) * share + 1e-9).astype(int))
    return mean_where(ordered, np.arange(log_p.shape[1]) < count[:, None])


def min_k_pp(
    log_p: Float[np.ndarray, "record pos"],
    mean: Float[np.ndarray, "record pos"],
    sd: Float[np.ndarray, "record pos"],
    mask: Bool[np.ndarray, "record pos"],
    share: float = 0.2,
) -> Float[np.ndarray, " record"]:
    """Min-K%++: as `min_k`, of log p standardised by its mean and standard deviation over the vocabulary.

    Sign: higher is more like training data. ``mean`` and ``sd`` are moments of log p under the model's own prediction,
    at the token before. Where the prediction is certain, sd tends to 0; it is taken as 0.001 at least, as
    open-unlearning does (variance 1e-6).

    Source: Zhang et al. (2025), "Min-K%++: improved baseline for detecting pre-training data", and its code.

    >>> one = np.ones((1, 2), bool)
    >>> float(min_k_pp(np.array([[-1.0, -5.0]]), np.array([[-2.0, -3.0]]), np.array([[0.5, 1.0]]), one, 0.5)[0])
    -2.0
    """
    return min_k((log_p - mean) / np.maximum(sd, LEAST_SD), mask, share)


def zlib_ratio(log_p: Float[np.ndarray, " record"], texts: Sequence[str]) -> Float[np.ndarray, " record"]:
    """Mean log p of each text over its size in bytes when zlib has compressed it: low for text that is plain anyway.

    Sign: higher (nearer 0) is more like training data.

    Source: Carlini et al. (2021), "Extracting training data from large language models", section 5.2; with the mean per
    token, as in the code of Min-K%++.

    >>> float(zlib_ratio(np.array([-2.0]), ["aaaa"])[0]) == -2.0 / len(_zlib.compress(b"aaaa"))
    True
    """
    return log_p / np.array([len(_zlib.compress(text.encode("utf-8"))) for text in texts])
