"""``Study``: the reports of one command as a page shows them: sections, warnings up front, where they came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..report import Report
from .columns import KEY_COLUMNS
from .gallery import FIGURES
from .sections import SUMMARIES, Section, section
from .tables import Table
from .words import has_words

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_SOURCES = (
    ("model_id", "Model"),
    ("model", "Model fingerprint"),
    ("revision", "Revision"),
    ("dtype", "Precision"),
    ("tokenizer", "Tokenizer hash"),
    ("chat_template", "Chat template hash"),
    ("bos", "BOS policy"),
    ("prompts", "Prompt set hash"),
    ("code", "Code version"),
    ("seed", "Seed"),
)


_ORIGIN = ("Model fingerprint", "Precision", "Seed")


@dataclass(frozen=True)
class Study:
    """One command's reports, ready for the template. ``lead``: the report whose headline opens them, if one does."""

    title: str
    kind: str
    headline: str
    lead: Report | None
    summary: bool
    sections: tuple[Section, ...]
    warnings: tuple[str, ...]
    commands: tuple[str, ...]
    models: tuple[str, ...]
    sources: tuple[tuple[str, list[Any]], ...]

    @property
    def origin(self) -> str:
        """The least of the provenance, for where the rest is folded away."""
        known = dict(self.sources)
        parts = [
            ", ".join(map(str, known["Model"])),
            *(f"{label.lower()} {', '.join(map(str, known[label]))}" for label in _ORIGIN if known[label]),
        ]
        return " · ".join(part for part in parts if part)


def is_known(kind: str) -> bool:
    """Whether pages have figures, columns or words for reports of a kind; of others they show the rows.

    >>> is_known("probe"), is_known("my-own")
    (True, False)
    """
    return kind in SUMMARIES or kind in FIGURES or kind in KEY_COLUMNS or has_words(kind)


def study(
    reports: Sequence[Report], first: int, figures: Sequence[Figure] | None, tables: Sequence[Table] | None,
    interactive: bool, title: str | None, lead: bool,
) -> Study:  # fmt: skip
    """The reports as one study, what sums up first; ``first`` numbers its sections within the page.

    Raises:
        ReportError: a figure cannot be drawn without a browser.
    """
    several = sorted(reports, key=lambda report: report.kind not in SUMMARIES)
    opens = several[0].kind in SUMMARIES
    sections = [section(report, first + n, figures, tables, interactive) for n, report in enumerate(several)]
    return Study(
        title=title or several[0].title,
        kind=several[0].kind,
        headline=several[0].headline,
        lead=several[0] if lead or len(several) == 1 or opens else None,
        summary=opens,
        sections=tuple(_said_once(sections)),
        warnings=tuple(_warnings(several, several[0].title if lead or opens else None)),
        commands=tuple(dict.fromkeys(r.provenance.command for r in several if r.provenance.command)),
        models=tuple(_values(several, "model_id")),
        sources=tuple((label, _values(several, name)) for name, label in _SOURCES),
    )


def _said_once(sections: Sequence[Section]) -> list[Section]:
    """The sections without explanations that one before has given in the same words."""
    seen: set[tuple[str, str]] = set()
    result = []
    for one in sections:
        result.append(dataclasses.replace(one, notes=tuple(note for note in one.notes if note not in seen)))
        seen.update(one.notes)
    return result


def _warnings(reports: Sequence[Report], whole: str | None) -> list[str]:
    """Every warning once, with the report that it comes from unless that speaks for all of them (``whole``)."""
    where: dict[str, list[str]] = {}
    for report in reports:
        for text in report.warnings:
            where.setdefault(text, []).append(report.title)
    if len(reports) == 1:
        return list(where)
    return [text if len(names) > 1 or names[0] == whole else f"{names[0]}: {text}" for text, names in where.items()]


def _values(reports: Sequence[Report], name: str) -> list[Any]:
    """What the reports' provenance has under a name, each value once."""
    found = list(dict.fromkeys(getattr(r.provenance, name) for r in reports))
    return [value for value in found if value is not None]
