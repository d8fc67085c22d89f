"""The chosen direction on prompts that had no part in the choice, beside random directions of its length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...prompts import PromptSet
from ...sites import Site
from ...stats import Interval, cluster_bootstrap
from .trials import Trial

Scores = Float[Tensor, "draw prompt"]


@dataclass(frozen=True, eq=False)
class Judgement:
    """Rows of a report, and how far the direction is from a random one of its length: below 0 and above 0 is ahead.

    ``ablate_gap``: score of harmful prompts under its ablation less that under theirs. ``add_gap``: score of harmless
    prompts with it added less that with theirs.
    """

    rows: list[dict[str, Any]]
    ablate_gap: Interval
    add_gap: Interval

    @property
    def bypasses(self) -> bool:
        """Whether taking it out lowers refusal beyond what random directions do."""
        return bool(self.ablate_gap.high < 0)

    @property
    def induces(self) -> bool:
        """Whether adding it raises refusal beyond what random directions do."""
        return bool(self.add_gap.low > 0)


def judge(
    trial: Trial,
    site: Site,
    vector: Float[Tensor, " d"],
    shuffled: Sequence[tuple[Site, Float[Tensor, " d"]]],
    *,
    random: int,
    bootstrap: int,
    level: float,
    seed: int,
) -> Judgement:
    """Ablate and add the vector, ``random`` directions of its length, and as many of the choices of shuffled labels."""
    g = torch.Generator().manual_seed(seed)
    drawn = torch.randn(random, len(vector), generator=g, dtype=torch.float64)
    drawn = drawn / drawn.norm(dim=1, keepdim=True) * vector.norm()
    arms = {
        "selected": [(site, vector)],
        "random": [(site, one) for one in drawn],
        "shuffled labels": list(shuffled[:random]),
    }
    n = len(trial.harmful)
    base = trial.base.score
    made = {name: _run(trial, arm) for name, arm in arms.items() if arm}
    about = _About(trial, bootstrap, level, seed)
    rows = [about.row("harmful", "nothing", "none", base[None, :n]), *_lines(about, made, "ablated")]
    rows += [about.row("harmless", "nothing", "none", base[None, n:]), *_lines(about, made, "added")]
    rows += _lines(about, made, "kept")
    ablate_gap = about.gap(trial.harmful, made["selected"]["ablated"], made["random"]["ablated"])
    add_gap = about.gap(trial.harmless, made["selected"]["added"], made["random"]["added"])
    return Judgement(rows, ablate_gap, add_gap)


def _run(trial: Trial, arm: Sequence[tuple[Site, Tensor]]) -> dict[str, Tensor]:
    out: dict[str, list[Tensor]] = {"ablated": [], "kept": [], "kl": [], "added": []}
    for site, vector in arm:
        harmful, harmless = trial.ablated(vector)
        out["ablated"].append(harmful.score)
        out["kept"].append(harmless.score)
        assert harmless.kl is not None
        out["kl"].append(harmless.kl)
        out["added"].append(trial.added(site, vector).score)
    return {name: torch.stack(values) for name, values in out.items()}


_ACTS = {"ablated": ("harmful", "ablate"), "added": ("harmless", "add"), "kept": ("harmless", "ablate")}


def _lines(about: _About, made: dict[str, dict[str, Tensor]], what: str) -> list[dict[str, Any]]:
    prompts, act = _ACTS[what]
    return [
        about.row(prompts, act, name, arm[what], arm["kl"] if what == "kept" else None) for name, arm in made.items()
    ]


@dataclass(frozen=True, eq=False)
class _About:
    """How means over prompts become rows with intervals."""

    trial: Trial
    bootstrap: int
    level: float
    seed: int

    def row(self, prompts: str, act: str, direction: str, score: Scores, kl: Scores | None = None) -> dict[str, Any]:
        """One line: the mean over draws of each prompt, then over prompts, with intervals over prompts."""
        of = self.trial.harmful if prompts == "harmful" else self.trial.harmless
        row: dict[str, Any] = {"prompts": prompts, "act": act, "direction": direction, "draws": len(score)}
        row |= self._triple("score", of, score, "t")
        row |= self._triple("refused", of, (score > 0).double(), "logit")
        if kl is not None:
            row |= self._triple("kl", of, kl, "t")
        return {**row, "n": len(of)}

    def gap(self, of: PromptSet, ours: Scores, theirs: Float[Tensor, "other prompt"]) -> Interval:
        """Mean over prompts of the difference, paired."""
        return self._interval(of, (ours.mean(0) - theirs.mean(0)).numpy(), "t")

    def _triple(self, name: str, of: PromptSet, values: Scores, method: str) -> dict[str, float]:
        i = self._interval(of, values.mean(0).numpy(), method)
        return {name: float(i.estimate), f"{name}_lo": float(i.low), f"{name}_hi": float(i.high)}

    def _interval(self, of: PromptSet, values: np.ndarray, method: str) -> Interval:
        groups = np.arange(len(of)) if of.groups is None else of.groups
        return cluster_bootstrap(
            lambda w: (w * values).sum(-1) / w.sum(-1),
            groups,
            replicates=self.bootstrap,
            level=self.level,
            method=method,
            seed=self.seed,
        )
