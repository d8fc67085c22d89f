"""What greedy decoding really writes after a prefix, where one pass has not told already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...edits import Edit, EditRows
from ...errors import EditError
from ...metrics import TokenScores
from ...prompts import PromptSet
from ...run import generate
from .greedy import within
from .split import Split

if TYPE_CHECKING:
    from ...models import Model


def continuations(
    model: Model,
    prompts: PromptSet,
    scores: TokenScores,
    split: Split,
    *,
    edits: Sequence[Edit] = (),
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> tuple[list[int], ...]:
    """The tokens that greedy decoding writes after each prefix, as many as the suffix has, or fewer if it ends.

    Up to the first token that is not the text's own, decoding follows the text, and ``scores`` has its choices. Only
    what comes after that is generated, in batches.

    Raises:
        EditError: an edit at a mark, which need not exist in a text that is being written.

    >>> import interp
    >>> from interp.metrics import token_scores
    >>> from .split import split_records
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5, 9, 7]])
    >>> continuations(model, prompts, token_scores(model, prompts), split_records(prompts, 4))
    ([9, 7],)
    """
    edits = [_portable(edit) for edit in edits]
    missed = within(scores.hit.shape, split.start, split.stop) & ~scores.hit
    diverges = np.flatnonzero(missed.any(1))
    at = np.where(missed.any(1), missed.argmax(1), split.stop)
    written = [tokens[a:b].tolist() for tokens, a, b in zip(prompts.tokens, split.start, at, strict=True)]
    if not len(diverges):
        return tuple(written)
    # The first wrong token is known too, but generating it keeps prompts non-empty and the end of text in one place.
    room = np.full(len(prompts), np.iinfo(np.int64).max) if model.n_ctx is None else model.n_ctx - at
    wanted = split.stop - at
    asked = np.minimum(2 ** np.ceil(np.log2(np.maximum(wanted, 1))).astype(np.int64), room)
    for length in np.unique(asked[diverges]).tolist():
        members = diverges[asked[diverges] == length]
        cut = PromptSet.from_tokens(
            [prompts.tokens[i][: at[i]] for i in members],
            special=[prompts.special[i][: at[i]] for i in members],
            ids=[prompts.ids[i] for i in members],
        )
        made = generate(
            model, cut, int(length), edits=[_renumbered(e, members) for e in edits], batch_tokens=batch_tokens,
            progress=progress,
        )  # fmt: skip
        for i, tokens in zip(members.tolist(), made.tokens, strict=True):
            written[i] += tokens[: wanted[i]].tolist()
    return tuple(written)


def check_edits(edits: Sequence[Edit]) -> None:
    """Raise unless each edit means the same for a text that is read as for one that is being written.

    Raises:
        EditError: an edit for the prompt only or for generated tokens only.
    """
    for edit in edits:
        if edit.when != "both":
            raise EditError(
                f"{edit}: records are read whole, so that prefix and suffix are not told apart; use when='both'"
            )


def _portable(edit: Edit) -> Edit:
    if edit.at != "all":
        raise EditError(
            f"{edit}: a text that is being written has no marks to edit at; use at='all', or leave the metrics "
            "'similarity' and 'similarity_text' out"
        )
    return edit


def _renumbered(edit: Edit, members: np.ndarray) -> Edit:
    """The same edit for a selection of the examples, which it knows by their numbers among all of them."""
    number = torch.from_numpy(members)

    def fn(rows: torch.Tensor, where: EditRows) -> torch.Tensor:
        return edit.fn(rows, EditRows(number.to(where.example.device)[where.example], where.pos))

    return edit.moved(fn=fn)
