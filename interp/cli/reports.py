"""``interp report`` and ``interp diff``: several results on one page, and what differs between two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from .options import command_line

if TYPE_CHECKING:
    from ..report import Report
    from ..report.diff import Change, Comparison
    from ..report.result import Result

ResultsArg = Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar="DIR...")]
COLUMNS = ("report", "row", "column", "a", "b", "change", "inside")
IS = ("is", "are")
TEXT = 96  # characters of a text that changed, on the terminal


@dataclass
class Merge:
    """Merge the results of several commands into one offline page, or draw all their figures into one folder.

    Each DIR is what a command wrote with --out, or one report file. The page opens with an index: what each result
    found and its warnings. Then comes each in full: figures, tables, nulls and controls, the exact command and where
    it came from. A result or a report that is there twice is shown once.

    --figures DIR draws every figure of every result as SVG and PDF, with what it shows as CSV beside it.

    Example: interp report number circuit memory --out page.html --title "What the model knows" --figures figures
    """

    results: ResultsArg
    """Directories that commands wrote with --out, or report files."""
    out: Path
    """The page to write, such as page.html."""
    title: str | None = None
    """Title of the page; by default 'Results', or that of a single result."""
    figures: Path | None = None
    """Also draw all figures into this directory, as SVG, PDF and CSV."""
    theme: Literal["paper", "screen"] = "paper"
    """Look of the figures in --figures: paper has the sizes of a column in print, screen those of the page."""
    interactive: bool = False
    """Put interactive figures into the page (adds about 5 MB)."""

    def __call__(self) -> int:
        """Run the command; its exit code."""
        from .. import plots
        from ..errors import ReportError
        from ..report import load_result

        if not self.results:
            raise ReportError("name at least one directory that a command wrote with --out")
        if self.out.is_dir():
            raise ReportError(f"--out names the page, such as {self.out / 'page.html'}, and {self.out} is a directory")
        results, notes = once([load_result(path) for path in self.results])
        strange = unknown(results)
        for note in notes + strange:
            print(f"note: {note}")
        studies = [in_order(result) for result in results]
        page = plots.write_studies(studies, self.out, self.title, strange, interactive=self.interactive)
        for study in studies:
            print(f"{study[0].title}: {study[0].headline}")
            for warning in dict.fromkeys(text for report in study for text in report.warnings):
                print(f"  warning: {warning}")
        if self.figures is not None:
            count = draw(results, studies, self.figures, self.theme)
            print(f"\nfigures: {count} in {self.figures}, each as SVG, PDF and CSV")
        print(f"\nreport: {page}")
        return 0


@dataclass
class Diff:
    """What differs between two results: model, tokenizer, prompts, code, options, seed, precision, then every number.

    A and B are directories that commands wrote with --out, or report files. Rows are matched by the columns that tell
    them apart. Of each number that changed it is said by how much, and whether each lies in the other's interval. The
    first sentence is the verdict.

    Exit code 0: every number, row and report of the one is in the other, whatever they were made with. 1: something
    changed, or is in one only. 2: they cannot be read. With --strict, 0 only if nothing differs at all.

    Example: interp diff monday tuesday --out diff.html
    """

    a: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """A result: a directory or a report file."""
    b: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """The other one."""
    tolerance: float = 1e-5
    """Numbers are equal when they differ by at most this share of the larger one."""
    key: str | None = None
    """Comma-separated columns that name a row; found by looking if not given."""
    rows: int = 24
    """How many changes to print; all of them are on the page and in the file."""
    json: Path | None = None
    """Also write the comparison to this file, as a report of kind diff."""
    out: Path | None = None
    """Also write it as an offline page, such as diff.html."""
    strict: bool = False
    """Exit with 1 also where only the wording, or what the results were made with, differs."""

    def __call__(self) -> int:
        """Run the command; its exit code."""
        from ..report import compare, load_result

        key = None if self.key is None else [name.strip() for name in self.key.split(",")]
        found = compare(load_result(self.a), load_result(self.b), self.tolerance, key)
        print(told(found, self.rows))
        if self.json is not None:
            print(f"\nreport: {found.report(command_line()).save(self.json)}")
        if self.out is not None:
            print(f"\npage: {write_diff(found, self.out)}")
        return 0 if (found.identical if self.strict else found.same) else 1


def once(results: Sequence[Result]) -> tuple[list[Result], list[str]]:
    """The results without reports that one before holds as well, whatever the command; and what was left out."""
    from ..report import Result
    from ..report.diff import listed

    seen: dict[Report, str] = {}
    kept, notes = [], []
    for result in results:
        bare = {name: _bare(report) for name, report in result.reports.items()}
        twice = [name for name in bare if bare[name] in seen]
        if len(twice) == len(bare):
            notes.append(f"{result.where} holds what {seen[bare[twice[0]]]} holds, and is shown once")
            continue
        if twice:
            where = listed(dict.fromkeys(seen[bare[name]] for name in twice))
            notes.append(f"{result.where}: {listed(twice)} {IS[len(twice) > 1]} the same as in {where}, and shown once")
        seen |= {report: result.where for report in bare.values() if report not in seen}
        fresh = {name: report for name, report in result.reports.items() if name not in twice}
        kept.append(Result(result.where, fresh, result.inputs))
    return kept, notes


def _bare(report: Report) -> Report:
    from dataclasses import replace

    return replace(report, provenance=report.provenance.replace(command=None))


def unknown(results: Sequence[Result]) -> list[str]:
    """A sentence for each report of a kind that pages know nothing about but its rows."""
    from ..plots.studies import is_known

    return [
        f"{report.title!r} is of the kind {report.kind!r}, which this version does not know; its rows are shown as a "
        "plain table"
        for result in results
        for report in result.reports.values()
        if not is_known(report.kind)
    ]


def in_order(result: Result) -> list[Report]:
    """A result's reports as a reader wants them: what sums up first, then by kind as figures are listed."""
    from ..plots.gallery import FIGURES
    from ..plots.sections import SUMMARIES

    kinds = [*SUMMARIES, *FIGURES]
    place = {kind: number for number, kind in enumerate(kinds)}
    return sorted(result.reports.values(), key=lambda report: place.get(report.kind, len(kinds)))


def draw(results: Sequence[Result], studies: Sequence[Sequence[Report]], folder: Path, theme: str) -> int:
    """Every figure of every result into one folder; how many. Names begin with the result's where there are several."""
    from .. import plots
    from ..errors import ReportError
    from ..plots.gallery import FIGURES
    from .paths import made_folder

    made_folder(folder)
    count = 0
    for result, study, prefix in zip(results, studies, _prefixes(results), strict=True):
        names = {id(report): name for name, report in result.reports.items()}
        for report in study:
            name = prefix + names[id(report)]
            if report.kind not in FIGURES or not report.rows:
                continue
            try:
                figures = plots.figures(report, theme=theme)
            except ReportError as error:
                print(f"note: no figure of {name}: {error}")
                continue
            for number, figure in enumerate(figures, 1):
                stem = name + (f"-{number}" if number > 1 else "")
                plots.export(figure, folder / f"{stem}.svg", rows=True)
                plots.export(figure, folder / f"{stem}.pdf")
                count += 1
    return count


def _prefixes(results: Sequence[Result]) -> list[str]:
    """What tells the files of several results apart: the names of their folders, numbered where two are alike."""
    if len(results) == 1:
        return [""]
    stems = [Path(result.where).resolve().stem for result in results]
    return [f"{stem}-{n}-" if stems.count(stem) > 1 else f"{stem}-" for n, stem in enumerate(stems, 1)]


def told(found: Comparison, most: int) -> str:
    """A comparison as text for a terminal: the verdict, what the two were made with, what changed."""
    numbers = [change for change in found.changes if change.number]
    texts = [change for change in (*found.changes, *found.words) if not change.number]
    parts = ["\n".join([found.verdict, *found.warnings])]
    if found.sources:
        parts.append(f"Made with:\n{_cut(found.made_with()).table()}")
    if numbers:
        report = _cut(found.report())
        table = report.table([c for c in COLUMNS if c in report.columns], max_rows=min(most, len(numbers)))
        rest = len(numbers) - most
        table = table.partition("\n... and ")[0] + (f"\n... and {rest} more; --rows shows more of them" * (rest > 0))
        parts.append(f"Numbers that changed, B against A (those beyond the other's interval first):\n{table}")
    if texts:
        lines = [_said(change) for change in texts[:most]]
        lines += [f"... and {len(texts) - most} more"] * (len(texts) > most)
        parts.append("Words that changed:\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _said(change: Change) -> str:
    a, b = ("-" if value is None else str(value) for value in (change.a, change.b))
    alike = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    # Long texts are shown from shortly before the place where they part.
    start = 0 if max(len(a), len(b)) <= TEXT else max(0, alike - TEXT // 3)
    shown = [f"{'...' * (start > 0)}{_short(text[start:])}" for text in (a, b)]
    return f"{change.report}, {change.row}, {change.column}:\n  A: {shown[0]}\n  B: {shown[1]}"


def _cut(report: Report) -> Report:
    """The report with long texts cut, for a terminal."""
    from dataclasses import replace

    return replace(
        report, rows=[{n: _short(v) if isinstance(v, str) else v for n, v in r.items()} for r in report.rows]
    )


def _short(value: object) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= TEXT else f"{text[: TEXT - 3]}..."


def write_diff(found: Comparison, path: Path) -> Path:
    """A comparison as an offline page."""
    from .. import plots

    command = command_line()
    reports = [found.report(command), found.made_with(command)]
    names = [Path(side.where).name for side in (found.a, found.b)]
    title = f"A: {names[0]}, B: {names[1]}" if names[0] != names[1] else "A and B"
    return plots.write_html(reports, path, title=title, lead=True)
