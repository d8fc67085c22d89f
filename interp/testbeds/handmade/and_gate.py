"""`and_gate`: three heads that each see one slot, and an MLP that says yes if all are on: each alone is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..induction.words import write_tokenizer
from .card import write_card
from .parts import Axes, Mlp, idle_head, looking_head, state_dict, write_checkpoint
from .texts import SLOTS, VOCABULARY, embedding, gate_questions, unembedding, write_questions
from .truth import CircuitTruth, read_truth, write_truth

HEADS = range(len(SLOTS))
PLANTED = """\
- Heads (0,0), (0,1) and (0,2) attend to the words of slots a, b and c and write their bit into one axis, S.
- The MLP writes `{rule}` into `out`. The unembedding reads `out`.
- Head (0,3) attends and writes at random, into junk that nothing reads."""


def build(out: Path, seed: int, *, linear: bool = False) -> None:
    """Write the model, its tokenizer, prompts and pairs, the truth and the card into ``out``.

    ``linear`` makes the MLP write the mean of the bits, so that every effect is exactly linear in what is ablated.
    """
    random, n = np.random.RandomState(seed), len(HEADS)
    axes = Axes.draw(random)
    heads = [looking_head(axes[f"slot {i}"], axes["bit"], axes["sum"]) for i in HEADS] + [idle_head(random, axes)]
    # The sum of bits is never below zero, so that ReLU(1 + S) is on its straight part.
    mlp = Mlp(axes["sum"], 1.0, axes["out"] / n, -axes["out"] / n) if linear else Mlp(axes["sum"], 1.0 - n, axes["out"])
    weights = state_dict(embedding(axes), unembedding(axes), [(heads, mlp)])
    write_checkpoint(out, weights, {"name": "and_gate", "seed": seed, "linear": linear})
    write_tokenizer(out, VOCABULARY)
    write_questions(out, gate_questions(n, seed))
    true = {"m0->logits": "the logits read out, which the MLP alone writes"}
    for i in HEADS:
        slot, cost = "abc"[i], "a third of the answer" if linear else "the answer"
        true[f"input->a0.h{i}<v>"] = f"head (0,{i}) copies the bit of slot {slot}, and off costs {cost}"
        true[f"a0.h{i}->m0"] = f"the MLP adds up what the heads found, and one less costs {cost}"
    false = {
        "input->m0": "the MLP reads S, where the embedding writes nothing",
        "input->logits": "the logits read out, and the constant of the last word, which the counterfactual keeps",
    }
    false |= {f"a0.h{i}->logits": "the logits read out, and the head writes S" for i in HEADS}
    for i in HEADS:
        false[f"input->a0.h{i}<q>"] = "the head asks for the same thing everywhere"
        false[f"input->a0.h{i}<k>"] = "the head looks for the slot, which the counterfactual keeps"
    found = write_truth(
        out, true, false, "head (0,3) writes junk, which nothing reads", "the same words with every slot off"
    )
    rule = "S / 3" if linear else "ReLU(S - 2)"
    title = "every head adds its share" if linear else "each of three heads is needed"
    write_card(out, "and_gate", title, PLANTED.format(rule=rule), found, seed)


def truth(folder: Path) -> CircuitTruth:
    """What was planted: every edge, whether it matters, by how much alone, and why."""
    return read_truth(folder)
