"""`fraction`: how large a share of the words so far is x, as RASP has it: an MLP marks them, a head takes the mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BedError
from ..induction.words import write_tokenizer
from .card import write_card
from .parts import Axes, Mlp, averaging_head, idle_head, idle_mlp, state_dict, write_checkpoint
from .texts import VOCABULARY, embedding, fraction_questions, unembedding, write_questions
from .truth import CircuitTruth, read_truth, write_truth

# The share is over all tokens, <bos> and ? among them.
THRESHOLD = 0.4
PLANTED = """\
- The MLP of layer 0 writes 1 into `is_x` at every x (a ReLU on the word's own axis).
- Head (1,0) attends to all tokens alike and writes the mean of `is_x` into `out`.
- The unembedding reads `out`: yes above a share of 0.4 of the tokens, no below.
- The other heads attend and write at random, into junk that nothing reads; the MLP of layer 1 is zero.

This is Tracr's "fraction of previous x" (Lindner et al., arXiv 2301.05062), compiled by hand."""


def build(out: Path, seed: int, **options: Any) -> None:
    """Write the model, its tokenizer, prompts and pairs, the truth and the card into ``out``."""
    if options:
        raise BedError(f"fraction has no options, got {', '.join(options)}")
    random = np.random.RandomState(seed)
    axes = Axes.draw(random)
    is_x = Mlp(axes["bit"], 0.0, axes["sum"])
    first = [idle_head(random, axes) for _ in range(4)]
    second = [averaging_head(axes["sum"], axes["out"]), *(idle_head(random, axes) for _ in range(3))]
    weights = state_dict(embedding(axes), unembedding(axes, THRESHOLD), [(first, is_x), (second, idle_mlp())])
    write_checkpoint(out, weights, {"name": "fraction", "seed": seed})
    write_tokenizer(out, VOCABULARY)
    write_questions(out, fraction_questions(seed))
    true = {
        "input->m0": "the MLP of layer 0 marks the words that are x, and others are in the counterfactual",
        "m0->a1.h0<v>": "head (1,0) takes the mean of the marks",
        "a1.h0->logits": "the logits read out, which head (1,0) alone writes",
    }
    false = {
        "input->a1.h0<v>": "head (1,0) reads the marks, not the words",
        "input->logits": "the logits read out, and the constant of the last word, which the counterfactual keeps",
        "m0->logits": "the logits read out, and the MLP writes marks",
    }
    false |= {f"{s}->a1.h0<{p}>": "head (1,0) attends to all alike" for p in "qk" for s in ("input", "m0")}
    rest = "an end of it is a head that writes junk, which nothing reads, or an MLP of zeros"
    found = write_truth(out, true, false, rest, "as many words, of which another share is x")
    write_card(out, "fraction", "the share of x so far", PLANTED, found, seed)


def truth(folder: Path) -> CircuitTruth:
    """What was planted: every edge, whether it matters, by how much, and why."""
    return read_truth(folder)
