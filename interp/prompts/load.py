"""``load_prompts``: a file or data set to a `PromptSet`, in one call."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ..errors import PromptError, TokenizerMissingError
from .build import check_text, texts_to_prompts, tokens_to_prompts
from .chat import chats_to_prompts
from .columns import is_missing, plain
from .datasets import directory_or_missing, read_directory, read_object
from .fields import Spec, at_row, column, group_column, guess, guess_prompt_field
from .markfields import mark_entries
from .names import TOKEN_FIELDS
from .promptset import PromptSet
from .readers import Table, read_file

Part = Spec | Literal[False] | None


def load_prompts(
    source: Any,
    tokenizer: Any = None,
    *,
    text: Spec | None = None,
    label: Part = None,
    group: Part = None,
    pair: Part = None,
    id: Part = None,
    marks: Mapping[str, Spec] | None = None,
    bos: str = "auto",
    template: str | Path | None = None,
    system: str | None = None,
    template_options: Mapping[str, Any] | None = None,
    limit: int | None = None,
    format: str | None = None,
    records: str | None = None,
    split: str | None = None,
    encoding: str = "utf-8",
) -> PromptSet:
    r"""Load prompts from JSONL, JSON, CSV, TSV, Parquet, plain text (one a line), or a data set on disk or in memory.

    The format is found by looking at the content. What a row's prompt is follows from its value: a text, a list of
    messages (a chat), or a list of token ids (no tokenizer needed).

    ``text``, ``label``, ``group``, ``pair`` and ``id`` each are a field, ``FIELD~REGEX`` (its first capture group), or
    a function of the row. Left out, they are guessed from common names; ``False`` switches a guess off. ``group`` may
    name several fields, ``F1,F2~REGEX``: rows that share any of the values are then one group, directly or through
    other rows, so that no value is ever on both sides of a split. ``marks`` maps names to fields that hold a substring
    of the prompt or a ``[start, stop]`` character range (the mark is the last token covering it; ``^FIELD`` for a
    substring at the very start; null for no mark), or, for token ids, a token index.

    ``template`` is 'chat' to put each text into the tokenizer's own chat template as a user message (after ``system``,
    if given), or a Jinja file or text to use instead. ``format``, ``records`` (the key of the rows in a JSON object),
    ``split`` and ``encoding`` settle what the content leaves open. ``limit`` takes the first rows only.

    Raises:
        EmptyPromptsError: nothing in it.
        TokenizerMissingError: texts or chats, but no tokenizer.
        PromptError: anything else that is wrong, with the file, the line or row, and the fix.

    >>> load_prompts([{"tokens": [5, 6], "label": "a"}, {"tokens": [7], "label": "b"}])
    PromptSet(2 prompts from memory (list), 3 tokens, 1-2 each; marks last; labels: a 1, b 1; bos: given 2)
    """
    if limit is not None and limit < 1:
        raise PromptError(f"limit must be at least 1, got {limit}")
    table = read_table(source, format, records, split, encoding, limit).head(limit)
    spec = text if text is not None else guess_prompt_field(table)
    prompts = _parsed(table, column(table, spec, "text"), spec)
    kind = _prompt_kind(table, prompts, spec)
    parts = {
        part: _chosen(table, given, part)
        for part, given in (("label", label), ("group", group), ("pair", pair), ("id", id))
    }
    ids = _ids(table, parts["id"])
    about: dict[str, Any] = {
        "ids": ids,
        "labels": None if parts["label"] is None else _labels(table, parts["label"]),
        "groups": None if parts["group"] is None else group_column(table, parts["group"]),
        "pairs": None if parts["pair"] is None else column(table, parts["pair"], "pair"),
        "columns": _other_columns(table, spec),
        "name": table.name,
    }
    marked = {name: mark_entries(table, name, given, prompts, kind) for name, given in (marks or {}).items()}
    if kind == "tokens":
        _refuse_unused(template=template, system=system, template_options=template_options, bos=bos)
        found = tokens_to_prompts(prompts, tokenizer=tokenizer, marks=marked, **about)
    elif tokenizer is None:
        raise TokenizerMissingError(
            f"{table.name} holds {'chats' if kind == 'messages' else 'texts'}, but there is no tokenizer; pass one, or "
            "give a file of token ids"
        )
    elif kind == "messages" or template is not None:
        chats = prompts if kind == "messages" else [_as_chat(t, system) for t in prompts]
        if kind == "messages" and system is not None:
            raise PromptError(f"{table.name} holds chats; put the system message into them instead of system=")
        found = chats_to_prompts(
            chats,
            tokenizer,
            bos=bos,
            chat_template=None if template == "chat" else template,
            template_options=template_options,
            marks=marked,
            **about,
        )
    else:
        _refuse_unused(system=system, template_options=template_options)
        found = texts_to_prompts(prompts, tokenizer, bos=bos, marks=marked, **about)
    fields = {"text": spec, **{k: v for k, v in parts.items() if v is not None}, **dict(marks or {})}
    named = {k: v if isinstance(v, str) else getattr(v, "__name__", "function") for k, v in fields.items()}
    origin = found.source.replace(format=table.format, fields=named, history=(*table.notes, *found.source.history))
    return replace(found, source=origin)


def read_table(
    source: Any,
    format: str | None = None,
    records: str | None = None,
    split: str | None = None,
    encoding: str = "utf-8",
    limit: int | None = None,
) -> Table:
    """Rows of a path or of a data set in memory, with the places to name in errors; options as in `load_prompts`.

    Raises:
        PromptError: there is nothing to read, or not as asked for.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if directory_or_missing(path):
            return read_directory(path, split)
        if split is not None:
            raise PromptError(f"split={split!r} was given, but {path.name} is a single file")
        return read_file(path, format=format, records=records, encoding=encoding)
    _refuse_unused(format=format, records=records)
    return read_object(source, split=split, limit=limit)


def _refuse_unused(**options: Any) -> None:
    for name, value in options.items():
        if value is not None and value != "auto":
            why = "token ids are taken as they are" if name in ("bos", "template") else "it does not apply here"
            raise PromptError(f"{name}={value!r} would be ignored: {why}; leave it out")


def _chosen(table: Table, given: Part, part: str) -> Spec | None:
    if given is False:
        return None
    return guess(table, part) if given is None else given


def _prompt_kind(table: Table, prompts: list[Any], spec: Spec) -> str:
    """'text', 'messages' or 'tokens', the same for all rows."""
    kinds = []
    for i, value in enumerate(prompts):
        listed = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        if (listed or hasattr(value, "tolist")) and len(value):
            kinds.append("messages" if isinstance(value[0], Mapping) else "tokens")
        else:
            check_text(
                value, f"{table.name}, {table.places[i]}: the prompt ({spec if isinstance(spec, str) else 'text'})"
            )
            kinds.append("text")
        if kinds[i] != kinds[0]:
            raise PromptError(
                f"{table.name} mixes types: {table.places[0]} holds {kinds[0]}, {table.places[i]} {kinds[i]}"
            )
    return kinds[0]


def _parsed(table: Table, prompts: list[Any], spec: Spec) -> list[Any]:
    """Token ids that a text table can only hold as text, such as ``[1, 2]``."""
    if spec not in TOKEN_FIELDS or table.format not in ("csv", "tsv"):
        return prompts

    out = []
    for i, cell in enumerate(prompts):
        with at_row(table, i, str(spec)):
            try:
                out.append(json.loads(cell))
            except json.JSONDecodeError:
                raise PromptError(f"expected token ids such as [1, 2], got {cell[:40]!r}") from None
    return out


def _as_chat(text: str, system: str | None) -> list[dict[str, str]]:
    before = [] if system is None else [{"role": "system", "content": system}]
    return [*before, {"role": "user", "content": text}]


def _ids(table: Table, spec: Spec | None) -> list[str] | None:
    if spec is None:
        return None
    ids = [str(v) for v in column(table, spec, "id")]
    first: dict[str, int] = {}
    for i, name in enumerate(ids):
        if name in first:
            where = f"{table.places[first[name]]} and {table.places[i]}"
            shown = spec if isinstance(spec, str) else "id"
            raise PromptError(
                f"{table.name}: {shown} {name!r} is used twice ({where}); ids must differ (id=False numbers)"
            )
        first[name] = i
    return ids


_INT = re.compile(r"-?(0|[1-9]\d*)")


def _labels(table: Table, spec: Spec) -> list[Any]:
    values = column(table, spec, "label")
    kinds: dict[str, str] = {}
    for place, value in zip(table.places, values, strict=True):
        if is_missing(value) or value == "":
            raise PromptError(
                f"{table.name}, {place}: the label is missing ({value!r}); drop the row, or use label=False"
            )
        if not isinstance(value, str | int | float):
            raise PromptError(f"{table.name}, {place}: a label is text or a number, not {type(value).__name__}")
        name = "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
        kinds.setdefault({"str": "text"}.get(name, name), place)
    if len(kinds) > 1:
        raise PromptError(f"{table.name} mixes label types: {', '.join(f'{k} ({p})' for k, p in kinds.items())}")
    return _numbers(values) if table.format in ("csv", "tsv") else values


def _numbers(values: list[Any]) -> list[Any]:
    """Cells of a text table as integers, if every one of them is written as one."""
    if all(isinstance(v, str) and _INT.fullmatch(v) for v in values):
        return [int(v) for v in values]
    return values


def _other_columns(table: Table, spec: Spec) -> dict[str, list[Any]]:
    text = table.format in ("csv", "tsv")
    out = {}
    for name in table.columns:
        if name == spec:
            continue
        values = [plain(row.get(name)) for row in table.rows]
        out["bos (data)" if name == "bos" else name] = _numbers(values) if text else values
    return out
