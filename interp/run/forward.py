"""``forward``: the model's output at chosen tokens, under edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..edits import Edit
from ..models import Model
from ..prompts import PromptSet
from ..sites import Site
from ..store import RowIndex
from .job import make_job, run_in_memory
from .where import AtSpec


@dataclass(frozen=True, eq=False)
class Forward:
    """The model's output at chosen tokens: ``logits`` ``[row, vocab]``, what each row is, what each edit changed.

    ``opened`` says, for each edit under a condition, which prompts met it.
    """

    logits: torch.Tensor
    index: RowIndex
    fired: dict[str, int]
    opened: dict[str, np.ndarray] = field(default_factory=dict)


def forward(
    model: Model,
    prompts: PromptSet,
    *,
    at: AtSpec = "last",
    edits: Sequence[Edit] = (),
    batch_tokens: int | None = None,
    padding_side: str = "right",
    progress: bool | None = None,
) -> Forward:
    """Logits at chosen tokens (the last one, by default), under edits.

    Raises:
        EditError: an edit never fired; and what `capture` raises.

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> prompts = interp.PromptSet.from_tokens([[5, 9, 7, 5]])
        >>> plain = interp.forward(model, prompts).logits
        >>> edited = interp.forward(model, prompts, edits=[interp.ablate("z.1.h0", "zero")]).logits
        >>> int(plain.argmax()), bool((plain[0, 9] - edited[0, 9]) > 1)
        (9, True)
    """
    job = make_job(model, prompts, "logits", at, edits, batch_tokens, True, False, padding_side)
    fired: dict[str, int] = {}
    logits = run_in_memory(job, model.dtype, progress, fired)[Site("logits")]
    run = job.edit_run()
    return Forward(logits, job.index, fired, {} if run is None else run.conditions())
