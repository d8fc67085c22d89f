"""Which prompts meet the conditions of edits: decided once per run, on the prompts as they are without any edit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float

from ..edits import Condition, Edit
from ..errors import EditError
from ..models import Model
from ..prompts import PromptSet

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
            known[id(condition)] = condition.opens(_rows(model, prompts, condition, edit)).cpu()
    return tuple(None if e.condition is None else known[id(e.condition)] for e in edits)


def _rows(model: Model, prompts: PromptSet, condition: Condition, edit: Edit) -> Float[torch.Tensor, "prompt width"]:
    """The prompts' activations at the condition's site and mark, one row each."""
    from .job import make_job, run_in_memory

    site, width = condition.site, model.resolve(condition.site).width
    if width != len(condition.unit):
        raise EditError(f"{edit}: its condition is {len(condition.unit)} wide, but rows at {site} are {width} wide")
    job = make_job(model, prompts, [site], condition.mark, (), None, True, False, "right")
    rows = run_in_memory(job, model.dtype, False)[site]
    if condition.mark != "all":
        return rows
    total = torch.zeros(len(prompts), rows.shape[1], dtype=torch.float64)
    total.index_add_(0, torch.from_numpy(job.index.example.astype("int64")), rows.double())
    return total / torch.from_numpy(prompts.lengths.copy())[:, None]
