"""What tells two classes apart without a look at activations: the tokens, and how likely the model finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ...errors import PromptError
from ...metrics import token_scores
from ...probes.baselines import token_counts, visible_tokens
from ...prompts import PromptSet
from ..features import RECALL
from ..records import RECALL_MARK

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]


def positions_of(prompts: PromptSet, mark: str) -> Array:
    """The last token that is read at a mark: for ``"recall"``, the last of the recall marks.

    >>> made = PromptSet.from_tokens([[5, 6, 7, 8]], marks={"recall_1": [0], "recall_2": [2]})
    >>> positions_of(made, "recall").tolist(), positions_of(made, "last").tolist()
    ([2], [3])
    """
    if mark == RECALL and RECALL not in prompts.marks:
        names = [name for name in prompts.marks if RECALL_MARK.fullmatch(name)]
        return np.asarray(np.stack([prompts.marks[name] for name in names]).max(0))
    return prompts.marks[mark]


def bag_of_tokens(prompts: PromptSet, mark: str) -> Tensor:
    """Counts of the tokens up to where the mark is read."""
    return token_counts(visible_tokens(prompts.tokens, positions_of(prompts, mark)))


def mean_log_p(model: Model, prompts: PromptSet) -> Float[np.ndarray, " prompt"]:
    """Mean log p per token of each prompt, in nats: minus the log of its perplexity.

    Raises:
        PromptError: a prompt of one token, which nothing predicts.

    >>> from interp import load_model, testbeds
    >>> model = load_model(testbeds.path("induction"))
    >>> bool(mean_log_p(model, PromptSet.from_tokens([[5, 9, 7, 5, 9]]))[0] < 0)
    True
    """
    short = np.flatnonzero(prompts.lengths < 2)
    if len(short):
        raise PromptError(f"prompt {prompts.ids[short[0]]!r} is a single token, which nothing predicts")
    return np.nanmean(token_scores(model, prompts, progress=False).log_p, axis=1)
