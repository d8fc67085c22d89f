"""``select_direction``: the single direction that refusal hangs on, or that there is none to be found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import PromptError, StatisticsError
from ...metrics import refusal_tokens_and_notes
from ...prompts import PromptSet
from ...prompts.join import join
from ...prompts.post import mark_post
from ...report import Report
from ...run.progress import Progress
from ...stats import permutation_p
from ..direction import Direction
from .candidates import Candidates, read_rows
from .choice import Limits, Tried, attempt, best_bypass, choose
from .expected import as_expected
from .judgement import Judgement, judge
from .parts import NAMES, Parts, require_apart, split_parts
from .trials import Trial
from .words import Evidence, candidate_report, judgement_report, verdict

if TYPE_CHECKING:
    from ...models import Model
    from ...provenance import Provenance

LEAST = {"train": 8, "val": 4, "test": 2}
"""Prompts of either class without which nothing is looked for."""


@dataclass(frozen=True, eq=False, repr=False)
class Selection:
    """What was found. ``direction`` is ``None`` unless ``found``; ``reason`` says why in a sentence either way.

    Attributes:
        chosen: what the published algorithm takes, whether or not it proved itself; ``None`` where it takes nothing.
        candidates: every vector, by mark and layer.
        report: a row per candidate, with bypass, induce, KL and why it was passed over.
        judgement: the choice on the test prompts, beside random directions; ``None`` where nothing was chosen.
    """

    found: bool
    reason: str
    direction: Direction | None
    chosen: Direction | None
    candidates: Candidates | None
    report: Report
    judgement: Report | None

    def __repr__(self) -> str:
        return repr(self.report)


@dataclass(frozen=True)
class Settings:
    """Numbers of a selection; see `select_direction`."""

    limits: Limits
    shuffles: int
    random: int
    bootstrap: int
    level: float
    batch_tokens: int | None
    seed: int
    progress: bool | None


def select_direction(
    model: Model,
    harmful: PromptSet | Parts,
    harmless: PromptSet | Parts,
    *,
    refusals: Sequence[str] | None = None,
    refusal_ids: Sequence[int] | None = None,
    chat_template: str | Path | None = None,
    marks: Sequence[str] | None = None,
    train: int = 128,
    val: int = 32,
    test: int = 100,
    split: str = "split",
    limits: Limits | None = None,
    shuffles: int = 19,
    random: int = 8,
    bootstrap: int = 2000,
    level: float = 0.95,
    batch_tokens: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
    command: str | None = None,
) -> Selection:
    """The difference of means, at some token after the instruction and some block, whose ablation undoes refusal best.

    The model must refuse harmful prompts more often than harmless ones. Those that it does not treat as expected are
    left out of training and validation: harmful ones with a refusal score of 0 or below, harmless ones with one of 0
    or above. Each candidate is then taken out of the whole model (bypass: mean score of harmful prompts; KL of harmless
    prompts' next token from the plain model's) and added at its own block (induce: mean score of harmless prompts).
    Candidates with too large a KL, too low an induced score, or too late a layer are discarded, and the lowest bypass
    wins.

    What the published algorithm lacks is a null, so the choice has to prove itself: on test prompts, against random
    directions of its length; and on the validation prompts, against the lowest bypass among candidates of shuffled
    labels that lie across it (see `Rows.shuffled`). If it does not, nothing is reported as found.

    Args:
        harmful: chats, or `Parts` of them. Without parts the column ``split`` says which is which, or they are drawn.
        harmless: likewise.
        refusals: how refusals begin; `interp.metrics.REFUSALS` by default. Or give ``refusal_ids``, the first tokens.
        chat_template: the template that the prompts were rendered with, if it is not the tokenizer's own.
        marks: positions of candidates; by default every token that the template writes after the instruction.
        train, val, test: prompts of each class at most.
        limits: largest KL (0.1), least induced score (0), and depth from which on layers are barred (0.8).
        shuffles: selections among shuffled labels; p cannot be below ``1 / (shuffles + 1)``.
        random: random directions of equal length.
        bootstrap, level: resamples of prompts (or of their groups) behind each interval, and its level.
        command: recorded in the provenance.

    Raises:
        PromptError: prompts that are no chats, that are in both classes, or marks that some lack.
        SplitError: parts that share a prompt, or too few groups for three parts.

    Source: Arditi et al. (arXiv 2406.11717), section 2.3 and appendix C; the null and the test are ours.
    """
    if shuffles < 0 or random < 1:
        raise StatisticsError(f"shuffles={shuffles} (0 or more) and random={random} (1 or more)")
    settings = Settings(limits or Limits(), shuffles, random, bootstrap, level, batch_tokens, seed, progress)
    sizes = {"train": train, "val": val, "test": test, "column": split, "seed": seed}
    whole = [one if isinstance(one, Parts) else split_parts(one, **sizes) for one in (harmful, harmless)]
    require_apart(*whole)
    (bad, good), names = _marked(whole, marks)
    ids, notes = (
        (tuple(refusal_ids), ())
        if refusal_ids is not None
        else refusal_tokens_and_notes(model.tokenizer, refusals, chat_template=chat_template)
    )
    kept, counts, apart = as_expected(model, bad, good, ids, bootstrap, batch_tokens, seed)
    told = (*notes, *_token_notes(bad, good, names))
    found = Evidence(counts, names, ids, settings.limits, shuffles, told, apart=apart)
    everything = join([part for one in (bad, good) for part in (one.train, one.val, one.test)])
    provenance = model.provenance(
        prompts=everything.hash, seed=seed, command=command, bos=everything.source.bos_summary,
        tokenizer=everything.source.tokenizer, chat_template=everything.source.chat_template,
    )  # fmt: skip
    short = [c for c in counts if c["kept"] < LEAST[c["part"]]]
    if short or not apart.low > 0:
        return _nothing(replace(found, short=tuple(short)), provenance)
    return _select(model, *kept, found, settings, provenance)


def _select(
    model: Model, bad: Parts, good: Parts, found: Evidence, settings: Settings, provenance: Provenance
) -> Selection:
    """Candidates, the choice, its null and its test."""
    tokens = settings.batch_tokens
    training = join([bad.train, good.train], labels=[True, False])
    rows = read_rows(model, training, found.marks, tokens, False)
    candidates = rows.candidates()
    trial = Trial.of(model, bad.val, good.val, found.ids, tokens)
    seeds = np.random.SeedSequence(settings.seed).generate_state(settings.shuffles + 1).tolist()
    total = len(list(candidates)) * (1 + settings.shuffles)
    best, chances, cosines = [], [], []
    with Progress(total, "candidate", "selection", settings.progress) as bar:
        tried = []
        for mark, layer in candidates:
            tried.append(attempt(trial, candidates, mark, layer, settings.limits))
            bar.advance(1)
        chosen = choose(tried)
        for one in seeds[1:]:
            if chosen is None:
                break
            other, cosine = rows.shuffled(candidates, (chosen.mark, chosen.layer), one)
            cosines.append(cosine)
            bypass, where = best_bypass(trial, other, settings.limits)
            chances.append(bypass)
            if where is not None:
                best.append((other.sites[where[1]], other.vectors[where]))
            bar.advance(len(list(candidates)))
    n = len(bad.val)
    base = trial.base.score
    found = replace(
        found, base=(float(base[:n].mean()), float(base[n:].mean())), null=tuple(chances), cosines=tuple(cosines)
    )
    if chosen is None:
        return _nothing(found, provenance, candidates, tried)
    found = replace(found, p=_p(chosen, chances))
    vector = candidates.vectors[chosen.mark, chosen.layer]
    judged = judge(
        Trial.of(model, bad.test, good.test, found.ids, tokens), candidates.sites[chosen.layer], vector, best,
        random=settings.random, bootstrap=settings.bootstrap, level=settings.level, seed=seeds[0],
    )  # fmt: skip
    return _selection(found, provenance, candidates, tried, chosen, judged, settings)


def _selection(
    found: Evidence, provenance: Provenance, candidates: Candidates, tried: Sequence[Tried], chosen: Tried,
    judged: Judgement, settings: Settings,
) -> Selection:  # fmt: skip
    direction = candidates.direction(chosen.mark, chosen.layer, provenance)
    good, reason = verdict(found, candidates, chosen, judged)
    report = candidate_report(found, candidates, tried, chosen, reason, provenance)
    test = judgement_report(found, judged, direction, provenance, settings.level)
    return Selection(good, reason, direction if good else None, direction, candidates, report, test)


def _nothing(
    found: Evidence,
    provenance: Provenance,
    candidates: Candidates | None = None,
    tried: Sequence[Tried] = (),
) -> Selection:
    _, reason = verdict(found, candidates, None, None)
    report = candidate_report(found, candidates, tried, None, reason, provenance)
    return Selection(False, reason, None, None, candidates, report, None)


def _p(chosen: Tried, null: Sequence[float]) -> float | None:
    """How often a choice among shuffled labels bypasses as well."""
    if not null or chosen.bypass is None:
        return None
    return float(permutation_p(-chosen.bypass, [-value if math.isfinite(value) else -math.inf for value in null]))


def _marked(whole: Sequence[Parts], marks: Sequence[str] | None) -> tuple[list[Parts], tuple[str, ...]]:
    """The parts with marks after the instruction, as many as every prompt has."""
    if marks is not None:
        if not marks:
            raise PromptError("marks=() leaves no position to make candidates at")
        return list(whole), tuple(marks)
    names = [mark_post(getattr(one, part))[1] for one in whole for part in NAMES]
    count = min(len(found) for found in names)
    made = [Parts(**{part: mark_post(getattr(one, part), count)[0] for part in NAMES}) for one in whole]
    return made, names[0][-count:]


def _token_notes(bad: Parts, good: Parts, marks: Sequence[str]) -> list[str]:
    """A warning of each mark where the two classes have different tokens: there the template can pass for the class."""
    notes = []
    for mark in marks:
        tokens = []
        for one in (bad, good):
            parts = [getattr(one, part) for part in NAMES]
            tokens.append({int(t[i]) for p in parts for t, i in zip(p.tokens, p.marks[mark], strict=True) if i >= 0})
        if tokens[0] != tokens[1]:
            notes.append(
                f"At {mark} harmful and harmless prompts have different tokens, so a direction there may be about the "
                "token and not about the request."
            )
    return notes
