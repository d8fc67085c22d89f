"""What an intervention does to how a model begins its answers: refusal scores, and the KL from the plain model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ...edits import Edit, add
from ...metrics import refusal_score
from ...prompts.join import join
from ...run import forward
from ...sites import Site
from ..ablation import ablation_edits, ablation_sites

if TYPE_CHECKING:
    from ...models import Model
    from ...prompts import PromptSet

CHUNK = 1 << 26  # numbers of a table of logits that are turned into log probabilities at once


@dataclass(frozen=True, eq=False)
class Outcome:
    """Refusal score of each prompt, and the KL of its next token from the plain model's where that was asked for."""

    score: Float[Tensor, " prompt"]
    kl: Float[Tensor, " prompt"] | None = None


@dataclass(frozen=True, eq=False)
class Trial:
    """Prompts of both classes to try interventions on; ``plain`` has the logits without any."""

    model: Model
    harmful: PromptSet
    harmless: PromptSet
    both: PromptSet
    ids: tuple[int, ...]
    plain: Float[Tensor, "prompt vocab"]
    sites: tuple[Site, ...]
    batch_tokens: int | None = None

    @classmethod
    def of(
        cls, model: Model, harmful: PromptSet, harmless: PromptSet, ids: tuple[int, ...], batch_tokens: int | None
    ) -> Trial:
        """A trial, with the plain model's logits."""
        both = join([harmful, harmless], labels=[True, False])
        plain = forward(model, both, batch_tokens=batch_tokens, progress=False).logits
        return cls(model, harmful, harmless, both, ids, plain, ablation_sites(model), batch_tokens)

    @property
    def base(self) -> Outcome:
        """Without an intervention."""
        return Outcome(refusal_score(self.plain, self.ids))

    def ablated(self, vector: Float[Tensor, " d"]) -> tuple[Outcome, Outcome]:
        """With the direction taken out everywhere: harmful prompts, and harmless ones with the KL."""
        logits = self._run(self.both, ablation_edits(self.model, vector, sites=self.sites))
        score, n = refusal_score(logits, self.ids), len(self.harmful)
        return Outcome(score[:n]), Outcome(score[n:], kl_from(self.plain[n:], logits[n:]))

    def added(self, site: Site, vector: Float[Tensor, " d"]) -> Outcome:
        """With the vector added at every token of a site: harmless prompts."""
        return Outcome(refusal_score(self._run(self.harmless, (add(site, vector),)), self.ids))

    def _run(self, prompts: PromptSet, edits: tuple[Edit, ...]) -> Tensor:
        return forward(self.model, prompts, edits=edits, batch_tokens=self.batch_tokens, progress=False).logits


def kl_from(base: Float[Tensor, "prompt vocab"], other: Float[Tensor, "prompt vocab"]) -> Float[Tensor, " prompt"]:
    """``KL(base || other)`` of next-token distributions in nats, from logits, in float64.

    >>> kl_from(torch.zeros(1, 2), torch.tensor([[0.0, 0.0]])).tolist()
    [0.0]
    """
    step = max(1, CHUNK // base.shape[1])
    out = []
    for start in range(0, len(base), step):
        log_p, log_q = (x[start : start + step].cpu().double().log_softmax(-1) for x in (base, other))
        p = log_p.exp()
        out.append(torch.where(p > 0, p * (log_p - log_q), 0.0).sum(-1))
    return torch.cat(out)
