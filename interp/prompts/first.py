"""The token that an answer begins with, as the model would write it right after the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import PromptError
from .chat import ChatTemplate
from .encode import encode_rendered, encode_texts


def first_tokens(
    tokenizer: Any, phrases: Sequence[str], *, chat_template: str | Path | None = None
) -> tuple[int | None, ...]:
    """For each phrase the id of its first token at the start of an answer; ``None`` where the vocabulary lacks it.

    With a chat template (the tokenizer's own, or a Jinja file or text) that is the token that follows the rendered
    question, so that a template that ends in a blank or a newline gets the piece that models write there. Where the
    tokenizer merges the phrase with the end of the template, and without a template, the phrase is encoded alone.

    Raises:
        TokenizerMissingError: no tokenizer.
        PromptError: an empty phrase, or a template that cannot be rendered.
    """
    given = [str(phrase) for phrase in phrases]
    if not given or not all(phrase.strip() for phrase in given):
        raise PromptError(f"phrases that answers begin with are text, got {given}")
    alone = [one.tokens for one in encode_texts(given, tokenizer, bos="never", offsets=False)]
    found = [int(tokens[0]) for tokens in alone]
    if chat_template is not None or getattr(tokenizer, "chat_template", None):
        template = ChatTemplate.find(tokenizer, chat_template, True, {})
        asked = template.render([{"role": "user", "content": "hello"}], ask=True)
        texts = [asked, *(asked + phrase for phrase in given)]
        rendered = [one.tokens for one in encode_rendered(texts, tokenizer, bos="auto", own_template=template.own)]
        before = rendered[0]
        for i, tokens in enumerate(rendered[1:]):
            if len(tokens) > len(before) and np.array_equal(tokens[: len(before)], before):
                found[i] = int(tokens[len(before)])
    unknown = getattr(tokenizer, "unk_token_id", None)
    return tuple(None if token == unknown else token for token in found)
