"""`induction`: a two-layer attention-only transformer written by hand, with four true edges out of 81.

The residual stream is cut into five subspaces, ``tok|pos|prev|out|junk``. Head (0,0) copies the previous token's code
into ``prev``; head (1,0) looks for a position whose ``prev`` matches its own token and copies what stands there into
``out``; the unembedding reads ``out``. Six more heads write random values into ``junk``, which the logits never see.

A word's code has one coordinate for its category, animal or object. So "is the answer an animal?" can be read off
linearly at the last position once head (1,0) has written the answer there, and not before.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import BedError
from .card import write_card
from .prompts import demo_prompts, write_pairs, write_prompts
from .truth import InductionTruth, read_truth, write_truth
from .weights import InductionSpec, make_weights, write_model
from .words import write_tokenizer

__all__ = ["InductionSpec", "InductionTruth", "build", "demo_prompts", "make_weights", "truth"]


def build(out: Path, seed: int, *, beta: float = 12.0, epsilon: float = 0.0) -> None:
    """Write the model, its tokenizer, the demo prompts, the truth and the card into ``out``.

    ``beta`` is the sharpness of attention: the score of a match, in nats. ``epsilon`` is how much of the six idle
    heads' writing leaks into the subspaces that matter, relative to what they write into ``junk``.

    Raises:
        BedError: ``beta`` is not positive or ``epsilon`` is negative.
    """
    if not beta > 0 or not epsilon >= 0:
        raise BedError(f"induction needs beta > 0 and epsilon >= 0, got beta={beta} and epsilon={epsilon}")
    spec = InductionSpec(seed=seed, beta=beta, epsilon=epsilon)
    weights = make_weights(spec)
    prompts = demo_prompts(seed)
    write_model(out, spec, weights)
    write_tokenizer(out)
    write_prompts(out, prompts)
    write_pairs(out, prompts)
    found = write_truth(out, spec, weights, prompts)
    write_card(out, spec, found, weights, prompts)


def truth(folder: Path) -> InductionTruth:
    """What was planted: every edge, whether it matters, by how much, and why."""
    return read_truth(folder)
