"""``Outcome``: one number per prompt that says what the model does, and that an edit is meant to change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from ..edits import Edit
from ..errors import NonFiniteError, PromptError, StatisticsError, TokenizerMissingError
from ..metrics import refusal_score, refusal_tokens_and_notes
from ..prompts import PromptSet
from ..prompts.first import first_tokens
from ..run import forward, generate

if TYPE_CHECKING:
    from ..models import Model

OUTCOMES = ("refusal", "log_p", "logit_diff", "says")


@dataclass(frozen=True, eq=False)
class Outcome:
    """How what a model does on a prompt becomes a number.

    ``fn`` gets logits ``[prompt, vocab]`` of the token after the prompt and the prompt set (``reads="logits"``), or
    the texts that the model writes and the prompt set (``reads="texts"``); it returns ``[prompt]``. ``signed``: above
    zero means one behaviour and below it another, so that a share of prompts can be given too.
    """

    name: str
    unit: str
    fn: Callable[[Any, PromptSet], Any]
    reads: Literal["logits", "texts"] = "logits"
    signed: bool = False
    new_tokens: int = 24
    notes: tuple[str, ...] = ()

    def measure(
        self, model: Model, prompts: PromptSet, edits: Sequence[Edit] = (), batch_tokens: int | None = None
    ) -> Float[np.ndarray, " prompt"]:
        """The outcome of every prompt under edits, in float64.

        Raises:
            PromptError: ``fn`` returned another shape.
            NonFiniteError: it returned NaN or infinity, for a prompt that is named.
        """
        if self.reads == "logits":
            read: Any = forward(model, prompts, edits=edits, batch_tokens=batch_tokens, progress=False).logits
        else:
            made = generate(model, prompts, self.new_tokens, edits=edits, batch_tokens=batch_tokens, progress=False)
            if made.texts is None:
                raise TokenizerMissingError(f"the outcome {self.name!r} reads texts, but the model has no tokenizer")
            read = list(made.texts)
        found = self.fn(read, prompts)
        values = np.asarray(found.detach().cpu() if isinstance(found, torch.Tensor) else found, dtype=np.float64)
        if values.shape != (len(prompts),):
            raise PromptError(f"the outcome {self.name!r} returned {list(values.shape)} for {len(prompts)} prompts")
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise NonFiniteError(f"the outcome {self.name!r} is {values[bad[0]]} on prompt {prompts.ids[bad[0]]!r}")
        return values


def outcome(
    what: str | Outcome | Callable[[Any, PromptSet], Any],
    model: Model,
    prompts: PromptSet,
    *,
    answer: str | None = None,
    wrong: str | None = None,
    refusals: Sequence[str] | None = None,
    acceptances: Sequence[str] | None = None,
    chat_template: str | Path | None = None,
    new_tokens: int = 24,
) -> Outcome:
    """An outcome by its name, or from a function of logits ``[prompt, vocab]`` and the prompt set.

    ``"refusal"`` is `refusal_score` in log odds. ``"log_p"`` is the log probability of ``answer``'s first token,
    ``"logit_diff"`` its logit less that of ``wrong``'s. ``"says"`` writes a continuation and asks whether ``answer`` is
    in it. ``answer`` and ``wrong`` are a text for all prompts, or the name of a column of the prompt set.

    Raises:
        PromptError: an unknown name, a missing or unknown answer, or two answers that begin alike.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5]])
    >>> nine = outcome(lambda logits, _: logits.log_softmax(-1)[:, 9], model, prompts)
    >>> bool(nine.measure(model, prompts)[0] > -0.5)
    True
    """
    if isinstance(what, Outcome):
        return what
    if not isinstance(what, str):
        return Outcome(getattr(what, "__name__", "outcome"), "as given", what)
    if what not in OUTCOMES:
        raise PromptError(f"unknown metric {what!r}; one of {', '.join(OUTCOMES)}, or a function of the logits")
    if what == "refusal":
        ids, notes = refusal_tokens_and_notes(
            model.tokenizer, refusals, acceptances=acceptances, chat_template=chat_template
        )
        return Outcome("refusal score", "log odds", lambda x, _: refusal_score(x, ids), signed=True, notes=notes)
    if answer is None or (what == "logit_diff" and wrong is None):
        needed = "answer and wrong" if what == "logit_diff" else "answer"
        raise PromptError(f"metric {what!r} needs {needed}: a text, or the name of a column of the prompts")
    if what == "says":
        wanted = [t.casefold() for t in _texts(prompts, answer)]
        return Outcome(
            f"says {answer!r}", "share of texts", lambda texts, _: [a in t.casefold() for a, t in zip(wanted, texts,
            strict=True)], reads="texts", new_tokens=new_tokens,
        )  # fmt: skip
    right, notes = _first(model, prompts, answer, chat_template)
    if what == "log_p":
        return Outcome(
            f"log p of {answer!r}", "nats", lambda x, _: _take(x.float().log_softmax(-1), right), notes=notes
        )
    assert wrong is not None
    other, more = _first(model, prompts, wrong, chat_template)
    same = np.flatnonzero(right == other)
    if len(same):
        raise PromptError(
            f"answer and wrong begin with the same token in {len(same)} prompts (the first: {prompts.ids[same[0]]!r})"
        )
    return Outcome(
        f"logit of {answer!r} less that of {wrong!r}", "logits", lambda x, _: _take(x, right) - _take(x, other),
        signed=True, notes=tuple(dict.fromkeys((*notes, *more))),
    )  # fmt: skip


def require_reach(found: Outcome, edits: Sequence[Edit]) -> None:
    """Raise if an outcome of the first new token is asked of edits that act later than that.

    Raises:
        StatisticsError: every edit acts on generated tokens only.
    """
    if found.reads == "logits" and edits and all(edit.when == "generated" for edit in edits):
        raise StatisticsError(
            f"the {found.name} is read from the first new token, which edits of generated tokens come too late for; "
            "use when='both' or 'prompt', or a metric that reads texts ('says')"
        )


def _texts(prompts: PromptSet, what: str) -> list[str]:
    if what not in prompts.columns:
        return [what] * len(prompts)
    values = prompts.columns[what].tolist()
    missing = [prompts.ids[i] for i, value in enumerate(values) if not isinstance(value, str) or not value]
    if missing:
        raise PromptError(f"column {what!r} holds no text for {len(missing)} prompts (the first: {missing[0]!r})")
    return values


def _first(
    model: Model, prompts: PromptSet, what: str, chat_template: str | Path | None
) -> tuple[Int[np.ndarray, " prompt"], tuple[str, ...]]:
    """The first token of each prompt's answer, and a note if answers have more tokens than that."""
    if model.tokenizer is None:
        raise TokenizerMissingError(f"the answer {what!r} is text, but the model has no tokenizer")
    texts = _texts(prompts, what)
    kinds = list(dict.fromkeys(texts))
    found = dict(zip(kinds, first_tokens(model.tokenizer, kinds, chat_template=chat_template), strict=True))
    unknown = [text for text, token in found.items() if token is None]
    if unknown:
        raise PromptError(f"the vocabulary has no first token for the answer {unknown[0]!r}")
    long = [t for t in kinds if len(model.tokenizer(t, add_special_tokens=False)["input_ids"]) > 1]
    note = (f"Only the first token of answers such as {long[0]!r} is scored.",) if long else ()
    return np.array([found[text] for text in texts], dtype=np.int64), note


def _take(values: torch.Tensor, tokens: np.ndarray) -> torch.Tensor:
    return values.gather(-1, torch.from_numpy(tokens).to(values.device)[:, None])[:, 0].double()
