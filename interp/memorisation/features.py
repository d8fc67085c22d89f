"""One row of activations per prompt, at a mark or averaged over the recall marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import PromptError
from ..prompts import PromptSet
from ..run import capture
from ..sites import Site
from .records import RECALL_MARK

if TYPE_CHECKING:
    from ..models import Model

RECALL = "recall"


def depths(model: Model) -> tuple[Site, ...]:
    """The residual stream from the embedding (depth 0) to the output of the last block."""
    return (Site.parse("resid_pre.0"), *(Site("resid_post", layer) for layer in range(model.n_layers)))


def depth_of(site: Any, otherwise: int) -> int:
    """How many blocks lie below a site, its own included; ``otherwise`` for what is no `Site`.

    >>> [depth_of(Site.parse(s), 0) for s in ("resid_pre.0", "resid_post.0", "mlp_out.2")]
    [0, 1, 3]
    """
    if not isinstance(site, Site):
        return otherwise
    return (site.layer or 0) + (site.kind not in ("embed", "resid_pre"))


def first_block(sites: Sequence[Any]) -> int:
    """Where a mean over depths starts: past the embedding, if that comes first and is not all there is.

    >>> first_block([Site.parse("resid_pre.0"), Site.parse("resid_post.0")]), first_block([Site.parse("resid_post.0")])
    (1, 0)
    """
    return int(len(sites) > 1 and depth_of(sites[0], 0) == 0)


def read(
    model: Model,
    prompts: PromptSet,
    sites: Sequence[str | Site] | None = None,
    at: str = RECALL,
    *,
    progress: bool | None = None,
    **options: Any,
) -> dict[Site, Float[Tensor, "prompt d"]]:
    """Activations of every prompt, in the order of the prompts.

    Args:
        sites: as for `capture`; by default every depth of the residual stream.
        at: a mark, or ``"recall"``: the mean over the marks ``recall_1``, ``recall_2``, ... that a prompt has.
        options: of `capture`, such as ``batch_tokens``.

    Raises:
        PromptError: prompts that lack the mark.

    >>> from interp import load_model, testbeds
    >>> bed = testbeds.path("memory")
    >>> model = load_model(bed)
    >>> prompts = PromptSet.from_texts(["anna went home ."], model.tokenizer)
    >>> {str(site): tuple(x.shape) for site, x in read(model, prompts, ["resid_post.3"], "last").items()}
    {'resid_post.3': (1, 128)}
    """
    chosen = list(depths(model) if sites is None else sites)
    if at != RECALL or at in prompts.marks:
        acts = capture(model, prompts, chosen, at=at, progress=progress, **options)
        order = np.argsort(acts.index.example, kind="stable")
        return {site: acts[site][order] for site in acts.sites}
    marks = [name for name in prompts.marks if RECALL_MARK.fullmatch(name)]
    if not marks:
        known = ", ".join(prompts.marks)
        raise PromptError(f"these prompts have no marks recall_1, recall_2, ... to read at; marks: {known}")
    there = np.stack([prompts.marks[name] >= 0 for name in marks], 1)
    lacking = np.flatnonzero(~there.any(1))
    if len(lacking):
        raise PromptError(
            f"{len(lacking)} of {len(prompts)} prompts have no recall mark, first {prompts.ids[lacking[0]]!r}"
        )
    # Prompts that have the same marks are read together, since capture wants every prompt to have each mark.
    made: dict[Site, Tensor] = {}
    for pattern in np.unique(there, axis=0):
        rows = np.flatnonzero((there == pattern).all(1))
        wanted = [name for name, has in zip(marks, pattern, strict=True) if has]
        acts = capture(model, prompts.select(rows), chosen, at=wanted, progress=progress, **options)
        order = np.argsort(acts.index.example, kind="stable")
        for site in acts.sites:
            mean = acts[site][order].reshape(len(rows), len(wanted), -1).mean(1)
            whole = made.setdefault(
                site, torch.empty(len(prompts), mean.shape[1], dtype=mean.dtype, device=mean.device)
            )
            whole[torch.from_numpy(rows).to(mean.device)] = mean
    return made
