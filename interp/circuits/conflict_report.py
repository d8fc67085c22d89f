"""Memory and context heads as reports: both answers under each head's loss, and pruning sets that a dev half chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from ..edits import Edit, ablate_heads
from ..errors import CircuitError
from ..prompts import PromptSet
from ..provenance import Provenance
from ..report import Report
from ..sites import Site
from ..stats import permutation_p
from ..stats.subsets import other_subsets
from .conflict import Answers, AnswerScores, HeadEffects, How, Path, answer_scores, check_answers, head_effects
from .headrows import groups_of, mean_interval
from .masks import all_heads, head_means

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]
MEMORY, CONTEXT, NEITHER = "memory", "context", "neither"


@dataclass(frozen=True)
class ConflictSettings:
    """How memory and context heads are found and judged.

    Roles are of all prompts. For pruning, half of the groups ranks the heads and chooses the sets, and the other half
    judges them. ``by`` ranks heads by the direct effect (path patching) or the full one. ``most`` is the largest set
    tried, a quarter of all heads by default.
    """

    by: Path = "direct"
    how: How = "mean"
    freeze_mlp: bool = False
    most: int | None = None
    draws: int = 100
    bootstrap: int = 2000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings under which nothing is compared.

        Raises:
            CircuitError: no heads or no random sets.
        """
        if self.draws < 1 or (self.most is not None and self.most < 1):
            raise CircuitError(f"draws={self.draws} and most={self.most} must be 1 or more")


def conflict_reports(
    model: Model,
    prompts: PromptSet,
    memory: Answers,
    context: Answers,
    use: ConflictSettings | None = None,
    *,
    command: str | None = None,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> dict[str, Report]:
    """``conflict-heads``: every head's effects by both paths; ``conflict-pruned``: sets, on a half that chose nothing.

    Raises:
        CircuitError: answers that do not fit the prompts, or fewer than four groups of them.

    Source: Jin et al. (PH3, arXiv 2402.18154). Intervals, nulls and the comparison of paths are ours.
    """
    use = use or ConflictSettings()
    check_answers(prompts, memory, context)
    groups = groups_of(prompts)
    order = np.random.default_rng(use.seed).permutation(groups.max() + 1)
    if len(order) < 4:
        raise CircuitError(f"{len(order)} groups of prompts: half chooses the sets and half judges them, so give four")
    finds = np.isin(groups, order[: len(order) // 2])
    halves = [np.flatnonzero(half).tolist() for half in (finds, ~finds)]
    (dev, *dev_answers), (test, *test_answers) = (
        (prompts.select(half), [memory[i] for i in half], [context[i] for i in half]) for half in halves
    )
    options: dict[str, Any] = {"how": use.how, "batch_tokens": batch_tokens, "progress": progress}
    direct = head_effects(model, prompts, memory, context, path="direct", freeze_mlp=use.freeze_mlp, **options)
    full = head_effects(model, prompts, memory, context, path="full", **options)
    base = answer_scores(model, prompts, memory, context, batch_tokens=batch_tokens)
    about = model.provenance(prompts=prompts.hash, seed=use.seed, command=command)
    first = heads_report(direct, full, base, groups, use, about)
    lean = (direct if use.by == "direct" else full).lean[halves[0]].mean(0)
    pruning = _Pruning(model, use, dev, batch_tokens)
    chosen = {kind: pruning.choose(lean, kind, dev, dev_answers) for kind in (MEMORY, CONTEXT)}
    second = pruning.report(chosen, test, test_answers, about)
    return {first.kind: first, second.kind: second}


def heads_report(
    direct: HeadEffects, full: HeadEffects, base: AnswerScores, groups: Array, use: ConflictSettings, about: Provenance
) -> Report:
    """Every head's effect on either answer. A role needs opposite signs, both intervals clear of 0, over all heads.

    The intervals that say so are at level ``1 - (1 - level) / heads``; those that are shown are at ``level``.
    """
    n = len(direct.heads)
    by = direct if use.by == "direct" else full
    strict = 1 - (1 - use.level) / n
    own = {name: _intervals(by, name, groups, use, use.level) for name in ("memory", "context", "lean")}
    sure = {name: _intervals(by, name, groups, use, strict) for name in ("memory", "context")}
    rows = []
    for rank, k in enumerate(np.argsort(-np.abs(own["lean"][0]), kind="stable").tolist(), 1):
        head = direct.heads[k]
        row: dict[str, Any] = {"rank": rank, "part": str(head), "layer": head.layer, "head": head.head}
        row["role"] = _role(sure["memory"], sure["context"], k)
        for name, (mean, low, high) in own.items():
            row |= {name: mean[k], f"{name}_lo": low[k], f"{name}_hi": high[k]}
        for other, effects in (("direct", direct), ("full", full)):
            row |= {f"memory_{other}": effects.memory[:, k].mean(), f"context_{other}": effects.context[:, k].mean()}
            row[f"lean_{other}"] = effects.lean[:, k].mean()
        rows.append(row | {"n": len(by.lean), "n_groups": len(np.unique(groups))})
    agreement = {name: _spearman(direct, full, name) for name in ("memory", "context", "lean")}
    meta = {
        "ci_level": use.level, "role_level": strict, "unit": "nats", "by": use.by, "how": use.how,
        "spearman": agreement, "memory_before": base.memory.mean(), "context_before": base.context.mean(),
        "says_memory": base.says_memory.mean(), "says_context": base.says_context.mean(),
        "found": any(r["role"] != NEITHER for r in rows),
    }  # fmt: skip
    return Report(
        "conflict-heads", "Which heads speak for memory, and which for the context", _heads_headline(rows, agreement),
        rows, about, _heads_warnings(base, n), meta,
    )  # fmt: skip


def _intervals(effects: HeadEffects, name: str, groups: Array, use: ConflictSettings, level: float) -> Any:
    return mean_interval(getattr(effects, name), groups, bootstrap=use.bootstrap, level=level, seed=use.seed)


def _role(memory: Any, context: Any, k: int) -> str:
    """Losing a memory head costs the memory answer and helps the context answer; a context head, the other way."""
    if memory[2][k] < 0 < context[1][k]:
        return MEMORY
    return CONTEXT if context[2][k] < 0 < memory[1][k] else NEITHER


def _spearman(direct: HeadEffects, full: HeadEffects, name: str) -> float:
    from scipy.stats import spearmanr

    a, b = (getattr(effects, name).mean(0) for effects in (direct, full))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)


def _heads_headline(rows: Sequence[dict[str, Any]], agreement: dict[str, float]) -> str:
    text = []
    for role in (MEMORY, CONTEXT):
        own = [r for r in rows if r["role"] == role]
        if own:
            best = own[0]
            text.append(
                f"{len(own)} {role} head{'s' * (len(own) > 1)}, first {best['part']} "
                f"({best['memory']:+.2f} nats for memory, {best['context']:+.2f} for the context without it)"
            )
        else:
            text.append(f"no {role} head")
    return (
        f"Of {len(rows)} heads: {'; '.join(text)}. Path patching and full ablation rank heads alike with Spearman "
        f"{agreement['lean']:.2f}."
    )


def _heads_warnings(base: AnswerScores, n: int) -> list[str]:
    found = []
    neither = 1 - float((base.says_memory + base.says_context).mean())
    if neither > 0.5:
        found.append(
            f"the model says neither answer first on {neither:.0%} of the prompts: is there a conflict at all?"
        )
    if n < 5:
        found.append(f"{n} heads are few for a rank correlation")
    return found


class _Pruning:
    """Sets of heads taken out at all tokens: chosen on one half, judged on the other beside random sets."""

    def __init__(self, model: Model, use: ConflictSettings, reference: PromptSet, batch_tokens: int | None) -> None:
        self.model, self.use, self.batch_tokens = model, use, batch_tokens
        self.heads = all_heads(model)
        self.means = None if use.how == "zero" else head_means(model, reference, batch_tokens=batch_tokens)

    def _edits(self, heads: Sequence[Site]) -> tuple[Edit, ...]:
        values = None if self.means is None else {head: self.means[head] for head in heads}
        return ablate_heads(list(heads), self.use.how, values) if heads else ()

    def _scores(self, prompts: PromptSet, answers: Sequence[Answers], heads: Sequence[Site]) -> AnswerScores:
        edits = self._edits(heads)
        return answer_scores(self.model, prompts, answers[0], answers[1], edits, batch_tokens=self.batch_tokens)

    def choose(
        self, lean: Float[np.ndarray, " head"], kind: str, prompts: PromptSet, answers: Sequence[Answers]
    ) -> tuple[Site, ...]:  # fmt: skip
        """The heads that lean most to one side, as many as move the lead of the other answer most on these prompts."""
        sign = 1 if kind == MEMORY else -1
        ranked = [self.heads[k] for k in np.argsort(-sign * lean, kind="stable").tolist()]
        most = self.use.most or max(1, len(self.heads) // 4)
        best: tuple[float, tuple[Site, ...]] = (-np.inf, ())
        for k in range(1, min(most, len(ranked) - 1) + 1):
            some = tuple(ranked[:k])
            scores = self._scores(prompts, answers, some)
            lead = sign * float((scores.context - scores.memory).mean())
            if lead > best[0]:
                best = lead, some
        return best[1]

    def report(
        self, chosen: dict[str, tuple[Site, ...]], prompts: PromptSet, answers: Sequence[Answers], about: Provenance
    ) -> Report:
        """What pruning either set does to both answers, on prompts that chose nothing."""
        before, groups, use = self._scores(prompts, answers, ()), groups_of(prompts), self.use
        rows = []
        for kind, heads in chosen.items():
            sign = 1 if kind == MEMORY else -1
            sets, exact = other_subsets(self.heads, heads, use.draws, use.seed)
            after = self._scores(prompts, answers, heads)
            own = sign * _lead_change(after, before)
            drawn = [self._scores(prompts, answers, some) for some in sets]
            others = np.stack([sign * _lead_change(one, before) for one in drawn])
            mean, low, high = mean_interval(
                np.stack([own, own - others.mean(0)], 1),
                groups,
                bootstrap=use.bootstrap,
                level=use.level,
                seed=use.seed,
            )
            spread = np.quantile(others.mean(1), [0.025, 0.975])
            row: dict[str, Any] = {"pruned": kind, "heads": len(heads), "which": [str(h) for h in heads]}
            row |= {"effect": mean[0], "effect_lo": low[0], "effect_hi": high[0]}
            row |= {"random": others.mean(), "random_lo": spread[0], "random_hi": spread[1]}
            row |= {"beyond": mean[1], "beyond_lo": low[1], "beyond_hi": high[1]}
            row |= {"p": float(permutation_p(own.mean(), others.mean(1))), "min_p": 1 / (1 + len(sets))}
            for says in ("says_memory", "says_context"):
                row |= {f"{says}_before": getattr(before, says).mean(), f"{says}_after": getattr(after, says).mean()}
                row[f"{says}_random"] = float(np.mean([getattr(one, says).mean() for one in drawn]))
            rows.append(row | {"draws": len(sets), "exact": exact, "n": len(own)})
        meta = {"ci_level": use.level, "unit": "nats", "how": use.how, "by": use.by}
        few = [f"{r['draws']} random sets allow no p below {r['min_p']:.2g}" for r in rows if r["min_p"] >= 0.05]
        title = "Pruning memory heads, and pruning context heads"
        return Report("conflict-pruned", title, _pruned_headline(rows), rows, about, few, meta)


def _lead_change(after: AnswerScores, before: AnswerScores) -> Array:
    """By how much the context answer's lead over the memory answer grew, per prompt."""
    return (after.context - after.memory) - (before.context - before.memory)


def _pruned_headline(rows: Sequence[dict[str, Any]]) -> str:
    text = []
    for row in rows:
        other = CONTEXT if row["pruned"] == MEMORY else MEMORY
        plural = "s" if row["heads"] > 1 else ""
        clause = (
            f"without {row['heads']} {row['pruned']} head{plural} the {other} answer comes first on "
            f"{row[f'says_{other}_after']:.0%} of prompts ({row[f'says_{other}_before']:.0%} before, "
            f"{row[f'says_{other}_random']:.0%} with random heads out, p = {row['p']:.2g})"
        )
        clause += "" if row["beyond_lo"] > 0 and row["p"] < 0.05 else ", no more than by random heads"
        text.append(clause)
    joined = "; ".join(text) + "."
    return joined[:1].upper() + joined[1:]
