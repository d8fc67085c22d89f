"""From characters to tokens: which tokens cover a stretch of text."""

from __future__ import annotations

from typing import Any

from ..errors import PromptError
from .encode import Encoded, encode_rendered


def token_span(text: str, encoded: Encoded, start: int, stop: int, tokenizer: Any) -> tuple[int, int]:
    """Half-open range of the tokens that cover any of ``text[start:stop]``, which must not be blank at its ends.

    A token that covers characters on both sides of an end (a merge across it) counts as inside. Tokenizers that give
    no character offsets are asked for the prefixes of the text instead.

    Raises:
        PromptError: nothing covers the stretch, or the tokenizer has no offsets and merges across an end.
    """
    at = encoded.offsets
    if at is not None:
        covers = (at[:, 0] < stop) & (at[:, 1] > start) & (at[:, 1] > at[:, 0])
        if covers.any():
            inside = covers.nonzero()[0]
            return int(inside[0]), int(inside[-1]) + 1
    first = _spelt_by_prefix(text, encoded, start, tokenizer)
    last = _spelt_by_prefix(text, encoded, stop, tokenizer)
    if first >= last:
        raise PromptError(f"no token covers {text[start:stop][:60]!r}")
    return first, last


def substring_span(text: str, part: str, *, within: tuple[int, int] | None = None) -> tuple[int, int]:
    """Where ``part`` stands in ``text``.

    Raises:
        PromptError: ``part`` is empty, absent, or there more than once.

    >>> substring_span("The friends have", "friends")
    (4, 11)
    """
    low, high = within or (0, len(text))
    if not part:
        raise PromptError("the text to find is empty")
    first = text.find(part, low, high)
    if first < 0:
        raise PromptError(f"{part[:60]!r} is not in {text[low:high][:80]!r}")
    if text.find(part, first + 1, high) >= 0:
        raise PromptError(
            f"{part[:60]!r} is more than once in {text[low:high][:80]!r}; say which with a (start, stop) character "
            "span, or write '^FIELD' if it is how the text begins"
        )
    return first, first + len(part)


def tokens_before(text: str, encoded: Encoded, end: int, tokenizer: Any) -> int:
    """How many tokens end at or before character ``end``; one that goes on behind it is not counted.

    Raises:
        PromptError: the tokenizer has no offsets and merges across ``end``.
    """
    if encoded.offsets is None:
        return _spelt_by_prefix(text, encoded, end, tokenizer)
    behind = encoded.offsets[:, 1] > end
    return int(behind.argmax()) if behind.any() else len(behind)


def _spelt_by_prefix(text: str, encoded: Encoded, end: int, tokenizer: Any) -> int:
    """How many tokens of ``encoded`` spell ``text[:end]``, for a tokenizer without offsets."""
    own = encoded.tokens[max(encoded.lead, 0) :]
    skipped = max(-encoded.lead, 0)
    # A blank before a word belongs to the word's token in many vocabularies, so the prefix may end before it.
    for cut in sorted({end, len(text[:end].rstrip())}, reverse=True):
        [prefix] = encode_rendered([text[:cut]], tokenizer, bos="auto", own_template=True)
        ids = prefix.tokens[skipped:]
        if len(ids) <= len(own) and (own[: len(ids)] == ids).all():
            return len(ids) + max(encoded.lead, 0)
    raise PromptError(
        f"this tokenizer gives no character offsets and merges across character {end} of {text[:80]!r}, so the token "
        "there is ambiguous; use a fast tokenizer (one with offsets)"
    )
