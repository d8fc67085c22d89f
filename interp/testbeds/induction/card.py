"""The model card of the `induction` bed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .prompts import DemoPrompt
from .truth import InductionTruth, answer_chances
from .weights import CATEGORY, D_MODEL, N_CTX, NORM_EPS, SUBSPACES, InductionSpec

CARD = """\
---
license: mit
library_name: transformers
tags: [interpretability, test-bed]
---

# induction: a circuit written by hand

A two-layer, four-head, attention-only language model over 52 words, in GPT-2's format (d_model {d_model}, context
{n_ctx}). Nothing was trained and no text was used: the weights are written by `interp testbed build induction
--seed {seed}`, the same bytes every time. Beta (the score of a match, in nats) is {beta:g}; epsilon (how much of the
idle heads' writing leaks out of `junk`) is {epsilon:g}.

## What was planted

The residual stream is cut into subspaces, each turned at random (with their dimensions):
{subspaces}.

- Head (0,0) attends to the previous position and copies that token into `prev`.
- Head (1,0) attends to the position whose `prev` is its own token, and copies the token that stands there into `out`.
  It turns away from the first position, whose `prev` holds its own token for want of one before it.
- The unembedding reads `out`. The six other heads attend and write at random, into `junk`.
- A word is plus or minus one of 26 axes; one more axis holds its category (animal {category:+g}, object {minus:+g}).
- LayerNorm is the identity: epsilon {norm_eps:g} makes the variance vanish, and every vector sums to zero. The MLPs are
  zero. `initializer_range` is large so that an untrained model of this config mixes positions in spite of that.

Of 81 edges four are true, against this counterfactual:
{counterfactual}.
`truth.json` has all of them with the reason and the effect of exact patching (1: the answer's lead in logits becomes
what it is on the counterfactual; 0: it stays).

| edge | effect | why |
|---|---|---|
{true_rows}
| the 77 others | at most {largest:.4f} | see `truth.json` |

## Prompts

`prompts.jsonl` has {n_prompts} prompts of 12 to 24 words whose last word occurred once before. The label is the
category of the answer, the word that followed it then. Both prompts of a `pair` hold the same words; two of them have
changed places. A `group` is a couple of answer words, so that grouped cross-validation tests on answers never trained
on.

`pairs.jsonl` has every fifth prompt with its counterfactual, for `interp.circuits.load_pairs`.

## Measured

The model's first choice is the answer on {right} of {n_prompts} prompts, with probability {lowest:.3f} or more.
The label can be read at the last position of {sites};
before, and from the bag of words, it is at chance by construction. In an untrained twin it is at chance everywhere.
`tests/testbeds` checks each of these with scikit-learn's logistic regression.

## Limits

A word that occurred several times before gets the average of its answers, and one that never occurred gets an average
of everything. The tokenizer puts `<bos>` in front, which means nothing to the model. There is no chat template.
"""


def write_card(
    out: Path, spec: InductionSpec, truth: InductionTruth, weights: dict[str, np.ndarray], prompts: list[DemoPrompt]
) -> None:
    """Write ``README.md``: how it was made, what was planted, what was measured, licence."""
    chances = answer_chances(weights, prompts)
    true = [edge for edge in truth.edges if edge.true]
    text = CARD.format(
        d_model=D_MODEL,
        n_ctx=N_CTX,
        seed=spec.seed,
        beta=spec.beta,
        epsilon=spec.epsilon,
        subspaces=", ".join(f"`{name}` ({dims})" for name, dims in SUBSPACES.items()),
        category=CATEGORY,
        minus=-CATEGORY,
        norm_eps=NORM_EPS,
        counterfactual=truth.counterfactual,
        true_rows="\n".join(f"| `{edge.name}` | {edge.effect:.4f} | {edge.why} |" for edge in true),
        largest=max(edge.effect for edge in truth.edges if not edge.true),
        n_prompts=len(prompts),
        right=int((chances > 0.5).sum()),
        lowest=np.floor(chances.min() * 1000) / 1000,
        sites=", ".join(f"`{site}`" for site in truth.label_sites),
    )
    (out / "README.md").write_text(text, encoding="utf-8", newline="\n")
