"""What tells two classes apart without a look at activations: the tokens, and how likely the model finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...edits import Edit
from ...errors import PromptError
from ...probes.baselines import token_counts, visible_tokens
from ...prompts import PromptSet
from ...run import forward
from ..features import RECALL
from ..records import RECALL_MARK

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]
LOGITS = 24_000_000
"""Logits that are held at once."""


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


def token_log_p(
    model: Model, prompts: PromptSet, *, edits: Sequence[Edit] = (), progress: bool | None = False
) -> list[Array]:
    """Log probability of every token but the first, given those before it, in nats; one array per prompt.

    Raises:
        PromptError: a prompt of one token, which has none.

    >>> from interp import load_model, testbeds
    >>> model = load_model(testbeds.path("induction"))
    >>> [found] = token_log_p(model, PromptSet.from_tokens([[5, 9, 7, 5, 9]]))
    >>> found.shape, bool(found[-1] > np.log(0.9))
    ((4,), True)
    """
    short = np.flatnonzero(prompts.lengths < 2)
    if len(short):
        raise PromptError(f"prompt {prompts.ids[short[0]]!r} is a single token, which nothing predicts")
    out: list[Array] = []
    vocabulary = int(model.sizes.d_vocab)
    size = max(1, LOGITS // (vocabulary * int(prompts.lengths.max())))
    for start in range(0, len(prompts), size):
        part = prompts.select(slice(start, start + size))
        found = forward(model, part, at="all", edits=edits, progress=progress)
        order = np.lexsort((found.index.position, found.index.example))
        log_p = found.logits[torch.from_numpy(order).to(found.logits.device)].float().log_softmax(-1)
        row = 0
        for tokens in part.tokens:
            own = log_p[row : row + len(tokens) - 1]
            wanted = torch.from_numpy(tokens[1:].copy()).to(own.device)
            out.append(own.gather(1, wanted[:, None])[:, 0].double().cpu().numpy())
            row += len(tokens)
    return out


def mean_log_p(model: Model, prompts: PromptSet) -> Array:
    """Mean log p per token of each prompt, in nats: minus the log of its perplexity."""
    return np.array([found.mean() for found in token_log_p(model, prompts)])
