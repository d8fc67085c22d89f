"""`or_gate`: two heads that each see one slot, and an MLP that says yes if either is on: each is the other's backup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BedError
from ..induction.words import write_tokenizer
from .card import write_card
from .parts import Axes, Mlp, idle_head, looking_head, state_dict, write_checkpoint
from .texts import VOCABULARY, embedding, gate_questions, unembedding, write_questions
from .truth import CircuitTruth, read_truth, write_truth

HEADS = (0, 1)
PLANTED = """\
- Heads (0,0) and (0,1) attend to the words of slots a and b (`a0 a1`, `b0 b1`) and write their bit into one axis, S.
- The MLP writes `1 - ReLU(1 - S)` into `out`: 1 if either slot is on. The unembedding reads `out`.
- Heads (0,2) and (0,3) attend and write at random, into junk that nothing reads."""


def build(out: Path, seed: int, **options: Any) -> None:
    """Write the model, its tokenizer, prompts and pairs, the truth and the card into ``out``."""
    if options:
        raise BedError(f"or_gate has no options, got {', '.join(options)}")
    random = np.random.RandomState(seed)
    axes = Axes.draw(random)
    heads = [looking_head(axes[f"slot {i}"], axes["bit"], axes["sum"]) for i in HEADS]
    heads += [idle_head(random, axes) for _ in range(2)]
    mlp = Mlp(-axes["sum"], 1.0, -axes["out"], axes["out"])
    weights = state_dict(embedding(axes), unembedding(axes), [(heads, mlp)])
    write_checkpoint(out, weights, {"name": "or_gate", "seed": seed})
    write_tokenizer(out, VOCABULARY)
    write_questions(out, gate_questions(len(HEADS), seed))
    true = {"m0->logits": "the logits read out, which the MLP alone writes"}
    for i in HEADS:
        slot = "ab"[i]
        true[f"input->a0.h{i}<v>"] = f"head (0,{i}) copies the bit of slot {slot}; alone it changes nothing"
        true[f"a0.h{i}->m0"] = f"the MLP adds up what the heads found; without slot {slot} the other suffices"
    false = {
        "input->m0": "the MLP reads S, where the embedding writes nothing",
        "input->logits": "the logits read out, and the constant of the last word, which the counterfactual keeps",
    }
    false |= {f"a0.h{i}->logits": "the logits read out, and the head writes S" for i in HEADS}
    for i in HEADS:
        false[f"input->a0.h{i}<q>"] = "the head asks for the same thing everywhere"
        false[f"input->a0.h{i}<k>"] = "the head looks for the slot, which the counterfactual keeps"
    rest = "heads (0,2) and (0,3) write junk, which nothing reads"
    backups = (tuple(f"a0.h{i}->m0" for i in HEADS), tuple(f"input->a0.h{i}<v>" for i in HEADS))
    found = write_truth(out, true, false, rest, "the same words with both slots off", backups)
    write_card(out, "or_gate", "either of two heads suffices", PLANTED, found, seed)


def truth(folder: Path) -> CircuitTruth:
    """What was planted: every edge, whether it matters, by how much alone, and why."""
    return read_truth(folder)
