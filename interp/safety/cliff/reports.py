"""What a study of the cliff found further, as reports: by part of the model, by share of heads, by example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...circuits.contributions import Contributions
from ...circuits.headrows import place
from ...prompts import PromptSet
from ...provenance import Provenance
from ...report import Report
from ...sites import Site
from ...stats import max_null_p, permute_labels
from .ablation import Ablation
from .drop import Drops
from .intervals import mean_interval
from .judge import Selection
from .kinds import CONTROL, REFUSED, SUSPECT, Kinds
from .settings import Settings

Array = NDArray[Any]


NONE = "No cliff was called, so there is none to explain; still: "


def heads_report(
    kinds: Kinds, shares: Contributions, use: Settings, about: Provenance, site: Site, *, cliff: bool = True
) -> Report:
    """What each part adds to the prober's reading at the last token, lowest head first.

    ``cliff`` says whether one was called; without, the headline says that there is nothing to explain.
    """
    suspect, refused, control = (kinds.of(kind) for kind in (SUSPECT, REFUSED, CONTROL))
    heads = [k for k, part in enumerate(shares.parts) if part.startswith("z.")]
    p, p_max = _contrast_p(kinds, shares.values[:, heads], suspect, refused, use)
    mean, low, high = mean_interval(shares.values, suspect, kinds.groups, use)
    away, away_low, away_high = mean_interval(shares.values, suspect, kinds.groups, use, minus=refused)
    ranked = mean if use.rank == "contribution" else away
    order = sorted(heads, key=lambda k: ranked[k]) + [k for k in range(len(shares.parts)) if k not in heads]
    rows = []
    for rank, k in enumerate(order, 1):
        part = shares.parts[k]
        row: dict[str, Any] = {"rank": rank if k in heads else None, "part": part, **place(part)}
        row |= {"contribution": mean[k], "contribution_lo": low[k], "contribution_hi": high[k]}
        row |= {"contrast": away[k], "contrast_lo": away_low[k], "contrast_hi": away_high[k]}
        row |= {"on_refused": shares.values[refused, k].mean(), "on_harmless": shares.values[control, k].mean()}
        row |= {"p": p[heads.index(k)], "p_max": p_max[heads.index(k)]} if k in heads else {"p": None, "p_max": None}
        rows.append(row)
    first = rows[0]
    less = f"{first['contrast']:+.2g} against prompts that are refused"
    called = first["p_max"] < 0.05 and first["contrast"] < 0
    said = (
        f"ead {first['part']} speaks most against refusing, by {first['contribution']:.2g} of log odds on harmful "
        f"prompts that are answered ({less}, p = {first['p_max']:.2g} over all heads)"
        + ("." if called else "; no more than a constant of that head, or luck, would.")
    )
    headline = f"H{said}" if cliff else f"{NONE}h{said}"
    meta = {
        "ci_level": use.level, "ranked_by": use.rank, "site": str(site), "norm": use.norm, "unit": "log odds",
        "sum_error": shares.error, "direct": float(shares.direct[suspect].mean()), "found": bool(called and cliff),
    }  # fmt: skip
    return Report(
        "cliff-heads", "Which parts speak for and against refusing, at the last token", headline, rows, about, (), meta
    )


def ablation_report(
    done: Sequence[tuple[float, Ablation]], use: Settings, about: Provenance, *, cliff: bool = True
) -> Report:
    """What taking heads out does, by share of heads, beside as many random ones; the first share is judged."""
    rows = []
    for percent, one in done:
        own, drawn = one.effect()
        interval = one.beyond(bootstrap=use.bootstrap, level=use.level, seed=use.seed)
        low, high = np.quantile(drawn, [0.025, 0.975])
        row: dict[str, Any] = {"percent": percent, "heads": len(one.heads), "which": [str(h) for h in one.heads]}
        row |= {"effect": own.mean(), "effect_lo": interval.low[0], "effect_hi": interval.high[0]}
        row |= {"random": drawn.mean(), "random_lo": low, "random_hi": high, "p": one.p}
        row |= {"beyond": interval.estimate[1], "beyond_lo": interval.low[1], "beyond_hi": interval.high[1]}
        row |= {"reading": one.reading.mean(), "random_reading": one.drawn_reading.mean()}
        row |= {"refused_before": one.refused_before, "refused_after": one.refused}
        row |= {"random_refused": one.drawn_refused.mean(), "others_before": one.others_before}
        row |= {"others_after": one.others_after, "draws": len(drawn), "exact": one.exact, "n": len(own)}
        row |= {"min_p": 1 / (1 + len(drawn))}
        rows.append(row)
    first = rows[0]
    behaves = done[0][1].score is not None
    what = "harmful prompts that were answered" if behaves else "harmful prompts that were answered, by the prober,"
    called = first["p"] < 0.05 and first["beyond_lo"] > 0
    behind = "." if called else ": no more than random heads do."
    if not called and first["beyond_lo"] > 0 and first["p"] <= first["min_p"]:
        behind = f": no other set of heads does as much, but there are too few for a p below {first['min_p']:.2g}."
    plural = "s" if first["heads"] > 1 else ""
    said = (
        f"ith the {first['heads']} lowest head{plural} taken out, {first['refused_after']:.0%} of {what} are refused "
        f"({first['refused_before']:.0%} before; {first['random_refused']:.0%} with random heads; p = {first['p']:.2g})"
        f"{behind}"
    )
    headline = f"W{said}" if cliff else f"{NONE}w{said}"
    unit = "log odds of a refusal, first token" if behaves else "log odds of a refusal, prober"
    meta = {
        "ci_level": use.level, "unit": unit, "how": use.how, "at": use.at if isinstance(use.at, str) else list(use.at),
        "found": bool(called),
    }  # fmt: skip
    return Report("cliff-ablation", "Taking the lowest heads out, beside random heads", headline, rows, about, (), meta)


def judge_report(prompts: PromptSet, kinds: Kinds, found: Drops, chosen: Selection, about: Provenance) -> Report:
    """Harmful examples by cliff, largest first; the first ones are selected."""
    rows = []
    for rank, i in enumerate(chosen.order.tolist(), 1):
        row: dict[str, Any] = {"rank": rank, "id": prompts.ids[i], "selected": rank <= chosen.chosen}
        row |= {"drop": found.drop[i], "plateau": found.plateau[i], "final": found.final[i]}
        row |= {"refused": bool(kinds.refused[i]), "thinking": int(found.length[i])}
        row |= {c: str(prompts.columns[c][i]) for c in ("topic", "category", "split") if c in prompts.columns}
        rows.append(row)
    picked = chosen.order[: chosen.chosen]
    answered = float((~kinds.refused[picked]).mean())
    headline = (
        f"{chosen.chosen} of {len(rows)} harmful examples are selected by cliff: it is "
        f"{found.drop[picked].mean():.2f} there on average, {found.drop[chosen.order].mean():.2f} over all; "
        f"{answered:.0%} of the selected are answered, {(~kinds.refused[chosen.order]).mean():.0%} of all."
    )
    meta = {"share": chosen.chosen / len(rows), "selected": chosen.chosen, "answered_selected": answered}
    return Report("cliff-judge", "Cliff-as-a-Judge: examples to repair the model with", headline, rows, about, (), meta)


def _contrast_p(kinds: Kinds, heads: Array, suspect: Array, refused: Array, use: Settings) -> tuple[Array, Array]:
    """How often exchanged labels lower a head as much on prompts that are answered: alone, and over all heads."""
    rows = suspect | refused
    y, x = suspect[rows], heads[rows]
    if not refused.any():
        return np.full(x.shape[1], np.nan), np.full(x.shape[1], np.nan)

    def lower(labels: Array) -> Array:
        return (~labels @ x) / (~labels).sum(-1, keepdims=True) - (labels @ x) / labels.sum(-1, keepdims=True)

    drawn = permute_labels(y, kinds.groups[rows], use.permutations, seed=use.seed)
    scale = x.std(0).clip(1e-12)
    return max_null_p(lower(y[None])[0] / scale, lower(drawn.labels) / scale)
