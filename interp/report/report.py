"""``Report``: what a job found, as rows with their provenance. The one input of every figure, table and page.

>>> from interp.provenance import Provenance
>>> made = Report(
...     kind="probe",
...     title="Number of the subject",
...     headline="Layer 1 separates the two classes.",
...     rows=({"site": "resid_post.0", "auc": 0.71, "auc_lo": 0.62, "auc_hi": 0.79},
...           {"site": "resid_post.1", "auc": 0.93, "auc_lo": 0.9, "auc_hi": 0.96}),
...     provenance=Provenance(model="a1b2", model_id="stories260K"),
... )
>>> made
Layer 1 separates the two classes.
<BLANKLINE>
site          auc [low, high]
resid_post.0  0.710 [0.620, 0.790]
resid_post.1  0.930 [0.900, 0.960]
>>> made.column("auc")
(0.71, 0.93)
>>> Report.from_json(made.to_json()) == made
True
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ProvenanceError, ReportError
from ..provenance import Provenance
from .notebook import html_report

FORMAT = "interp.report"
VERSION = 1

_KIND = re.compile(r"[a-z][a-z0-9_-]*")
# Fields of the file in their order, with the JSON type of each.
_FIELDS: dict[str, type] = {
    "format": str,
    "version": int,
    "kind": str,
    "title": str,
    "headline": str,
    "warnings": list,
    "meta": dict,
    "provenance": dict,
    "rows": list,
    "nonfinite": list,
}
_JSON_NAMES = {str: "text", int: "a whole number", list: "a JSON array", dict: "a JSON object"}
_NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_REPR_ROWS = 24


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """What a job found: one sentence, rows of plain values, warnings, and where it all came from.

    ``rows`` (kept as a tuple of dicts) hold strings, numbers, booleans, ``None`` and lists of these; numpy values
    are turned into plain ones. ``meta`` holds what belongs to the whole report rather than to a row, as any JSON.
    Two reports are equal when they would be saved as the same text, so NaN equals NaN here.

    Raises:
        ReportError: a value that JSON cannot hold, a key that is not text, or a kind that is not a plain word.
    """

    kind: str
    title: str
    headline: str
    rows: Sequence[Mapping[Any, Any]]
    provenance: Provenance
    warnings: Sequence[str] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("kind", "title", "headline"):
            value = getattr(self, name)
            if not value.strip() or "\n" in value:
                raise ReportError(f"report.{name} must be one line of text, not {value!r}")
        if not _KIND.fullmatch(self.kind):
            raise ReportError(f"report.kind must be a lower-case word such as 'probe', not {self.kind!r}")
        if isinstance(self.warnings, str):
            raise ReportError(f"report.warnings must be a sequence of sentences, not the one text {self.warnings!r}")
        rows = tuple(_plain_row(row, f"rows[{i}]") for i, row in enumerate(self.rows))
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "warnings", tuple(self.warnings))
        object.__setattr__(self, "meta", _plain(self.meta, "meta", dicts=True))

    # ---- reading -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.rows)

    def __eq__(self, other: object) -> bool:
        return self.to_json() == other.to_json() if isinstance(other, Report) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.to_json())

    @property
    def columns(self) -> tuple[str, ...]:
        """Every field that some row has, in the order of first appearance."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    def column(self, name: str, default: Any = None) -> tuple[Any, ...]:
        """The field of every row, ``default`` where a row lacks it.

        Raises:
            ReportError: no row has the field; the message lists those that exist.
        """
        if self.rows and name not in self.columns:
            raise ReportError(f"this report has no column {name!r}; columns are: {', '.join(self.columns)}")
        return tuple(row.get(name, default) for row in self.rows)

    # ---- text ----------------------------------------------------------------------------------------------------

    def table(self, columns: Sequence[str] | None = None, max_rows: int | None = None) -> str:
        """The rows as aligned text. ``x`` with ``x_lo`` and ``x_hi`` is one column, ``0.93 [0.90, 0.96]``.

        Columns that are named are shown as named; a named ``x_lo`` is a column of its own.
        """
        shown = self.rows if max_rows is None else self.rows[:max_rows]
        cells = table_cells(shown, self.columns, columns)
        if not cells:
            return "(no rows)"
        blocks = [[head, *body] for head, body, _ in cells]
        widths = [max(map(_width, block)) for block in blocks]
        right = [numeric for _, _, numeric in cells]
        lines = [
            "  ".join(_pad(block[i], w, r) for block, w, r in zip(blocks, widths, right, strict=True)).rstrip()
            for i in range(len(blocks[0]))
        ]
        if len(shown) < len(self.rows):
            lines.append(f"... and {len(self.rows) - len(shown)} more rows")
        return "\n".join(lines)

    def __repr__(self) -> str:
        notes = "".join(f"\nWarning: {w}" for w in self.warnings)
        return f"{self.headline}{notes}\n\n{self.table(max_rows=_REPR_ROWS)}"

    def _repr_html_(self) -> str:
        shown = table_cells(self.rows[:_REPR_ROWS], self.columns)
        return html_report(self.headline, self.warnings, shown, max(len(self) - _REPR_ROWS, 0))

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """The rows as CSV text, written to ``path`` too if there is one.

        Numbers keep every digit; a missing value is an empty cell, empty text is ``""``; NaN is ``nan``; a list is
        JSON.
        """
        text = csv_text(self.rows)
        if path is not None:
            write_atomic(path, text.encode("utf-8", "backslashreplace"))
        return text

    # ---- files ---------------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """The report as strict JSON. A NaN or infinity is ``null`` in place and listed under ``nonfinite``.

        Any JSON reader can use the rows, and `from_json` puts every value back exactly.
        """
        lost: list[list[Any]] = []
        rows = _without_nonfinite(list(self.rows), ["rows"], lost)
        meta = _without_nonfinite(self.meta, ["meta"], lost)
        values = (FORMAT, VERSION, self.kind, self.title, self.headline, list(self.warnings), meta)
        data = dict(
            zip(_FIELDS, (*values, _plain(self.provenance.to_dict(), "provenance", True), rows, lost), strict=True)
        )
        return json.dumps(data, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "report") -> Report:
        """Back from `to_json`; anything missing, unknown, or of a newer version raises.

        Raises:
            ReportError: the text is no report; the message says what is wrong in ``where``.
        """
        data = _parse(text, where)
        _check_fields(data, where)
        _restore_nonfinite(data, where)
        try:
            provenance = Provenance.from_dict(data["provenance"])
            kind, title, headline = data["kind"], data["title"], data["headline"]
            return cls(kind, title, headline, tuple(data["rows"]), provenance, tuple(data["warnings"]), data["meta"])
        except (ProvenanceError, ReportError) as error:
            raise ReportError(f"{where}: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the report as JSON. The file appears whole or not at all; missing folders are made."""
        return write_atomic(path, self.to_json().encode("ascii"))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Report:
        """Read a report that `save` wrote.

        Raises:
            ReportError: the file is missing, unreadable, or not a report.
        """
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise ReportError(f"cannot read report {os.fspath(path)!r}: {error.strerror or error}") from error
        return cls.from_json(text, where=os.fspath(path))


def write_atomic(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write ``data`` so that ``path`` is either its old self or the whole new file; makes missing folders.

    Raises:
        ReportError: the file cannot be written (no permission, a full disk, a folder in its place).
    """
    target = Path(path)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as error:
        raise ReportError(f"cannot write {os.fspath(path)!r}: {error.strerror or error}") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
    return target


# ---- plain values ------------------------------------------------------------------------------------------------


def _plain_row(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise ReportError(f"report.{where} must be a dict, not {type(row).__name__}")
    return {_key(k, where): _plain(v, f"{where}[{k!r}]", dicts=False) for k, v in row.items()}


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise ReportError(f"report.{where} has the key {key!r}; keys must be text")
    return str(key)


def _plain(value: Any, where: str, dicts: bool) -> Any:
    """The value as exact plain Python, or a ReportError that says where it sits."""
    if hasattr(value, "tolist"):  # numpy and torch values, without importing either
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return value
    for exact in (int, float, str):
        if isinstance(value, exact):
            return exact(value)
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{where}[{i}]", dicts) for i, v in enumerate(value)]
    if dicts and isinstance(value, Mapping):
        return {_key(k, where): _plain(v, f"{where}[{k!r}]", dicts) for k, v in value.items()}
    hint = "; give each entry a field of its own" if isinstance(value, Mapping) else ""
    raise ReportError(f"report.{where} is a {type(value).__name__}, which a report cannot hold{hint}")


# ---- strict JSON -------------------------------------------------------------------------------------------------


def _without_nonfinite(value: Any, path: list[Any], lost: list[list[Any]]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        lost.append([*path, "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"])
        return None
    if isinstance(value, list):
        return [_without_nonfinite(v, [*path, i], lost) for i, v in enumerate(value)]
    if isinstance(value, dict):
        return {k: _without_nonfinite(v, [*path, k], lost) for k, v in value.items()}
    return value


def _restore_nonfinite(data: dict[str, Any], where: str) -> None:
    for entry in data["nonfinite"]:
        try:
            *path, last, name = entry
            if path[0] not in ("rows", "meta"):
                raise KeyError(path[0])
            box: Any = data
            for step in path:
                box = box[step]
            if box[last] is not None:
                raise KeyError(last)
            box[last] = _NONFINITE[name]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ReportError(f"{where}: nonfinite entry {entry!r} does not point at a null") from error


def _check_fields(data: Any, where: str) -> None:
    """Raise unless ``data`` has exactly the fields of a report, each of its type."""
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ReportError(f'{where} is not a report: it lacks "format": "{FORMAT}"')
    version = data.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ReportError(
            f"{where} has report version {version!r}, and this interp reads up to {VERSION}; upgrade interp"
        )
    missing, unknown = [f for f in _FIELDS if f not in data], [k for k in data if k not in _FIELDS]
    if missing or unknown:
        raise ReportError(f"{where} has missing fields {missing} and unknown fields {unknown}")
    source = data["provenance"]
    checks = [(name, data[name], kind) for name, kind in _FIELDS.items()]
    for name, kind in (("rows", dict), ("warnings", str)):
        if isinstance(data[name], list):
            checks += [(f"{name}[{i}]", value, kind) for i, value in enumerate(data[name])]
    if isinstance(source, dict):
        checks += [(f"provenance.{k}", v, int if k == "seed" else str) for k, v in source.items() if v is not None]
        checks += [(f"provenance.{k}", source[k], str) for k in ("model", "model_id") if k in source]
    for name, value, wanted in checks:
        if type(value) is not wanted:
            raise ReportError(f"{where}: {name} must be {_JSON_NAMES[wanted]}, not {value!r:.60}")


def _parse(text: str | bytes, where: str) -> Any:
    def number(literal: str) -> float:
        if not math.isfinite(float(literal)):
            raise ValueError(f"{literal} is not a finite number")
        return float(literal)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [k for k, _ in pairs]
        twice = sorted({k for k in keys if keys.count(k) > 1}) if len(set(keys)) < len(keys) else []
        if twice:
            raise ValueError(f"the key {twice[0]!r} appears twice")
        return dict(pairs)

    try:
        return json.loads(text, parse_float=number, parse_constant=number, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{where} is not valid JSON: {error}") from error


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    r"""Rows as CSV, with a column for every field that some row has.

    >>> csv_text([{"site": "embed", "auc": 0.5}, {"site": "z.0.h1, z.0.h2"}])
    'site,auc\nembed,0.5\n"z.0.h1, z.0.h2",\n'
    """
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, *([row.get(name) for name in columns] for row in rows)]
    # A lone missing value is quoted, as readers skip empty lines.
    return "".join((",".join(map(_csv_cell, line)) or '""') + "\n" for line in lines)


def _csv_cell(value: Any) -> str:
    """One cell as RFC 4180 has it. The csv module leaves a bare carriage return unquoted, which ends the row."""
    if value is None:
        return ""
    if isinstance(value, (bool, int, float)):
        return repr(value)
    text = json.dumps(value) if isinstance(value, list) else value
    plain = text and text == text.strip() and not set(text) & set(',"\r\n')
    return text if plain else '"' + text.replace('"', '""') + '"'


# ---- cells -------------------------------------------------------------------------------------------------------


def table_cells(
    rows: Sequence[Mapping[str, Any]], available: Sequence[str], columns: Sequence[str] | None = None
) -> list[tuple[str, list[str], bool]]:
    """Each column to show as (heading, cells, is it numeric); an interval joins the value that it belongs to.

    >>> table_cells([{"site": "embed", "p": 0.01}], ["site", "p"])
    [('site', ['embed'], False), ('p', ['0.010'], True)]

    Raises:
        ReportError: a column that no row has.
    """
    chosen = list(available if columns is None else columns)
    unknown = [c for c in chosen if c not in available]
    if unknown and rows:
        raise ReportError(f"this report has no column {unknown[0]!r}; columns are: {', '.join(available)}")
    joined = [c for c in chosen if f"{c}_lo" in available and f"{c}_hi" in available]
    hidden = {c + end for c in joined for end in ("_lo", "_hi")} if columns is None else set()
    result = []
    for name in chosen:
        if name in hidden or not rows:
            continue
        parts = [name, f"{name}_lo", f"{name}_hi"] if name in joined else [name]
        values = [[row.get(part) for row in rows] for part in parts]
        show = _formatter([v for column in values for v in column])
        if name in joined:
            triples = zip(*values, strict=True)
            cells = [
                show(v) if lo is None or v is None else f"{show(v)} [{show(lo)}, {show(hi)}]" for v, lo, hi in triples
            ]
            result.append((f"{name} [low, high]", cells, True))
        else:
            numeric = all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in values[0])
            result.append((name, [show(v) for v in values[0]], numeric))
    return result


def _formatter(values: Iterable[Any]) -> Any:
    """One way to write every number of a column, so that its digits line up."""
    sizes = [abs(v) for v in values if isinstance(v, float) and math.isfinite(v) and v != 0]
    style = ".3f" if all(1e-3 <= s < 1e4 for s in sizes) else ".3g"

    def show(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, float):
            text = format(value, style)
            return text.removeprefix("-") if float(text) == 0 else text  # no minus before nothing but zeros
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)

    return show


def _width(text: str) -> int:
    """Terminal columns that the text takes: wide characters are two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
