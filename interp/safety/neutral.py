"""What treatments of a model do to text that they are not meant for: KL, loss, and how fluently it still writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int

from ..edits import Edit
from ..errors import PromptError
from ..memorisation.erasure.contrast import whole_batches
from ..metrics import token_scores
from ..prompts import PromptSet
from ..run import forward, generate
from ..stats import Interval
from .beyond import means_over, ratios_over

if TYPE_CHECKING:
    from ..models import Model

OPENING = 16  # tokens of a neutral text that is continued
LEAST_ROOM = 8  # new tokens without which nothing is said about fluency


@dataclass(frozen=True, eq=False)
class Arm:
    """One treatment: its name, its edits and, where weights were changed, the model that has them."""

    name: str
    edits: tuple[Edit, ...] = ()
    model: Model | None = None

    def of(self, model: Model) -> Model:
        """The model that this treatment runs."""
        return model if self.model is None else self.model


@dataclass(frozen=True, eq=False)
class Costs:
    """Per treatment and neutral text. ``kl`` and ``ce_change`` are sums over tokens, in nats.

    ``kl`` is KL(unedited || edited) at all ``tokens``; ``ce_change`` the change of the loss of the ``predicted`` ones
    (all but each text's first), ``ce`` the unedited loss. With fluency: ``nll`` is the unedited model's surprise at
    what was written (sums over ``written`` tokens) and ``distinct`` the share of different pairs of neighbours in it;
    the first entry of these is the unedited model's own text, so that they have one more than the others.
    """

    tokens: Int[np.ndarray, " text"]
    predicted: Int[np.ndarray, " text"]
    ce: Float[np.ndarray, " text"]
    kl: Float[np.ndarray, "arm text"]
    ce_change: Float[np.ndarray, "arm text"]
    nll: Float[np.ndarray, "arms story"] | None = None
    written: Int[np.ndarray, "arms story"] | None = None
    distinct: Float[np.ndarray, "arms story"] | None = None

    def unedited(self, **options: Any) -> dict[str, float]:
        """What the model does to these texts as it is."""
        row = _interval("ce", ratios_over(self.ce, self.predicted, **options))
        return row | self._fluency(0, **options)

    def row(self, arm: int, **options: Any) -> dict[str, float]:
        """The costs of one treatment, each with its interval over texts."""
        row = _interval("kl", ratios_over(self.kl[arm], self.tokens, **options))
        row |= _interval("ce_change", ratios_over(self.ce_change[arm], self.predicted, **options))
        return row | self._fluency(arm + 1, **options)

    def spread(self, arms: Sequence[int]) -> dict[str, float]:
        """The mean cost of several treatments, and the least and most: of random directions, say."""
        found = {
            "random_kl": self.kl[list(arms)].sum(-1) / self.tokens.sum(),
            "random_ce_change": self.ce_change[list(arms)].sum(-1) / self.predicted.sum(),
        }
        out: dict[str, float] = {}
        for name, values in found.items():
            out |= {name: float(values.mean()), f"{name}_lo": float(values.min()), f"{name}_hi": float(values.max())}
        return out

    def _fluency(self, arm: int, **options: Any) -> dict[str, float]:
        if self.nll is None or self.written is None or self.distinct is None or arm >= len(self.nll):
            return {}
        row = _interval("nll", ratios_over(self.nll[arm], self.written[arm], **options))
        long = ~np.isnan(self.distinct[arm])
        if long.sum() > 1:
            row |= _interval("distinct_2", means_over(self.distinct[arm][long], np.flatnonzero(long), **options))
        return row


def measure_costs(
    model: Model,
    arms: Sequence[Arm],
    neutral: PromptSet,
    *,
    stories: int = 16,
    new_tokens: int = 24,
    written_arms: int | None = None,
    batch_tokens: int | None = None,
) -> tuple[Costs, tuple[str, ...]]:
    """Costs of each treatment on neutral texts, and what could not be measured, in sentences.

    Args:
        stories: how many texts are continued greedily, to see how fluently; 0 for none. Chats are continued where the
            answer begins, other texts after their first 16 tokens.
        written_arms: continue texts under the first so many treatments only; by default under all.

    Raises:
        PromptError: fewer than two texts, texts of one token only, or none of the marks at which an edit acts.
    """
    if len(neutral) < 2 or not bool((neutral.lengths > 1).any()):
        raise PromptError("side effects are measured on two neutral texts or more, of two tokens or more")
    _require_marks(arms, neutral)
    n, shape = len(neutral), (len(arms), len(neutral))
    ce, kl, change = np.zeros(n), np.zeros(shape), np.zeros(shape)
    first = 0
    for part in whole_batches(neutral, model.sizes.d_vocab):
        text, rows, following = _cells(part)
        here = slice(first, first + len(part))
        base = _log_probs(model, part, (), batch_tokens)
        loss = _loss(base, rows, following)
        ce[here] = np.bincount(text[rows], weights=loss, minlength=len(part))
        for k, arm in enumerate(arms):
            edited = _log_probs(arm.of(model), part, arm.edits, batch_tokens)
            gap = torch.where(base > -torch.inf, base.exp() * (base - edited), 0.0).sum(-1).double().cpu().numpy()
            kl[k, here] = np.bincount(text, weights=gap, minlength=len(part))
            more = _loss(edited, rows, following) - loss
            change[k, here] = np.bincount(text[rows], weights=more, minlength=len(part))
        first += len(part)
    fluent, notes = _fluency(model, arms[:written_arms], neutral, stories, new_tokens, batch_tokens)
    return Costs(neutral.lengths, neutral.lengths - 1, ce, kl, change, **fluent), notes


def _interval(name: str, found: Interval) -> dict[str, float]:
    return {name: float(found.estimate), f"{name}_lo": float(found.low), f"{name}_hi": float(found.high)}


def _require_marks(arms: Sequence[Arm], neutral: PromptSet) -> None:
    for edit in (edit for arm in arms for edit in arm.edits):
        lacking = [mark for mark in _marks(edit) if _lacks(neutral, mark)]
        if lacking:
            raise PromptError(
                f"{edit} needs the mark {lacking[0]!r}, which not all neutral texts have; give neutral chats (rows of "
                "messages, or a template), or edit all tokens"
            )


def _marks(edit: Edit) -> list[str]:
    """The marks that an edit and its condition need."""
    wanted = [edit.at] if isinstance(edit.at, str) else list(edit.at)
    return [m for m in (*wanted, *([edit.condition.mark] if edit.condition else [])) if m != "all"]


def _lacks(prompts: PromptSet, mark: str) -> bool:
    return mark not in prompts.marks or bool((prompts.marks[mark] < 0).any())


def _openings(neutral: PromptSet) -> PromptSet:
    """What is continued: chats up to where the answer begins, other texts up to their first 16 tokens."""
    chats = not _lacks(neutral, "t_post")
    ends = neutral.marks["t_post"] + 1 if chats else np.minimum(neutral.lengths, OPENING)
    return replace(
        neutral,
        tokens=tuple(t[:n] for t, n in zip(neutral.tokens, ends, strict=True)),
        special=tuple(s[:n] for s, n in zip(neutral.special, ends, strict=True)),
        marks={name: np.where(at < ends, at, -1) for name, at in neutral.marks.items() if name != "last"},
        spans={}, texts=None,
    )  # fmt: skip


def _cells(part: PromptSet) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """The text of every token, the tokens that something follows, and what follows them."""
    text = np.repeat(np.arange(len(part)), part.lengths)
    rows = np.setdiff1d(np.arange(len(text)), np.cumsum(part.lengths) - 1)
    return text, rows, torch.from_numpy(np.concatenate(part.tokens)[rows + 1])[:, None]


def _log_probs(model: Model, part: PromptSet, edits: Sequence[Edit], batch_tokens: int | None) -> torch.Tensor:
    found = forward(model, part, at="all", edits=edits, batch_tokens=batch_tokens, progress=False)
    return found.logits.cpu().float().log_softmax(-1)


def _loss(log_p: torch.Tensor, rows: np.ndarray, following: torch.Tensor) -> np.ndarray:
    return -log_p[torch.from_numpy(rows)].gather(-1, following)[:, 0].double().numpy()


def _fluency(
    model: Model, arms: Sequence[Arm], neutral: PromptSet, stories: int, new_tokens: int, batch_tokens: int | None
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Greedy continuations of some neutral texts under no edit and under each treatment, and their measures."""
    if stories < 2:
        return {}, ()
    openings = _openings(neutral.select(np.arange(min(stories, len(neutral)))))
    longest = int(openings.lengths.max())
    room = new_tokens if model.n_ctx is None else min(new_tokens, model.n_ctx - longest)
    if room < min(LEAST_ROOM, new_tokens):
        note = f"Fluency was not measured: the context of {model.n_ctx} tokens leaves no room behind {longest} tokens."
        return {}, (note,)
    lost = [mark for arm in arms for edit in arm.edits for mark in _marks(edit) if _lacks(openings, mark)]
    if lost:
        return {}, (f"Fluency was not measured: the mark {lost[0]!r} is not in what was to be continued.",)
    nll, written, distinct = [], [], []
    for arm in (Arm("unedited"), *arms):
        edits = arm.edits
        made = generate(arm.of(model), openings, room, edits=edits, batch_tokens=batch_tokens, progress=False)
        whole = [np.concatenate([a, b]) for a, b in zip(openings.tokens, made.tokens, strict=True)]
        scores = token_scores(model, PromptSet.from_tokens(whole), batch_tokens=batch_tokens, progress=False)
        lengths = openings.lengths.tolist()
        nll.append([-float(np.nansum(row[n:])) for row, n in zip(scores.log_p, lengths, strict=True)])
        written.append([len(t) for t in made.tokens])
        distinct.append([distinct_pairs(t) for t in made.tokens])
    return {"nll": np.array(nll), "written": np.array(written), "distinct": np.array(distinct)}, ()


def distinct_pairs(tokens: Int[np.ndarray, " token"]) -> float:
    """The share of different ones among a text's pairs of neighbours (distinct-2); NaN below two tokens.

    Source: Li et al. (arXiv 1510.03055).

    >>> distinct_pairs(np.array([1, 2, 1, 2, 1])), distinct_pairs(np.array([1, 2, 3]))
    (0.5, 1.0)
    """
    pairs = list(zip(tokens[:-1].tolist(), tokens[1:].tolist(), strict=True))
    return len(set(pairs)) / len(pairs) if pairs else float("nan")
