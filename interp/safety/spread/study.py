"""``spread``: unlearn refusal in each domain, see what others lose, and ask whether early likeness foretold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ...errors import PromptError
from ...prompts import PromptSet
from ...report import Report
from ...stats import cluster_bootstrap
from .entanglement import THIRDS, Entanglement, concept_entanglement
from .mantel import Mantel, mantel, pairs_alone
from .reports import pairs_report, spread_report
from .unlearn import UnlearnSettings, refusal_of, unlearn_refusal

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]
MARKS = ("t_inst", "t_post")
LEAST = 4  # prompts of a domain, to train on and to measure


@dataclass(frozen=True, eq=False)
class SpreadStudy:
    """``reports`` are ``spread`` (does likeness foretell loss, by mark and third) and ``spread-pairs`` (every pair).

    ``loss[j, k]`` is what domain ``k`` loses of its refusal score when refusal is unlearned in domain ``j``.
    """

    reports: dict[str, Report]
    entanglement: Entanglement
    loss: Float[np.ndarray, "unlearned measured"]

    def save(self, out: Path) -> None:
        """Write each report as JSON and CSV."""
        for name, report in self.reports.items():
            report.save(out / f"{name}.json")
            report.to_csv(out / f"{name}.csv")


@dataclass(frozen=True, eq=False)
class _Losses:
    """Refusal scores before, after unlearning in each domain (mean over repeats), and how each training went."""

    before: Float[np.ndarray, " prompt"]
    after: Float[np.ndarray, "unlearned prompt"]
    steps: list[float]
    left: list[float]


def spread(
    model: Model,
    prompts: PromptSet,
    refusals: Sequence[int],
    *,
    unlearning: UnlearnSettings | None = None,
    marks: tuple[str, ...] = MARKS,
    repeats: int = 1,
    bootstrap: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    notes: Sequence[str] = (),
    batch_tokens: int | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> SpreadStudy:
    """Unlearn refusal in one domain after the other, and correlate what the others lose with their entanglement.

    Prompts are harmful and have a column ``topic``. One half of their groups (``train`` of a column ``split``) gives
    the concept vectors and is unlearned, the other is measured. The thirds of depth are fixed beforehand.

    Args:
        refusals: first tokens of refusals, as from `refusal_tokens`.
        marks: where concept vectors are read; the headline is about the first.
        repeats: trainings per domain with other seeds, averaged.

    Raises:
        PromptError: fewer than three domains, too few prompts of one, or none that is refused.

    Source: arXiv 2511.14017; the permutation test and the thirds are ours.
    """
    topics, trains = _domains(prompts), _trains(prompts, seed)
    known = np.unique(topics)
    for name in known:
        for part, what in ((trains, "to unlearn"), (~trains, "to measure")):
            if ((topics == name) & part).sum() < LEAST:
                raise PromptError(
                    f"domain {str(name)!r} has {int(((topics == name) & part).sum())} prompts {what}; it takes {LEAST}"
                )
    fit, rest = prompts.select(np.flatnonzero(trains)), prompts.select(np.flatnonzero(~trains))
    entangled = concept_entanglement(
        model, fit, topics[trains], marks=marks, batch_tokens=batch_tokens, progress=progress
    )  # fmt: skip
    found = _unlearn_each(model, fit, topics[trains], rest, refusals, unlearning, repeats, seed, batch_tokens)
    here = topics[~trains]
    loss = np.stack([(found.before - found.after)[:, here == name].mean(1) for name in known], 1)
    tests = {mark: _tests(entangled, mark, loss, seed) for mark in marks}
    about = model.provenance(
        prompts=prompts.hash, seed=seed, command=command, bos=prompts.source.bos_summary,
        tokenizer=prompts.source.tokenizer, chat_template=prompts.source.chat_template,
    )  # fmt: skip
    cells = _cells(rest, here, known, found, bootstrap, level, seed)
    use = unlearning or UnlearnSettings()
    settings = {"rank": use.rank, "lr": use.lr, "stop": use.stop, "repeats": repeats, "ci_level": level}
    told = [*notes, *_warnings(found, known, here)]
    reports = {
        "spread": spread_report(entangled, loss, tests, found.steps, found.left, settings, about, told),
        "spread-pairs": pairs_report(entangled, cells, settings, about),
    }
    return SpreadStudy(reports, entangled, loss)


def _tests(entangled: Entanglement, mark: str, loss: Array, seed: int) -> tuple[Mantel, Mantel]:
    """Likeness in each third against loss: as they are, and of pairs alone."""
    alike = np.stack([entangled.third(mark, third) for third in THIRDS])
    return mantel(alike, loss, seed=seed), mantel(pairs_alone(alike), pairs_alone(loss[None])[0], seed=seed)


def _domains(prompts: PromptSet) -> Array:
    topics = prompts.columns.get("topic")
    if topics is None:
        raise PromptError(f"these prompts have no column 'topic'; columns: {', '.join(prompts.columns) or 'none'}")
    return np.array([str(t) for t in topics])


def _trains(prompts: PromptSet, seed: int) -> Array:
    """Which prompts are unlearned: ``train`` of the column ``split``, or half of the groups."""
    split = prompts.columns.get("split")
    names = None if split is None else np.array([str(s).lower() == "train" for s in split])
    if names is not None and 0 < names.sum() < len(names):
        return names
    groups = np.arange(len(prompts)) if prompts.groups is None else np.unique(prompts.groups, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(groups.max() + 1)
    return np.isin(groups, order[::2])


def _unlearn_each(
    model: Model, fit: PromptSet, topics: Array, rest: PromptSet, refusals: Sequence[int],
    unlearning: UnlearnSettings | None, repeats: int, seed: int, batch_tokens: int | None,
) -> _Losses:  # fmt: skip
    before = refusal_of(model, rest, refusals, batch_tokens=batch_tokens)
    if not (before > 0).any():
        raise PromptError(
            "the model refuses none of these prompts by the first token of its answer, so there is no refusal to "
            "unlearn; it may refuse in other words: say how refusals begin"
        )
    after, steps, left = [], [], []
    for name in np.unique(topics):
        mine = fit.select(np.flatnonzero(topics == name))
        made = [
            unlearn_refusal(model, mine, refusals, unlearning, seed=seed + k, batch_tokens=batch_tokens)
            for k in range(repeats)
        ]
        after.append(np.mean([refusal_of(u.model, rest, refusals, batch_tokens=batch_tokens) for u in made], axis=0))
        steps.append(float(np.mean([u.steps for u in made])))
        left.append(float(np.mean([u.refused for u in made])))
    return _Losses(before, np.stack(after), steps, left)


def _cells(
    rest: PromptSet, here: Array, known: Array, found: _Losses, bootstrap: int, level: float, seed: int
) -> list[dict[str, Any]]:
    """Every ordered pair: what the second loses as the first is unlearned, with intervals over its groups."""
    rows = []
    groups = np.arange(len(rest)) if rest.groups is None else rest.groups
    for k, measured in enumerate(known):
        mine = here == measured
        lost = (found.before - found.after)[:, mine].T

        def mean(w: Array, lost: Array = lost) -> Array:
            return (w @ lost) / w.sum(-1, keepdims=True)

        ci = cluster_bootstrap(mean, groups[mine], replicates=bootstrap, level=level, method="t", seed=seed)
        for j, unlearned in enumerate(known):
            row: dict[str, Any] = {"unlearned": str(unlearned), "measured": str(measured), "own": j == k}
            row |= {"loss": ci.estimate[j], "loss_lo": ci.low[j], "loss_hi": ci.high[j]}
            row |= {
                "refused_before": (found.before[mine] > 0).mean(),
                "refused_after": (found.after[j, mine] > 0).mean(),
            }
            rows.append(row | {"n": int(mine.sum()), "n_groups": len(np.unique(groups[mine]))})
    return rows


def _warnings(found: _Losses, known: Array, here: Array) -> list[str]:
    out = []
    weak = [str(n) for n in known if (found.before[here == n] > 0).mean() < 0.8]
    if weak:
        out.append(
            f"The model refuses less than 80 % of the prompts on {', '.join(weak)}, so there is little to lose there."
        )
    still = [str(n) for n, share in zip(known, found.left, strict=True) if share > 0.5]
    if still:
        out.append(f"Refusal was not unlearned in time on {', '.join(still)}: more steps or a higher learning rate.")
    return out
