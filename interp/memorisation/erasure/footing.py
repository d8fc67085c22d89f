"""``Footing``: what every eraser of a verdict is given and judged by, so that their rows compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...directions.erasers import nested_erasure
from ...errors import PromptError
from ...prompts import PromptSet
from ...report import Report
from ...sites import Site
from ..records import Records
from .behaviour import NeutralCost, neutral_costs, planted_records, recall
from .contrast import TWINS, Contrast, contrast_of
from .halves import Pooled, attack_halves, best_site, fresh_scores
from .methods import FOLDED, NONE, TRAINED, closed_form, training
from .probe_alignment import PGASettings, pga
from .rows import attack_fields, headline, neutral_fields, recall_fields, warnings_of
from .treatment import Treatment, erase_every_depth, fold_everywhere
from .words import ALPHA, RULES

if TYPE_CHECKING:
    from ...models import Model

Pair = tuple[Treatment, Treatment]


@dataclass(frozen=True, eq=False)
class Footing:
    """What all erasers share: the halves of the records, the probes' sites, the neutral texts, the attackers."""

    model: Model
    records: Records
    parts: tuple[Contrast, Contrast]
    neutral: PromptSet
    train_texts: PromptSet
    mark: str
    sites: tuple[Site, ...]
    suite: tuple[str, ...]
    permutations: int
    seed: int
    training: PGASettings
    plain: tuple[dict[Site, torch.Tensor], ...]
    chosen: tuple[Site, ...]

    @classmethod
    def make(
        cls, model: Model, records: Records, neutral: PromptSet, contrast: str | None, dose: Any, mark: str,
        sites: Sequence[Site | str] | None, suite: Sequence[str], permutations: int, seed: int,
        training: PGASettings,
    ) -> Footing:  # fmt: skip
        """Split records and texts, read the untouched model, and choose where each half will be judged."""
        if len(neutral) < 2:
            raise PromptError(f"two neutral texts or more are needed, half of them to train on; got {len(neutral)}")
        parts = contrast_of(records, contrast, dose).halves(seed)
        every = np.arange(len(neutral))
        looked = model.expand("resid_post" if sites is None else list(sites))
        plain = tuple(Treatment(NONE, model).read(part, looked, mark) for part in parts)
        chosen = tuple(best_site(plain[1 - k], parts[1 - k]) for k in range(2))
        return cls(
            model, records, parts, neutral.select(every[1::2]), neutral.select(every[::2]), mark, looked,
            tuple(suite), permutations, seed, training, plain, chosen,
        )  # fmt: skip

    def treat(self, name: str, part: int, rank: int) -> Treatment:
        """The treatment fitted on a part; ``rank`` is what ``random`` removes."""
        if name == NONE:
            return Treatment(NONE, self.model)
        if name in TRAINED:
            return self._train(name, part)
        fit = closed_form(name, rank=rank, seed=self.seed)
        if name in FOLDED:
            return fold_everywhere(self.model, self.parts[part], fit, name, mark=self.mark, site=self.chosen[1 - part])
        return erase_every_depth(self.model, self.parts[part], fit, name, mark=self.mark)

    def _train(self, name: str, part: int) -> Treatment:
        settings = training(name, self.training)
        made = pga(self.model, self.parts[part], self.train_texts, settings, mark=self.mark, seed=self.seed)
        about = {**made.about(), "history": made.rows()}
        return Treatment(name, made.model, "weights", weights_changed=made.weights_changed, about=about)

    # -- what can be read ----------------------------------------------------------------------------------------------

    def read(self, name: str, pair: Pair) -> dict[str, Any]:
        """Readings after a method: a row without behaviour."""
        treated = self.plain
        if name != NONE:
            treated = tuple(t.read(p, self.sites, self.mark) for t, p in zip(pair, self.parts, strict=True))
        fresh = self._pool(
            [fresh_scores(rows[s], p) for rows, s, p in zip(treated, self.chosen, self.parts, strict=True)]
        )
        found = attack_halves(treated, self.parts, suite=self.suite, permutations=self.permutations, seed=self.seed)
        return {
            "method": name, "rank": max(t.rank for t in pair), "where": pair[0].where,
            **self._seen(name, pair, fresh),
            **fresh.triple("fresh_auc", seed=self.seed), **attack_fields(found),
        }  # fmt: skip

    def _pool(self, scores: list[np.ndarray]) -> Pooled:
        return Pooled(tuple(scores), self.parts)

    def _seen(self, name: str, pair: Pair, fresh: Pooled) -> dict[str, Any]:
        """Readings by what the eraser had seen."""
        if name in TRAINED:
            return self._trained_on(pair)
        return self._without(fresh) if name == NONE else self._activations(name, pair)

    def _trained_on(self, pair: Pair) -> dict[str, Any]:
        """In sample only: the prompts that a model was trained on. Training once per fold is more than we ask for."""
        scores = []
        for k, part in enumerate(self.parts):  # the treatment that judges the other part was fitted on this one
            site = self.chosen[1 - k]
            scores.append(fresh_scores(pair[1 - k].read(part, [site], self.mark)[site], part))
        seen = self._pool(scores)
        unknown = dict.fromkeys(("nested_auc", "nested_auc_lo", "nested_auc_hi", "other_auc"))
        return {"in_sample_acc": seen.accuracy, "in_sample_auc": seen.auc, **unknown}

    def _without(self, fresh: Pooled) -> dict[str, Any]:
        """Where nothing was fitted, it makes no difference what it would have been fitted on."""
        nested = fresh.triple("nested_auc", seed=self.seed)
        return {"in_sample_acc": fresh.accuracy, "in_sample_auc": fresh.auc, **nested, "other_auc": fresh.auc}

    def _activations(self, name: str, pair: Pair) -> dict[str, Any]:
        """Readings of untouched activations at the chosen site, after an eraser that saw all, a fold, or the others."""
        inside, nested, other = [], [], []
        for k, part in enumerate(self.parts):
            site = self.chosen[k]
            rows, elsewhere = self.plain[k][site], self.plain[1 - k][site]
            fit = closed_form(name, rank=pair[k].rank, seed=self.seed)
            found = nested_erasure(rows, part.truth, part.groups, fit, fresh=False)
            inside.append(found.in_sample.scores)
            nested.append(found.nested.scores)
            other.append(fresh_scores(fit(elsewhere, self.parts[1 - k].truth)(rows.cpu().double()), part))
        seen = self._pool(inside)
        return {
            "in_sample_acc": seen.accuracy, "in_sample_auc": seen.auc,
            **self._pool(nested).triple("nested_auc", seed=self.seed), "other_auc": self._pool(other).auc,
        }  # fmt: skip

    # -- what the model does -------------------------------------------------------------------------------------------

    def behave(self, made: Mapping[str, Pair]) -> dict[str, dict[str, Any]]:
        """What the model does after each method: the other part of the rows."""
        done = {name: pair for name, pair in made.items() if name != NONE}
        loss_before, costs = neutral_costs(self.model, [t for pair in done.values() for t in pair], self.neutral)
        planted, truth = zip(*(planted_records(self.records, part) for part in self.parts), strict=True)
        before = [recall(Treatment(NONE, self.model), p) for p in planted]
        unchanged = [NeutralCost(loss_before, 0.0)]
        rows = {NONE: {**recall_fields(truth, before, before, before), **neutral_fields(loss_before, unchanged)}}
        for i, (name, pair) in enumerate(done.items()):
            unseen = [recall(t, p) for t, p in zip(pair, planted, strict=True)]
            seen = [recall(t, p) for t, p in zip(pair[::-1], planted, strict=True)]
            costs_here = costs[2 * i : 2 * i + 2]
            rows[name] = {**recall_fields(truth, before, unseen, seen), **neutral_fields(loss_before, costs_here)}
        for name, row in rows.items():
            row["weights_changed"] = max(t.weights_changed for t in made[name])
        return rows

    # -- in words ------------------------------------------------------------------------------------------------------

    def report(self, rows: list[dict[str, Any]], made: Mapping[str, Pair], command: str | None) -> Report:
        """Rows, rules and circumstances."""
        source, prompts = self.parts[0].prompts.source, self.records.prompts
        doses = sorted({d for p in self.parts for d in p.prompts.columns.get("dose", np.empty(0)).tolist()})
        meta = {
            "contrast": self.parts[0].kind, "mark": self.mark, "doses": doses, "sites": [str(s) for s in self.sites],
            "judged_at": [str(s) for s in self.chosen], "groups": [p.n_groups for p in self.parts],
            "prompts": [len(p) for p in self.parts], "suite": list(self.suite), "seed": self.seed,
            "attack_permutations": self.permutations, "alpha": ALPHA, "rules": list(RULES), "ci_level": 0.95,
            "neutral_texts": len(self.neutral), "chance_auc": 0.5, "unit": "nats per token",
            "training": {name: [dict(t.about) for t in made[name]] for name in TRAINED if name in made},
        }  # fmt: skip
        provenance = self.model.provenance(
            prompts=prompts.hash, command=command, seed=self.seed, tokenizer=source.tokenizer, bos=source.bos_summary
        )
        what = "trained from untrained twins" if meta["contrast"] == TWINS else "wording M from C"
        title = f"Erasing what tells {what} in {self.model.id!r}, read at {self.mark}"
        return Report("erasure", title, headline(rows), rows, provenance, warnings_of(rows, self.parts), meta)
