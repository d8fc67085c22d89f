"""``signature``: the cross-sequence protocol. Does one direction tell memorised text that it was not fitted on?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from torch import Tensor

from ...errors import StatisticsError
from ...report import Report
from ...sites import Site
from ..features import read
from ..records import Records
from .baselines import bag_of_tokens, mean_log_p
from .cells import Cell, family_of, one_feature, probe_cell
from .contrasts import contrasts_of, planted_marks, together
from .findings import headline, warnings_of
from .rows import cell_rows, cell_summary
from .trend import dose_trend

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]


def signature(
    model: Model,
    records: Records,
    *,
    marks: Sequence[str] | None = None,
    doses: Sequence[Any] | None = None,
    contrasts: Sequence[str] | None = None,
    never: Model | None = None,
    untrained: bool = True,
    sites: Sequence[str | Site] | None = None,
    C: float = 1.0,
    folds: int | None = None,
    permutations: int = 200,
    bootstrap: int = 1000,
    level: float = 0.95,
    tol: float = 1e-4,
    seed: int = 0,
    title: str | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> Report:
    """Tell memorised from other text by a linear probe across records, at every depth, beside every control.

    For each contrast (``twins``: trained and never-seen twins; ``M-C``: the memorised wording and a paraphrase;
    ``C-B``: two paraphrases), dose and mark a logistic probe is trained on some groups of records and scores the
    others. All rows of a group, its prefixes too, are on one side of every split, are resampled together and permuted
    together.

    Args:
        marks: ``"recall"`` (the mean over the recall marks) and any mark; by default ``"recall"`` where there is one,
            else ``"last"``.
        doses: by default all for twins; for wordings the highest, and all where there are no twins.
        contrasts: by default all that the records allow.
        never: a model that has not seen the records, permuted and fitted in the same way.
        untrained: the same for the architecture with fresh weights.
        sites: by default the residual stream at every depth; depth 0 is the embedding.
        folds: by default one group is left out at a time, up to 16 folds.
        permutations: labels are permuted, and everything fitted again, this often; 0 for none.
        tol: of the probes' weights.

    Raises:
        PromptError: nothing to tell apart, or a mark that is not there.
        SplitError: too few groups.

    Source: the cross-sequence protocol of arXiv 2605.01699; ``docs/methods/cross-sequence-probe.md`` says what differs.

    Example:
        >>> import interp
        >>> from interp.memorisation import load_records
        >>> bed = interp.testbeds.path("memory")
        >>> model = interp.load_model(bed)
        >>> records = load_records(bed / "records.jsonl", model.tokenizer)
        >>> found = signature(model, records, doses=[8], contrasts=["twins"], permutations=19, untrained=False)
        >>> found.kind, found.rows[0]["depth"], found.rows[0]["n_groups"]
        ('signature', 0, 6)
    """
    if permutations < 0:
        raise StatisticsError(f"permutations must be 0 or more, got {permutations}")
    wanted = contrasts_of(records, contrasts, doses)
    chosen = tuple(marks) if marks is not None else planted_marks(records)
    others = _controls(model, never, untrained, seed)
    settings = {
        "C": C, "permutations": permutations, "bootstrap": bootstrap, "level": level, "tol": tol, "seed": seed,
        "progress": False,
    }  # fmt: skip
    prompts, rows_of = together(records, wanted)
    log_p = mean_log_p(model, prompts)
    cells: list[Cell] = []
    for mark in chosen:
        own = read(model, prompts, sites, mark, progress=progress)
        rest = {name: read(other, prompts, sites, mark, progress=progress) for name, other in others.items()}
        for one, rows in zip(wanted, rows_of, strict=True):
            simple = {"bow": bag_of_tokens(one.prompts, mark), "log_p": one_feature(log_p[rows])}
            made = {name: _some(x, rows) for name, x in rest.items()}
            cells.append(probe_cell(one, mark, _some(own, rows), made, simple, folds=folds, settings=settings))
    provenance = model.provenance(
        prompts=prompts.hash, seed=seed, command=command, bos=prompts.source.bos_summary,
        tokenizer=prompts.source.tokenizer,
    )  # fmt: skip
    return _report(cells, title, provenance, level, C, seed, {n: m.id for n, m in others.items()})


def _report(
    cells: list[Cell], title: str | None, provenance: Any, level: float, C: float, seed: int, others: dict[str, str]
) -> Report:
    family = family_of(cells, seed)
    rows = [row for cell, f in zip(cells, family, strict=True) for row in cell_rows(cell, f)]
    summaries = [cell_summary(cell, f) for cell, f in zip(cells, family, strict=True)]
    meta = {
        "cells": summaries, "ci_level": level, "ci_method": cells[0].trained.auc.method, "C": C,
        "controls": others, "unit": "groups of records", "dose_trend": dose_trend(cells),
        "chance_auc": 0.5, "min_p": min(c["min_p"] for c in summaries),
    }  # fmt: skip
    return Report(
        kind="signature", title=title or f"What tells memorised text apart in {provenance.model_id!r}",
        headline=headline(summaries), rows=rows, provenance=provenance, warnings=warnings_of(summaries), meta=meta,
    )  # fmt: skip


def _controls(model: Model, never: Model | None, untrained: bool, seed: int) -> dict[str, Model]:
    out: dict[str, Model] = {}
    if untrained:
        out["untrained"] = model.untrained(seed)
    if never is not None:
        out["never"] = never
    return out


def _some(features: Mapping[Site, Tensor], rows: Array) -> dict[Site, Tensor]:
    return {site: x[rows] for site, x in features.items()}
