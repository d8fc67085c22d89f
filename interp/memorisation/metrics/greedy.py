"""What greedy decoding would write, read from one pass over the true text.

Greedy decoding takes the first choice at every step. So it reproduces a text from some token on exactly if, along the
text, every first choice from there on is the text's own next token. One pass answers for every length of prefix.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from ...errors import PromptError


def reproduced_from(
    hit: Bool[np.ndarray, "record pos"], stop: Int[np.ndarray, " record"]
) -> Int[np.ndarray, " record"]:
    """The smallest number of tokens from which greedy decoding reproduces the rest; ``stop`` where it never does.

    Args:
        hit: whether the first choice for each token was the text's own; position 0 is never predicted.
        stop: where each text ends.

    >>> hit = np.array([[False, True, False, True, True], [False, True, True, True, False]])
    >>> reproduced_from(hit, np.array([5, 5])).tolist()
    [3, 5]
    """
    pos = np.arange(hit.shape[1])
    inside = pos < stop[:, None]
    missed = inside & ~hit
    missed[:, :1] = True
    return np.where(missed, pos, 0).max(1) + 1


def extractible(
    hit: Bool[np.ndarray, "record pos"], first: Int[np.ndarray, " record"], stop: Int[np.ndarray, " record"], k: int
) -> Bool[np.ndarray, " record"]:
    """Whether greedy decoding, given the first ``k`` tokens of the text, writes the rest verbatim.

    Args:
        hit: whether the first choice for each token was the text's own.
        first: where each text begins (behind a BOS, which is always given).
        stop: where each text ends.
        k: tokens given, of the text.

    Raises:
        PromptError: a text of ``k`` tokens or fewer, of which nothing would be left to write.

    Source: "extractable with k tokens of context", Carlini et al. (2023), Definition 3.1.

    >>> hit = np.array([[False, True, False, True, True]])
    >>> [bool(extractible(hit, np.array([1]), np.array([5]), k)[0]) for k in range(4)]
    [False, False, True, True]
    """
    short = np.flatnonzero((stop - first <= k) | (k < 0))
    if len(short):
        raise PromptError(
            f"k={k}: {len(short)} of {len(stop)} texts have {int((stop - first).min())} to {k} tokens, so that nothing "
            "is left to extract; lower k"
            if k >= 0
            else f"k={k}: a prefix has 0 tokens or more"
        )
    return reproduced_from(hit, stop) <= first + k


def strength(
    hit: Bool[np.ndarray, "record pos"],
    start: Int[np.ndarray, " record"],
    stop: Int[np.ndarray, " record"],
    variant: str = "strict",
) -> Float[np.ndarray, " record"]:
    """Extraction strength ``1 - k / n``: n tokens ``start .. stop - 1``, of which k must be given to get the rest.

    1: nothing need be given beyond what precedes ``start``. With ``strict``, a text whose last token is wrong has k = n
    and strength 0. With ``compat``, k ends at n - 1, so that such a text has 1/n, the same as one whose last token
    alone is right.

    Raises:
        PromptError: another variant, or nothing between ``start`` and ``stop``.

    Source: Wang et al. (2025), "Towards effective evaluations and comparisons for LLM unlearning methods", extraction
    strength; ``compat`` is what open-unlearning computes (``src/evals/metrics/memorization.py``).

    >>> hit = np.array([[False, True, False, True], [False, True, True, False]])
    >>> [strength(hit, np.array([1, 1]), np.array([4, 4]), v).round(2).tolist() for v in ("strict", "compat")]
    [[0.33, 0.0], [0.33, 0.33]]
    """
    n = stop - start
    if (n < 1).any():
        raise PromptError(f"extraction strength needs a token to extract; record {int((n < 1).argmax())} has none")
    if variant not in ("strict", "compat"):
        raise PromptError(f"variant is 'strict' or 'compat', got {variant!r}")
    given = np.maximum(reproduced_from(hit, stop) - start, 0)
    return 1 - np.minimum(given, n if variant == "strict" else n - 1) / n


def within(
    shape: tuple[int, ...], start: Int[np.ndarray, " record"], stop: Int[np.ndarray, " record"]
) -> Bool[np.ndarray, "record pos"]:
    """The mask of positions ``start .. stop - 1`` in a rectangle of ``shape``.

    >>> within((1, 4), np.array([1]), np.array([3])).tolist()
    [[False, True, True, False]]
    """
    pos = np.arange(shape[1])
    return (pos >= start[:, None]) & (pos < stop[:, None])
