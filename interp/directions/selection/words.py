"""What a selection found, as reports and sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...provenance import Provenance
from ...report import Report
from ...stats import Interval
from ..direction import Direction
from .candidates import Candidates
from .choice import Limits, Tried
from .judgement import Judgement

ALPHA = 0.05


@dataclass(frozen=True)
class Evidence:
    """What is known beside the candidates: how the plain model treats the prompts, and the null of the choice.

    ``apart`` is how much more often harmful prompts are refused, ``base`` the mean validation scores of harmful and
    harmless prompts; ``null`` the bypass that choices among shuffled labels reach, and ``cosines`` those of their
    differences with the chosen one before that was taken out.
    """

    counts: Sequence[dict[str, Any]]
    marks: tuple[str, ...]
    ids: tuple[int, ...]
    limits: Limits
    shuffles: int
    notes: tuple[str, ...]
    short: tuple[dict[str, Any], ...] = ()
    base: tuple[float, float] | None = None
    null: tuple[float, ...] = ()
    cosines: tuple[float, ...] = ()
    p: float | None = None
    apart: Interval | None = None


def verdict(
    found: Evidence, candidates: Candidates | None, chosen: Tried | None, judged: Judgement | None
) -> tuple[bool, str]:
    """Whether a direction was found, and the sentence that says so or why not."""
    if found.short:
        return False, _too_few(found)
    if found.apart is not None and not found.apart.low > 0:
        return False, _alike(found)
    if chosen is None or candidates is None or judged is None:
        return False, "No direction found: every candidate breaks a limit (see the table)."
    where = f"{candidates.sites[chosen.layer]} at {candidates.marks[chosen.mark]}"
    if not judged.bypasses:
        return False, (
            f"No direction found: on test prompts, taking out the best candidate ({where}) lowers refusal no more than "
            f"random directions do (difference {_number(judged.ablate_gap)})."
        )
    if not judged.induces:
        return False, (
            f"No direction found: on test prompts, adding the best candidate ({where}) raises refusal no more than "
            f"random directions of its length do (difference {_number(judged.add_gap)})."
        )
    beaten = _beaten(found, chosen)
    if found.p is not None and beaten and found.p > ALPHA:
        return False, (
            f"No direction found: candidates of shuffled labels bypass refusal as well in {beaten} of "
            f"{len(found.null)} runs (best candidate {where}, p = {found.p:.2g})."
        )
    return True, _success(found, where, chosen, judged)


def _beaten(found: Evidence, chosen: Tried) -> int:
    return sum(chosen.bypass is not None and value <= chosen.bypass for value in found.null)


def _success(found: Evidence, where: str, chosen: Tried, judged: Judgement) -> str:
    def of(prompts: str, act: str, direction: str) -> dict[str, Any]:
        here = (prompts, act, direction)
        return next(row for row in judged.rows if (row["prompts"], row["act"], row["direction"]) == here)

    before, after = of("harmful", "nothing", "none"), of("harmful", "ablate", "selected")
    random = of("harmful", "ablate", "random")
    plain, induced = of("harmless", "nothing", "none"), of("harmless", "add", "selected")
    p = ""
    if found.p is not None:
        beaten = _beaten(found, chosen)
        p = f"; with shuffled labels {beaten or 'none'} of {len(found.null)} bypass as well (p = {found.p:.2g})"
    return (
        f"A refusal direction was found: {where}. On test prompts, taking it out turns refusals of harmful requests "
        f"from {before['refused']:.0%} to {after['refused']:.0%} (random directions: {random['refused']:.0%}), and "
        f"adding it turns those of harmless ones from {plain['refused']:.0%} to {induced['refused']:.0%}{p}."
    )


def _too_few(found: Evidence) -> str:
    one = found.short[0]
    does = "refuses" if one["prompts"] == "harmful" else "answers"
    rest = "no refusal to find a direction of" if one["prompts"] == "harmful" else "nothing to tell refusals from"
    return (
        f"No direction found: the model {does} {one['as_expected']} of {one['n']} {one['prompts']} {one['part']} "
        f"prompts by its first token, so there is {rest}."
    )


def _alike(found: Evidence) -> str:
    shares = []
    for name in ("harmful", "harmless"):
        here = [one for one in found.counts if one["prompts"] == name]
        agree = sum(one["as_expected"] for one in here) / sum(one["n"] for one in here)
        shares.append(agree if name == "harmful" else 1 - agree)
    return (
        f"No direction found: the model refuses {shares[0]:.0%} of the harmful prompts and {shares[1]:.0%} of the "
        "harmless ones, so whatever sets the two apart is not refusal."
    )


def _number(interval: Any) -> str:
    return f"{float(interval.estimate):+.2f} [{float(interval.low):+.2f}, {float(interval.high):+.2f}]"


def candidate_report(
    found: Evidence,
    candidates: Candidates | None,
    tried: Sequence[Tried],
    chosen: Tried | None,
    reason: str,
    provenance: Provenance,
) -> Report:
    """A row per candidate."""
    return Report(
        kind="selection",
        title="Candidates for a refusal direction",
        headline=reason,
        rows=[] if candidates is None else _candidate_rows(candidates, tried, chosen),
        provenance=provenance,
        warnings=[*found.notes, *_warnings(found)],
        meta=_meta(found, chosen, candidates),
    )


def _candidate_rows(candidates: Candidates, tried: Sequence[Tried], chosen: Tried | None) -> list[dict[str, Any]]:
    rows = []
    best = None if chosen is None else candidates.vectors[chosen.mark, chosen.layer]
    for one in tried:
        vector, site = candidates.vectors[one.mark, one.layer], candidates.sites[one.layer]
        cosine = None
        if best is not None and bool(candidates.there[one.mark, one.layer]):
            cosine = float(vector @ best) / float(vector.norm() * best.norm())
        rows.append({
            "site": str(site), "layer": one.layer, "mark": candidates.marks[one.mark], "norm": float(vector.norm()),
            "bypass": one.bypass, "induce": one.induce, "kl": one.kl, "cosine": cosine, "chosen": one is chosen,
            "reason": "chosen" if one is chosen else "; ".join(one.reasons) or "legal, higher bypass",
        })  # fmt: skip
    return rows


def judgement_report(
    found: Evidence, judged: Judgement, direction: Direction, provenance: Provenance, level: float
) -> Report:
    """A row per intervention on the test prompts."""
    meta: dict[str, Any] = {"site": str(direction.site), "mark": direction.mark, "ci_level": level, "p": found.p}
    for name, gap in (("ablate_gap", judged.ablate_gap), ("add_gap", judged.add_gap)):
        meta[name] = [float(gap.estimate), float(gap.low), float(gap.high)]
    return Report(
        kind="selection-test",
        title="The chosen direction on test prompts, beside random ones",
        headline=(
            f"On test prompts, {direction.site} at {direction.mark} moves refusal further than random directions by "
            f"{_number(judged.ablate_gap)} where it is taken out of harmful requests, and by "
            f"{_number(judged.add_gap)} where it is added to harmless ones."
        ),
        rows=judged.rows,
        provenance=provenance,
        meta=meta,
    )


def _warnings(found: Evidence) -> list[str]:
    notes = []
    for one in found.counts:
        if one["as_expected"] < 0.8 * one["n"]:
            does = "refuses" if one["prompts"] == "harmful" else "answers"
            left = "judged as they are" if one["part"] == "test" else f"{one['n'] - one['kept']} were left out"
            notes.append(
                f"The model {does} {one['as_expected']} of {one['n']} {one['prompts']} {one['part']} prompts only "
                f"({left})."
            )
    if found.p is not None and found.p > ALPHA:
        notes.append(
            f"{len(found.null)} selections among shuffled labels allow no p below {1 / (1 + len(found.null)):.2g}."
        )
    return notes


def _meta(found: Evidence, chosen: Tried | None, candidates: Candidates | None) -> dict[str, Any]:
    finite = [value for value in found.null if math.isfinite(value)]
    meta: dict[str, Any] = {
        "marks": list(found.marks), "refusal_tokens": list(found.ids), "kl_limit": found.limits.kl,
        "induce_limit": found.limits.induce, "depth_limit": found.limits.depth, "prompts": list(found.counts),
        "shuffles": found.shuffles, "null_bypass": finite, "null_without_choice": len(found.null) - len(finite),
        "p": found.p, "shuffled_cosine": list(found.cosines),
    }  # fmt: skip
    if found.base is not None:
        meta |= {"base_harmful": found.base[0], "base_harmless": found.base[1]}
    if candidates is not None:
        meta |= {"n_layers": len(candidates.sites), "first_barred": found.limits.first_barred(len(candidates.sites))}
    if chosen is not None and candidates is not None:
        meta |= {"site": str(candidates.sites[chosen.layer]), "mark": candidates.marks[chosen.mark]}
    return meta
