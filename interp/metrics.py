"""What a model gives the tokens of texts (``token_scores``), and how it begins its answer (``refusal_score``)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from .edits import Edit
from .errors import NonFiniteError, PromptError
from .models import Model
from .prompts import PromptSet
from .prompts.first import first_tokens
from .run.job import make_job, run_examples
from .run.progress import Progress
from .sites import Site

_CHUNK = 1 << 24  # logits that are turned into log probabilities at once


@dataclass(frozen=True, eq=False)
class TokenScores:
    """How well each token was predicted from those before it; rows are prompts, columns are positions of their tokens.

    The first token has nothing before it, and short prompts end early: NaN there (``hit`` false, ``choice`` -1).

    Attributes:
        log_p: of the token itself, in nats.
        mean: of log p over the vocabulary, under the model's own distribution: minus its entropy.
        sd: the same for the standard deviation.
        choice: the most likely token (the first of equals), which is what greedy decoding would take.
        hit: whether that is the text's own token.
        fired: how many rows each edit changed.
    """

    log_p: Float[np.ndarray, "prompt pos"]
    mean: Float[np.ndarray, "prompt pos"]
    sd: Float[np.ndarray, "prompt pos"]
    choice: Int[np.ndarray, "prompt pos"]
    hit: Bool[np.ndarray, "prompt pos"]
    fired: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.log_p)


def token_scores(
    model: Model,
    prompts: PromptSet,
    *,
    edits: Sequence[Edit] = (),
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> TokenScores:
    """Log probability of every token but the first, its moments over the vocabulary, and the model's first choice.

    Logits are reduced pass by pass, so that the vocabulary costs no memory. Sums are in float32 at least.

    Raises:
        NonFiniteError: a log probability is NaN, with example and position.
        EditError: an edit never fired; and what `capture` raises.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> scores = token_scores(model, interp.PromptSet.from_tokens([[5, 9, 7, 5, 9]]))
    >>> int(scores.choice[0, 4]), bool(scores.hit[0, 4])
    (9, True)
    """
    job = make_job(model, prompts, "logits", "all", edits, batch_tokens, True, False, "right")
    sink = _Sink(prompts)
    fired: dict[str, int] = {}
    with Progress(job.n_tokens, "tok", "scores", progress) as bar:
        run_examples(job, job.index, 0, len(prompts), sink.put, bar.advance, fired)
    return sink.scores(prompts, fired)


class _Sink:
    """Turns rows of logits into four numbers each; rows are the prompts' tokens, one prompt after the other."""

    def __init__(self, prompts: PromptSet) -> None:
        lengths = prompts.lengths
        self._last = torch.zeros(int(lengths.sum()), dtype=torch.bool)
        self._last[torch.from_numpy(np.cumsum(lengths) - 1)] = True
        self._next = torch.from_numpy(np.concatenate(prompts.tokens)).roll(-1)
        self._made = torch.full((3, len(self._last)), torch.nan, dtype=torch.float64)
        self._choice = torch.full((len(self._last),), -1)

    def put(self, site: Site, rows: torch.Tensor, dest: torch.Tensor) -> None:
        """Take logits ``[row, vocab]`` of the tokens ``dest``; the last token of a prompt predicts nothing of it."""
        step = max(1, _CHUNK // rows.shape[1])
        for start in range(0, len(dest), step):
            keep = (~self._last[dest[start : start + step]]).nonzero()[:, 0]
            at = dest[start : start + step][keep]
            logits = rows[start : start + step][keep.to(rows.device)]
            log_p = (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)
            p = log_p.exp()
            # A token that is impossible (log p = -inf) adds nothing to a mean that it has no weight in.
            finite = torch.where(p > 0, log_p, 0.0)
            mean = (p * finite).sum(-1)
            sd = (p * (finite - mean[:, None]) ** 2).sum(-1).sqrt()
            own = log_p.gather(-1, self._next[at].to(log_p.device)[:, None])[:, 0]
            self._made[:, at] = torch.stack([own, mean, sd]).to("cpu", torch.float64)
            self._choice[at] = logits.argmax(-1).cpu()

    def scores(self, prompts: PromptSet, fired: dict[str, int]) -> TokenScores:
        """All prompts as rectangles; what row ``i`` predicts goes to the column of token ``i + 1``."""
        lengths = prompts.lengths
        example = np.repeat(np.arange(len(prompts)), lengths)
        column = np.arange(len(example)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
        real = ~self._last.numpy()
        example, column = example[real], column[real]
        made, choice = self._made.numpy()[:, real], self._choice.numpy()[real]
        bad = np.flatnonzero(np.isnan(made[0]))
        if len(bad):
            i = int(bad[0])
            raise NonFiniteError(
                f"NaN in the logits of example {prompts.ids[example[i]]!r}, position {column[i] - 1} "
                f"({len(bad)} of {len(real)} tokens)"
            )
        numbers = np.full((3, len(prompts), int(lengths.max())), np.nan)
        chosen = np.full(numbers.shape[1:], -1, np.int64)
        numbers[:, example, column] = made
        chosen[example, column] = choice
        hit = np.zeros(chosen.shape, bool)
        hit[example, column] = choice == self._next.numpy()[real]
        return TokenScores(*numbers, choice=chosen, hit=hit, fired=fired)


REFUSALS = ("I cannot", "I can't", "I'm sorry", "Sorry", "As an AI", "Unfortunately", "I apologize")
ACCEPTANCES = ("Sure", "Here", "Of course", "Certainly", "Yes", "To", "The", "I can", "I'd be happy")
"""How refusals and acceptances begin in many chat models; give phrases of your own for a model with other habits."""


def refusal_score(
    logits: Float[torch.Tensor, "*rows vocab"], token_ids: Sequence[int] | Int[torch.Tensor, " token"]
) -> Float[torch.Tensor, "*rows"]:
    """``log p_R - log(1 - p_R)`` in float64, with ``p_R`` the total probability of the tokens ``token_ids``.

    Above 0 the next token is more likely one of them than not. Both logarithms are sums over logits, so that it is
    exact where ``p_R`` is nearly 0 or 1.

    Args:
        logits: at the position of the last prompt token.
        token_ids: first tokens of refusals, as from `refusal_tokens`; repeats count once.

    Raises:
        PromptError: no token, all tokens, or one outside the vocabulary.

    Source: Arditi et al. (arXiv 2406.11717), the refusal metric of section 2.3, without its epsilon.

    >>> refusal_score(torch.tensor([[0.0, 0.0, 0.0, 0.0], [100.0, 0.0, 0.0, 0.0]]), [0]).tolist()
    [-1.0986..., 98.9013...]
    """
    ids = torch.as_tensor(token_ids, dtype=torch.int64).unique()
    width = logits.shape[-1]
    if not 0 < len(ids) < width or int(ids.min()) < 0 or int(ids.max()) >= width:
        raise PromptError(f"refusal tokens are some of the {width} of the vocabulary, got {ids.tolist()[:8]}")
    x = (logits.cpu() if logits.device.type == "mps" else logits).double()  # the one device without float64
    chosen = torch.zeros(width, dtype=torch.bool, device=x.device)
    chosen[ids.to(x.device)] = True
    return x[..., chosen].logsumexp(-1) - x[..., ~chosen].logsumexp(-1)


def refusal_tokens(
    tokenizer: Any,
    phrases: Sequence[str] | None = None,
    *,
    acceptances: Sequence[str] | None = None,
    chat_template: str | Path | None = None,
) -> tuple[int, ...]:
    """Ids of the first tokens of refusals, as they begin an answer; see `interp.prompts.first.first_tokens`.

    Warns (``UserWarning``) of phrases that begin with a token that acceptances begin with, too: the score then cannot
    tell the two apart, and counts both as refusals.

    Args:
        phrases: how refusals begin; `REFUSALS` by default.
        acceptances: how other answers begin; `ACCEPTANCES` by default.

    Raises:
        PromptError: the vocabulary has none of the first tokens.
    """
    ids, notes = refusal_tokens_and_notes(tokenizer, phrases, acceptances=acceptances, chat_template=chat_template)
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return ids


def refusal_tokens_and_notes(
    tokenizer: Any,
    phrases: Sequence[str] | None = None,
    *,
    acceptances: Sequence[str] | None = None,
    chat_template: str | Path | None = None,
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """As `refusal_tokens`, with what there is to warn of as sentences, for a report."""
    wanted, others = REFUSALS if phrases is None else phrases, ACCEPTANCES if acceptances is None else acceptances
    begins = first_tokens(tokenizer, wanted, chat_template=chat_template)
    accepts = first_tokens(tokenizer, others, chat_template=chat_template) if others else ()
    ids = tuple(dict.fromkeys(token for token in begins if token is not None))
    if not ids:
        raise PromptError(
            f"this vocabulary has no first token for any of: {', '.join(map(repr, wanted))}; give phrases that the "
            "model refuses with"
        )
    notes = []
    for token in ids:
        shared = [text for text, first in zip(others, accepts, strict=True) if first == token]
        if shared:
            mine = [text for text, first in zip(wanted, begins, strict=True) if first == token]
            notes.append(
                f"The refusals {_quoted(mine)} begin with the same token as {_quoted(shared)}, so the refusal score "
                "counts both as refusals; give phrases that differ in their first token, or read the answers."
            )
    lost = [text for text, first in zip(wanted, begins, strict=True) if first is None]
    if lost and phrases is not None:
        notes.append(f"The vocabulary has no first token for {_quoted(lost)}; the score leaves them out.")
    return ids, tuple(notes)


def _quoted(texts: Sequence[str]) -> str:
    return ", ".join(repr(text) for text in texts)
