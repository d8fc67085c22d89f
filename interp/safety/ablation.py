"""``ablation_effect``: what taking a direction, heads or whole sites out does, beside others of the same kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..directions import Direction
from ..directions.ablation import ablation_edits
from ..edits import At, Edit, When, ablate, ablate_heads, read_heads
from ..errors import StatisticsError
from ..prompts import PromptSet
from ..report import Report
from ..run import capture, capture_stats
from ..run.progress import Progress
from ..sites import Site
from .beyond import Beyond, beyond_random, means_over
from .controls import Kind, rows_at, turned
from .headsets import random_sets
from .neutral import Arm, Costs, measure_costs
from .outcomes import Outcome, outcome, require_reach
from .steering import KL_LIMIT
from .words import ablation_headline, ablation_warnings

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]
How = Literal["zero", "mean", "resample"]


@dataclass(frozen=True, eq=False)
class Removal:
    """Edits that take something out, what it is in words, and the controls: others of its kind, and what they are."""

    what: str
    edits: tuple[Edit, ...]
    controls: tuple[tuple[Edit, ...], ...]
    kind: str


def remove_direction(
    model: Model,
    direction: Direction,
    *,
    sites: Sequence[str | Site] | None = None,
    at: At = "all",
    when: When = "both",
    n_random: int = 19,
    random: Kind = "isotropic",
    reference: PromptSet | None = None,
    foreign: bool = False,
    seed: int = 0,
) -> Removal:
    """Project a direction out at every write to the residual stream (or at ``sites``); random directions beside it.

    That is at every block's input and every attention and MLP output (arXiv 2406.11717, equation 4).

    Args:
        reference: prompts whose activations natural random directions are mixed from.

    Raises:
        ProvenanceError: the direction is of another model (unless ``foreign``).
        EditError: it does not fit a site.
    """
    if not foreign:
        direction.provenance.require_model(model.fingerprint, "the direction")
    if sites is None:
        edits, where = ablation_edits(model, direction, at=at, when=when), "at every write"
    else:
        chosen = model.expand(list(sites))
        edits = tuple(ablate(site, "direction", direction, at=at, when=when) for site in chosen)
        where = f"at {', '.join(map(str, chosen))}"
    rows = None
    if random == "natural":
        if reference is None:
            raise StatisticsError("natural random directions are mixed from activations of prompts; give reference=")
        rows = rows_at(model, reference, direction.site)
    drawn = turned(edits, n_random, kind=random, rows=rows, seed=seed) if n_random else []
    return Removal(
        f"the direction of {direction.site} ({direction.method}) {where}", edits, tuple(drawn), "random directions"
    )


def remove_heads(
    model: Model,
    heads: str | Sequence[str | tuple[int, int] | Site],
    how: How = "mean",
    *,
    reference: PromptSet | None = None,
    at: At = "all",
    when: When = "both",
    n_random: int = 19,
    seed: int = 0,
) -> Removal:
    """Ablate attention heads; as many other heads, drawn at random from the whole model, beside them.

    Args:
        reference: prompts of which ``mean`` is the mean, and ``resample`` draws rows.

    Raises:
        EditError: heads that cannot be read. SiteError: that the model lacks.
        StatisticsError: ``mean`` or ``resample`` without ``reference``.
    """
    chosen = read_heads(heads)
    for head in chosen:
        model.resolve(head)
    every = [Site("z", layer, head) for layer in range(model.n_layers) for head in range(model.sizes.n_heads)]
    sets, _ = random_sets(every, chosen, n_random, seed) if n_random else ([], True)
    values = head_values(model, how, reference, seed=seed)

    def edits(some: Sequence[Site]) -> tuple[Edit, ...]:
        return tuple(_replaced(head, how, values, at, when) for head in some)

    names = ", ".join(f"{h.layer}.{h.head}" for h in chosen)
    what = f"head{'s' * (len(chosen) > 1)} {names} ({how})"
    others = "other heads" if len(chosen) == 1 else "random sets of as many heads"
    return Removal(what, edits(chosen), tuple(edits(s) for s in sets), others)


def remove_sites(
    model: Model,
    sites: Sequence[str | Site],
    how: How = "mean",
    *,
    reference: PromptSet | None = None,
    at: At = "all",
    when: When = "both",
    n_random: int = 19,
    seed: int = 0,
) -> Removal:
    """Ablate whole sites, such as ``mlp_out.3``; sites of the same kinds at other depths beside them.

    Raises:
        SiteError: the model lacks a site. StatisticsError: ``mean`` or ``resample`` without ``reference``.
    """
    chosen = model.expand(list(sites))
    every = [site for kind in dict.fromkeys(s.kind for s in chosen) for site in model.sites(kind)]
    whole = all(site.head is None for site in chosen)
    sets, _ = random_sets(every, chosen, n_random, seed) if n_random and whole else ([], True)
    needed = sorted({site for some in (chosen, *sets) for site in some})
    values = site_values(model, needed, how, reference, seed=seed)

    def edits(some: Sequence[Site]) -> tuple[Edit, ...]:
        return tuple(_replaced(site, how, values, at, when) for site in some)

    what = f"{', '.join(map(str, chosen))} ({how})"
    return Removal(what, edits(chosen), tuple(edits(s) for s in sets), "the same kinds at other depths")


def head_values(model: Model, how: How, reference: PromptSet | None, *, seed: int = 0) -> dict[Site, torch.Tensor]:
    """For every head of the model: its mean output ``[d_head]`` over the tokens of some prompts, or rows of it.

    ``resample`` gives ``[row, d_head]``: its outputs at one random token of each prompt, the same token for all heads.
    ``zero`` needs nothing.
    """
    whole = site_values(model, [Site("z", layer) for layer in range(model.n_layers)], how, reference, seed=seed)
    size = model.sizes.d_head
    return {
        Site("z", site.layer, head): value[..., head * size : (head + 1) * size]
        for site, value in whole.items()
        for head in range(model.sizes.n_heads)
    }


def site_values(
    model: Model, sites: Sequence[Site], how: How, reference: PromptSet | None, *, seed: int = 0
) -> dict[Site, torch.Tensor]:
    """As `head_values`, for whole sites.

    Raises:
        StatisticsError: another kind, or no prompts to measure on.
    """
    if how == "zero":
        return {}
    if how not in ("mean", "resample"):
        raise StatisticsError(f"heads and sites are ablated by 'zero', 'mean' or 'resample', not {how!r}")
    if reference is None:
        raise StatisticsError(f"{how} ablation replaces activations by those of other prompts; give reference=")
    if how == "mean":
        moments = capture_stats(model, reference, list(sites), progress=False)
        return {site: moments.mean(site) for site in sites}
    pick = np.random.default_rng(seed).integers(0, reference.lengths)
    marked = reference.with_marks(drawn=pick)
    rows = capture(model, marked, list(sites), at="drawn", progress=False)
    return {site: rows[site].tensor() for site in sites}


def _replaced(site: Site, how: How, values: Mapping[Site, torch.Tensor], at: At, when: When) -> Edit:
    """Ablation of one site; resampling gives each prompt a row of another, in any prompt set, by its number."""
    if how != "resample":
        if site.head is not None:
            return ablate_heads([site], how, dict(values) or None, at=at, when=when)[0]
        return ablate(site, how, values.get(site), at=at, when=when)
    pool = values[site]
    # A row of another prompt: shifted by one, so that prompts of the reference never get their own.
    return Edit(
        site, lambda x, rows: pool[((rows.example + 1) % len(pool)).to(pool.device)].to(x), at, when,
        "ablate(resample)", pool.shape[-1],
    )  # fmt: skip


def ablation_effect(
    model: Model,
    prompts: PromptSet,
    removal: Removal,
    metric: str | Outcome | Callable[[Any, PromptSet], Any] = "refusal",
    *,
    neutral: PromptSet | None = None,
    folded: Model | None = None,
    side_controls: int = 3,
    stories: int = 16,
    new_tokens: int = 24,
    alpha: float = 0.05,
    kl_limit: float = KL_LIMIT,
    level: float = 0.95,
    bootstrap: int = 2000,
    permutations: int = 9999,
    batch_tokens: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
    title: str | None = None,
    command: str | None = None,
    **answers: Any,
) -> Report:
    """Take something out of a model and measure what that does, beside taking out others of its kind.

    Rows: the unedited model, the ablated one, the one with changed weights if there is one (``folded``), and every
    control. Columns as in `steer_dose_response`; ``p`` is the rank of the effect among the controls (two-sided),
    ``p_prompts`` from sign flips over prompts against the mean control.

    Args:
        removal: from `remove_direction`, `remove_heads` or `remove_sites`.
        folded: a model into whose weights the ablation was folded, to be measured beside the edits.
        side_controls: how many controls are measured on neutral text, too.

    Raises:
        StatisticsError: edits that come too late for the metric; and what `forward` and `side_effects` raise.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5], [6, 9, 4, 6], [4, 9, 8, 4]])
    >>> found = ablation_effect(model, prompts, remove_heads(model, "1.0", "zero"), lambda x, _: x[:, 9])
    >>> found.column("arm")[:3], found.rows[1]["effect"] < -1
    (('unedited', 'ablated', 'control 1'), True)
    """
    measured = outcome(metric, model, prompts, new_tokens=new_tokens, **answers)
    require_reach(measured, removal.edits)
    groups = np.arange(len(prompts)) if prompts.groups is None else np.asarray(prompts.groups)
    arms = [Arm("ablated", removal.edits)]
    arms += [] if folded is None else [Arm("folded into the weights", (), folded)]
    first = len(arms)
    arms += [Arm(f"control {i}", edits) for i, edits in enumerate(removal.controls, 1)]
    with Progress(1 + len(arms), "runs", "ablate", progress) as bar:

        def run(one: Arm) -> Array:
            found = measured.measure(one.of(model), prompts, one.edits, batch_tokens)
            bar.advance(1)
            return found

        base = run(Arm("unedited"))
        scores = np.stack([run(arm) for arm in arms])
    beyond = None
    if removal.controls:
        others = (scores[first:] - base)[:, None]
        beyond = beyond_random(
            (scores[0] - base)[None], others, groups, level=level, permutations=permutations, seed=seed
        )
    costs, notes, written = None, (), first + 1  # texts of one control, too
    if neutral is not None:
        some = arms[: first + min(side_controls, len(removal.controls))]
        costs, notes = measure_costs(
            model, some, neutral, stories=stories, new_tokens=new_tokens, written_arms=written,
            batch_tokens=batch_tokens,
        )  # fmt: skip
    boot: dict[str, Any] = {"level": level, "replicates": bootstrap, "seed": seed}
    rows = _rows(arms, base, scores, groups, beyond, costs, measured, alpha, kl_limit, boot)
    source = prompts.source
    provenance = model.provenance(
        prompts=prompts.hash, seed=seed, command=command, bos=source.bos_summary, tokenizer=source.tokenizer,
        chat_template=source.chat_template,
    )  # fmt: skip
    meta: dict[str, Any] = {
        "what": removal.what, "controls": removal.kind, "metric": measured.name, "metric_unit": measured.unit,
        "signed": measured.signed, "n_random": len(removal.controls),
        "min_p": 1.0 if beyond is None else beyond.min_p, "alpha": alpha, "kl_limit": kl_limit, "ci_level": level,
        "min_p_prompts": 1.0 if beyond is None else beyond.min_p_prompts, "prompts": len(prompts),
        "groups": len(np.unique(groups)), "neutral": 0 if neutral is None else len(neutral),
        "no_control": f"There are no {removal.kind} to compare with, so nothing says whether the effect is particular.",
        "edits": [str(edit) for edit in removal.edits],
    }  # fmt: skip
    return Report(
        kind="ablation", title=title or f"Ablating {removal.what} in {model.id}",
        headline=ablation_headline(rows, meta), rows=rows, provenance=provenance, meta=meta,
        warnings=[*measured.notes, *ablation_warnings(rows, meta), *notes],
    )  # fmt: skip


def _rows(
    arms: Sequence[Arm], base: Array, scores: Array, groups: Array, beyond: Beyond | None, costs: Costs | None,
    measured: Outcome, alpha: float, kl_limit: float, boot: dict[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    """The unedited model, then every arm."""
    start: dict[str, Any] = {} if costs is None else {"kl": 0.0, "ce_change": 0.0, **costs.unedited(**boot)}
    rows = [{"arm": "unedited", **_scores(base, base, groups, measured, boot), **start}]
    for i, (arm, score) in enumerate(zip(arms, scores, strict=True)):
        row: dict[str, Any] = {"arm": arm.name, **_scores(score, base, groups, measured, boot)}
        if costs is not None and i < len(costs.kl):
            row |= costs.row(i, **boot)
        if i == 0 and beyond is not None:
            found = bool(beyond.found(alpha)[0])
            row |= {
                "random_effect": beyond.centre[0], "random_effect_lo": beyond.low[0],
                "random_effect_hi": beyond.high[0], "p": beyond.p[0], "p_prompts": beyond.p_prompts[0],
            }  # fmt: skip
            dear = row.get("kl") is not None and row["kl"] > kl_limit
            row["verdict"] = f"beyond controls{', at a price' * dear}" if found else "not beyond controls"
        rows.append(row)
    return [{**row, "n": len(base), "n_groups": len(np.unique(groups))} for row in rows]


def _scores(values: Array, base: Array, groups: Array, measured: Outcome, boot: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    columns = {"score": values, "effect": values - base}
    if measured.signed:
        columns["positive"] = (values > 0).astype(float)
    for name, column in columns.items():
        if len(np.unique(groups)) < 2:
            row[name] = float(column.mean())
            continue
        found = means_over(column, groups, **boot)
        row |= {name: float(found.estimate), f"{name}_lo": float(found.low), f"{name}_hi": float(found.high)}
    return row
