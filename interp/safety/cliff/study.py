"""``cliff``: from prompts with thinking to the trajectory, the cliff, the heads behind it, and their ablation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...circuits.contributions import Contributions, contributions
from ...report import Report
from ...sites import Site
from .ablation import Ablation, against_random, count_of
from .drop import drops, logistic
from .judge import rank_by_cliff
from .kinds import CONTROL, REFUSED, SUSPECT, Kinds, kinds_of
from .prober import Prober, fit_prober, read_thinking
from .reports import ablation_report, heads_report, judge_report
from .settings import Settings
from .thinking import SPAN, Thoughts
from .verdict import cliff_report, nothing_to_fall
from .where import where_to_read

if TYPE_CHECKING:
    from ...models import Model
    from ...prompts import PromptSet

Array = NDArray[Any]
AGREEMENT = 0.95
"""Of the model's first tokens with the file's column; below it a warning says so."""


@dataclass(frozen=True, eq=False)
class CliffStudy:
    """Everything that was found: reports by kind (``cliff`` first), and the prober of the fitting half."""

    reports: dict[str, Report]
    prober: Prober | None

    def save(self, out: Path) -> None:
        """Write each report as JSON and CSV, and the prober, into a directory."""
        for name, report in self.reports.items():
            report.save(out / f"{name}.json")
            report.to_csv(out / f"{name}.csv")
        if self.prober is not None:
            self.prober.probe.save(out / "prober.safetensors")


def cliff(
    model: Model,
    thoughts: Thoughts,
    settings: Settings | None = None,
    *,
    refusals: Sequence[int] | None = None,
    notes: Sequence[str] = (),
    batch_tokens: int | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> CliffStudy:
    """Does a model that means to refuse while it thinks stop meaning to as it begins to answer, and which heads do it?

    Prompts have a column ``harmful``. Whole groups are dealt into two halves; each half's prober reads the other, so
    that every score is of a prompt whose group the prober has not seen. Heads are ranked on the one half and ablated on
    the other.

    Args:
        thoughts: from `find_thinking` or `think`.
        refusals: first tokens of refusals, as from `refusal_tokens`.
        notes: warnings to begin the report with.

    Raises:
        PromptError: prompts without what is needed.
        ModelError: see `contributions`.

    Source: arXiv 2510.06036; the cliff as a difference, its null and all intervals are ours.
    """
    use = settings or Settings()
    prompts = thoughts.prompts
    options: dict[str, Any] = {"batch_tokens": batch_tokens, "progress": progress}
    kinds = kinds_of(model, prompts, refusals, measured=use.measured, seed=use.seed, **options)
    source = prompts.source
    about = model.provenance(
        prompts=prompts.hash, seed=use.seed, command=command, bos=source.bos_summary, tokenizer=source.tokenizer,
        chat_template=source.chat_template,
    )  # fmt: skip
    told = [*notes, *_warnings(thoughts, kinds)]
    lacking = _lacking(kinds)
    if lacking:
        return CliffStudy({"cliff": nothing_to_fall(kinds, lacking, about, told)}, None)
    where = where_to_read(model, prompts, kinds, use, **options)
    site = where.site
    fitted = _probers(model, prompts, kinds, site, use, options)
    log_odds, strict = _held_out(model, prompts, kinds, fitted, options)
    found, alone = (
        None if read is None else drops([logistic(s) for s in read], _lengths(prompts), _templates(prompts))
        for read in (log_odds, strict)
    )
    assert log_odds is not None
    assert found is not None
    reports = {"cliff": cliff_report(kinds, log_odds, found, alone, use, about, told, where)}
    chosen = rank_by_cliff(found.drop, kinds.harmful, share=use.share)
    reports["cliff-judge"] = judge_report(prompts, kinds, found, chosen, about)
    first, second = fitted[0]
    called = bool(reports["cliff"].meta["found"])
    if kinds.of(SUSPECT).any() and reports["cliff"].meta["prober_auc_lo"] > 0.5:
        shares = _contributions(model, prompts, kinds, (first, second), site, use, options)
        reports["cliff-heads"] = heads_report(kinds, shares, use, about, site, cliff=called)
        done = _ablations(model, prompts, kinds, shares, first, refusals, use, options)
        if done:
            reports["cliff-ablation"] = ablation_report(done, use, about, cliff=called)
    return CliffStudy(reports, first)


Pair = tuple[Prober, Prober]


def _probers(
    model: Model, prompts: PromptSet, kinds: Kinds, site: Site, use: Settings, options: Mapping[str, Any]
) -> tuple[Pair, Pair | None]:
    """A prober of each half, as the paper has it; and one that is fitted on harmful prompts alone, where there are any.

    The paper's tells harmful refused from harmless answered prompts, so it may read harm. The strict one tells refused
    from answered among harmful prompts, where harm tells nothing.
    """

    def fit(negative: str, half: Array) -> Prober:
        rows = np.flatnonzero(half & (kinds.of(REFUSED) | kinds.of(negative)))
        return fit_prober(
            model, prompts.select(rows), kinds.refused[rows], site, norm=use.norm, C=use.C, **options
        )  # fmt: skip

    halves = (kinds.fits, ~kinds.fits)
    plain = (fit(CONTROL, halves[0]), fit(CONTROL, halves[1]))
    enough = all(len(np.unique(kinds.groups[half & kinds.of(SUSPECT)])) > 1 for half in halves)
    return plain, (fit(SUSPECT, halves[0]), fit(SUSPECT, halves[1])) if enough else None


def _lacking(kinds: Kinds) -> str:
    """Why no prober can be fitted, in words; empty where it can."""
    for kind, word in ((REFUSED, "harmful prompts are refused"), (CONTROL, "harmless prompts are answered")):
        for half in (kinds.fits, ~kinds.fits):
            groups = len(np.unique(kinds.groups[half & kinds.of(kind)]))
            if groups < 2:
                total = int(kinds.of(kind).sum())
                where = "" if total == 0 else f", in {groups} group{'' if groups == 1 else 's'} of one half"
                return f"{total or 'no'} {word}{where}"
    return ""


def _held_out(
    model: Model, prompts: PromptSet, kinds: Kinds, fitted: tuple[Pair, Pair | None], options: Mapping[str, Any]
) -> list[Any]:
    """Log odds of a refusal over each prompt's thinking, by the probers that have not seen its half."""
    pairs = [pair for pair in fitted if pair is not None]
    found: list[list[Any]] = [[None] * len(prompts) for _ in pairs]
    for which, half in enumerate((~kinds.fits, kinds.fits)):
        rows = np.flatnonzero(half)
        read = read_thinking(model, [pair[which] for pair in pairs], prompts.select(rows), **options)
        for mine, values in zip(found, read, strict=True):
            for i, one in zip(rows, values, strict=True):
                mine[i] = one
    return [*found, None] if len(found) == 1 else found


def _lengths(prompts: PromptSet) -> Array:
    span = prompts.spans[SPAN]
    return span[:, 1] - span[:, 0]


def _templates(prompts: PromptSet) -> list[list[int]]:
    """What stands between thinking and answer."""
    return [t[stop:].tolist() for t, (_, stop) in zip(prompts.tokens, prompts.spans[SPAN], strict=True)]


def _contributions(
    model: Model, prompts: PromptSet, kinds: Kinds, probers: tuple[Prober, Prober], site: Site, use: Settings,
    options: Mapping[str, Any],
) -> Contributions:  # fmt: skip
    """What each part of the model adds to the prober's log odds at the last token, by the prober of the other half."""
    made: list[tuple[Array, Contributions]] = []
    for prober, half in zip(probers, (~kinds.fits, kinds.fits), strict=True):
        rows = np.flatnonzero(half)
        part = prompts.select(rows)
        made.append((
            rows, contributions(model, part, prober.weights, prober.probe.bias, site, norm=use.norm, **options)
        ))  # fmt: skip
    order = np.argsort(np.concatenate([rows for rows, _ in made]))
    parts, error = made[0][1].parts, max(found.error for _, found in made)
    values, direct = (np.concatenate([getattr(f, name) for _, f in made])[order] for name in ("values", "direct"))
    return Contributions(parts, values, direct, error)


def _ablations(
    model: Model, prompts: PromptSet, kinds: Kinds, shares: Contributions, prober: Prober,
    refusals: Sequence[int] | None, use: Settings, options: Mapping[str, Any],
) -> list[tuple[float, Ablation]]:  # fmt: skip
    """Heads that the fitting half ranks lowest, taken out in the other half, by how many percent of all they are."""
    suspects, controls = kinds.of(SUSPECT), kinds.of(CONTROL)
    chosen_on, judged_on = suspects & kinds.fits, suspects & ~kinds.fits
    if not chosen_on.any() or len(np.unique(kinds.groups[judged_on])) < 2:
        return []
    heads = [(Site.parse(p), k) for k, p in enumerate(shares.parts) if p.startswith("z.")]
    score = shares.values[chosen_on].mean(0)
    if use.rank == "contrast":
        score = score - shares.values[kinds.of(REFUSED) & kinds.fits].mean(0)
    order = sorted(heads, key=lambda head: score[head[1]])
    done: list[tuple[float, Ablation]] = []
    for percent in use.percent:
        n = count_of(percent, model.n_layers * model.sizes.n_heads)
        if n > len(order) or any(len(one.heads) == n for _, one in done):
            continue
        done.append((percent, against_random(
            model, prompts.select(np.flatnonzero(judged_on)), [head for head, _ in order[:n]], prober,
            groups=kinds.groups[judged_on], others=prompts.select(np.flatnonzero(controls & ~kinds.fits)),
            reference=prompts.select(np.flatnonzero(kinds.fits)), refusals=refusals, how=use.how, at=use.at,
            draws=use.draws, seed=use.seed, **options,
        )))  # fmt: skip
    return done


def _warnings(thoughts: Thoughts, kinds: Kinds) -> list[str]:
    """What keeps a reader from believing more than the numbers say."""
    found = []
    if thoughts.unfinished:
        total = len(thoughts.unfinished) + len(thoughts.prompts)
        found.append(
            f"{len(thoughts.unfinished)} of {total} prompts are left out: the model was still thinking when its tokens "
            "ran out."
        )
    if kinds.agrees is not None and kinds.agrees < AGREEMENT:
        found.append(
            f"The model does what the file's column 'refused' says on only {kinds.agrees:.0%} of the prompts, by the "
            "first token of its answer."
        )
    return found
