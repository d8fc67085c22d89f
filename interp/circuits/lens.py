"""Logit lens and tuned lens: what each layer would say if the model ended there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from ..errors import CircuitError
from ..prompts import PromptSet
from ..prompts.batching import token_budget_batches
from ..run import capture
from ..run.progress import Progress
from ..sites import Site
from .readout import Readout, readout

if TYPE_CHECKING:
    from ..models import Model
    from .translators import Translators

Array = NDArray[Any]
NONE = -1
_TOKENS = 4096  # whose streams are in memory at once
_CELLS = 1 << 24  # of logits in memory at once


@dataclass(frozen=True, eq=False)
class LensReading:
    """What a lens reads at each depth of each token, beside the model's own output.

    ``kl`` is KL(model's output || lens) in nats; ``agrees``: same first token as the output; ``entropy`` of the lens,
    in nats; ``log_p`` and ``rank`` (0: first) of the ``target`` token, NaN and -1 where there is none. ``example`` and
    ``pos`` say what each row is. ``constant_kl`` is the mean KL of the best constant guess, which is what a lens must
    beat; ``unrelated_kl`` that of the output at a token of another prompt.
    """

    sites: tuple[Site, ...]
    kl: Float[np.ndarray, "site row"]
    agrees: Float[np.ndarray, "site row"]
    entropy: Float[np.ndarray, "site row"]
    log_p: Float[np.ndarray, "site row"]
    rank: Int[np.ndarray, "site row"]
    top: Int[np.ndarray, "site row"]
    top_p: Float[np.ndarray, "site row"]
    target: Int[np.ndarray, " row"]
    example: Int[np.ndarray, " row"]
    pos: Int[np.ndarray, " row"]
    constant_kl: float
    unrelated_kl: float


def lens_sites(model: Model) -> tuple[Site, ...]:
    """The stream before the first block and after each one; the last is what the model itself reads out."""
    return (Site("resid_pre", 0), *(Site("resid_post", layer) for layer in range(model.n_layers)))


def read_lens(
    model: Model,
    prompts: PromptSet,
    *,
    at: str | Sequence[str] = "all",
    translators: Translators | None = None,
    targets: Sequence[int] | None = None,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> LensReading:
    """Read every depth with the model's own norm and unembedding, after its translator if there are any.

    Args:
        at: tokens to read at: ``"all"``, a mark, or several.
        translators: of a tuned lens; without them this is the logit lens.
        targets: one token per prompt whose probability is followed; by default the text's next token.

    Raises:
        ProvenanceError: translators of another model.
        CircuitError: targets that are not one per prompt.

    Source: nostalgebraist, interpreting GPT: the logit lens (2020); Belrose et al., Eliciting Latent Predictions from
    Transformers with the Tuned Lens (arXiv 2303.08112).

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> seen = read_lens(model, interp.PromptSet.from_tokens([[5, 9, 7, 5]]), at="last")
        >>> [str(site) for site in seen.sites], seen.top[-1].tolist()
        (['resid_pre.0', 'resid_post.0', 'resid_post.1'], [9])
    """
    if targets is not None and len(targets) != len(prompts):
        raise CircuitError(f"{len(targets)} targets for {len(prompts)} prompts")
    if translators is not None:
        translators.require(model, prompts)
    sites, read = lens_sites(model), readout(model, prompts)
    found: list[dict[str, Array]] = []
    sums = _Sums(model.sizes.d_vocab)
    with Progress(len(prompts), "prompts", "lens", progress) as bar:
        for members, some in chunks(prompts):
            acts = capture(model, some, sites, at=at, batch_tokens=batch_tokens, progress=False)
            index = acts.index
            target = _targets(some, index.example, index.position, None if targets is None else
                              [targets[i] for i in members])  # fmt: skip
            streams = torch.stack([acts[site].tensor() for site in sites])
            size = max(1, _CELLS // model.sizes.d_vocab)
            for start in range(0, len(index), size):
                rows = slice(start, start + size)
                part = _measure(read, streams[:, rows].to(model.device), target[rows], translators, sums)
                part |= {"example": members[index.example[rows]], "pos": index.position[rows], "target": target[rows]}
                found.append(part)
            bar.advance(len(some))
    joined = {key: np.concatenate([part[key] for part in found], axis=-1) for key in found[0]}
    order = np.lexsort((joined["pos"], joined["example"]))
    return LensReading(
        sites=sites, constant_kl=sums.constant_kl, unrelated_kl=sums.unrelated_kl,
        **{key: value[..., order] for key, value in joined.items()},
    )  # fmt: skip


def chunks(prompts: PromptSet, tokens: int = _TOKENS) -> Iterator[tuple[Array, PromptSet]]:
    """The prompts in parts of so many tokens: their numbers, and the part."""
    for members in token_budget_batches(prompts.lengths, tokens):
        yield np.asarray(members), prompts.select(members)


def _targets(prompts: PromptSet, example: Array, pos: Array, given: Sequence[int] | None) -> Int[np.ndarray, " row"]:
    if given is not None:
        return np.asarray(given, np.int64)[example]
    return np.array([
        prompts.tokens[e][p + 1] if p + 1 < len(prompts.tokens[e]) else NONE
        for e, p in zip(example.tolist(), pos.tolist(), strict=True)
    ], np.int64)  # fmt: skip


class _Sums:
    """What the two baselines need, summed over rows: the mean output, its entropies, and its neighbours' KL."""

    def __init__(self, vocab: int) -> None:
        self.p = torch.zeros(vocab, dtype=torch.float64)
        self.entropy, self.unrelated, self.n, self.n_unrelated = 0.0, 0.0, 0, 0

    def add(self, final: Float[Tensor, "row vocab"]) -> None:
        """Add the log probabilities of the model's outputs."""
        p = final.exp()
        self.p += p.sum(0).double().cpu()
        own = -(p * final).sum(-1)
        self.entropy += float(own.sum())
        self.n += len(final)
        if len(final) > 1:
            shift = len(final) // 2  # rows stand in the order of the prompts: half of them away is another prompt
            other = final.roll(shift, 0)
            self.unrelated += float((p * (final - other)).sum())
            self.n_unrelated += len(final)

    @property
    def constant_kl(self) -> float:
        """Mean KL of the outputs to their mean, the best constant guess: its entropy minus theirs."""
        mean = self.p / self.n
        return float(-(mean * mean.clamp_min(1e-300).log()).sum()) - self.entropy / self.n

    @property
    def unrelated_kl(self) -> float:
        """Mean KL of the outputs to the output at another token."""
        return self.unrelated / self.n_unrelated if self.n_unrelated else float("nan")


@torch.no_grad()
def _measure(
    read: Readout, streams: Float[Tensor, "depth row d"], target: Int[np.ndarray, " row"],
    translators: Translators | None, sums: _Sums,
) -> dict[str, Array]:  # fmt: skip
    final = read(streams[-1]).log_softmax(-1)
    sums.add(final)
    there = torch.from_numpy(target).to(final.device)
    known = there >= 0
    out: dict[str, list[Array]] = {k: [] for k in ("kl", "agrees", "entropy", "log_p", "rank", "top", "top_p")}
    for i in range(len(streams)):
        last = i == len(streams) - 1
        rows = streams[i] if translators is None or last else translators(i, streams[i])
        log_p = final if last else read(rows).log_softmax(-1)
        best = log_p.max(-1)
        own = log_p.gather(-1, there.clamp_min(0)[:, None])
        out["kl"].append(_numbers((final.exp() * (final - log_p)).sum(-1)))
        out["agrees"].append(_numbers(best.indices == final.argmax(-1)))
        out["entropy"].append(_numbers(-(log_p.exp() * log_p).sum(-1)))
        out["log_p"].append(_numbers(torch.where(known, own[:, 0], torch.nan)))
        out["rank"].append(torch.where(known, (log_p > own).sum(-1), NONE).cpu().numpy())
        out["top"].append(best.indices.cpu().numpy())
        out["top_p"].append(_numbers(best.values.exp()))
    return {key: np.stack(values) for key, values in out.items()}


def _numbers(x: Tensor) -> Array:
    return x.double().cpu().numpy()
