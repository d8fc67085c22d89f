"""Retrieval heads: heads that look at the needle's word and write it, step by step of a generated answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from ..errors import CircuitError
from ..prompts import PromptSet
from ..prompts.batching import token_budget_batches
from ..run import Generations, capture, generate
from ..run.progress import Progress
from ..sites import Site
from .masks import all_heads, span_of

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]
_CELLS = 1 << 25  # of attention in memory at once


@dataclass(frozen=True, eq=False)
class Retrieval:
    """What every head looked at most while each token was generated.

    ``looked`` is the position, ``[step, head]``, one row per generated token, ``mass`` the attention that lay in the
    needle. ``example`` and ``wrote`` say for which prompt and which token; ``spans`` are the needles in ``tokens``.
    """

    heads: tuple[Site, ...]
    looked: Int[np.ndarray, "step head"]
    mass: Float[np.ndarray, "step head"]
    example: Int[np.ndarray, " step"]
    wrote: Int[np.ndarray, " step"]
    spans: Int[np.ndarray, "prompt 2"]
    tokens: tuple[Int[np.ndarray, " _"], ...]

    def scores(self, needles: tuple[Int[np.ndarray, " _"], ...] | None = None) -> Float[np.ndarray, "prompt head"]:
        """Share of each needle's distinct tokens that a head copied: looked at most, in the needle, and written.

        ``needles`` puts other tokens into the needles' places, for a null.
        """
        needles = self.needles if needles is None else needles
        found = np.zeros((len(self.tokens), len(self.heads)))
        for i, needle in enumerate(needles):
            steps = np.flatnonzero(self.example == i)
            at = self.looked[steps] - self.spans[i, 0]
            inside = (at >= 0) & (at < len(needle))
            there = needle[np.where(inside, at, 0)]
            hit = inside & (there == self.wrote[steps, None])
            distinct = np.unique(needle)
            copied = np.stack([(hit & (there == token)).any(0) for token in distinct])
            found[i] = copied.mean(0)
        return found

    @property
    def needles(self) -> tuple[Int[np.ndarray, " _"], ...]:
        """The tokens of each needle."""
        return tuple(t[start:stop] for t, (start, stop) in zip(self.tokens, self.spans.tolist(), strict=True))

    def null(self, draws: int, seed: int = 0) -> Float[np.ndarray, "draw head"]:
        """Mean scores with each needle's tokens in another order: looking in the needle without regard to the token.

        Orders that leave everything in its place are drawn again, unless a needle has one distinct token.
        """
        rng = np.random.default_rng(seed)
        return np.array([self.scores(tuple(_shuffled(n, rng) for n in self.needles)).mean(0) for _ in range(draws)])


def find_retrieval(
    model: Model,
    prompts: PromptSet,
    *,
    span: str = "needle",
    max_new_tokens: int | None = None,
    written: Generations | None = None,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Retrieval:
    """Generate after each prompt, and see which token each head looks at most at every step.

    Args:
        span: the needle's span in the prompts.
        max_new_tokens: by default as many as the longest needle has.
        written: continuations made before.

    Raises:
        CircuitError: prompts without the span.

    Source: Wu et al., Retrieval Head Mechanistically Explains Long-Context Factuality (arXiv 2404.15574), section 2:
    score = |copied tokens of the needle| / |tokens of the needle|.

    Example:
        >>> import interp
        >>> from dataclasses import replace
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[6, 5, 9, 7, 8, 5]])
        >>> prompts = replace(prompts, spans={"needle": np.array([[2, 4]])})
        >>> found = find_retrieval(model, prompts)
        >>> str(found.heads[int(found.scores().mean(0).argmax())])
        'z.1.h0'
    """
    spans = span_of(prompts, span)
    longest = int((spans[:, 1] - spans[:, 0]).max())
    if written is None:
        new = longest if max_new_tokens is None else max_new_tokens
        written = generate(model, prompts, new, batch_tokens=batch_tokens, progress=progress)
    if len(written) != len(prompts):
        raise CircuitError(f"{len(written)} continuations for {len(prompts)} prompts")
    parts: list[tuple[Array, ...]] = []
    with Progress(len(prompts), "prompts", "attention", progress) as bar:
        for members, steps in _batches(model, prompts, written):
            parts.append(_look(model, prompts, written, members, steps, spans, batch_tokens))
            bar.advance(len(members))
    looked, mass, example, wrote = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Retrieval(all_heads(model), looked, mass, example, wrote, spans, prompts.tokens)


def copy_share(prompts: PromptSet, written: Generations, span: str = "needle") -> Float[np.ndarray, " prompt"]:
    """Share of each needle's tokens that were written, each at its place.

    Raises:
        CircuitError: prompts without the span.
    """
    found = []
    for tokens, (start, stop), new in zip(prompts.tokens, span_of(prompts, span).tolist(), written.tokens, strict=True):
        needle = tokens[start:stop]
        given = np.full(len(needle), -1)
        given[: len(new)] = new[: len(needle)]
        found.append((given == needle).mean())
    return np.array(found)


def _batches(model: Model, prompts: PromptSet, written: Generations) -> Iterator[tuple[Array, int]]:
    """Prompts with equally many generated tokens, as many as attention fits in memory."""
    counts = np.array([len(t) for t in written.tokens])
    if not counts.any():
        raise CircuitError("nothing was generated, so no head can have copied anything")
    for steps in np.unique(counts[counts > 0]).tolist():
        own = np.flatnonzero(counts == steps)
        cells = prompts.lengths[own].max() * len(all_heads(model)) * steps
        per = max(1, int(_CELLS // cells))
        longest = int(prompts.lengths[own].max())
        for part in token_budget_batches(prompts.lengths[own], per * longest):
            yield own[part], steps


def _look(
    model: Model, prompts: PromptSet, written: Generations, members: Array, steps: int, spans: Array,
    batch_tokens: int | None,
) -> tuple[Array, ...]:  # fmt: skip
    """Where each head looked, at the token before each generated one."""
    texts = [np.concatenate([prompts.tokens[m], written.tokens[m]])[:-1] for m in members]
    first = prompts.lengths[members] - 1
    marks = {f"s{k}": first + k for k in range(steps)}
    run = PromptSet.from_tokens(texts, marks=marks)
    sites = [Site("pattern", layer) for layer in range(model.n_layers)]
    acts = capture(model, run, sites, at=list(marks), batch_tokens=batch_tokens, progress=False)
    index = acts.index
    own = torch.from_numpy(spans[members][index.example].astype(np.int64))
    looked, mass = [], []
    for site in sites:
        rows = acts[site].tensor().cpu()
        rows = rows.reshape(len(rows), model.sizes.n_heads, -1).float()
        looked.append(rows.argmax(-1))
        keys = torch.arange(rows.shape[-1])
        inside = (keys >= own[:, :1]) & (keys < own[:, 1:])
        mass.append((rows * inside[:, None]).sum(-1))
    step = index.position - first[index.example]
    wrote = np.array([written.tokens[m][k] for m, k in zip(members[index.example], step, strict=True)])
    return torch.cat(looked, 1).numpy(), torch.cat(mass, 1).numpy(), members[index.example], wrote


def _shuffled(needle: Int[np.ndarray, " _"], rng: np.random.Generator) -> Int[np.ndarray, " _"]:
    if len(np.unique(needle)) < 2:
        return needle
    while True:
        other = rng.permutation(needle)
        if not np.array_equal(other, needle):
            return other


def in_needle(found: Retrieval) -> Bool[np.ndarray, "step head"]:
    """Whether each head looked into the needle at each step, whatever it saw there."""
    span = found.spans[found.example]
    return (found.looked >= span[:, :1]) & (found.looked < span[:, 1:])
