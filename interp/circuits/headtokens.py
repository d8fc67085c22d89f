"""Answers and needles that prompts bring as text: as tokens, and as spans of tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from ..errors import CircuitError, PromptError, TokenizerMissingError
from ..prompts import PromptSet
from ..prompts.align import substring_span, token_span
from ..prompts.encode import encode_texts

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]


def answer_tokens(model: Model, prompts: PromptSet, field: str) -> tuple[Int[np.ndarray, " _"], ...]:
    """The first token of each prompt's answer: of a text as it would go on (with a space, where that is a token).

    A field of token ids, or of lists of them, is taken as it is.

    Raises:
        CircuitError: the prompts have no such field, or an answer is empty.
        TokenizerMissingError: answers are texts, and the model has no tokenizer.
    """
    if field not in prompts.columns:
        raise CircuitError(_lacks(prompts, field))
    return tuple(
        _tokens(model, value, f"{field!r} of prompt {name!r}")
        for name, value in zip(prompts.ids, prompts.columns[field].tolist(), strict=True)
    )


def _tokens(model: Model, value: Any, where: str) -> Int[np.ndarray, " _"]:
    if not isinstance(value, str):
        try:
            return np.atleast_1d(np.asarray(value, np.int64))
        except (TypeError, ValueError) as error:
            raise CircuitError(f"{where} is {value!r}; give a text, a token id or a list of ids") from error
    if model.tokenizer is None:
        raise TokenizerMissingError(f"{where} is a text, and this model has no tokenizer; give token ids")
    if not value.strip():
        raise CircuitError(f"{where} is empty")
    bare, spaced = (_first(model, text) for text in (value, " " + value.strip()))
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    found = [t for t in dict.fromkeys([spaced if not value[0].isspace() else bare, bare]) if t not in (None, unknown)]
    if not found:
        raise CircuitError(f"{where} is {value!r}, which this tokenizer does not know")
    return np.array(found[:1], np.int64)


def _first(model: Model, text: str) -> int | None:
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    return int(ids[0]) if len(ids) else None


def _lacks(prompts: PromptSet, field: str) -> str:
    there = [name for name in prompts.columns if name != "bos"]
    return f"these prompts have no field {field!r}; fields: {', '.join(there) or 'none but the text'}"


def with_span(model: Model, prompts: PromptSet, field: str, span: str) -> PromptSet:
    """The prompts with a span: where the text of a field stands in each.

    Raises:
        CircuitError: no such field, prompts that are no texts, or a text that does not stand in its prompt once.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> prompts = interp.PromptSet.from_texts(["cat owl bag cat"], model.tokenizer, columns={"needle": ["owl bag"]})
    >>> with_span(model, prompts, "needle", "needle").spans["needle"].tolist()
    [[2, 4]]
    """
    if field not in prompts.columns:
        raise CircuitError(_lacks(prompts, field))
    if prompts.texts is None or model.tokenizer is None:
        raise CircuitError(f"{field!r} is looked up in texts, and these prompts are token ids; give their spans")
    found, parts = [], prompts.columns[field].tolist()
    every = encode_texts(prompts.texts, model.tokenizer)
    for name, text, tokens, encoded, part in zip(prompts.ids, prompts.texts, prompts.tokens, every, parts, strict=True):
        if not np.array_equal(encoded.tokens, tokens):
            raise CircuitError(f"prompt {name!r} was cut or encoded in another way, so its {field!r} cannot be placed")
        try:
            found.append(token_span(text, encoded, *substring_span(text, str(part)), model.tokenizer))
        except PromptError as error:
            raise CircuitError(f"{field!r} of prompt {name!r}: {error}") from error
    return replace(prompts, spans={**prompts.spans, span: np.array(found)})
