"""``steer_dose_response``: what adding a direction does, by how much of it, beside random ones and side effects."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..directions import Direction
from ..edits import At, Condition, Edit, When, add, gate
from ..errors import StatisticsError
from ..prompts import PromptSet
from ..report import Report
from ..run.progress import Progress
from ..sites import Site
from .beyond import Beyond, beyond_random, means_over
from .controls import Kind, rows_at, turned, typical_norm
from .neutral import Arm, Costs, measure_costs
from .outcomes import Outcome, outcome, require_reach
from .words import HINT, steering_headline, steering_warnings

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]
Unit = Literal["length", "norm", "absolute"]
KL_LIMIT = 0.1
"""KL on neutral text, nats per token, above which side effects count as dominating (the anchor's filter)."""


@dataclass(frozen=True, eq=False)
class Steering:
    """How a coefficient becomes edits: one direction, at some sites and tokens, in some unit.

    ``length`` is what a coefficient of 1 adds, in the units of the activations.
    """

    direction: Direction
    sites: tuple[Site, ...]
    length: float
    unit: Unit = "length"
    at: At = "all"
    when: When = "both"
    condition: Condition | None = None

    def edits(self, coeff: float) -> tuple[Edit, ...]:
        """The edits of one coefficient."""
        vector = self.length * self.direction.unit
        made = (add(site, vector, coeff, at=self.at, when=self.when) for site in self.sites)
        return tuple(edit if self.condition is None else gate(edit, self.condition) for edit in made)


def steering(
    model: Model,
    direction: Direction,
    *,
    sites: Sequence[str | Site] | None = None,
    unit: Unit = "length",
    at: At = "all",
    when: When = "both",
    condition: Condition | None = None,
    reference: PromptSet | None = None,
    foreign: bool = False,
) -> Steering:
    """Bind a direction to a model, and say how long a coefficient of 1 is.

    Args:
        sites: where to add it; by default at its own site.
        unit: ``"length"``: 1 adds the direction at the length it was found with (a difference of means, whole);
            ``"norm"``: a vector as long as activations typically are at the first site on ``reference``;
            ``"absolute"``: a vector of length 1.
        foreign: allow a direction that was made with another model.

    Raises:
        ProvenanceError: the direction is of another model.
        StatisticsError: ``unit="norm"`` without ``reference``, or an unknown unit.
        EditError, SiteError: it does not fit a site.
    """
    if not foreign:
        direction.provenance.require_model(model.fingerprint, "the direction")
    chosen = model.expand([direction.site] if sites is None else list(sites))
    if unit == "norm":
        if reference is None:
            raise StatisticsError("unit='norm' is measured on prompts; give reference=")
        length = typical_norm(model, reference, chosen[0])
    elif unit in ("length", "absolute"):
        length = direction.scale if unit == "length" else 1.0
    else:
        raise StatisticsError(f"unit={unit!r}: one of 'length', 'norm', 'absolute'")
    return Steering(direction, chosen, length, unit, at, when, condition)


def steer_dose_response(
    model: Model,
    prompts: PromptSet,
    direction: Direction,
    coeffs: Sequence[float],
    metric: str | Outcome | Callable[[Any, PromptSet], Any] = "refusal",
    *,
    neutral: PromptSet | None = None,
    sites: Sequence[str | Site] | None = None,
    unit: Unit = "length",
    at: At = "all",
    when: When = "both",
    condition: Condition | None = None,
    n_random: int = 19,
    random: Kind = "isotropic",
    side_random: int = 3,
    stories: int = 16,
    new_tokens: int = 24,
    alpha: float = 0.05,
    kl_limit: float = KL_LIMIT,
    level: float = 0.95,
    bootstrap: int = 2000,
    permutations: int = 9999,
    foreign: bool = False,
    batch_tokens: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
    title: str | None = None,
    command: str | None = None,
    **answers: Any,
) -> Report:
    """Add a direction at several strengths and measure what it does, to what it is meant for and to what it is not.

    One row per coefficient (0, the unedited model, is always among them). ``score`` is the metric, ``effect`` its
    change, both means over prompts with intervals over their groups. ``random_effect`` is the mean effect of
    ``n_random`` random directions of the same length, ``_lo`` and ``_hi`` where 95 % of them lie, ``p`` and ``p_max``
    the rank of the direction among them (the latter for the most unusual coefficient of each), ``p_prompts`` sign flips
    over prompts. With ``neutral``: KL, change of loss, and fluency, as in `side_effects`, beside ``side_random`` of
    the random directions (fluency beside one of them).

    Args:
        metric: ``"refusal"``, ``"log_p"``, ``"logit_diff"``, ``"says"``, or a function; see `outcome`, which also
            takes ``answers`` (answer, wrong, refusals, ...).
        random: how random directions are drawn; see `random_vectors`.

    Raises:
        ProvenanceError: the direction is of another model.
        StatisticsError: no coefficient but 0, no random directions, or edits that come too late for the metric.
        EditError: an edit never fired; and what `forward` and `side_effects` raise.

    >>> import interp
    >>> import torch
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5], [6, 8, 4, 6], [4, 7, 8, 4]])
    >>> towards = model.hf.get_output_embeddings().weight[9].detach()
    >>> made = interp.Direction.of(towards, "resid_post.1", "last", "by hand", model.provenance())
    >>> found = steer_dose_response(model, prompts, made, [1, 4], lambda x, _: x[:, 9], n_random=3)
    >>> found.column("coeff"), found.rows[2]["effect"] > found.rows[1]["effect"] > 0
    ((0.0, 1.0, 4.0), True)
    """
    doses = tuple(sorted({0.0, *map(float, coeffs)}))
    moved = tuple(c for c in doses if c)
    if not moved or not all(math.isfinite(c) for c in moved):
        raise StatisticsError(f"coefficients are finite numbers, one of them not 0; got {list(coeffs)}")
    if n_random < 1:
        raise StatisticsError("an effect without random directions to compare it with says little; n_random >= 1")
    how = steering(
        model, direction, sites=sites, unit=unit, at=at, when=when, condition=condition, foreign=foreign,
        reference=prompts if neutral is None else neutral,
    )  # fmt: skip
    measured = outcome(metric, model, prompts, new_tokens=new_tokens, **answers)
    require_reach(measured, how.edits(1.0))
    groups = np.arange(len(prompts)) if prompts.groups is None else np.asarray(prompts.groups)
    rows = rows_at(model, prompts, how.sites[0]) if random == "natural" else None
    # For each coefficient the same random directions, so that each of them has a curve of its own.
    drawn = {c: turned(how.edits(c), n_random, kind=random, rows=rows, seed=seed) for c in moved}
    with Progress(1 + len(moved) * (n_random + 1), "runs", "steer", progress) as bar:

        def run(edits: Sequence[Edit]) -> Array:
            found = measured.measure(model, prompts, edits, batch_tokens)
            bar.advance(1)
            return found

        base = run(())
        scores = np.stack([run(how.edits(c)) for c in moved])
        others = np.stack([[run(drawn[c][i]) for c in moved] for i in range(n_random)])
    tests = {"level": level, "permutations": permutations, "seed": seed}
    beyond = beyond_random(scores - base, others - base, groups, **tests)
    costs, notes = _costs(
        model, how, moved, drawn, neutral, min(side_random, n_random), stories, new_tokens, batch_tokens
    )
    boot: dict[str, Any] = {"level": level, "replicates": bootstrap, "seed": seed}
    table = _rows(doses, base, scores, groups, beyond, costs, measured, how, alpha, kl_limit, boot)
    opened = None if condition is None else _share_open(model, prompts, how)
    let_in = None if condition is None or neutral is None else _share_open(model, neutral, how)
    source = prompts.source
    provenance = model.provenance(
        prompts=prompts.hash, seed=seed, command=command, bos=source.bos_summary, tokenizer=source.tokenizer,
        chat_template=source.chat_template,
    )  # fmt: skip
    meta = {
        "metric": measured.name, "metric_unit": measured.unit, "signed": measured.signed, "direction": str(direction),
        "sites": [str(s) for s in how.sites], "at": list(at) if isinstance(at, tuple) else at, "when": when,
        "coeff_unit": unit, "length": how.length, "condition": None if condition is None else str(condition),
        "condition_met": opened, "condition_met_neutral": let_in, "n_random": n_random, "random": random,
        "min_p": beyond.min_p, "min_p_prompts": beyond.min_p_prompts, "alpha": alpha, "kl_limit": kl_limit,
        "ci_level": level,
        "prompts": len(prompts), "groups": len(np.unique(groups)), "neutral": 0 if neutral is None else len(neutral),
        "random_curves": np.concatenate([np.zeros((n_random, 1)), (others - base).mean(-1)], axis=1)[
            :, np.argsort([0.0, *moved])
        ],
    }  # fmt: skip
    return Report(
        kind="steering", title=title or f"Steering {model.id} along {direction.method} at {direction.site}",
        headline=steering_headline(table, meta), rows=table, provenance=provenance, meta=meta,
        warnings=[*measured.notes, *steering_warnings(table, meta), *notes],
    )  # fmt: skip


def _costs(
    model: Model, how: Steering, moved: Sequence[float], drawn: dict[float, list[tuple[Edit, ...]]],
    neutral: PromptSet | None, count: int, stories: int, new_tokens: int, batch_tokens: int | None,
) -> tuple[Costs | None, tuple[str, ...]]:  # fmt: skip
    """Costs of each coefficient, then of the first random direction at each, and so on; texts of it and the first."""
    if neutral is None:
        return None, ()
    arms = [Arm(f"{c:g}", how.edits(c)) for c in moved]
    arms += [Arm(f"random {i + 1} at {c:g}", drawn[c][i]) for i in range(count) for c in moved]
    return measure_costs(
        model,
        arms,
        neutral,
        stories=stories,
        new_tokens=new_tokens,
        written_arms=2 * len(moved),
        batch_tokens=batch_tokens,
    )


def _rows(
    doses: Sequence[float], base: Array, scores: Array, groups: Array, beyond: Beyond, costs: Costs | None,
    measured: Outcome, how: Steering, alpha: float, kl_limit: float, boot: dict[str, Any],
) -> list[dict[str, Any]]:  # fmt: skip
    """One row per coefficient, the unedited model's among them."""
    moved = [c for c in doses if c]
    count = (len(costs.kl) - len(moved)) // len(moved) if costs is not None else 0
    found, hinted = beyond.found(alpha), beyond.hinted(alpha)
    rows = []
    for c in doses:
        k = moved.index(c) if c else -1
        value = scores[k] if c else base
        row: dict[str, Any] = {"coeff": c, "added": c * how.length, **_mean("score", value, groups, boot)}
        if measured.signed:
            row |= _mean("positive", (value > 0).astype(float), groups, boot)
        row |= _mean("effect", value - base, groups, boot)
        if c:
            row |= {
                "random_effect": beyond.centre[k], "random_effect_lo": beyond.low[k],
                "random_effect_hi": beyond.high[k], "p": beyond.p[k],
                "p_max": beyond.p_max[k], "p_prompts": beyond.p_prompts[k],
            }  # fmt: skip
        if costs is not None:
            if c:
                row |= costs.row(k, **boot)
                row |= costs.spread([(i + 1) * len(moved) + k for i in range(count)]) if count else {}
                wrote = costs.row(len(moved) + k, **boot) if count else {}
                row |= {f"random_{name}": wrote[name] for name in ("nll", "distinct_2") if name in wrote}
            else:
                row |= {"kl": 0.0, "ce_change": 0.0, **costs.unedited(**boot)}
        if c:
            row["verdict"] = HINT if hinted[k] else verdict(bool(found[k]), row.get("kl"), kl_limit)
        rows.append({**row, "n": len(base), "n_groups": len(np.unique(groups))})
    return rows


def verdict(beyond: bool, kl: float | None, kl_limit: float) -> str:
    """What a row says in two or three words."""
    if not beyond:
        return "not beyond random"
    if kl is None:
        return "beyond random"
    return "beyond random" if kl <= kl_limit else "beyond random, at a price"


def _mean(name: str, values: Array, groups: Array, boot: dict[str, Any]) -> dict[str, Any]:
    if len(np.unique(groups)) < 2:
        return {name: float(values.mean())}
    found = means_over(values, groups, **boot)
    return {name: float(found.estimate), f"{name}_lo": float(found.low), f"{name}_hi": float(found.high)}


def _share_open(model: Model, prompts: PromptSet, how: Steering) -> float:
    """The share of prompts that meet the condition."""
    from ..run.gates import decide

    [opened] = decide(model, prompts, how.edits(1.0)[:1])
    return float("nan") if opened is None else float(opened.double().mean())
