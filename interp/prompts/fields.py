"""Which field of a row plays which part: ``FIELD``, ``FIELD~REGEX``, ``F1,F2~REGEX``, or a function of the row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import PromptError
from .columns import is_missing, plain
from .names import GUESSED, PROMPT_FIELDS
from .readers import Table

Spec = str | Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class Expression:
    """Fields, and a pattern of which the first group (or else the whole match) is taken from each."""

    fields: tuple[str, ...]
    pattern: re.Pattern[str] | None = None

    def values(self, row: Mapping[str, Any]) -> list[Any]:
        """One value per field.

        Raises:
            PromptError: the row lacks a field, has nothing in it, or the pattern does not match.
        """
        return [self._value(row, name) for name in self.fields]

    def value(self, row: Mapping[str, Any]) -> Any:
        """The value of the first field."""
        return self._value(row, self.fields[0])

    def _value(self, row: Mapping[str, Any], name: str) -> Any:
        if name not in row:
            raise PromptError(f"there is no field {name!r}; fields here: {', '.join(row)}")
        value = plain(row[name])
        if is_missing(value):
            raise PromptError(f"field {name!r} is missing ({value!r})")
        if self.pattern is None:
            return value
        match = self.pattern.search(str(value))
        if match is None:
            raise PromptError(f"field {name!r} is {str(value)[:60]!r}, which {self.pattern.pattern!r} does not match")
        found = match.group(1) if self.pattern.groups else match.group(0)
        if found is None:
            raise PromptError(
                f"in field {name!r}, {str(value)[:60]!r}, the first group of {self.pattern.pattern!r} is empty"
            )
        return found


def parse_expression(text: str, columns: Sequence[str], what: str, *, several: bool = False) -> Expression:
    r"""Read ``FIELD``, ``FIELD~REGEX`` or (``several``) ``F1,F2~REGEX``; a column's exact name always means itself.

    Raises:
        PromptError: a field that no row has (lists those that exist), a broken pattern, or several fields where one
            is wanted.

    >>> parse_expression(r"case~^(singular|plural)", ["case"], "label").values({"case": "plural_singular"})
    ['plural']
    """
    if text in columns:
        return Expression((text,))
    left, tilde, regex = text.partition("~")
    fields = (left,) if left in columns else tuple(f.strip() for f in left.split(","))
    for name in fields:
        if name not in columns:
            raise PromptError(f"{what}={text!r}: there is no field {name!r}; fields are: {', '.join(columns)}")
    if len(fields) > 1 and not several:
        raise PromptError(f"{what}={text!r} names {len(fields)} fields; a {what} comes from one")
    if not tilde:
        return Expression(fields)
    try:
        return Expression(fields, re.compile(regex))
    except re.error as error:
        raise PromptError(f"{what}={text!r}: {regex!r} is not a regular expression ({error})") from error


def column(table: Table, spec: Spec, what: str) -> list[Any]:
    """One value per row, from an expression or a function; errors name the row."""
    value = spec if callable(spec) else parse_expression(spec, table.columns, what).value
    out = []
    for i, row in enumerate(table.rows):
        with at_row(table, i, what):
            out.append(plain(value(row)))
    return out


def group_column(table: Table, spec: Spec) -> list[str]:
    r"""One group name per row; with several fields, rows that share any value of any of them are in one group.

    So ``group="clean_prefix,patch_prefix~^\w+ (\w+)"`` keeps "The friend" and "The friends" together if one row has
    both, and no noun can be on both sides of a split. The name joins the group's values.
    """
    if callable(spec):
        return [str(v) for v in column(table, spec, "group")]
    expression = parse_expression(spec, table.columns, "group", several=True)
    found = []
    for i, row in enumerate(table.rows):
        with at_row(table, i, "group"):
            found.append([str(v) for v in expression.values(row)])
    parent: dict[str, str] = {}

    def top(value: str) -> str:
        parent.setdefault(value, value)
        while parent[value] != value:
            parent[value] = parent[parent[value]]
            value = parent[value]
        return value

    for values in found:
        for value in values[1:]:
            parent[top(value)] = top(values[0])
    members: dict[str, list[str]] = {}
    for value in list(parent) if len(expression.fields) > 1 else []:
        members.setdefault(top(value), []).append(value)
    names = {root: _joined(sorted(values)) for root, values in members.items()}
    return [names[top(v[0])] if len(v) > 1 else v[0] for v in found]


def guess_prompt_field(table: Table) -> str:
    """The one field that holds the prompts.

    Raises:
        PromptError: no field or several fields could be it; lists the fields and how to say which.
    """
    known = [name for name in PROMPT_FIELDS if name in table.columns]
    if len(known) == 1:
        return known[0]
    if not known:
        texts = [c for c in table.columns if all(isinstance(r.get(c), str) for r in table.rows)]
        if len(texts) == 1 and texts == table.columns:
            return texts[0]
    why = f"both {' and '.join(map(repr, known))} could hold them" if known else "no field has a name that says so"
    raise PromptError(
        f"which field of {table.name} holds the prompts? {why}. Say it with text=FIELD; fields are: "
        f"{', '.join(table.columns)}"
    )


def guess(table: Table, part: str) -> str | None:
    """The field that plays ``part`` ('label', 'group', 'pair', 'id') by its name, or ``None``."""
    return next((name for name in GUESSED[part] if name in table.columns), None)


@contextmanager
def at_row(table: Table, i: int, what: str) -> Iterator[None]:
    """Say what goes wrong inside with the row's place; a caller's own function may raise anything."""
    try:
        yield
    except PromptError as error:
        raise PromptError(f"{table.name}, {table.places[i]}, {what}: {error}") from error
    except Exception as error:
        kind = type(error).__name__
        raise PromptError(f"{table.name}, {table.places[i]}: the {what} function raised {kind}: {error}") from error


def _joined(values: list[str]) -> str:
    return "/".join(values) if len(values) <= 4 else f"{'/'.join(values[:3])}/+{len(values) - 3}"
