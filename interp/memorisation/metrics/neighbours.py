"""The shape of the loss around a text: what it does when a few tokens are exchanged for similar ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from ...edits import Edit, EditRows
from ...errors import StatisticsError
from ...metrics import token_scores
from ...prompts import PromptSet
from .greedy import within
from .likelihood import mean_where
from .split import Split

if TYPE_CHECKING:
    from ...models import Model


@dataclass(frozen=True)
class Neighbourhood:
    """How neighbours are drawn: ``count`` per text; each token of the text is exchanged with probability ``share`` (at
    least one is) for one of the ``nearest`` tokens by the cosine of input embeddings, drawn evenly.

    Raises:
        StatisticsError: numbers from which no neighbour can be drawn.
    """

    count: int = 16
    share: float = 0.15
    nearest: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 2 or not 0 < self.share <= 1 or self.nearest < 1:
            raise StatisticsError(
                f"a neighbourhood needs count >= 2, a share in (0, 1] and nearest >= 1; got {self.count}, "
                f"{self.share} and {self.nearest}"
            )


def landscape(
    loss: Float[np.ndarray, " record"],
    around: Float[np.ndarray, "record neighbour"],
    changed: Float[np.ndarray, "record neighbour"],
) -> dict[str, Float[np.ndarray, " record"]]:
    """Features of the loss landscape around each text.

    Args:
        loss: of the text, nats per token.
        around: of its neighbours.
        changed: share of the text's tokens that each neighbour exchanges.

    Returns:
        ``remind_mean`` and ``remind_sd`` of the neighbours' losses; ``remind_curvature``, their mean minus the text's
        own loss (the discrete Laplacian); ``remind_slope``, the rise in nats per token when all tokens would be
        exchanged, by least squares through the text itself; ``remind_minimum``, the share of neighbours that lie
        higher (ties half): 1 for a local minimum.

    Source: after Cohen et al. (2025), REMIND, which feeds such features to a classifier. The choice is ours.

    >>> found = landscape(np.array([1.0]), np.array([[2.0, 3.0]]), np.array([[0.1, 0.2]]))
    >>> {name: round(float(x[0]), 3) for name, x in found.items()}
    {'remind_mean': 2.5, 'remind_sd': 0.707, 'remind_curvature': 1.5, 'remind_slope': 10.0, 'remind_minimum': 1.0}
    """
    rise = around - loss[:, None]
    return {
        "remind_mean": around.mean(1),
        "remind_sd": around.std(1, ddof=1),
        "remind_curvature": rise.mean(1),
        "remind_slope": (rise * changed).sum(1) / (changed**2).sum(1),
        "remind_minimum": ((rise > 0) + 0.5 * (rise == 0)).mean(1),
    }


def neighbours(
    model: Model,
    prompts: PromptSet,
    split: Split,
    loss: Float[np.ndarray, " record"],
    how: Neighbourhood | None = None,
    *,
    edits: Sequence[Edit] = (),
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> dict[str, Float[np.ndarray, " record"]]:
    """`landscape` of each text: its neighbours are drawn, scored in one batched pass, and compared with ``loss``.

    The loss of a neighbour is over all its tokens, those exchanged included. Special tokens stay, and none is put in.

    >>> import interp
    >>> from .split import split_records
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5, 9, 7, 5, 9, 7]])
    >>> found = neighbours(model, prompts, split_records(prompts), np.array([2.0]))
    >>> found["remind_curvature"].shape
    (1,)
    """
    how = how or Neighbourhood()
    text = within((len(prompts), int(prompts.lengths.max())), split.first, split.stop)
    drawn, changed = _draw(model, prompts, text, how)
    scores = token_scores(
        model, drawn, edits=[_of_original(e, how.count) for e in edits], batch_tokens=batch_tokens, progress=progress
    )
    predicted = np.repeat(within(text.shape, np.maximum(split.first, 1), split.stop), how.count, 0)
    around = -mean_where(scores.log_p, predicted).reshape(len(prompts), how.count)
    return landscape(loss, around, changed)


def _draw(
    model: Model, prompts: PromptSet, text: Bool[np.ndarray, "record pos"], how: Neighbourhood
) -> tuple[PromptSet, Float[np.ndarray, "record neighbour"]]:
    rng = np.random.default_rng(how.seed)
    occurring = np.unique(np.concatenate(prompts.tokens))
    near = _nearest(model, occurring, how.nearest)
    tokens: list[np.ndarray] = []
    shares = np.zeros((len(prompts), how.count))
    for i, own in enumerate(prompts.tokens):
        free = np.flatnonzero(text[i, : len(own)] & ~prompts.special[i])
        swap = rng.random((how.count, len(free))) < how.share
        # A neighbour differs somewhere: where chance picked nothing, one place is picked.
        swap[np.arange(how.count), rng.integers(len(free), size=how.count)] |= ~swap.any(1)
        shares[i] = swap.mean(1)
        choice = rng.integers(near.shape[1], size=swap.shape)
        other = near[np.searchsorted(occurring, own[free]), choice]
        made = np.repeat(own[None], how.count, 0)
        made[:, free] = np.where(swap, other, own[free])
        tokens += list(made)
    special = [s for s in prompts.special for _ in range(how.count)]
    return PromptSet.from_tokens(tokens, special=special), shares


def _nearest(model: Model, tokens: Int[np.ndarray, " token"], count: int) -> Int[np.ndarray, "token near"]:
    """For each token the ``count`` others, specials left out, whose input embeddings point most nearly its way."""
    embedding: Any = model.hf.get_input_embeddings()
    weights = torch.nn.functional.normalize(embedding.weight.detach().float(), dim=-1)
    barred = torch.zeros(len(weights), dtype=torch.bool, device=weights.device)
    if model.tokenizer is not None:
        barred[len(model.tokenizer) :] = True
        barred[[i for i in model.tokenizer.all_special_ids if i < len(weights)]] = True
    if int((~barred).sum()) <= count:
        raise StatisticsError(f"nearest={count}, but there are {int((~barred).sum())} tokens that are not special")
    index = torch.from_numpy(tokens).to(weights.device)
    found = []
    for part in index.split(256):
        cosine = weights[part] @ weights.T
        cosine[:, barred] = -torch.inf
        cosine[torch.arange(len(part), device=part.device), part] = -torch.inf
        found.append(cosine.topk(count, dim=-1).indices)
    return torch.cat(found).cpu().numpy()


def _of_original(edit: Edit, count: int) -> Edit:
    """The same edit, for ``count`` neighbours in place of each example."""
    return edit.moved(fn=lambda rows, where: edit.fn(rows, EditRows(where.example // count, where.pos)))
