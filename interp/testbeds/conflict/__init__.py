"""`conflict`: what a model learnt in training against what its text says, with heads that speak for either.

Every subject has a value that the model was trained on (memory). A statement in the text may give it another (context);
training then went by memory half of the time and by the text the other half, so that both answers stay near one half.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import BedError
from .spec import ConflictSpec
from .truth import ConflictTruth, read_truth

__all__ = ["ConflictSpec", "ConflictTruth", "build", "truth"]


def build(out: Path, seed: int, **options: Any) -> None:
    """Train the model and write it, its tokenizer, prompts, truth and card; `ConflictSpec` names the options.

    Raises:
        BedError: an option that `ConflictSpec` lacks or refuses.
    """
    from ..reproducible import reproducible
    from .card import write_card
    from .prompts import conflicts, write_prompts
    from .training import save, train
    from .truth import write_truth

    try:
        spec = ConflictSpec(seed=seed, **options)
    except TypeError as error:
        raise BedError(f"conflict cannot be built with {options}: {error}") from error
    with reproducible(spec.seed):
        model = train(spec)
        save(model, out, spec)
        prompts = conflicts(spec)
        write_prompts(out, spec, prompts)
        write_card(out, spec, write_truth(out, spec, model, prompts))


def truth(folder: Path) -> ConflictTruth:
    """What each head's loss costs either answer, and the facts in the weights."""
    return read_truth(folder)
