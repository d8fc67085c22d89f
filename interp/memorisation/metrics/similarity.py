"""How close what was written is to what should have been: Levenshtein distance, and it as a share."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Fewest insertions, deletions and substitutions that turn one sequence into the other; of tokens or characters.

    Source: Levenshtein (1966); computed by rapidfuzz.

    >>> edit_distance("kitten", "sitting"), edit_distance([5, 9, 7], [5, 7])
    (3, 1)
    """
    from rapidfuzz.distance import Levenshtein

    return int(Levenshtein.distance(a, b))


def similarity(
    written: Sequence[Sequence[Hashable]], wanted: Sequence[Sequence[Hashable]]
) -> Float[np.ndarray, " record"]:
    """1 - edit distance over the longer length, for each pair of sequences: 1 if equal, 0 if nothing is in common.

    >>> similarity([[5, 9, 7], [1, 2]], [[5, 7], [3, 4]]).round(2).tolist()
    [0.67, 0.0]
    """
    from rapidfuzz.distance import Levenshtein

    pairs = zip(written, wanted, strict=True)
    return np.array([Levenshtein.normalized_similarity(a, b) for a, b in pairs], float)
