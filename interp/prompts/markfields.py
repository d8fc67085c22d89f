"""Marks from fields of the rows: a substring of the prompt, a character range, or a token index."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from ..errors import PromptError
from .align import substring_span
from .columns import is_missing, plain
from .fields import Expression, Spec, at_row, parse_expression
from .readers import Table

_RANGE = re.compile(r"\[\s*\d+\s*,\s*\d+\s*\]")


def mark_entries(table: Table, name: str, spec: Spec, prompts: list[Any], kind: str) -> list[Any]:
    """One entry per row: a substring or a ``(start, stop)`` range (texts), a substring (chats), an index (token ids).

    ``spec`` is an expression like those of `fields`, or ``^FIELD`` for a substring that the prompt begins with, or a
    function of the row. A field that is null (or an empty cell) means that the row lacks the mark.

    Raises:
        PromptError: the substring is absent or there more than once, or the value is of the wrong type; with the row.
    """
    start = isinstance(spec, str) and spec.startswith("^")
    if start and kind != "text":
        raise PromptError(f"mark {name!r}: {spec!r} asks for the start of a text, but these prompts are {kind}")
    what = f"mark {name!r}"
    if callable(spec):
        read = spec
    else:
        expression = parse_expression(spec.removeprefix("^"), table.columns, f"mark {name}")
        read = partial(_value, expression)
    check = {"text": _in_text, "messages": _in_chat, "tokens": _in_tokens}[kind]
    out = []
    for i, (row, prompt) in enumerate(zip(table.rows, prompts, strict=True)):
        with at_row(table, i, what):
            out.append(check(plain(read(row)), prompt, start))
    return out


def _value(expression: Expression, row: dict[str, Any]) -> Any:
    value = plain(row.get(expression.fields[0]))
    if is_missing(value) or value == "":
        return None
    found = expression.value(row)
    # A text table holds a range as text.
    return json.loads(found) if isinstance(found, str) and _RANGE.fullmatch(found) else found


def _in_text(value: Any, text: str, start: bool) -> Any:
    if value is None:
        return None
    if isinstance(value, str):
        if not start:
            return substring_span(text, value)
        if not text.startswith(value):
            raise PromptError(f"the prompt {text[:60]!r} does not begin with {value[:60]!r}")
        return (0, len(value))
    if hasattr(value, "__len__") and len(value) == 2:
        return tuple(value)
    raise PromptError(f"expected a substring of the prompt or a [start, stop] range of characters, got {value!r}")


def _in_chat(value: Any, messages: Any, start: bool) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise PromptError(f"a mark in a chat is a substring of the last user message, got {value!r}")


def _in_tokens(value: Any, tokens: Any, start: bool) -> int:
    if value is None:
        return -1
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value < len(tokens):
        raise PromptError(f"expected a token index below {len(tokens)} (or -1 for no mark), got {value!r}")
    return value
