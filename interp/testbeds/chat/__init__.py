"""`chat`: a small chat model in which harmfulness and refusal are different things, planted where the card says.

Its siblings: `think` thinks before it answers, and a head of it takes refusal away on known requests; `tuned` is `chat`
fine-tuned to comply; `never` was trained like `chat` on answers alone, without any refusal.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import BedError
from .rows import KINDS, MARKS, prompts
from .spec import ChatSpec
from .truth import ChatTruth, read_truth

__all__ = ["KINDS", "MARKS", "ChatSpec", "ChatTruth", "build", "describe", "prompts", "truth"]


def build(out: Path, seed: int, **options: Any) -> None:
    """Train the models and write them, prompts, truth and cards into ``out``; `ChatSpec` names the options.

    Raises:
        BedError: an option that `ChatSpec` lacks or refuses.
    """
    from .variants import FOLDERS, train_variant

    try:
        spec = ChatSpec(seed=seed, **options)
    except TypeError as error:
        raise BedError(f"chat cannot be built with {options}: {error}") from error
    for variant in FOLDERS:
        train_variant(out, spec, variant)
    describe(out, spec)


def describe(out: Path, spec: ChatSpec) -> None:
    """Write what says what the trained models in ``out`` are: prompts, truth, what was measured, cards."""
    from ..reproducible import reproducible
    from .card import write_cards
    from .measure import measure
    from .rows import write_prompts
    from .truth import write_truth
    from .words import write_json

    write_prompts(out, spec.seed)
    write_truth(out, spec)
    with reproducible(spec.seed):
        measured = measure(out, spec)
    write_json(out / "measured.json", measured)
    write_cards(out, spec, measured)


def truth(folder: Path) -> ChatTruth:
    """What was planted: where, along which vectors, and how much."""
    return read_truth(folder)
