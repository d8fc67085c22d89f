"""What a study says first: where the score of each kind of prompt stands, how far it falls, is that a cliff?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ...errors import StatisticsError
from ...provenance import Provenance
from ...report import Report
from ...stats import auc, cluster_bootstrap
from .drop import FRACTION, LEAST, LEFT_OUT, Cliff, Drops, compare, left_out, logistic
from .intervals import mean_interval
from .kinds import CONTROL, KINDS, REFUSED, SUSPECT, Kinds
from .settings import Settings
from .trajectory import trajectory
from .where import Where

Array = NDArray[Any]
Scores = Sequence[Float[np.ndarray, " _"]]
FEW = 10
TITLE = "Does the intention to refuse fall off a cliff?"


def nothing_to_fall(kinds: Kinds, lacking: str, about: Provenance, warnings: Sequence[str]) -> Report:
    """The report where no prober can be fitted."""
    rows = [{"class": kind, "n": int(kinds.of(kind).sum()), "n_groups": _groups(kinds, kind)} for kind in KINDS]
    headline = f"No refusal was found that could fall: {lacking}, so no prober of refusal can be fitted."
    return Report("cliff", TITLE, headline, rows, about, tuple(warnings), {"found": False, "lacking": lacking})


def cliff_report(
    kinds: Kinds, log_odds: Scores, found: Drops, strict: Drops | None, use: Settings, about: Provenance,
    warnings: Sequence[str], where: Where,
) -> Report:  # fmt: skip
    """Plateau, final score and cliff of each kind of prompt; the trajectory and the verdict in ``meta``.

    ``strict`` are the same by a prober that was fitted on harmful prompts alone. Where it is there, a cliff is called
    only if it, too, sees more in the thinking of the suspects than of the controls.
    """
    scores = [logistic(s) for s in log_odds]
    there = [kind for kind in KINDS if kinds.of(kind).any()]
    rows = [
        {"class": kind, **_means(found, kinds.of(kind), kinds, use), "n": int(kinds.of(kind).sum()),
         "n_groups": _groups(kinds, kind)}
        for kind in there
    ]  # fmt: skip
    verdict, why = _verdict(kinds, found, use)
    alone = None if strict is None or verdict is None else _verdict(kinds, strict.plateau_alone(), use)[0]
    aucs = _aucs(kinds, log_odds, found, use)
    falls = bool(verdict is not None and verdict.found and aucs["prober_auc_lo"] > 0.5)
    meta: dict[str, Any] = {
        "found": falls and (alone is None or alone.further), "falls": falls, "site": str(where.site),
        "sites": where.rows(), "norm": use.norm,
        "ci_level": use.level, "left_out": LEFT_OUT, "fraction": FRACTION, "least": LEAST,
        **aucs, **_numbers(verdict, alone),
        "template": int(np.median([len(s) - n for s, n in zip(scores, found.length, strict=True)])),
        "trajectory": [row for kind in there for row in _path(kind, scores, kinds, use)],
    }  # fmt: skip
    told = [*warnings, *_few(kinds), *_limits(kinds, verdict, alone, meta)]
    return Report("cliff", TITLE, _headline(verdict, why, meta, kinds), rows, about, tuple(told), meta)


def _groups(kinds: Kinds, kind: str) -> int:
    return len(np.unique(kinds.groups[kinds.of(kind)]))


def _means(found: Drops, which: Array, kinds: Kinds, use: Settings) -> dict[str, float | None]:
    """Plateau, final score and drop of one kind, each with its interval."""
    table = np.stack([found.plateau, found.final, found.drop], 1)
    mean, low, high = mean_interval(table, which, kinds.groups, use)
    names = ("plateau", "final", "drop")
    return {
        f"{name}{end}": value[k]
        for k, name in enumerate(names)
        for end, value in (("", mean), ("_lo", low), ("_hi", high))
    }


def _path(kind: str, scores: Scores, kinds: Kinds, use: Settings) -> list[dict[str, Any]]:
    """One kind's mean score by place."""
    path = trajectory(
        scores, kinds.of(kind), kinds.groups, reach=use.reach, bootstrap=min(use.bootstrap, 1000), level=use.level,
        seed=use.seed,
    )  # fmt: skip
    columns = (path.place, path.mean, path.low, path.high, path.prompts)
    return [
        {"class": kind, "place": int(p), "score": float(m), "score_lo": float(lo), "score_hi": float(hi), "n": int(n)}
        for p, m, lo, hi, n in zip(*columns, strict=True)
    ]


def _verdict(kinds: Kinds, found: Drops, use: Settings) -> tuple[Cliff | None, str]:
    """The comparison of suspects with controls, or why there is none."""
    suspect, control = kinds.of(SUSPECT), kinds.of(CONTROL)
    if not suspect.any():
        return None, "every harmful prompt is refused, so no refusal is lost on the way"
    rows = suspect | control
    try:
        verdict = compare(
            found.select(rows), suspect[rows], kinds.groups[rows], permutations=use.permutations,
            bootstrap=use.bootstrap, level=use.level, seed=use.seed,
        )  # fmt: skip
    except StatisticsError as error:
        return None, str(error)
    return verdict, ""


def _numbers(verdict: Cliff | None, alone: Cliff | None) -> dict[str, Any]:
    if verdict is None:
        return {}
    out: dict[str, Any] = {"p": verdict.p, "min_p": verdict.min_p, "compared": verdict.compared}
    parts = [("own", verdict.own), ("control", verdict.control), ("beyond", verdict.beyond)]
    if alone is not None:
        parts.append(("strict", alone.beyond))
        out["strict_p"] = alone.p
    for name, three in parts:
        out |= dict(zip((name, f"{name}_lo", f"{name}_hi"), three, strict=True))
    return out


def _aucs(kinds: Kinds, log_odds: Scores, found: Drops, use: Settings) -> dict[str, float]:
    """Held-out AUC of harmful refused against harmless answered prompts, at the token that ends thinking and in it."""
    rows = kinds.of(REFUSED) | kinds.of(CONTROL)
    at_end = np.array([s[-1] for s in log_odds])
    inside = np.array([s[: n - left_out(int(n))].mean() for s, n in zip(log_odds, found.length, strict=True)])
    table, y = np.stack([at_end, inside])[:, rows], kinds.refused[rows]
    ci = cluster_bootstrap(
        lambda w: np.stack([auc(t, y, w) for t in table], -1), kinds.groups[rows], replicates=min(use.bootstrap, 1000),
        level=use.level, method="logit", seed=use.seed,
    )  # fmt: skip
    names = ("prober_auc", "thinking_auc")
    return {
        f"{n}{end}": float(v[k])
        for k, n in enumerate(names)
        for end, v in (("", ci.estimate), ("_lo", ci.low), ("_hi", ci.high))
    }


def _headline(verdict: Cliff | None, why: str, meta: dict[str, Any], kinds: Kinds) -> str:
    if meta["prober_auc_lo"] <= 0.5:
        value, low, high = (meta[f"prober_auc{end}"] for end in ("", "_lo", "_hi"))
        return (
            "No refusal was found that could fall: at the last token the prober tells refused from answered prompts "
            f"that it has not seen no better than chance (AUC {value:.2f} [{low:.2f}, {high:.2f}])."
        )
    if verdict is None:
        return f"No cliff could be looked for: {why}."
    own, control, beyond = verdict.own, verdict.control, verdict.beyond
    n, call = int(kinds.of(SUSPECT).sum()), "A cliff" if meta["found"] else "No cliff"
    behind = "." if meta["found"] else ", which template, length or luck can do."
    if verdict.own[1] > 0 and verdict.further and not meta["falls"]:
        behind = f"; a fall of less than {LEAST:g} is not called one."
    if meta["falls"] and not meta["found"]:
        behind = (
            f"; but a prober that cannot have learned to read harm sees no refusal in their thinking (p = "
            f"{meta['strict_p']:.2g})."
        )
    return (
        f"{call}: on {n} harmful prompts that are answered the refusal score falls by {own[0]:.2f} "
        f"[{own[1]:.2f}, {own[2]:.2f}] between the thinking and the answer, {beyond[0]:.2f} "
        f"[{beyond[1]:.2f}, {beyond[2]:.2f}] beyond harmless prompts ({control[0]:.2f}; p = {verdict.p:.2g}){behind}"
    )


def _few(kinds: Kinds) -> list[str]:
    small = [f"{_groups(kinds, k)} of '{k}'" for k in KINDS if 0 < _groups(kinds, k) < FEW]
    return [f"Few groups of prompts: {', '.join(small)}. Intervals are rough."] if small else []


def _limits(kinds: Kinds, verdict: Cliff | None, alone: Cliff | None, meta: dict[str, Any]) -> list[str]:
    """What the numbers cannot carry."""
    found = []
    if meta["thinking_auc_lo"] <= 0.5 < meta["prober_auc_lo"]:
        found.append(
            "Within the thinking the prober does not tell refused from answered prompts (AUC "
            f"{meta['thinking_auc']:.2f} [{meta['thinking_auc_lo']:.2f}, {meta['thinking_auc_hi']:.2f}]): it was "
            "fitted at the end, and what it says of other tokens need not be about refusing."
        )
    if verdict is not None and alone is None:
        found.append(
            "Too few harmful prompts are answered to fit a prober on harmful prompts alone, so what falls may be a "
            "reading of harm rather than of refusal."
        )
    if verdict is not None and verdict.compared < verdict.suspects:
        found.append(
            f"{verdict.suspects - verdict.compared} of {verdict.suspects} harmful prompts that are answered have "
            "another template than any harmless one and are not compared."
        )
    if verdict is not None and verdict.min_p > 0.05:
        found.append(f"Labels can be exchanged in so few ways that no p-value can be below {verdict.min_p:.2g}.")
    return found
