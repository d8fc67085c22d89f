"""Answers as token ids: what follows a prompt, as the tokenizer itself would go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import CircuitError, TokenizerMissingError
from ..prompts.encode import Encoded, encode_texts


@dataclass(frozen=True)
class Answer:
    """Right and wrong answer tokens of a prompt, and the tokens that go to its end because all of them share them."""

    right: tuple[int, ...]
    wrong: tuple[int, ...]
    shared: tuple[int, ...] = ()


def answer_tokens(
    right: Sequence[Any], wrong: Sequence[Any], prompt: Any, encoded: Encoded, tokenizer: Any, how: str
) -> Answer:
    """Token ids of answers given as texts or ids; ``how`` is ``one`` or ``first`` (see `load_pairs`).

    Raises:
        CircuitError: an answer of several tokens (``one``), or answers that do not differ (``first``).
    """
    spelt = [[_spelt(a, prompt, encoded, tokenizer) for a in side] for side in (right, wrong)]
    every = [tokens for side in spelt for tokens in side]
    shared: tuple[int, ...] = ()
    if how == "first":
        shared = every[0][: _common(every)] if len(every) > 1 else ()
        spelt = [[tokens[len(shared) :][:1] for tokens in side] for side in spelt]
    for side, given in zip(spelt, (right, wrong), strict=True):
        for tokens, answer in zip(side, given, strict=True):
            if len(tokens) != 1:
                raise CircuitError(
                    f"answer {answer!r} is {len(tokens)} tokens after this prompt; use answers='first', or give token "
                    "ids"
                    if len(tokens)
                    else f"answer {answer!r} is how another answer begins, so that no token tells them apart"
                )
    first, second = (tuple(dict.fromkeys(t[0] for t in side)) for side in spelt)
    if set(first) & set(second):
        raise CircuitError(f"answers {list(right)} and {list(wrong)} begin with the same token")
    return Answer(first, second, tuple(shared))


def two_digits(label: Any, tokenizer: Any) -> Answer:
    """The greater-than task: years after the two-digit ``label`` are right, the others wrong.

    Raises:
        CircuitError: the label is no two-digit number, or two digits are not one token.

    Source: Hanna et al. (arXiv 2305.00586).
    """
    if tokenizer is None:
        raise TokenizerMissingError("answers are two-digit years, but there is no tokenizer; pass one")
    text = str(label).zfill(2)
    if not (text.isdigit() and len(text) == 2):
        raise CircuitError(f"label {label!r} is no two-digit year")
    ids = []
    for year in range(100):
        tokens = tokenizer(f"{year:02d}", add_special_tokens=False).input_ids
        if len(tokens) != 1:
            raise CircuitError(
                f"the greater-than task needs two digits to be one token, but {year:02d} is {len(tokens)} here"
            )
        ids.append(int(tokens[0]))
    after = int(text) + 1
    return Answer(tuple(ids[after:]), tuple(ids[:after]))


def _spelt(answer: Any, prompt: Any, encoded: Encoded, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that an answer adds to the prompt; its own, where it would change how the prompt is cut up."""
    if not isinstance(answer, str):
        return (int(answer),)
    if tokenizer is None or not isinstance(prompt, str):
        raise TokenizerMissingError(f"answer {answer!r} is a text, but the prompt is token ids; give a token id")
    [whole] = encode_texts([prompt + answer], tokenizer, bos="auto", offsets=False)
    n = len(encoded.tokens)
    start = whole.tokens[:n]
    if len(start) == n and np.array_equal(start, encoded.tokens):
        return tuple(whole.tokens[n:].tolist())
    return tuple(tokenizer(answer, add_special_tokens=False).input_ids)


def _common(every: list[tuple[int, ...]]) -> int:
    """How many tokens all answers begin with."""
    n = 0
    while all(len(tokens) > n for tokens in every) and len({tokens[n] for tokens in every}) == 1:
        n += 1
    return n
