"""What a tokenizer makes of records: texts that it cannot tell apart, and words that it does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...errors import InjectionError
from ...prompts import PromptSet
from ..records import UNTRAINED, Records

if TYPE_CHECKING:
    from ...models import Model


def check_twins(records: Records) -> None:
    """Raise `InjectionError` where a record that no one is to see has the tokens of one that is trained on."""
    planted = records.planted()
    assert planted.labels is not None
    rows = list(zip(planted.ids, planted.tokens, planted.labels, planted.columns["exposures"].tolist(), strict=True))
    shown = {tuple(tokens.tolist()): name for name, tokens, _, count in rows if count}
    for name, tokens, label, _ in rows:
        twin = shown.get(tuple(tokens.tolist()))
        if label == UNTRAINED and twin is not None:
            raise InjectionError(
                f"{name!r}, which is not to be seen, and {twin!r}, which is trained on, are the same tokens; change "
                "one of the texts, or use a model whose tokenizer knows their words"
            )


def unknown_warning(model: Model, prompts: PromptSet) -> list[str]:
    """A sentence on how many tokens stand for words that the tokenizer does not know, where there are any.

    Tokenizers that split words into bytes know all. Some of them name an unknown token, for form's sake, which is also
    the one that begins or ends a text; it is not counted.
    """
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    if unknown is None or unknown in (model.tokenizer.bos_token_id, model.tokenizer.eos_token_id):
        return []
    share = float(np.mean(np.concatenate(prompts.tokens) == unknown))
    if not share:
        return []
    return [
        f"{share:.1%} of the records' tokens are {model.tokenizer.unk_token!r}: the tokenizer does not know these "
        "words, so that they cannot be told apart or recited."
    ]
