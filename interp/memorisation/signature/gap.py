"""``gap``: how much better memorised wordings are told from paraphrases than paraphrases from each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import StatisticsError
from ...prompts import PromptSet
from ...report import Report
from ...sites import Site
from ..features import first_block, read
from ..records import Records
from .arms import arms_of
from .contrasts import planted_marks
from .gapfit import measure_gap
from .gapwords import gap_headline, gap_warnings
from .trend import rising

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]


def gap(
    model: Model,
    records: Records,
    *,
    marks: Sequence[str] | None = None,
    doses: Sequence[Any] | None = None,
    baseline: str = "C-B",
    sites: Sequence[str | Site] | None = None,
    C: float = 1.0,
    folds: int | None = None,
    permutations: int = 4999,
    bootstrap: int = 1000,
    level: float = 0.95,
    tol: float = 1e-3,
    seed: int = 0,
    title: str | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> Report:
    """``gap(d) = LOO(M vs C) - LOO(C vs B)``: held-out accuracies at every depth, groups left out, groups averaged.

    ``gap`` is the paper's. ``gap_clamped`` puts a baseline below chance at chance, where it cannot inflate the gap. In
    ``meta``: the mean over transformer depths (the headline), the peak, named as such, and the gap at a depth chosen
    without the groups that judge it. Permutations exchange the two accuracies of whole groups: if M is one more
    paraphrase, as far from C as B is, which is which is a coin.

    Args:
        baseline: ``"C-B"``, or ``"twins"``: M against C in never-seen twins. That is a sharper baseline where there
            are twins, as wordings, and which of them is M, are then the same.
        doses: by default the highest, and all where there are no twins.

    Raises:
        PromptError: a wording is missing.
        SplitError: too few groups.

    Source: arXiv 2605.01699; what differs is in ``docs/methods/cross-sequence-probe.md``.

    Example:
        >>> import interp
        >>> from interp.memorisation import load_records
        >>> bed = interp.testbeds.path("memory")
        >>> model = interp.load_model(bed)
        >>> records = load_records(bed / "records.jsonl", model.tokenizer)
        >>> found = gap(model, records, doses=[8], permutations=19)
        >>> found.kind, found.meta["parts"][0]["groups"], found.meta["parts"][0]["min_p"]
        ('gap', 6, 0.05)
    """
    if permutations < 0:
        raise StatisticsError(f"permutations must be 0 or more, got {permutations}")
    chosen = tuple(marks) if marks is not None else planted_marks(records)
    wanted = tuple(doses) if doses is not None else records.doses[-1:] if records.has_twins else records.doses
    rows: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    nulls: list[Array] = []
    prompts: PromptSet | None = None
    for dose in wanted:
        arms = arms_of(records, dose, baseline)
        prompts = arms.prompts
        for mark in chosen:
            features = read(model, prompts, sites, mark, progress=progress)
            found = measure_gap(
                features, arms, C=C, folds=folds, permutations=permutations, bootstrap=bootstrap, level=level, tol=tol,
                seed=seed,
            )  # fmt: skip
            about = {"mark": mark, "dose": _plain(dose), "baseline": baseline}
            rows += [{**about, **row} for row in found.rows()]
            parts.append({**about, **found.summary()})
            nulls.append(found.null[:, first_block(found.sites) :])
    assert prompts is not None
    provenance = model.provenance(
        prompts=records.prompts.hash, seed=seed, command=command, bos=prompts.source.bos_summary,
        tokenizer=prompts.source.tokenizer,
    )  # fmt: skip
    meta = {
        "parts": parts, "ci_level": level, "unit": "groups of records", "C": C, "dose_trend": _trend(parts, nulls),
        **{k: v for k, v in parts[-1].items() if k.startswith(("nested", "mean", "peak", "min_p"))},
    }  # fmt: skip
    return Report(
        kind="gap", title=title or f"Gap between memorised wordings and paraphrases in {model.id!r}",
        headline=gap_headline(parts), rows=rows, provenance=provenance, warnings=gap_warnings(parts), meta=meta,
    )  # fmt: skip


def _trend(parts: list[dict[str, Any]], nulls: list[Array]) -> list[dict[str, Any]]:
    out = []
    for mark in dict.fromkeys(p["mark"] for p in parts):
        own = [(p, n) for p, n in zip(parts, nulls, strict=True) if p["mark"] == mark and p["dose"] is not None]
        if len(own) >= 3 and all(len(n) for _, n in own):
            values = np.array([p["mean_gap"] for p, _ in own])
            drawn = [n.mean(1) for _, n in own]
            found = rising(values, drawn, np.arange(len(own), dtype=float))
            out.append({"mark": mark, "doses": [p["dose"] for p, _ in own], **found})
    return out


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
