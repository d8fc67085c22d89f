"""Twins have to differ in their tokens: the tokenizer may not know the words that tell them apart."""

from __future__ import annotations

from ...errors import InjectionError
from ..records import UNTRAINED, Records


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
