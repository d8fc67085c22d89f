"""``memorisation``: the whole job, from records to reports: recall, signature, gap, transfer, project-out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InterpError, PromptError, SplitError
from ..prompts import PromptSet
from ..report import Report
from ..run.progress import Progress
from .claims import claims, headline
from .metrics import extract
from .project_out import project_out
from .recall import dose_response
from .records import Records
from .signature import gap, signature
from .tokens import unknown_words
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
    other; ``gap-twins``: than those of never-seen twins), ``transfer`` (to ``injected``), ``project-out``. What some of
    the records do not allow is left out, with a warning and the reason.

    Args:
        records: see `load_records`. Without labels and without second wordings only recall can be measured.
        never: a model that has not seen the records, as a control.
        injected: a model that had them fine-tuned in.
        neutral: other text, to see what project-out costs it.
        marks: where to read; by default the recall marks, else the last token.
        doses: of the signature, and the highest of them for all else; by default all. Recall is always by dose.
        permutations: of labels, behind the nulls of signature and transfer; 0 for none, and none of the gap. (The
            gap's exchanges and recall's coins cost nothing, so that there are always as many as those need.)

    Raises:
        PromptError: a mark or dose that is not there, a row longer than a model's context, or records of which nothing
            can be measured.

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
    _check(records, [m for m in (model, never, injected) if m is not None], marks, doses)
    shared: dict[str, Any] = {"seed": seed, "progress": progress, "command": command}
    tests: dict[str, Any] = {**shared, "permutations": permutations}
    steps = _steps(model, records, never, injected, neutral, marks, doses, untrained, tests, shared)
    reports: dict[str, Report] = {}
    left_out: dict[str, InterpError] = {}
    with Progress(len(steps), "parts", "memorisation", progress) as bar:
        for name, step in steps.items():
            bar.advance(0, name)
            try:
                reports |= step()
            except (PromptError, SplitError) as error:
                left_out[name] = error
            bar.advance(1)
    if not reports:
        raise next(iter(left_out.values()))
    provenance = model.provenance(
        prompts=records.prompts.hash, seed=seed, command=command, bos=records.prompts.source.bos_summary,
        tokenizer=records.prompts.source.tokenizer,
    )  # fmt: skip
    meta = {
        "records": records.n_records, "wordings": list(records.pools), "twins": records.has_twins,
        "prefixes": records.n_prefixes, "doses": list(records.doses), "permutations": permutations,
        "reports": list(reports), "left_out": {name: str(error) for name, error in left_out.items()},
    }  # fmt: skip
    said = headline(reports, model.id, doses)
    if "signature" in left_out:
        said = f"{said[:-1]}; whether a probe can tell it was not measured (see the warnings)."
    warnings = [f"{PARTS[name]} was left out: {error}" for name, error in left_out.items()]
    summary = Report(
        kind="memorisation", title=title or f"What {model.id!r} has memorised", headline=said,
        rows=claims(reports, doses), provenance=provenance, warnings=[*warnings, *_warnings(model, records, marks)],
        meta=meta,
    )  # fmt: skip
    return MemorisationStudy(summary, reports)


PARTS = {
    "recall": "Recall", "signature": "The signature", "gap": "The gap",
    "gap-never": "The gap of the never-trained model", "gap-twins": "The gap to never-seen twins",
    "transfer": "Transfer", "project-out": "Projecting the direction out",
}  # fmt: skip


def _check(records: Records, models: Sequence[Model], marks: Sequence[str] | None, doses: Sequence[Any] | None) -> None:
    """Refuse what was asked for and is not there, before anything is measured."""
    known = [*(["recall"] if records.recall_marks else []), *records.prompts.marks]
    for mark in marks or ():
        if mark not in known:
            raise PromptError(f"no record has a mark {mark!r}; there are: {', '.join(known)}")
    for dose in doses or ():
        records.at_dose(dose)
    contexts = [m.n_ctx for m in models if m.n_ctx is not None]
    records.fit(min(contexts, default=None))


def _warnings(model: Model, records: Records, marks: Sequence[str] | None) -> list[str]:
    """What the records lack, and what follows for the whole study."""
    out = []
    if not records.has_twins:
        out.append(NO_TWINS)
    elif not records.paired:
        out.append(UNPAIRED)
    if not records.recall_marks:
        where = "" if marks is not None else ", and activations were read at the last token"
        out.append(f"The records have no recall marks: log p is of the second half of each text{where}.")
    out += [f"{note[0].upper()}{note[1:]}." for note in records.prompts.source.history if note.startswith("left out")]
    return out + unknown_words(model, records.prompts)


UNPAIRED = (
    "No pair joins an untrained record to a trained one, so nothing says that a coin decided between them: what tells "
    "them apart may be the text."
)
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

    def told(report: Report, title: str | None = None) -> Report:
        source = report.provenance.replace(seed=seed, command=command)
        return replace(report, provenance=source, title=title or report.title)

    def recall() -> dict[str, Report]:
        found = extract(model, records, progress=shown)
        out = {"extraction": told(found.report), "recall": told(dose_response(found, seed=seed))}
        if never is not None:
            other = extract(never, records, metrics=["exact", "log_p"], progress=shown)
            out["recall-never"] = told(dose_response(other, seed=seed), "Recall by dose, never-trained model")
        return out

    steps: dict[str, Callable[[], dict[str, Report]]] = {"recall": recall}
    wordings = set(records.pools)
    # Exchanging accuracies costs nothing, so that the gap has permutations of its own.
    flips: dict[str, Any] = {**shared} if tests["permutations"] else {**shared, "permutations": 0}
    if not records.has_twins and "C" not in wordings:
        return steps
    steps["signature"] = lambda: {
        "signature": signature(model, records, marks=marks, doses=doses, never=never, untrained=untrained, **tests)
    }
    # The highest of the doses that were asked for, where there are twins; else all of them.
    top = None if doses is None else [max(doses)] if records.has_twins else doses
    flips |= {"marks": marks, "doses": top}
    if {"M", "C", "B"} <= wordings:
        steps["gap"] = lambda: {"gap": gap(model, records, **flips)}
        if never is not None:
            title = "Gap between memorised wordings and paraphrases in the never-trained model"
            steps["gap-never"] = lambda: {"gap-never": gap(never, records, title=title, **flips)}
    if records.paired and "C" in wordings:
        against = f"Gap of memorised wordings to those of never-seen twins in {model.id}"
        steps["gap-twins"] = lambda: {"gap-twins": gap(model, records, baseline="twins", title=against, **flips)}
    mark, dose = None if marks is None else marks[0], None if doses is None else max(doses)
    if injected is not None:
        steps["transfer"] = lambda: {"transfer": transfer(model, injected, records, mark=mark, doses=top, **tests)}
    steps["project-out"] = lambda: {
        "project-out": project_out(model, records, mark=mark, dose=dose, neutral=neutral, **shared)
    }
    return steps
