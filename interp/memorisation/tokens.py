"""What a tokenizer makes of records: words that it does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..prompts import PromptSet

if TYPE_CHECKING:
    from ..models import Model


def unknown_words(model: Model, prompts: PromptSet) -> list[str]:
    """A sentence on how many tokens stand for words that the tokenizer does not know; none where it knows all.

    >>> from interp import load_model, testbeds
    >>> model = load_model(testbeds.path("memory"))
    >>> unknown_words(model, PromptSet.from_texts(["anna met a zzyzx ."], model.tokenizer))[0][:41]
    "17 % of the records' tokens, in 1 of 1 ro"
    """
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    if unknown is None:
        return []
    strange = [(t == unknown) & ~special for t, special in zip(prompts.tokens, prompts.special, strict=True)]
    share, rows = sum(s.sum() for s in strange) / prompts.n_tokens, sum(bool(s.any()) for s in strange)
    if not rows:
        return []
    return [
        f"{100 * share:.2g} % of the records' tokens, in {rows} of {len(prompts)} rows, are unknown to the tokenizer "
        f"({model.tokenizer.unk_token}): the model sees one and the same token for all such words."
    ]
