"""``project_out``: take the probe's direction out of one block's output, and see what probes and the model lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from ..directions.erasers import Erasure, erase, fit_probe_direction, fit_random, nested_erasure
from ..edits import Edit
from ..errors import StatisticsError
from ..metrics import token_scores
from ..prompts import PromptSet
from ..report import Report
from ..sites import Site
from ..stats import Interval, cluster_bootstrap
from .features import depth_of, depths, read
from .records import TRAINED, Records
from .signature.cells import folds_of
from .signature.contrasts import TWINS, contrast, planted_marks

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]


def project_out(
    model: Model,
    records: Records,
    *,
    mark: str | None = None,
    dose: Any = None,
    sites: Sequence[str | Site] | None = None,
    C: float = 1.0,
    random: int = 4,
    neutral: PromptSet | None = None,
    bootstrap: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    progress: bool | None = None,
    command: str | None = None,
) -> Report:
    """Project ``w = coef / scale`` out of every token of a block's output, one depth at a time.

    What a probe then reads at that depth is given three times: with a direction fitted on all records
    (``in_sample``: below chance by construction, see ``docs/methods/below-chance.md``), inside the training folds
    (``nested``), and on the other half of the groups (``fresh``). What the model loses is the change of log p of the
    memorised records (nats per token; at the details where there are recall marks), beside that of never-seen twins and
    of random directions of equal rank.

    Args:
        dose: by default the highest.
        sites: by default the output of every block.
        random: how many random directions.
        neutral: other text, whose log p shows what the projection costs it.

    Raises:
        PromptError: nothing to tell apart.
        SplitError: too few groups.

    Source: arXiv 2605.01699, ``h - (h·w) w`` with unit ``w``; the sign flip that it reports is the in-sample artefact.

    Example:
        >>> import interp
        >>> from interp.memorisation import load_records
        >>> bed = interp.testbeds.path("memory")
        >>> model = interp.load_model(bed)
        >>> records = load_records(bed / "records.jsonl", model.tokenizer)
        >>> found = project_out(model, records, dose=8, sites=["resid_post.3"], random=1)
        >>> found.rows[0]["in_sample_acc"] < found.rows[0]["nested_acc"]
        True
    """
    if random < 1:
        raise StatisticsError(f"random must be 1 or more directions, got {random}")
    at = mark if mark is not None else planted_marks(records)[0]
    wanted = records.doses[-1] if dose is None else dose
    one = contrast(records, TWINS if records.has_twins else "M-C", wanted)
    part = records.at_dose(wanted)
    planted = part.planted()
    scored = _positions(part, planted)
    trained = np.ones(len(planted), bool) if planted.labels is None else np.asarray(planted.labels == TRAINED)
    groups = np.asarray(planted.groups if planted.groups is not None else planted.columns["record"].astype(str))
    before = _log_p(model, planted, scored, ())
    chosen = [Site.parse(s) for s in (depths(model)[1:] if sites is None else sites)]
    features = read(model, one.prompts, chosen, at, progress=progress)
    split = folds_of(one, None, seed)
    boot: dict[str, Any] = {"replicates": bootstrap, "level": level, "method": "t", "seed": seed}
    rows = []
    for site in chosen:
        x = features[site]
        found = nested_erasure(x, one.truth, one.groups, fit_probe_direction, folds=split, C=C, seed=seed)
        after = _log_p(model, planted, scored, [erase(site, found.in_sample_eraser)])
        others = [fit_random(x, one.truth, seed=seed + 1 + k) for k in range(random)]
        drawn = [_log_p(model, planted, scored, [erase(site, eraser)]) - before for eraser in others]
        rows.append({
            "site": str(site), "depth": depth_of(site, 0), "mark": at,
            "dose": _plain(wanted), "contrast": one.name, **_readings(found, boot),
            **_behaviour(before, after, np.stack(drawn), trained, groups, boot),
            **_elsewhere(model, neutral, erase(site, found.in_sample_eraser)), "n_groups": len(np.unique(one.groups)),
        })  # fmt: skip
    source = one.prompts.source
    provenance = model.provenance(
        prompts=one.prompts.hash, seed=seed, command=command, bos=source.bos_summary, tokenizer=source.tokenizer
    )
    where = "details" if part.recall_marks else "all tokens"
    meta = {"ci_level": level, "unit": "nats per token", "log_p_at": where, "random": random, "C": C}
    return Report(
        kind="project-out", title=f"The probe's direction projected out of {model.id!r}",
        headline=headline(rows, where), rows=rows, provenance=provenance, meta=meta, warnings=[ARTEFACT],
    )  # fmt: skip


ARTEFACT = (
    "In-sample readings are below chance by construction, whatever there was to erase: a direction that saw the "
    "held-out records leaves the others leaning against them. Read the nested and the other-half numbers."
)


def costs_of(row: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether the memorised records lose log p at all, and whether they lose more than by random directions.

    >>> costs_of({"log_p_change_hi": 0.001, "beyond_random_hi": -0.002})
    (False, False)
    """
    costs = bool(row["log_p_change_hi"] < 0)
    return costs, costs and bool(row["beyond_random_hi"] < 0)


def headline(rows: Sequence[Mapping[str, Any]], where: str) -> str:
    """One sentence: what is left to read, and what it cost the memorised records, at the depth where it cost most."""
    most = min(rows, key=lambda r: r["log_p_change"])
    left = "" if most["fresh_auc"] is None else (
        f"; a probe on the other half of the groups reads AUC {most['fresh_auc']:.2f} afterwards, "
        f"{most['fresh_before_auc']:.2f} before"
    )  # fmt: skip
    costs, beyond = costs_of(most)
    says = f"the in-sample accuracy of {most['in_sample_acc']:.2f} says nothing"
    if not costs:
        change = f"{most['log_p_change']:+.2g} [{most['log_p_change_lo']:+.2g}, {most['log_p_change_hi']:+.2g}]"
        return (
            "Projecting the probe's direction out costs memorised records nothing that can be told from none "
            f"({change} nats per token at {where}, after {most['site']}, where the change is lowest){left}; {says}."
        )
    verdict = "more than" if beyond else "no more than"
    return (
        f"Projecting the probe's direction out costs memorised records {-most['log_p_change']:.2g} nats per token "
        f"(at {where}; {most['site']}, where it costs most), {verdict} random directions do "
        f"({-most['random_change']:.2g}){left}; {says}."
    )


def _readings(found: Erasure, boot: Mapping[str, Any]) -> dict[str, Any]:
    """AUC with interval, and accuracy, of each reading."""
    out: dict[str, Any] = {}
    named = {
        "before": found.before, "in_sample": found.in_sample, "nested": found.nested,
        "fresh_before": found.fresh_before, "fresh": found.fresh,
    }  # fmt: skip
    for name, reading in named.items():
        if reading is None:
            out |= dict.fromkeys((f"{name}_auc", f"{name}_auc_lo", f"{name}_auc_hi", f"{name}_acc"))
            continue
        i = reading.interval(replicates=boot["replicates"], level=boot["level"], seed=boot["seed"])
        out |= {f"{name}_auc": float(i.estimate), f"{name}_auc_lo": float(i.low), f"{name}_auc_hi": float(i.high)}
        out |= {f"{name}_acc": reading.accuracy}
    return out


def _behaviour(
    before: Array, after: Array, drawn: Array, trained: Array, groups: Array, boot: Mapping[str, Any]
) -> dict[str, Any]:
    """Changes of log p by resampling groups: of trained records, of twins, under random directions."""

    def mean(values: Array, rows: Array) -> Interval:
        def statistic(w: Array) -> Array:
            return np.asarray((w * np.where(rows, values, 0.0)).sum(-1) / (w * rows).sum(-1))

        return cluster_bootstrap(statistic, groups, **boot)

    change = after - before
    out = {"log_p_before": float(before[trained].mean()), "log_p_after": float(after[trained].mean())}
    parts = {
        "log_p_change": mean(change, trained), "random_change": mean(drawn.mean(0), trained),
        "beyond_random": mean(change - drawn.mean(0), trained),
    }  # fmt: skip
    if not trained.all():
        parts["twin_change"] = mean(change, ~trained)
    for name, i in parts.items():
        out |= {name: float(i.estimate), f"{name}_lo": float(i.low), f"{name}_hi": float(i.high)}
    return {**out, "random_worst": float(drawn[:, trained].mean(1).min())}


def _elsewhere(model: Model, neutral: PromptSet | None, edit: Edit) -> dict[str, float]:
    """Mean log p per token of other text, before and after."""
    if neutral is None:
        return {}
    before, after = (token_scores(model, neutral, edits=edits, progress=False).log_p for edits in ((), (edit,)))
    return {"neutral_before": float(np.nanmean(before)), "neutral_after": float(np.nanmean(after))}


def _positions(records: Records, prompts: PromptSet) -> Bool[np.ndarray, "record pos"]:
    """Which tokens are scored: the details, or all that something predicts."""
    mask = np.zeros((len(prompts), int(prompts.lengths.max())), bool)
    for i, (targets, length) in enumerate(zip(records.targets(prompts), prompts.lengths, strict=True)):
        mask[i, targets if len(targets) else np.arange(1, length)] = True
    return mask


def _log_p(
    model: Model, prompts: PromptSet, scored: Bool[np.ndarray, "record pos"], edits: Sequence[Edit]
) -> Float[np.ndarray, " record"]:
    """Mean log p of the scored tokens of each record."""
    log_p = token_scores(model, prompts, edits=edits, progress=False).log_p
    return np.where(scored, log_p, 0.0).sum(1) / scored.sum(1)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
