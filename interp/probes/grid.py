"""``probe_grid``: a probe at every layer and position, judged together: the null is of the best of all cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..errors import PromptError
from ..prompts import PromptSet
from ..report import Report
from ..run import capture
from ..sites import Site
from ..splits import require_classes
from .baselines import token_counts, visible_tokens
from .evaluate import cross_validate
from .findings import ALPHA, warnings_of, worth
from .result import CVResult
from .study import cell_rows, features_of, grid_meta, groups_of_inputs

if TYPE_CHECKING:
    from ..models import Model

Cell = tuple[str, str]  # mark, site


def probe_grid(
    model: Model,
    prompts: PromptSet,
    sites: str | Site | Sequence[str | Site] = "resid_post",
    *,
    at: Sequence[str],
    C: float = 1.0,
    folds: int = 10,
    permutations: int = 200,
    bootstrap: int = 2000,
    level: float = 0.95,
    permute: str = "groups",
    nested: bool = True,
    untrained: bool = True,
    shared: str = "raise",
    seed: int = 0,
    title: str | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> Report:
    """Probe a label at every site and mark; ``p_max`` and the null are of the best of all cells.

    All cells see the same prompts, folds and label permutations. Beside each mark stands a bag of the tokens up to it
    (``bow_auc``) and how many distinct inputs end there (``inputs``).

    Args:
        at: two marks or more; prompts that lack one are left out, and counted in a warning.
        nested: also choose the cell inside the training folds, which is what the best cell is worth.

    Raises:
        PromptError: no labels, fewer than two marks, or marks that no prompt has together.
        SplitError: as for `probe`.

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> tokens = [[1 + i % 9, 10 + i % 7, 1 + (i // 2 + i) % 9] for i in range(60)]
        >>> marks = {"middle": [1] * 60, "end": [2] * 60}
        >>> prompts = interp.PromptSet.from_tokens(tokens, labels=[t[-1] > 4 for t in tokens], marks=marks)
        >>> made = probe_grid(model, prompts, at=["middle", "end"], folds=5, permutations=19, bootstrap=200,
        ...                   untrained=False, shared="warn")
        >>> made.kind, len(made), max(made.rows, key=lambda row: row["auc"])["mark"]
        ('probe-grid', 4, 'end')
    """
    marks = [at] if isinstance(at, str) else list(dict.fromkeys(at))
    chosen, labels, notes = _select(prompts, marks)
    require_classes(labels)
    seen = {mark: visible_tokens(chosen.tokens, chosen.marks[mark]) for mark in marks}
    last = max(marks, key=lambda mark: int(chosen.marks[mark].sum()))
    groups, repeats, more = groups_of_inputs(chosen, seen[last], shared)
    use: dict[str, Any] = {"C": C, "bootstrap": bootstrap, "level": level, "seed": seed, "progress": progress}
    features, provenance = _features(model, chosen, sites, marks, command, progress)
    trained = cross_validate(
        features, labels, groups, folds=folds, permutations=permutations, permute=permute, nested=nested, **use
    )
    use |= {"folds": trained.folds, "permutations": 0, "nested": False}
    names = list(dict.fromkeys(site for _, site in features))
    control = None
    if untrained:
        fresh, _ = _features(model.untrained(seed), chosen, names, marks, None, progress)
        control = cross_validate(fresh, labels, groups, **use)
    bags = {mark: token_counts(tokens) for mark, tokens in seen.items()}
    bow = cross_validate(bags, labels, groups, **use)
    rows = _rows(trained, control, bow, seen, (bootstrap, level, seed))
    meta = grid_meta(trained, level) | {"marks": marks, "sites": names}
    return Report(
        kind="probe-grid",
        title=title or f"'{trained.classes[1]}' against '{trained.classes[0]}' by layer and position",
        headline=_headline(trained, bow),
        rows=rows,
        provenance=provenance.replace(seed=seed, command=command),
        warnings=[*notes, *more, *warnings_of(trained, {}, repeats, chosen.groups is None)],
        meta=meta,
    )


def _select(prompts: PromptSet, marks: Sequence[str]) -> tuple[PromptSet, np.ndarray, list[str]]:
    """The prompts that have every mark, their labels, and a note of those that do not."""
    if prompts.labels is None:
        raise PromptError("these prompts have no labels to probe; load them with label=..., or use with_labels")
    if len(marks) < 2:
        raise PromptError(f"a grid needs two marks or more, got {', '.join(marks) or 'none'}; for one, use `probe`")
    if missing := [mark for mark in marks if mark not in prompts.marks]:
        raise PromptError(f"no prompt has the mark {missing[0]!r}; marks: {', '.join(prompts.marks)}")
    there = np.flatnonzero(np.all([prompts.marks[mark] >= 0 for mark in marks], axis=0))
    if not there.size:
        raise PromptError(f"no prompt has all of the marks {', '.join(marks)}")
    if there.size == len(prompts):
        return prompts, prompts.labels, []
    note = f"{len(prompts) - there.size} of {len(prompts)} prompts lack one of the marks and were left out."
    return prompts.select(there), prompts.labels[there], [note]


def _features(
    model: Model, prompts: PromptSet, sites: Any, marks: Sequence[str], command: str | None, progress: bool | None
) -> tuple[dict[Cell, Tensor], Any]:
    acts = capture(model, prompts, sites, at=list(marks), progress=progress, command=command)
    made: dict[Cell, Tensor] = {}
    for mark in marks:
        here = acts.at(mark)
        made |= {(mark, str(site)): x for site, x in features_of(here, len(prompts)).items()}
    return made, acts.provenance


def _rows(
    trained: CVResult, control: CVResult | None, bow: CVResult, seen: dict[str, list[np.ndarray]],
    draws: tuple[int, float, int],
) -> list[dict[str, Any]]:  # fmt: skip
    """A row per cell: the usual columns of a probe, the mark's bag of tokens, and how many inputs differ there."""
    words = dict(zip(bow.sites, bow.auc.estimate.tolist(), strict=True))
    inputs = {mark: len({t.astype(np.int64).tobytes() for t in tokens}) for mark, tokens in seen.items()}
    rows = []
    for (mark, site), row in zip(trained.sites, cell_rows(trained, control, "", *draws), strict=True):
        place = Site.parse(site)
        about = {"site": site, "mark": mark, "kind": place.kind, "layer": place.layer}
        rows.append({**row, **about, "bow_auc": words[mark], "inputs": inputs[mark]})
    return rows


def _headline(trained: CVResult, bow: CVResult) -> str:
    low, high = (str(c) for c in trained.classes)
    mark, site = trained.sites[trained.best]
    best, cells = float(trained.auc.estimate[trained.best]), len(trained.sites)
    p = float(trained.p_max[trained.best]) if len(trained.null) else math.nan
    if math.isnan(p):
        return f"'{high}' against '{low}': best of {cells} cells {site} at {mark}, AUC {best:.2f}; without a null."
    if p > ALPHA:
        return (
            f"No cell of {cells} separates '{high}' from '{low}' better than the best cell of shuffled labels does "
            f"(best: {site} at {mark}, AUC {best:.2f}, p = {p:.2g} over all cells)."
        )
    value = worth(trained)
    number = f"AUC {float(value.estimate):.2f} [{float(value.low):.2f}, {float(value.high):.2f}]"
    number += " with the cell chosen inside the folds" if trained.nested else " at the peak, selected on these data"
    words = float(np.max(bow.auc.estimate))
    return (
        f"'{high}' against '{low}': {number}, best at {site}, {mark}; beyond the best of {cells} cells under shuffled "
        f"labels (p = {p:.2g}); a bag of tokens reaches {words:.2f}."
    )


__all__ = ["probe_grid"]
