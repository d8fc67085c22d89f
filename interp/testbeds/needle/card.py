"""The model card of the `needle` bed."""

from __future__ import annotations

from pathlib import Path

from .haystack import NEEDLE, Haystack
from .truth import N_MEASURED, NeedleTruth
from .weights import NeedleSpec

CARD = """\
---
license: mit
library_name: transformers
tags: [interpretability, test-bed]
---

# needle: a copy head written by hand

A two-layer, four-head, attention-only language model over 52 words, in GPT-2's format. Nothing was trained and no text
was used: the weights are written by `interp testbed build needle --seed {seed}`, the same bytes every time. They are
made as those of `induction` are (see its card for the subspaces, the norm and the unembedding); beta, the score of a
match in nats, is {beta:g}.

## What was planted

A prompt is a haystack of words, none twice; five of them, behind a key word, are the needle. The prompt ends with the
key word again, and the model writes the needle.

| head | role | needle words written without it | why |
|---|---|---|---|
{rows}

The whole model writes {copied:.1%} of the needle words. "Without it" is measured on {n} haystacks by a second
implementation in NumPy, with the head's output matrix at zero.

Two decoys look into the needle. {looker} looks at the very place that is copied from, for half of the words, so that
a score made of attention alone ranks it second; taking it out changes nothing. {own} looks at the needle at every step
and never at the word that comes next, so that it counts as a retrieval head only if the generated word is not compared
with the word that is looked at.

## Files

`haystacks.jsonl` has {count} prompts: `text`, `needle` ({needle} words) and `depth`, the needle's place from 0 to 1.
`truth.json` has the table above.

## Limits

A word that stands twice in a haystack has two successors, and the model writes neither for certain. The heads are
sharper than those of trained models, where retrieval scores of .1 to .5 are common.
"""


def write_card(out: Path, spec: NeedleSpec, truth: NeedleTruth, found: list[Haystack]) -> None:
    """Write ``README.md``: how it was made, what was planted, what was measured, licence."""
    named = {h.role + str(h.head): f"({h.layer},{h.head})" for h in truth.heads}
    rows = "\n".join(f"| ({h.layer},{h.head}) | {h.role} | {h.copied_without:.1%} | {h.why} |" for h in truth.heads)
    text = CARD.format(
        seed=spec.seed, beta=spec.beta, rows=rows, copied=truth.copied, n=N_MEASURED, looker=named["looks1"],
        own=named["looks0"], count=len(found), needle=NEEDLE,
    )  # fmt: skip
    (out / "README.md").write_text(text, encoding="utf-8", newline="\n")
