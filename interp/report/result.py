"""``Result``: what one command wrote into its ``--out`` directory, as the reports in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ReportError
from .inputs import Inputs
from .report import FORMAT, Report

SUMMARY = "report"  # report.json opens a result
_NAMED = 6  # files that an error lists


@dataclass(frozen=True)
class Result:
    """The reports of one command by the name of their file, ``report.json`` first; ``where`` is what the user named."""

    where: str
    reports: Mapping[str, Report]
    inputs: Inputs | None = None

    @property
    def summary(self) -> Report:
        """The report that says what was found: ``report.json``, or the first where there is none."""
        return next(iter(self.reports.values()))

    @property
    def command(self) -> str | None:
        """The command as it was typed, None for what Python wrote."""
        return self.summary.provenance.command


def load_result(path: str | os.PathLike[str]) -> Result:
    """The result at a path: a directory that a command wrote to, or one report file.

    Of a directory every ``*.json`` in it counts that says that it is a report; other files are left alone.

    >>> import tempfile
    >>> from interp import Provenance
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = Report("probe", "T", "Found.", [{"site": "embed"}], Provenance("a1", "tiny"))
    ...     _ = made.save(f"{folder}/report.json")
    ...     load_result(folder).summary.headline
    'Found.'

    Raises:
        ReportError: nothing is there, it holds no report, or one of its reports cannot be read.
    """
    here = Path(path)
    if here.is_file():
        return Result(os.fspath(path), {here.stem: Report.load(here)})
    if not here.exists():
        raise ReportError(f"there is no directory or report at {os.fspath(path)!r}")
    found = {file.stem: Report.load(file) for file in report_files(here)}
    if not found:
        raise ReportError(_nothing(here))
    names = sorted(found, key=lambda name: (name != SUMMARY, name))
    return Result(os.fspath(path), {name: found[name] for name in names}, Inputs.load(here))


def report_files(folder: Path) -> list[Path]:
    """The files of a folder that say that they are reports."""
    mark = f'"{FORMAT}"'.encode()
    try:
        return [file for file in sorted(folder.glob("*.json")) if file.is_file() and mark in file.read_bytes()]
    except OSError as error:
        raise ReportError(f"cannot read {os.fspath(error.filename or folder)!r}: {error.strerror or error}") from error


def _nothing(folder: Path) -> str:
    """What was looked for in a folder without reports, what is there, and where there are some."""
    there = sorted(p.name + "/" * p.is_dir() for p in folder.iterdir() if not p.name.startswith("."))
    shown = ", ".join(there[:_NAMED]) + (f" and {len(there) - _NAMED} more" if len(there) > _NAMED else "")
    text = (
        f'{os.fspath(folder)!r} holds no report: looked for *.json files that say "format": "{FORMAT}", such as '
        f"report.json, and found {shown or 'nothing'}"
    )
    below = sorted(p.name for p in folder.iterdir() if p.is_dir() and report_files(p))
    if below:
        text += f"; there are reports in its folder{'s' * (len(below) > 1)} {', '.join(below[:_NAMED])}"
    return f"{text}. Name a directory that a command such as interp probe wrote with --out"
