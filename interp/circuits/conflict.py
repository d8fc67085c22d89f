"""Memory heads and context heads: which heads speak for what the weights know, and which for what the text says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray

from ..edits import Edit, ablate_heads, patch
from ..errors import CircuitError, SiteError
from ..prompts import PromptSet
from ..run import capture, forward
from ..run.progress import Progress
from ..sites import Site
from .masks import all_heads, head_means

if TYPE_CHECKING:
    from ..models import Model
    from ..store import Activations

Array = NDArray[Any]
Answers = Sequence[Int[np.ndarray, " _"]]
How = Literal["zero", "mean"]
Path = Literal["direct", "full"]


@dataclass(frozen=True, eq=False)
class HeadEffects:
    """What taking each head out does to the log probability of the two answers, ``[prompt, head]``, in nats."""

    heads: tuple[Site, ...]
    memory: Float[np.ndarray, "prompt head"]
    context: Float[np.ndarray, "prompt head"]

    @property
    def lean(self) -> Float[np.ndarray, "prompt head"]:
        """How far a head leans to memory: what its loss costs the memory answer beyond the context answer."""
        return self.context - self.memory


@dataclass(frozen=True, eq=False)
class AnswerScores:
    """Log probabilities of the two answers, in nats, and which of all tokens comes first."""

    memory: Float[np.ndarray, " prompt"]
    context: Float[np.ndarray, " prompt"]
    says_memory: Float[np.ndarray, " prompt"]
    says_context: Float[np.ndarray, " prompt"]


def answer_scores(
    model: Model,
    prompts: PromptSet,
    memory: Answers,
    context: Answers,
    edits: Sequence[Edit] = (),
    *,
    batch_tokens: int | None = None,
) -> AnswerScores:
    """Log p of the memory and of the context answer at the last token; several tokens of an answer add up.

    Raises:
        CircuitError: not one answer of each kind per prompt, or a token that is both.
    """
    check_answers(prompts, memory, context)
    log_p = forward(model, prompts, edits=edits, batch_tokens=batch_tokens, progress=False).logits
    log_p = log_p.double().log_softmax(-1).cpu()
    first = log_p.argmax(-1).numpy()
    own = [
        np.array([float(row[torch.as_tensor(np.asarray(t))].logsumexp(0)) for row, t in zip(log_p, some, strict=True)])
        for some in (memory, context)
    ]
    says = [np.array([f in t for f, t in zip(first, some, strict=True)], float) for some in (memory, context)]
    return AnswerScores(own[0], own[1], says[0], says[1])


def check_answers(prompts: PromptSet, memory: Answers, context: Answers) -> None:
    """Raise unless each prompt has one or more tokens for either answer, and none for both.

    Raises:
        CircuitError: what is wrong, with the prompt's id.
    """
    if len(memory) != len(prompts) or len(context) != len(prompts):
        raise CircuitError(f"{len(memory)} memory and {len(context)} context answers for {len(prompts)} prompts")
    for name, m, c in zip(prompts.ids, memory, context, strict=True):
        if not len(m) or not len(c):
            raise CircuitError(f"prompt {name!r} lacks a memory or a context answer")
        both = np.intersect1d(m, c)
        if len(both):
            raise CircuitError(
                f"prompt {name!r}: token {both[0]} is the memory and the context answer, so there is no conflict; "
                "answers are read by their first token"
            )


def head_effects(
    model: Model,
    prompts: PromptSet,
    memory: Answers,
    context: Answers,
    *,
    path: Path = "direct",
    how: How = "mean",
    freeze_mlp: bool = False,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> HeadEffects:
    """Take out each head in turn, and see what becomes of the two answers.

    ``full``: the head's output is replaced at every token, and everything behind it follows: what a single-head
    ablation does. ``direct``: path patching. It is replaced at the last token only, all other heads keep what they
    wrote there, and MLPs follow (or not, with ``freeze_mlp``): what the head itself says to the logits. As no other
    head may change, patching at other tokens could not reach the logits anyway.

    Args:
        how: replace by zeros, or by the head's mean over these prompts (at the same token for ``direct``).

    Raises:
        CircuitError: an unknown way, or answers that do not fit the prompts.

    Source: Jin et al., Cutting Off the Head Ends the Conflict (PH3, arXiv 2402.18154), section 3; path patching after
    Goldowsky-Dill et al. (arXiv 2304.05969).

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[6, 5, 9, 7, 5]])
        >>> found = head_effects(model, prompts, [np.array([20])], [np.array([9])], how="zero")
        >>> str(found.heads[int(found.context[0].argmin())])
        'z.1.h0'
    """
    if path not in ("direct", "full") or how not in ("zero", "mean"):
        raise CircuitError(f"path is 'direct' or 'full' and how 'zero' or 'mean', not {path!r} and {how!r}")
    heads = all_heads(model)
    means = None if how == "zero" else _means(model, prompts, path, batch_tokens)
    clean = _clean(model, prompts, freeze_mlp, batch_tokens) if path == "direct" else None
    base = answer_scores(model, prompts, memory, context, batch_tokens=batch_tokens)
    found = []
    with Progress(len(heads), "heads", f"{path} effects", progress) as bar:
        for head in heads:
            edits = removal(head, how, means, path, clean, model)
            after = answer_scores(model, prompts, memory, context, edits, batch_tokens=batch_tokens)
            found.append((after.memory - base.memory, after.context - base.context))
            bar.advance(1)
    table = np.array(found)
    return HeadEffects(heads, table[:, 0].T, table[:, 1].T)


def removal(
    head: Site, how: How, means: Mapping[Site, torch.Tensor] | None, path: Path, clean: Activations | None, model: Model
) -> tuple[Edit, ...]:
    """The edits that take one head out along a path."""
    values = None if means is None else {head: means[head]}
    if path == "full" or clean is None:
        return ablate_heads([head], how, values)
    assert head.layer is not None
    edits = list(ablate_heads([head], how, values, at="last"))
    for site in clean:
        assert site.layer is not None
        if (site.kind == "z" and site.layer > head.layer) or (site.kind == "mlp_out" and site.layer >= head.layer):
            edits.append(patch(site, clean, at="last"))
    return tuple(edits)


def _clean(model: Model, prompts: PromptSet, freeze_mlp: bool, batch_tokens: int | None) -> Activations:
    """What the heads (and MLPs) write at the last token when nothing is done."""
    sites = [Site("z", layer) for layer in range(model.n_layers)]
    if freeze_mlp:
        try:
            sites += model.sites("mlp_out")
        except SiteError as error:
            raise CircuitError(f"freeze_mlp needs a model with MLPs: {error}") from error
    return capture(model, prompts, sites, at="last", batch_tokens=batch_tokens, progress=False)


def _means(model: Model, prompts: PromptSet, path: Path, batch_tokens: int | None) -> dict[Site, torch.Tensor]:
    if path == "full":
        return head_means(model, prompts, batch_tokens=batch_tokens)
    return head_means(model, prompts, at="last", batch_tokens=batch_tokens)
