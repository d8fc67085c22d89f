"""What is measured at the answer's token: one number per pair, and more is always better.

A metric is a name or a function of logits ``[row, vocab]`` at the last token and the pairs' numbers ``[row]``, as in
`interp.grads`. An edge's score is how much of the metric is lost when the edge is ablated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import CircuitError
from .pairs import Pairs

MetricFunction = Callable[[Tensor, Tensor], Tensor]
Metric = str | MetricFunction


@dataclass(frozen=True, eq=False)
class Bound:
    """A metric with what it needs to know about the pairs.

    ``against_clean`` says that it compares with the logits of the clean run, so that its gradient there is zero.
    """

    name: str
    function: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    against_clean: bool = False

    def __call__(
        self,
        logits: Float[Tensor, "row vocab"],
        example: Int[Tensor, " row"],
        clean: Float[Tensor, "row vocab"] | None = None,
    ) -> Float[Tensor, " row"]:
        """One number per row; ``clean`` are the clean run's logits of the same pairs."""
        value = self.function(logits, example, clean)
        if value.shape != (len(logits),):
            raise CircuitError(
                f"metric {self.name!r} must give one number per row, [{len(logits)}], not {tuple(value.shape)}"
            )
        return value


def bind(metric: Metric, pairs: Pairs) -> Bound:
    """A metric by name, or a function, made ready for some pairs.

    ``logit_diff``: mean logit of the right answers less that of the wrong ones. ``prob_diff``: probability of the right
    answers less that of the wrong ones. ``answer_logp``: log probability, in nats, that one of the right answers comes.
    ``kl``: minus the divergence KL(clean || ablated) in nats, summed over the vocabulary.

    Raises:
        CircuitError: an unknown name, or ``logit_diff`` and ``prob_diff`` without wrong answers.
    """
    if callable(metric):
        return Bound(getattr(metric, "__name__", "metric"), lambda logits, example, _: metric(logits, example))
    if metric not in METRICS:
        raise CircuitError(f"there is no metric {metric!r}; there are {', '.join(METRICS)}, or a function of logits")
    if metric == "kl":
        return Bound("kl", _kl, against_clean=True)
    if metric == "answer_logp":
        right = _Answers(pairs.answers)
        return Bound(metric, lambda logits, example, _: right.log_sum(logits.log_softmax(-1), example))
    bare = [pairs.clean.ids[i] for i, tokens in enumerate(pairs.wrong) if not len(tokens)]
    if bare:
        raise CircuitError(f"metric {metric!r} needs a wrong answer for every pair; pair {bare[0]!r} has none")
    right, wrong = _Answers(pairs.answers), _Answers(pairs.wrong)
    if metric == "logit_diff":
        return Bound(metric, lambda logits, example, _: right.mean(logits, example) - wrong.mean(logits, example))

    def prob_diff(logits: Tensor, example: Tensor, _: Tensor | None) -> Tensor:
        p = logits.softmax(-1)
        return right.sum(p, example) - wrong.sum(p, example)

    return Bound(metric, prob_diff)


def _kl(logits: Tensor, _: Tensor, clean: Tensor | None) -> Tensor:
    if clean is None:
        raise CircuitError("metric 'kl' compares with the clean run, whose logits are missing here")
    was, now = clean.detach().log_softmax(-1), logits.log_softmax(-1)
    return -(was.exp() * (was - now)).sum(-1)


class _Answers:
    """Answer tokens of every pair as one rectangle."""

    def __init__(self, answers: tuple) -> None:
        n = max(len(a) for a in answers)
        self._ids = torch.zeros(len(answers), n, dtype=torch.long)
        self._real = torch.zeros(len(answers), n, dtype=torch.bool)
        for i, tokens in enumerate(answers):
            self._ids[i, : len(tokens)] = torch.from_numpy(tokens)
            self._real[i, : len(tokens)] = True

    def _of(self, values: Tensor, example: Tensor) -> tuple[Tensor, Tensor]:
        example = example.cpu()
        ids, real = (x[example].to(values.device) for x in (self._ids, self._real))
        return values.gather(-1, ids), real

    def sum(self, values: Tensor, example: Tensor) -> Tensor:
        """Sum over each row's answers."""
        found, real = self._of(values, example)
        return (found * real).sum(-1)

    def mean(self, values: Tensor, example: Tensor) -> Tensor:
        """Mean over each row's answers."""
        found, real = self._of(values, example)
        return (found * real).sum(-1) / real.sum(-1)

    def log_sum(self, log_p: Tensor, example: Tensor) -> Tensor:
        """Log of the sum of probabilities."""
        found, real = self._of(log_p, example)
        return found.masked_fill(~real, -torch.inf).logsumexp(-1)


METRICS: Mapping[str, str] = {
    "logit_diff": "logits of the right answers less those of the wrong ones",
    "prob_diff": "probability of the right answers less that of the wrong ones",
    "answer_logp": "log probability of the right answers, nats",
    "kl": "minus KL(clean || ablated), nats, summed over the vocabulary",
}
