"""``compare``: what differs between two results: what they were made with, then every number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ReportError
from ..provenance import Provenance
from .match import match, row_name
from .report import Report
from .result import Result
from .sources import Source, sources

TOLERANCE = 1e-5
_WHOLE = "(whole report)"
_MOST = 6  # things that a sentence lists


@dataclass(frozen=True)
class Change:
    """One value that differs: where it stands, both values with their intervals, and whether each lies in the other's.

    ``inside``: ``"yes"``, ``"no"``, ``"one side"``, or None where a value is no number or has no interval.
    """

    report: str
    row: str
    column: str
    a: Any
    b: Any
    a_ends: tuple[float, float] | None
    b_ends: tuple[float, float] | None

    @property
    def number(self) -> bool:
        """Whether a number stands on either side."""
        return _is_number(self.a) or _is_number(self.b)

    @property
    def by(self) -> float | None:
        """B minus A, None where one of them is no number."""
        return self.b - self.a if _is_number(self.a) and _is_number(self.b) else None

    @property
    def inside(self) -> str | None:
        """Whether each value lies in the other's interval."""
        if self.by is None or self.a_ends is None or self.b_ends is None:
            return None
        lies = (self.a_ends[0] <= self.b <= self.a_ends[1]) + (self.b_ends[0] <= self.a <= self.b_ends[1])
        return ("no", "one side", "yes")[lies]


@dataclass(frozen=True)
class Comparison:
    """What differs between the results A and B. ``words``: sentences and settings that read differently."""

    a: Result
    b: Result
    sources: tuple[Source, ...]
    changes: tuple[Change, ...]
    words: tuple[Change, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    compared: int
    tolerance: float

    @property
    def same(self) -> bool:
        """Whether every number, row and report of the one is in the other; what they were made with may differ."""
        return self.compared > 0 and not (self.changes or self.only_a or self.only_b)

    @property
    def identical(self) -> bool:
        """Whether nothing differs at all."""
        return self.same and not (self.sources or self.words)

    @property
    def verdict(self) -> str:
        """What the comparison found, in one sentence."""
        made = listed([source.what for source in self.sources], _MOST)
        if not self.compared:
            kinds = [
                listed(dict.fromkeys(report.kind for report in side.reports.values())) for side in (self.a, self.b)
            ]
            return f"Nothing to compare: A holds {kinds[0]}, B holds {kinds[1]}, and no row of the one is in the other."
        if self.same:
            total = f"{self.compared} number{'s' * (self.compared != 1)} compared"
            if self.identical:
                return f"Same numbers, and made in the same way ({total})."
            return f"Same numbers; differs in {made or 'wording'} ({total})."
        return f"{self._what_changed()}; {f'differs in {made}' if made else 'yet both were made in the same way'}."

    def _what_changed(self) -> str:
        numbers = [change for change in self.changes if change.number]
        parts = []
        if numbers:
            outside = sum(change.inside == "no" for change in numbers)
            judged = sum(change.inside is not None for change in numbers)
            parts.append(f"Different numbers: {len(numbers)} of {self.compared} changed")
            if judged:
                parts[0] += f", {outside or 'none'} of the {judged} with intervals beyond the other's"
        if texts := len(self.changes) - len(numbers):
            parts.append(f"{texts} verdict{'s' * (texts > 1)} or other text{'s' * (texts > 1)} changed")
        for name, only in (("A", self.only_a), ("B", self.only_b)):
            if only:
                parts.append(f"{len(only)} row{'s' * (len(only) > 1)} or report{'s' * (len(only) > 1)} only in {name}")
        text = ", ".join(parts)
        return text if numbers else f"Different results: {text}"

    def report(self, command: str | None = None) -> Report:
        """The comparison as a report of kind ``"diff"``: a row for each number or text that changed."""
        rows = [_as_row(change) for change in (*self.changes, *self.words)]
        if len(self.a.reports) == len(self.b.reports) == 1:
            rows = [{name: value for name, value in row.items() if name != "report"} for row in rows]
        meta = {
            "same": self.same, "identical": self.identical, "compared": self.compared, "tolerance": self.tolerance,
            "changed": len(self.changes), "reports_a": list(self.a.reports), "reports_b": list(self.b.reports),
            "only_a": list(self.only_a), "only_b": list(self.only_b),
            "made_with": [{"what": s.what, "a": s.a, "b": s.b} for s in self.sources],
        }  # fmt: skip
        title = "What changed, B against A"
        return Report("diff", title, self.verdict, rows, self._provenance(command), tuple(self.warnings), meta)

    def made_with(self, command: str | None = None) -> Report:
        """What the two were made with where that differs, as a report of kind ``"diff-sources"``."""
        rows = [{"what": source.what, "a": source.a, "b": source.b} for source in self.sources]
        told = (
            f"They differ in {listed([s.what for s in self.sources])}." if rows else "Both were made in the same way."
        )
        return Report("diff-sources", "What they were made with", told, rows, self._provenance(command))

    @property
    def warnings(self) -> list[str]:
        """Rows and reports that only one side has, for a reader to see first."""
        return [
            f"Only in {name}: {listed(only, _MOST)}." for name, only in (("A", self.only_a), ("B", self.only_b)) if only
        ]

    def _provenance(self, command: str | None) -> Provenance:
        """What both share; a model's name and fingerprint as 'A / B' where the two differ."""
        one, other = (side.summary.provenance for side in (self.a, self.b))
        shared = {name: value for name, value in one.to_dict().items() if other.to_dict()[name] == value}
        named = {
            name: " / ".join(dict.fromkeys(getattr(p, name) for p in (one, other))) for name in ("model", "model_id")
        }
        return Provenance.from_dict({**shared, **named, "command": command})


def compare(a: Result, b: Result, tolerance: float = TOLERANCE, key: Sequence[str] | None = None) -> Comparison:
    """What differs between two results: what they were made with, and their numbers row by row.

    Two numbers are equal when they differ by at most ``tolerance`` times the larger of them, or by a thousandth of
    ``tolerance`` where both are next to nothing; NaN equals NaN. Rows are matched by ``key``, or by the columns that
    tell them apart. Reports are matched by name and kind, or by kind where each side has one of it.

    >>> from interp import Provenance
    >>> def result(auc, seed):
    ...     row = {"site": "embed", "auc": auc, "auc_lo": auc - 0.1, "auc_hi": auc + 0.1}
    ...     return Result("out", {"report": Report("probe", "T", "H.", [row], Provenance("a1", "tiny", seed=seed))})
    >>> compare(result(0.7, 0), result(0.7, 1)).verdict
    'Same numbers; differs in seed (1 number compared).'
    >>> [(c.row, c.column, c.a, c.b, c.inside) for c in compare(result(0.7, 0), result(0.75, 0)).changes]
    [('embed', 'auc', 0.7, 0.75, 'yes')]

    Raises:
        ReportError: the tolerance is negative or no number.
    """
    if not 0 <= tolerance < math.inf:
        raise ReportError(f"tolerance must be zero or a positive number, not {tolerance}")
    both, only_a, only_b = _paired(a, b)
    changes: list[Change] = []
    words: list[Change] = []
    compared = 0
    lost: tuple[list[str], list[str]] = ([*only_a], [*only_b])
    for name, one, other in both:
        names = [column for column in (key or ()) if column in one.columns and column in other.columns]
        rows = match(one.rows, other.rows, names if names else None)
        for side, alone in zip(lost, (rows.only_a, rows.only_b), strict=True):
            side += [f"{name}: {row_name(row, rows.key) or 'a row'}" for row in alone]
        for row, twin in rows.pairs:
            about = row_name(row, rows.key) or _WHOLE
            found, count = _changes(name, about, dict(_leaves(row)), dict(_leaves(twin)), rows.key, tolerance)
            changes += found
            compared += count
        found, count = _changes(name, _WHOLE, dict(_leaves(one.meta)), dict(_leaves(other.meta)), (), tolerance)
        changes += [change for change in found if change.number]
        words += [change for change in found if not change.number] + _sentences(name, one, other)
        compared += count
    order = sorted(changes, key=lambda c: (c.inside != "no", not c.number))
    made = sources(a, b, [(one, other) for _, one, other in both])
    return Comparison(a, b, made, tuple(order), tuple(words), tuple(lost[0]), tuple(lost[1]), compared, tolerance)


def listed(names: Any, most: int | None = None) -> str:
    """Names as a reader lists them.

    >>> listed(["seed", "dtype", "model"]), listed("abcdef", 3)
    ('seed, dtype and model', 'a, b, c and 3 more')
    """
    shown = list(names)
    if most is not None and len(shown) > most:
        return f"{', '.join(shown[:most])} and {len(shown) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _paired(a: Result, b: Result) -> tuple[list[tuple[str, Report, Report]], list[str], list[str]]:
    """Reports that belong together, and what only one side has."""
    left, right = dict(a.reports), dict(b.reports)
    both = []
    for name, one in a.reports.items():
        if name in right and right[name].kind == one.kind:
            both.append((name, left.pop(name), right.pop(name)))
    for name, one in list(left.items()):
        like = [other for other, report in right.items() if report.kind == one.kind]
        if len(like) == 1 and sum(report.kind == one.kind for report in left.values()) == 1:
            both.append((name, left.pop(name), right.pop(like[0])))
    return both, *([f"the report {name}" for name in side] for side in (left, right))  # type: ignore[return-value]


def _changes(
    report: str, about: str, one: Mapping[str, Any], other: Mapping[str, Any], key: Sequence[str], tolerance: float
) -> tuple[list[Change], int]:
    """The values of a row that differ, an interval together with its value; and how many numbers were compared."""
    names = [name for name in dict.fromkeys((*one, *other)) if name not in key]
    ends = {
        f"{name}{end}" for name in names for end in ("_lo", "_hi") if f"{name}_lo" in names and f"{name}_hi" in names
    }
    found, count = [], 0
    for name in names:
        if name in ends:
            continue
        parts = [part for part in (name, f"{name}_lo", f"{name}_hi") if part == name or part in ends]
        count += sum(_is_number(side.get(part)) for part in parts for side in (one, other)) > 0
        if all(_equal(one.get(part), other.get(part), tolerance) for part in parts):
            continue
        found.append(Change(report, about, name, one.get(name), other.get(name), _ends(one, name), _ends(other, name)))
    return found, count


def _ends(row: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    low, high = row.get(f"{name}_lo"), row.get(f"{name}_hi")
    return (float(low), float(high)) if _is_number(low) and _is_number(high) else None  # type: ignore[arg-type]


def _equal(one: Any, other: Any, tolerance: float) -> bool:
    if not (_is_number(one) and _is_number(other)):
        return type(one) is type(other) and one == other
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance * 1e-3)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """What stands in a row or in a report's meta, flat: ``cells[2].auc``. A list without numbers stays one value."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) or _is_number(item) for item in value):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{number}]")
    else:
        yield path, value


def _sentences(name: str, one: Report, other: Report) -> list[Change]:
    """The title, headline and warnings where they read differently."""
    pairs = [("title", one.title, other.title), ("headline", one.headline, other.headline)]
    pairs.append(("warnings", " ".join(one.warnings) or None, " ".join(other.warnings) or None))  # type: ignore[arg-type]
    return [Change(name, _WHOLE, what, a, b, None, None) for what, a, b in pairs if a != b]


def _as_row(change: Change) -> dict[str, Any]:
    a_lo, a_hi = change.a_ends or (None, None)
    b_lo, b_hi = change.b_ends or (None, None)
    return {
        "report": change.report, "row": change.row, "column": change.column, "a": change.a, "a_lo": a_lo, "a_hi": a_hi,
        "b": change.b, "b_lo": b_lo, "b_hi": b_hi, "change": change.by, "inside": change.inside,
    }  # fmt: skip
