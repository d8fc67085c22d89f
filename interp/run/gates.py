"""Which prompts meet the conditions of edits: decided once per run, on the prompts as they are without any edit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float

from ..edits import Condition, Edit
from ..errors import EditError
from ..models import Model
from ..prompts import PromptSet
from ..sites import Site

if TYPE_CHECKING:
    from .where import Opened


def decide(model: Model, prompts: PromptSet, edits: Sequence[Edit]) -> Opened:
    """For each edit, which prompts its condition lets it act on; ``None`` where it has none.

    Costs one forward pass over the prompts, as far as the deepest site that a condition reads. Edits that share a
    condition share the reading.

    Raises:
        EditError: a condition of another width than its site; and what `capture` raises of its site and mark.
    """
    known: dict[int, torch.Tensor] = {}
    for edit in edits:
        condition = edit.condition
        if condition is not None and id(condition) not in known:
            known[id(condition)] = _opens(model, prompts, condition, edit)
    return tuple(None if e.condition is None else known[id(e.condition)] for e in edits)


def condition_rows(model: Model, prompts: PromptSet, site: Site, mark: str) -> Float[torch.Tensor, "prompt width"]:
    """What a condition reads of each prompt: its activation at a mark, or (``mark="all"``) the mean over its tokens."""
    from .job import make_job, run_in_memory

    job = make_job(model, prompts, [site], mark, (), None, True, False, "right")
    rows = run_in_memory(job, model.dtype, False)[site].double().cpu()
    if mark != "all":
        return rows
    total = torch.zeros(len(prompts), rows.shape[1], dtype=torch.float64)
    total.index_add_(0, torch.from_numpy(job.index.example.astype("int64")), rows)
    return total / torch.from_numpy(prompts.lengths.copy())[:, None]


def _opens(model: Model, prompts: PromptSet, condition: Condition, edit: Edit) -> Bool[torch.Tensor, " prompt"]:
    site, width = condition.site, model.resolve(condition.site).width
    if width != len(condition.unit):
        raise EditError(f"{edit}: its condition is {len(condition.unit)} wide, but rows at {site} are {width} wide")
    return condition.opens(condition_rows(model, prompts, site, condition.mark))
