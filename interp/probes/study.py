"""``probe``: from prompts to a report: a probe at every site, with its null, its controls and its baselines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import PromptError, SplitError
from ..prompts import PromptSet
from ..provenance import Provenance
from ..report import Report
from ..run import capture
from ..sites import Site
from ..splits import require_classes, require_distinct_inputs, shared_inputs
from .baselines import last_token, token_counts, visible_tokens
from .crossfit import Scorer, held_out_scores
from .evaluate import cross_validate
from .findings import Rival, headline, quoted_scores, warnings_of, worth
from .probe import Probe
from .result import CVResult, paired_difference, score_difference

if TYPE_CHECKING:
    from ..models import Model


@dataclass(frozen=True, eq=False, repr=False)
class ProbeStudy:
    """A report, the probe of its best site refitted on all examples, and the results behind the report."""

    report: Report
    probe: Probe
    trained: CVResult
    untrained: CVResult | None
    baselines: dict[str, CVResult]

    def __repr__(self) -> str:
        return repr(self.report)


def probe(
    model: Model,
    prompts: PromptSet,
    sites: str | Site | Sequence[str | Site] = "resid_post",
    *,
    at: str = "last",
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
) -> ProbeStudy:
    """Probe a label at every site, beside everything that the same reading finds without the trained model.

    Groups of prompts are never split between training and testing. Controls, all on the same folds: label permutations
    (of the best of all sites, too), the same architecture with random weights, a bag of the tokens up to the mark, and
    the token at the mark.

    Args:
        prompts: with ``labels`` of two classes and, as a rule, ``groups``; without, equal prompts are one group.
        sites: as for `capture`: ``"resid_post"`` is every layer.
        at: the mark to read at; prompts that lack it are left out, and counted in a warning.
        C: inverse strength of the L2 penalty on standardised features.
        permute: what label permutations move: whole ``"groups"``, or ``"examples"`` within them (see `permute_labels`).
        untrained: whether to probe ``model.untrained(seed)`` too.
        shared: ``"raise"`` or ``"warn"`` where one input occurs in two groups.
        command: recorded in the provenance.

    Raises:
        PromptError: no labels, or a mark that no prompt has.
        SplitError: labels or groups that allow no honest split, or inputs on both sides of it.
        NonFiniteError: NaN or infinity in activations.

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> tokens = [[1 + i % 9, 10 + i % 7, 1 + (i // 2 + i) % 9] for i in range(60)]
        >>> prompts = interp.PromptSet.from_tokens(tokens, labels=[t[-1] > 4 for t in tokens])
        >>> study = interp.probe(model, prompts, folds=5, permutations=19, bootstrap=200, shared="warn")
        >>> study.report.kind, study.probe.mark
        ('probe', 'last')
    """
    read = read_sites(
        model, prompts, sites, at=at, C=C, folds=folds, permutations=permutations, bootstrap=bootstrap, level=level,
        permute=permute, nested=nested, untrained=untrained, shared=shared, seed=seed, progress=progress,
        command=command,
    )  # fmt: skip
    trained, best = read.trained, read.trained.sites[read.trained.best]
    truth = torch.from_numpy(trained.truth)
    fitted = Probe.fit(read.features[best], truth, trained.classes, best, at, read.provenance, C=C)
    report = Report(
        kind="probe",
        title=title or f"'{trained.classes[1]}' against '{trained.classes[0]}' at {at}",
        headline=headline(trained, at, read.rivals),
        rows=read.rows,
        provenance=read.provenance,
        warnings=read.warnings,
        meta=read.meta,
    )
    return ProbeStudy(report, fitted, trained, read.untrained, read.baselines)


@dataclass(frozen=True, eq=False, repr=False)
class Reading:
    """What was read at every site, and beside it: activations in the order of ``prompts``, which have the mark.

    ``rows``, ``meta`` and ``warnings`` are those of a report; ``rivals`` what the best site has to be ahead of.
    """

    prompts: PromptSet
    features: dict[Site, Tensor]
    trained: CVResult
    untrained: CVResult | None
    baselines: dict[str, CVResult]
    rivals: dict[str, Rival]
    rows: list[dict[str, Any]]
    meta: dict[str, Any]
    warnings: list[str]
    provenance: Provenance


def read_sites(
    model: Model,
    prompts: PromptSet,
    sites: str | Site | Sequence[str | Site] = "resid_post",
    *,
    at: str = "last",
    C: float = 1.0,
    folds: int = 10,
    permutations: int = 200,
    bootstrap: int = 2000,
    level: float = 0.95,
    permute: str = "groups",
    nested: bool = True,
    untrained: bool = True,
    shared: str = "raise",
    scorer: Callable[[PromptSet], Scorer] = lambda _: held_out_scores,
    seed: int = 0,
    progress: bool | None = None,
    command: str | None = None,
) -> Reading:
    """What `probe` reads at every site, with its nulls, controls and baselines, as values.

    ``scorer`` makes what is fitted on training rows, in place of logistic regression, from the prompts that are read;
    the baselines without a model stay logistic regression. The rest is as for `probe`.

    Raises:
        PromptError, SplitError, NonFiniteError: as `probe`.
    """
    if shared not in ("raise", "warn"):
        raise SplitError(f"shared is 'raise' or 'warn', got {shared!r}")
    chosen, labels, positions, notes = _select(prompts, at)
    require_classes(labels)
    seen = visible_tokens(chosen.tokens, positions)
    groups, repeats, more = groups_of_inputs(chosen, seen, shared)
    fit = scorer(chosen)
    settings: dict[str, Any] = {"C": C, "bootstrap": bootstrap, "level": level, "seed": seed, "progress": progress}
    acts = capture(model, chosen, sites, at=at, progress=progress, command=command)
    features = features_of(acts, len(chosen))
    trained = cross_validate(
        features,
        labels,
        groups,
        folds=folds,
        permutations=permutations,
        permute=permute,
        nested=nested,
        scorer=fit,
        **settings,
    )
    settings |= {"folds": trained.folds, "permutations": 0}
    control = None
    if untrained:
        fresh = capture(model.untrained(seed), chosen, list(acts.sites), at=at, progress=progress)
        made = features_of(fresh, len(chosen))
        control = cross_validate(made, labels, groups, nested=trained.nested is not None, scorer=fit, **settings)
    simple = {"bow": token_counts(seen), "last_token": last_token(seen)}
    baselines = {
        name: cross_validate({name: x}, labels, groups, nested=False, **settings) for name, x in simple.items()
    }
    rivals = _rivals(trained, control, baselines, bootstrap, level, seed)
    return Reading(
        chosen, features, trained, control, baselines, rivals, cell_rows(trained, control, at, bootstrap, level, seed),
        {**grid_meta(trained, level), **_rival_meta(baselines, rivals)},
        [*notes, *more, *warnings_of(trained, rivals, repeats, chosen.groups is None)],
        acts.provenance.replace(seed=seed, command=command),
    )  # fmt: skip


def _select(prompts: PromptSet, at: str) -> tuple[PromptSet, np.ndarray, np.ndarray, list[str]]:
    """The prompts that have the mark, their labels, where it is, and a note of those that lack it."""
    if prompts.labels is None:
        raise PromptError("these prompts have no labels to probe; load them with label=..., or use with_labels")
    if at not in prompts.marks:
        raise PromptError(f"no prompt has the mark {at!r} to read at; marks: {', '.join(prompts.marks)}")
    there = np.flatnonzero(prompts.marks[at] >= 0)
    if not there.size:
        raise PromptError(f"no prompt has the mark {at!r}; marks: {', '.join(prompts.marks)}")
    if there.size == len(prompts):
        return prompts, prompts.labels, prompts.marks[at], []
    chosen = prompts.select(there)
    note = f"{len(prompts) - there.size} of {len(prompts)} prompts lack the mark '{at}' and were left out."
    return chosen, prompts.labels[there], chosen.marks[at], [note]


def groups_of_inputs(prompts: PromptSet, seen: list[np.ndarray], shared: str) -> tuple[np.ndarray, int, list[str]]:
    """The group of each prompt, how many prompts repeat one of their group, and a note on inputs that groups share."""
    keys = [t.astype(np.int64).tobytes() for t in seen]
    if prompts.groups is None:
        numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        groups = np.array([f"input {numbers[key]}" for key in keys])
    else:
        groups = np.asarray(prompts.groups)
    repeats = len(keys) - len(set(zip(keys, groups.tolist(), strict=True)))
    pairs = shared_inputs(seen, groups)
    if pairs and shared == "raise":
        require_distinct_inputs(seen, groups, prompts.ids)
    note = f"{len(pairs)} prompts have the same tokens, up to where they are read, as one of another group: a leak."
    return groups, repeats, [note] if pairs else []


def features_of(acts: Any, n: int) -> dict[Site, Tensor]:
    """Rows in the order of the prompts."""
    order = np.argsort(acts.index.example, kind="stable")
    if not np.array_equal(acts.index.example[order], np.arange(n)):
        raise SplitError(f"expected one row for each of {n} prompts, got {len(order)} rows")
    return {site: acts[site][order] for site in acts.sites}


def _rivals(
    trained: CVResult, control: CVResult | None, baselines: dict[str, CVResult], bootstrap: int, level: float, seed: int
) -> dict[str, Rival]:
    names = {"untrained": "an untrained model", "bow": "a bag of tokens", "last_token": "the last token alone"}
    others = {**({"untrained": control} if control else {}), **baselines}
    own, truth, groups = quoted_scores(trained)[None], trained.truth, trained.folds.groups
    rivals = {}
    for key, other in others.items():
        ahead = score_difference(own, quoted_scores(other)[None], truth, groups, bootstrap, level, seed)
        rivals[key] = Rival(names[key], float(worth(other).estimate), _only(ahead))
    return rivals


def _only(i: Any) -> Any:
    from .result import pick

    return pick(i, 0)


def cell_rows(
    trained: CVResult, control: CVResult | None, at: str, bootstrap: int, level: float, seed: int
) -> list[dict[str, Any]]:
    """A row for each site: AUC and accuracy with intervals, the null, the untrained twin and the gain over it."""
    gain = paired_difference(trained, control, bootstrap=bootstrap, level=level, seed=seed) if control else None
    rows = []
    for k, site in enumerate(trained.sites):
        row: dict[str, Any] = {"site": str(site), "mark": at}
        row |= _triple("auc", trained.auc, k) | _triple("acc", trained.accuracy, k)
        if len(trained.null):
            row |= {"null_auc_lo": float(np.quantile(trained.null[:, k], 0.05))}
            row |= {"null_auc_hi": float(np.quantile(trained.null[:, k], 0.95))}
            row |= {"null_acc_lo": float(np.quantile(trained.null_accuracy[:, k], 0.05))}
            row |= {"null_acc_hi": float(np.quantile(trained.null_accuracy[:, k], 0.95))}
            row |= {"p": float(trained.p[k]), "p_max": float(trained.p_max[k])}
        if control is not None and gain is not None:
            row |= _triple("untrained_auc", control.auc, k) | _triple("untrained_acc", control.accuracy, k)
            row |= _triple("gain_auc", gain, k)
        rows.append({**row, "n": len(trained.truth), "n_groups": trained.auc.groups})
    return rows


def _triple(name: str, i: Any, k: int) -> dict[str, float]:
    return {name: float(i.estimate[k]), f"{name}_lo": float(i.low[k]), f"{name}_hi": float(i.high[k])}


def grid_meta(trained: CVResult, level: float) -> dict[str, Any]:
    """What belongs to all sites together: the best, the choice made inside the folds, the null of the best."""
    share, drawn, quoted = float(trained.truth.mean()), trained.permutations, worth(trained)
    size = math.floor(math.log10(drawn.attainable))
    arrangements = drawn.attainable if size < 12 else f"about 10^{size}"
    meta: dict[str, Any] = {
        "best_site": str(trained.sites[trained.best]), "classes": list(trained.classes), "ci_level": level,
        "chance_auc": 0.5, "chance_acc": max(share, 1 - share), "folds": trained.folds.count, "C": trained.C,
        "ci_method": trained.auc.method, "permutation_scheme": drawn.scheme, "permutations": len(drawn.labels),
        "arrangements": arrangements, "min_p": drawn.min_p,
    }  # fmt: skip
    if trained.nested:
        meta |= {"nested_auc": float(quoted.estimate), "nested_auc_lo": float(quoted.low)}
        meta |= {"nested_auc_hi": float(quoted.high), "nested_sites": [str(s) for s in trained.nested.chosen]}
        meta |= {"nested_acc": float(trained.nested.accuracy.estimate)}
    if len(trained.null):
        meta |= {"null_max_auc_95": trained.null_max()}
        meta |= {"null_max_acc_95": float(np.quantile(trained.null_accuracy.max(1), 0.95))}
    return meta


def _rival_meta(baselines: dict[str, CVResult], rivals: dict[str, Rival]) -> dict[str, Any]:
    meta: dict[str, Any] = {}
    for name, result in baselines.items():
        meta |= {f"baseline_{name}_auc": float(result.auc.estimate[0])}
        meta |= {f"baseline_{name}_acc": float(result.accuracy.estimate[0])}
    for name, rival in rivals.items():
        low, high = float(rival.ahead.low), float(rival.ahead.high)
        meta |= {f"ahead_of_{name}": [float(rival.ahead.estimate), low, high]}
    return meta
