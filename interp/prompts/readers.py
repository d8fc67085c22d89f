"""Files and data sets to rows. The format is what the content is, whatever the name ends in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EmptyPromptsError, PromptError
from .names import PROMPT_FIELDS, TOKEN_FIELDS
from .paths import missing_file

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "text")
_TABLE_SUFFIXES = {".csv", ".tsv"}
_JSON_SUFFIXES = {".json", ".jsonl", ".ndjson"}
_LOOK = 20  # lines that decide whether a text is JSON lines
_MAGIC = {
    b"\x1f\x8b": "gzip-compressed",
    b"PK\x03\x04": "a zip archive",
    b"\xfd7zXZ": "xz-compressed",
    b"\x28\xb5\x2f\xfd": "zstd-compressed",
    b"BZh": "bzip2-compressed",
    b"ARROW1": "an Arrow file (open it with datasets.Dataset.from_file, and pass the data set)",
    b"\xff\xff\xff\xff": "an Arrow stream (open it with datasets.Dataset.from_file, and pass the data set)",
    b"SQLite format 3": "an SQLite data base",
}


@dataclass(frozen=True, eq=False)
class Table:
    """Rows as they were read: a mapping each, with the place to name in errors (``line 3``, ``row 3``)."""

    rows: list[dict[str, Any]]
    places: list[str]
    name: str
    format: str
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> list[str]:
        """Field names, in order of first appearance."""
        return list(dict.fromkeys(k for row in self.rows for k in row))

    def head(self, limit: int | None) -> Table:
        """The first ``limit`` rows."""
        if limit is None or limit >= len(self.rows):
            return self
        if limit < 1:
            raise PromptError(f"limit must be at least 1, got {limit}")
        note = f"the first {limit} of {len(self.rows)} rows"
        return Table(self.rows[:limit], self.places[:limit], self.name, self.format, (*self.notes, note))


def read_file(path: Path, *, format: str | None, records: str | None, encoding: str = "utf-8") -> Table:
    """Read a file of any format in `FORMATS`, found by looking at its content unless ``format`` says it.

    ``records`` is the key of the rows, for a JSON object that holds them among other things.

    Raises:
        EmptyPromptsError: the file holds nothing.
        PromptError: the file is missing, not text, of an unknown format, or broken; with the line.
    """
    if not path.exists():
        raise missing_file(path, "file")
    if format is not None and format not in FORMATS:
        raise PromptError(f"unknown format {format!r}; formats are {', '.join(FORMATS)}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PromptError(f"cannot read {path}: {error.strerror or error}") from error
    name = path.name
    if format == "parquet" or (format is None and data[:4] == b"PAR1"):
        return _read_parquet(path)
    for magic, what in _MAGIC.items():
        if data.startswith(magic):
            raise PromptError(f"{name} is {what}; unpack it first (formats: {', '.join(FORMATS)})")
    text = _decode(data, name, encoding)
    if not text.strip():
        raise EmptyPromptsError(f"{name} is empty")
    found = format or sniff(text, path.suffix)
    if found in ("jsonl", "json"):
        return _read_json(text, name, found, records)
    if found in ("csv", "tsv"):
        return _read_csv(text, name, found)
    return _read_text(text, name)


def sniff(text: str, suffix: str = "") -> str:
    r"""The format of a text: 'json', 'jsonl', 'csv', 'tsv' or 'text'.

    JSON is recognised by parsing. A table needs a header of short distinct names and rows of equally many cells; the
    suffix is asked only where a table of one column and plain text look the same.

    >>> sniff('{"text": "a"}\n{"text": "b"}'), sniff("id,text\n1,a\n2,b"), sniff("Hello, you.\nHow, then, are you?")
    ('jsonl', 'csv', 'text')
    """
    suffix = suffix.lower()
    stripped = text.lstrip()
    quoted = stripped[0] == '"'
    if stripped[0] in "[{" or (quoted and suffix not in _TABLE_SUFFIXES):
        whole, _ = _parse(text)
        lines = [line for line in stripped.split("\n") if line.strip()]
        if isinstance(whole, list | dict):
            return "json"
        values = [_parse(line)[0] for line in lines[:_LOOK]]
        good = [isinstance(v, str if quoted else dict | list) for v in values]
        if all(good) if quoted else any(good):
            return "jsonl"
        if stripped[0] == "{" or stripped.startswith(("[{", '["', "[\n")):
            return "json"
    delimiter = _delimiter(text)
    if suffix in _JSON_SUFFIXES and not delimiter:
        return "json" if suffix == ".json" else "jsonl"
    if delimiter == "\t" or suffix == ".tsv":
        return "tsv"
    return "csv" if delimiter or suffix == ".csv" else "text"


def from_records(records: Sequence[Any], name: str, format: str, *, places: list[str] | None = None) -> Table:
    """Rows from objects, from texts (field ``text``), conversations (``messages``) or lists of ids (``tokens``).

    Raises:
        PromptError: a row of another type than the first one.
    """
    if not len(records):
        raise EmptyPromptsError(f"{name} has no rows")
    where = places or [f"row {i + 1}" for i in range(len(records))]
    kinds = []
    for place, record in zip(where, records, strict=True):
        kind = _kind(record)
        if kind is None:
            shown = "null" if record is None else f"a {type(record).__name__}: {str(record)[:40]}"
            raise PromptError(
                f"{name}, {place} is {shown}; rows are objects, texts, conversations or lists of token ids"
            )
        kinds.append(kind)
        if kind != kinds[0]:
            raise PromptError(f"{name} mixes types: {where[0]} is {_KINDS[kinds[0]]}, {place} is {_KINDS[kind]}")
    rows = [dict(r) if kinds[0] == "object" else {kinds[0]: r} for r in records]
    return Table(rows, where, name, format)


_KINDS = {"object": "an object", "text": "a text", "messages": "a conversation", "tokens": "a list of token ids"}


def _kind(record: Any) -> str | None:
    if isinstance(record, Mapping):
        return "object"
    if isinstance(record, str):
        return "text"
    if isinstance(record, Sequence) or (hasattr(record, "tolist") and getattr(record, "ndim", 0) == 1):
        return "messages" if len(record) and isinstance(record[0], Mapping) else "tokens"
    return None


def _decode(data: bytes, name: str, encoding: str) -> str:
    if encoding == "utf-8":
        encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except LookupError:
        raise PromptError(f"there is no encoding {encoding!r}") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PromptError(
            f"{name}, line {line}: byte {data[error.start]:#04x} at offset {error.start} is not "
            f"{encoding.removesuffix('-sig')}; say what it is with encoding='latin-1' or another"
        ) from error


def _parse(text: str) -> tuple[Any, json.JSONDecodeError | None]:
    try:
        return json.loads(text), None
    except json.JSONDecodeError as error:
        return None, error
    except RecursionError:
        raise PromptError(f"JSON nested too deeply: {text[:40]}...") from None


def _read_json(text: str, name: str, format: str, records: str | None) -> Table:
    if format == "jsonl":
        if records is not None:
            raise PromptError(f"{name} is JSON lines; records={records!r} is for a JSON object that holds its rows")
        rows, places = [], []
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            value, error = _parse(line)
            if error is not None:
                raise PromptError(
                    f"{name}, line {number} is not JSON ({error.msg} at column {error.colno}): {line[:60]}"
                )
            rows.append(value)
            places.append(f"line {number}")
        return from_records(rows, name, "jsonl", places=places)
    value, error = _parse(text)
    if error is not None:
        line = text.split("\n")[error.lineno - 1]
        raise PromptError(f"{name}, line {error.lineno} is not JSON ({error.msg} at column {error.colno}): {line[:60]}")
    return from_records(value if isinstance(value, list) else _object_rows(value, name, records), name, "json")


def _object_rows(value: Any, name: str, records: str | None) -> list[Any]:
    """The rows of a JSON object: what is under ``records``; or itself, if it holds a prompt; or its columns."""
    if not isinstance(value, dict):
        raise PromptError(f"{name} holds one JSON {type(value).__name__}, not rows")
    lists = {k: v for k, v in value.items() if isinstance(v, list)}
    shown = ", ".join(f"{k!r} ({len(v)})" for k, v in lists.items()) or "none"
    if records is not None:
        if records not in lists:
            raise PromptError(f"{name} has no list {records!r}; lists in it: {shown}")
        return lists[records]
    if not lists or any(_is_one_prompt(value[k], k) for k in PROMPT_FIELDS if k in value):
        return [value]
    if len(lists) == len(value) and len({len(v) for v in lists.values()}) == 1:
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    raise PromptError(
        f"{name} is one JSON object; say which list holds the rows with records=KEY, or format='jsonl' if the object "
        f"is one row. Lists in it: {shown}"
    )


def _is_one_prompt(value: Any, field: str) -> bool:
    """Whether a field holds one text, conversation or list of token ids, rather than a column of them."""
    if not isinstance(value, list) or not value:
        return isinstance(value, str)
    conversation = all(isinstance(v, dict) and {"role", "content"} <= v.keys() for v in value)
    return conversation or (field in TOKEN_FIELDS and all(isinstance(v, int) for v in value))


def _delimiter(text: str) -> str | None:
    """What separates the cells, if the text is a table of two columns or more."""
    return next((d for d in (",", "\t", ";", "|") if _is_table(text, d)), None)


def _is_table(text: str, delimiter: str) -> bool:
    head = text[: 1 << 16]
    cut = head if len(text) <= len(head) else head[: head.rfind("\n")]
    try:
        rows = [r for r in csv.reader(io.StringIO(cut, newline=""), delimiter=delimiter, strict=True) if r]
    except csv.Error:
        return False
    # A quoted cell may run past the part that was looked at.
    rows = rows if cut is text or len(text) <= len(head) else rows[:-1]
    if len(rows) < 2 or len(rows[0]) < 2:
        return False
    names = [c.strip() for c in rows[0]]
    header = (
        len(set(names)) == len(names) and all(len(c) <= 40 and len(c.split()) <= 3 for c in names) and all(names[1:])
    )
    return header and all(len(r) == len(names) for r in rows)


def _read_csv(text: str, name: str, format: str) -> Table:
    delimiter = _delimiter(text) or ("\t" if format == "tsv" else ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, places, header = [], [], None
    try:
        while True:
            first = reader.line_num + 1
            cells = next(reader)
            if not cells:
                continue
            if header is None:
                header = [c.strip() or f"column_{k}" for k, c in enumerate(cells)]
                if len(set(header)) < len(header):
                    raise PromptError(f"{name} repeats a column name: {', '.join(header)}")
                continue
            if len(cells) != len(header):
                raise PromptError(f"{name}, line {first} has {len(cells)} cells, but the header names {len(header)}")
            rows.append(dict(zip(header, cells, strict=True)))
            places.append(f"line {first}")
    except StopIteration:
        pass
    except csv.Error as error:
        raise PromptError(f"{name}, line {reader.line_num} is not {format.upper()}: {error}") from error
    return from_records(rows, name, format, places=places)


def _read_text(text: str, name: str) -> Table:
    ended = text[:-1] if text.endswith("\n") else text
    lines = [(i, line.removesuffix("\r")) for i, line in enumerate(ended.split("\n"), start=1)]
    kept = [(i, line) for i, line in lines if line.strip()]
    table = from_records([line for _, line in kept], name, "text", places=[f"line {i}" for i, _ in kept])
    blank = len(lines) - len(kept)
    notes = (f"left out {blank} blank lines",) if blank else ()
    return Table(table.rows, table.places, name, "text", notes)


def _read_parquet(path: Path) -> Table:
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise PromptError(f"{path.name} is not readable Parquet: {str(error).splitlines()[0]}") from error
    return from_records(table.to_pylist(), path.name, "parquet")
