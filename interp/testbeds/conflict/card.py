"""The model card of the `conflict` bed."""

from __future__ import annotations

from pathlib import Path

from ..reproducible import THREADS
from .spec import SUBJECTS, VALUES, ConflictSpec
from .truth import CLEAR, ConflictTruth

QUIET = 0.03  # nats

CARD = """\
---
license: mit
library_name: transformers
tags: [interpretability, knowledge conflict, test-bed]
---

# conflict: facts in the weights against facts in the text

A {layers}-layer, {heads}-head, attention-only language model in GPT-2's format (d_model {d_model}), trained on
generated texts alone: `interp testbed build conflict --seed {seed}` makes it again, in minutes on one core.

## What it learnt

{subjects} subjects have one of {values} values each, which the weights know. A text is one to four statements, each of
them a single word (`anna:red`), and then a subject; the next word is its value. What the text says of a subject is
never what the weights know. Where the text speaks of the subject, training went by the text half of the time and by
memory the other half; where it does not, by memory. So both answers stay near one half, and heads pull either way.

MLPs are zero. Subjects, statements and positions are embedded in coordinates of the stream of their own, and the
unembedding reads others, so that a value reaches the logits through a head or not at all. Each head may take values
from one of the three alone (`planted` below: memory from subjects, context from statements, idle from positions); how
loudly it speaks, and where it looks, was learnt. Because a statement is one word and the text ends with the
subject itself, no head has to prepare another one's work, and what a head says directly is nearly all that it does. In
a variant with statements of four words and an answer asked for behind a verb, helpers arose, and the direct and the
full effect of heads agreed with Spearman .69 only.

## Training

{steps} steps of AdamW on {rows} texts each (peak rate {lr:g}, warm-up {warmup}, then falling linearly; weight decay
.01), {threads} thread, deterministic kernels. The same bytes come out again with the same library versions on the same
kind of processor; elsewhere the last digits differ.

## Truth

With the text against it the memory answer has probability {memory:.2f}, the context answer {context:.2f} on average.
Where the text says nothing of the subject, its value comes first for {knows:.0%} of subjects. `truth.json` holds what
zeroing each head's rows of the output matrix does to log p of the two answers, in nats, over `conflicts.jsonl`. A head
has a role if both move by more than {clear:g}, in opposite directions. {silent} of {total} heads move neither by
{quiet:g}: training needed no more of them.

| head | planted | role | memory answer | context answer |
|---|---|---|---|---|
{table}

## Files

`conflicts.jsonl`: `text`, `memory` and `context` (the answers), `group` (the subject).
"""


def write_card(out: Path, spec: ConflictSpec, truth: ConflictTruth) -> None:
    """Write ``README.md``: how it was made, what was planted, what was measured, licence."""
    table = "\n".join(
        f"| ({h.layer},{h.head}) | {h.planted} | {h.role} | {h.memory:+.2f} | {h.context:+.2f} |" for h in truth.heads
    )  # fmt: skip
    text = CARD.format(
        layers=spec.n_layers, heads=spec.n_heads, d_model=spec.d_model, seed=spec.seed,
        subjects=len(SUBJECTS), values=len(VALUES), steps=spec.steps, rows=spec.rows, lr=spec.lr, warmup=spec.warmup,
        silent=sum(max(abs(h.memory), abs(h.context)) < QUIET for h in truth.heads), total=len(truth.heads),
        quiet=QUIET, threads=THREADS, memory=truth.memory, context=truth.context, knows=truth.knows, clear=CLEAR,
        table=table,
    )  # fmt: skip
    (out / "README.md").write_text(text, encoding="utf-8", newline="\n")
