"""``memorisation``: the whole job, from records to reports: recall, signature, gap, transfer, project-out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..prompts import PromptSet
from ..report import Report
from ..run.progress import Progress
from .claims import claims, headline
from .metrics import extract
from .project_out import project_out
from .recall import dose_response
from .records import Records
from .signature import gap, signature
from .transfer import transfer

if TYPE_CHECKING:
    from ..models import Model


@dataclass(frozen=True, eq=False, repr=False)
class MemorisationStudy:
    """Every report of a study by name, and the summary: one row per claim, with its null and verdict."""

    summary: Report
    reports: Mapping[str, Report]

    def __repr__(self) -> str:
        return repr(self.summary)

    def save(self, out: str | os.PathLike[str]) -> Path:
        """Write ``report.json`` (the summary), each report as ``NAME.json`` and ``NAME.csv``; the folder.

        What was measured of each record is in ``records.csv``.

        Raises:
            ReportError: a file cannot be written.
        """
        folder = Path(out)
        self.summary.save(folder / "report.json")
        self.summary.to_csv(folder / "report.csv")
        for name, report in self.reports.items():
            report.save(folder / f"{name}.json")
            report.to_csv(folder / ("records.csv" if name == "extraction" else f"{name}.csv"))
        return folder


def memorisation(
    model: Model,
    records: Records,
    *,
    never: Model | None = None,
    injected: Model | None = None,
    neutral: PromptSet | None = None,
    marks: Sequence[str] | None = None,
    doses: Sequence[Any] | None = None,
    untrained: bool = True,
    permutations: int = 200,
    seed: int = 0,
    title: str | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> MemorisationStudy:
    """What a model has memorised of some records, and where that can be read, beside every null and control.

    Reports, as far as the records allow: ``extraction`` and ``recall`` (what it recites, by dose), ``signature`` (can
    a probe tell it, across records), ``gap`` (are memorised wordings further from paraphrases than those from each
    other; ``gap-twins``: than those of never-seen twins), ``transfer`` (to ``injected``), ``project-out``.

    Args:
        records: see `load_records`. Without twins (labels) and without second wordings only recall can be measured.
        never: a model that has not seen the records, as a control.
        injected: a model that had them fine-tuned in.
        neutral: other text, to see what project-out costs it.
        marks: where to read; by default the recall marks, else the last token.
        doses: of the signature; by default all.
        permutations: behind every null; 0 for none.

    Raises:
        PromptError, SplitError: records that allow no honest answer; the message says what is missing.

    Example:
        >>> import interp
        >>> from interp.memorisation import load_records
        >>> bed = interp.testbeds.path("memory")
        >>> model = interp.load_model(bed)
        >>> records = load_records(bed / "records.jsonl", model.tokenizer).at_dose(8)
        >>> study = memorisation(model, records, untrained=False, permutations=0)
        >>> study.summary.kind, list(study.reports)[:3]
        ('memorisation', ['extraction', 'recall', 'signature'])
    """
    shared: dict[str, Any] = {"seed": seed, "progress": progress, "command": command}
    tests: dict[str, Any] = {**shared, "permutations": permutations}
    steps = _steps(model, records, never, injected, neutral, marks, doses, untrained, tests, shared)
    reports: dict[str, Report] = {}
    with Progress(len(steps), "parts", "memorisation", progress) as bar:
        for name, step in steps.items():
            bar.advance(0, name)
            reports |= step()
            bar.advance(1)
    rows = claims(reports)
    provenance = model.provenance(
        prompts=records.prompts.hash, seed=seed, command=command, bos=records.prompts.source.bos_summary,
        tokenizer=records.prompts.source.tokenizer,
    )  # fmt: skip
    meta = {
        "records": records.n_records, "wordings": list(records.pools), "twins": records.has_twins,
        "prefixes": records.n_prefixes, "doses": list(records.doses), "permutations": permutations,
        "reports": list(reports),
    }  # fmt: skip
    warnings = [] if records.has_twins else [NO_TWINS]
    summary = Report(
        kind="memorisation", title=title or f"What {model.id} has memorised", headline=headline(reports, model.id),
        rows=rows, provenance=provenance, warnings=warnings, meta=meta,
    )  # fmt: skip
    return MemorisationStudy(summary, reports)


NO_TWINS = (
    "No record has a twin that was never seen, so nothing here is randomised: what tells memorised from other text may "
    "be the text."
)


def _steps(
    model: Model, records: Records, never: Model | None, injected: Model | None, neutral: PromptSet | None,
    marks: Sequence[str] | None, doses: Sequence[Any] | None, untrained: bool, tests: dict[str, Any],
    shared: dict[str, Any],
) -> dict[str, Callable[[], dict[str, Report]]]:  # fmt: skip
    """What can be measured on these records, in order."""
    seed, command, shown = shared["seed"], shared["command"], shared["progress"]

    def told(report: Report) -> Report:
        return replace(report, provenance=report.provenance.replace(seed=seed, command=command))

    def recall() -> dict[str, Report]:
        found = extract(model, records, progress=shown)
        out = {"extraction": told(found.report), "recall": told(dose_response(found, seed=seed))}
        if never is not None:
            other = extract(never, records, metrics=["exact", "log_p"], progress=shown)
            out["recall-never"] = told(dose_response(other, seed=seed))
        return out

    steps: dict[str, Callable[[], dict[str, Report]]] = {"recall": recall}
    wordings = set(records.pools)
    # Exchanging accuracies costs nothing, so that the gap has permutations of its own.
    flips = {**shared} if tests["permutations"] else {**shared, "permutations": 0}
    if not records.has_twins and "C" not in wordings:
        return steps
    steps["signature"] = lambda: {
        "signature": signature(model, records, marks=marks, doses=doses, never=never, untrained=untrained, **tests)
    }
    if {"M", "C", "B"} <= wordings:
        steps["gap"] = lambda: {"gap": gap(model, records, marks=marks, **flips)}
        if never is not None:
            steps["gap-never"] = lambda: {"gap-never": gap(never, records, marks=marks, **flips)}
    if records.has_twins and "C" in wordings:
        steps["gap-twins"] = lambda: {"gap-twins": gap(model, records, marks=marks, baseline="twins", **flips)}
    mark = None if marks is None else marks[0]
    if injected is not None:
        steps["transfer"] = lambda: {"transfer": transfer(model, injected, records, mark=mark, **tests)}
    steps["project-out"] = lambda: {"project-out": project_out(model, records, mark=mark, neutral=neutral, **shared)}
    return steps
