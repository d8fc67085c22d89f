"""Direct logit attribution: a difference of logits as a sum over embedding, heads, MLPs and biases. Exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from ..errors import CircuitError
from ..prompts import PromptSet
from ..report import Report
from ..run import forward
from ..sites import Site
from ..stats import max_null_p
from .contributions import Contributions, Written, capture_written
from .headrows import groups_of, mean_interval, place
from .readout import Readout, readout

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]
Answers = Sequence[Int[np.ndarray, " _"]]
_AGREES = {torch.float64: 1e-9, torch.float32: 1e-4}
_HALF_PRECISION = 0.05
_ROWS = 4096  # that exchanged answers are read on at once


def direct_logits(
    model: Model,
    prompts: PromptSet,
    answers: Answers,
    wrong: Answers | None = None,
    *,
    at: str = "last",
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Contributions:
    """Share the answer's lead in logits out over everything that wrote to the stream.

    The lead is the mean logit of ``answers`` minus that of ``wrong``, or minus the mean over the vocabulary where no
    wrong answers are given. The final norm's scale is held at what it is on each row; logits are those before a soft
    cap, if the model has one.

    Args:
        answers: one or more token ids per prompt.

    Raises:
        CircuitError: as many answers as prompts, each with a token of the vocabulary, are needed.
        ModelError: parts that do not add up to the logits that the model gives.

    Source: Elhage et al., A Mathematical Framework for Transformer Circuits (2021); nostalgebraist, interpreting GPT:
    the logit lens (2020), for reading single parts by the unembedding.

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5]])
        >>> found = direct_logits(model, prompts, [np.array([9])], [np.array([7])])
        >>> found.parts[int(found.values[0].argmax())]
        'z.1.h0'
    """
    read = readout(model, prompts)
    written = _written(model, prompts, at, batch_tokens, progress)
    found = _lead(model, written, read, answers, wrong)
    if read.cap is None:
        _agrees(model, prompts, found, answers, wrong, at, batch_tokens)
    return found


def direct_report(
    model: Model,
    prompts: PromptSet,
    answers: Answers,
    wrong: Answers | None = None,
    *,
    at: str = "last",
    shuffles: int = 200,
    bootstrap: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    command: str | None = None,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Report:
    """What each part adds to the answer's lead, with intervals over groups and a null of exchanged answers.

    In the null the prompts keep their streams and get each other's answers, so that what a part adds whatever the
    prompt says (its bias towards frequent words, say) does not count. ``p_max`` is over all parts.
    """
    read = readout(model, prompts)
    written = _written(model, prompts, at, batch_tokens, progress)
    found = _lead(model, written, read, answers, wrong)
    if read.cap is None:
        _agrees(model, prompts, found, answers, wrong, at, batch_tokens)
    n = len(prompts)
    null = _shuffled(model, written, read, answers, wrong, shuffles, seed) if shuffles and n > 1 else None
    p = p_max = np.full(len(found.parts), np.nan)
    if null is not None:
        p, p_max = max_null_p(np.abs(found.values.mean(0)), np.abs(null))
    groups = groups_of(prompts)
    mean, low, high = mean_interval(found.values, groups, bootstrap=bootstrap, level=level, seed=seed)
    rows = []
    for rank, k in enumerate(np.argsort(-np.abs(mean), kind="stable").tolist(), 1):
        row: dict[str, Any] = {"rank": rank, "part": found.parts[k], **place(found.parts[k])}
        row |= {"contribution": mean[k], "contribution_lo": low[k], "contribution_hi": high[k]}
        row |= {"other_answers": None if null is None else null[:, k].mean()}
        row |= {"p": p[k], "p_max": p_max[k], "n": n, "n_groups": len(np.unique(groups))}
        rows.append(row)
    best, lead = rows[0], float(found.direct.mean())
    against = "the wrong answer" if wrong is not None else "the mean of the vocabulary"
    called = bool(best["p_max"] < 0.05)
    share = "" if not abs(lead) > 1e-9 else f", {best['contribution'] / lead:.0%} of it"
    headline = (
        f"The answer leads {against} by {lead:.2f} logits; {best['part']} adds most, {best['contribution']:+.2f}"
        f"{share} (p = {best['p_max']:.2g} over all parts)" + ("." if called else ": no more than with other answers.")
    )
    meta = {
        "ci_level": level, "unit": "logits", "lead": lead, "sum_error": found.error, "shuffles": shuffles,
        "wrong": wrong is not None, "cap": read.cap, "at": at, "found": called,
    }  # fmt: skip
    warnings = [] if len(np.unique(groups)) > 1 else ["one group of prompts: no interval and no null"]
    about = model.provenance(prompts=prompts.hash, seed=seed, command=command)
    return Report("direct-logits", "What each part adds to the answer's logit", headline, rows, about, warnings, meta)


def _written(
    model: Model, prompts: PromptSet, at: str, batch_tokens: int | None, progress: bool | None
) -> Written:  # fmt: skip
    last = Site("resid_post", model.n_layers - 1)
    return capture_written(model, prompts, last, at=at, batch_tokens=batch_tokens, progress=progress)


def _lead(model: Model, written: Written, read: Readout, answers: Answers, wrong: Answers | None) -> Contributions:
    matrix, bias = read.unembedding.weight.detach(), getattr(read.unembedding, "bias", None)
    n, device = len(written.acts), written.acts[written.site].tensor().device
    plus, plus_bias = _mean(matrix, bias, answers, n)
    if wrong is None:
        minus = matrix.mean(0, dtype=torch.float64).expand_as(plus)
        minus_bias = torch.zeros_like(plus_bias) if bias is None else bias.detach().double().mean().expand(n)
    else:
        minus, minus_bias = _mean(matrix, bias, wrong, n)
    constant = read.factor * (plus_bias - minus_bias)
    return written.read(model, (read.factor * (plus - minus)).to(device), constant.to(device), "final")


def _shuffled(
    model: Model, written: Written, read: Readout, answers: Answers, wrong: Answers | None, draws: int, seed: int
) -> Float[np.ndarray, "draw part"]:
    """Mean contributions to each other's answers, many exchanges in one reading."""
    rng, n = np.random.default_rng(seed), len(written.acts)
    per, found = max(1, _ROWS // n), []
    for start in range(0, draws, per):
        orders = np.concatenate([rng.permutation(n) for _ in range(min(per, draws - start))])
        others = None if wrong is None else [wrong[i] for i in orders.tolist()]
        again = replace(written, acts=written.acts.select(np.tile(np.arange(n), len(orders) // n)))
        made = _lead(model, again, read, [answers[i] for i in orders.tolist()], others).values
        found.append(made.reshape(-1, n, made.shape[1]).mean(1))
    return np.concatenate(found)


def _mean(
    matrix: Tensor, bias: Tensor | None, tokens: Answers, n: int
) -> tuple[Float[Tensor, "row d"], Float[Tensor, " row"]]:
    if len(tokens) != n:
        raise CircuitError(f"{len(tokens)} answers for {n} prompts")
    for i, own in enumerate(tokens):
        if not len(own) or int(np.min(own)) < 0 or int(np.max(own)) >= len(matrix):
            raise CircuitError(f"prompt {i} has the answers {list(own)}; give one or more tokens below {len(matrix)}")
    own = [torch.as_tensor(np.asarray(t), device=matrix.device) for t in tokens]
    rows = torch.stack([matrix[t].double().mean(0) for t in own])
    if bias is None:
        return rows, rows.new_zeros(n)
    return rows, torch.stack([bias.detach()[t].double().mean() for t in own])


def _agrees(
    model: Model, prompts: PromptSet, found: Contributions, answers: Answers, wrong: Answers | None, at: str,
    batch_tokens: int | None,
) -> None:  # fmt: skip
    """The sum must be the lead that the model's own logits have."""
    logits = forward(model, prompts, at=at, batch_tokens=batch_tokens, progress=False).logits.double().cpu()
    right = torch.stack([row[torch.as_tensor(np.asarray(t))].mean() for row, t in zip(logits, answers, strict=True)])
    rest = logits.mean(-1)
    if wrong is not None:
        rest = torch.stack([row[torch.as_tensor(np.asarray(t))].mean() for row, t in zip(logits, wrong, strict=True)])
    off = float(np.abs((right - rest).numpy() - found.direct).max())
    if not off <= _AGREES.get(model.dtype, _HALF_PRECISION) * float(logits.abs().max().clamp_min(1e-12)):
        raise CircuitError(f"the parts add up to a lead that is off by {off:.2g} from the model's own logits")
