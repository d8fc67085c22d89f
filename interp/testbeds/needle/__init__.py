"""`needle`: a model written by hand that copies a needle of random words out of a haystack, with one head that does it.

The weights are those of `induction` with its heads in other places and two decoys beside the copy head: one that looks
at the needle as well, half of the time, and writes where nothing reads; one that looks at the word it has just read.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import BedError
from ..induction.words import write_tokenizer
from .card import write_card
from .haystack import Haystack, haystacks, write_haystacks
from .truth import NeedleTruth, read_truth, write_truth
from .weights import NeedleSpec, make_weights, write_needle_model

__all__ = ["Haystack", "NeedleSpec", "NeedleTruth", "build", "haystacks", "make_weights", "truth"]


def build(out: Path, seed: int, *, beta: float = 12.0) -> None:
    """Write the model, its tokenizer, haystacks, truth and card into ``out``; ``beta`` is attention's sharpness.

    Raises:
        BedError: ``beta`` is not positive.
    """
    if not beta > 0:
        raise BedError(f"needle needs beta > 0, got {beta}")
    spec = NeedleSpec(seed=seed, beta=beta)
    weights, found = make_weights(spec), haystacks(seed)
    write_needle_model(out, spec, weights)
    write_tokenizer(out)
    write_haystacks(out, found)
    write_card(out, spec, write_truth(out, weights, found), found)


def truth(folder: Path) -> NeedleTruth:
    """What was planted: which head copies, which one helps it, which ones only look as if."""
    return read_truth(folder)
