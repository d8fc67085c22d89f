"""Counterfactual memorisation: what a model does better than one that has never seen the text."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def counterfactual(
    seen: Float[np.ndarray, " record"], unseen: Float[np.ndarray, " record"]
) -> Float[np.ndarray, " record"]:
    """A performance (log p, say) of the model that has seen the text, minus that of one that has not.

    Sign: higher is more memorised. The other model must differ in nothing else. If it has not seen the *form* of the
    text either, that counts here too: compare with the same difference of untrained twins.

    Source: Zhang et al. (2023), "Counterfactual memorization in neural language models", Equation 1, with one model on
    each side of the difference in place of a mean over many.

    >>> counterfactual(np.array([-0.25]), np.array([-3.25])).tolist()
    [3.0]
    """
    return seen - unseen
