"""The model card of a hand-written circuit."""

from __future__ import annotations

from pathlib import Path

from ...models import load_model
from ...prompts import load_prompts
from ...run import forward
from .parts import D_MODEL, N_HEADS
from .truth import CircuitTruth

CARD = """\
---
license: mit
library_name: transformers
tags: [interpretability, test-bed]
---

# {name}: {title}

A {layers}-layer, {heads}-head language model over a few words, in GPT-2's format (d_model {d_model}, ReLU). Nothing was
trained and no text was used: the weights are written by `interp testbed build {name} --seed {seed}`, the same bytes
every time. LayerNorm is made the identity, as in the `induction` bed.

## What was planted

{planted}

Against this counterfactual: {counterfactual}.

| edge | effect | why |
|---|---|---|
{rows}

`effect` is the share of the answer's lead in logits that is lost when that edge alone carries the counterfactual; the
{others} other edges lose at most {largest:.3f}. `truth.json` has all of them with their reasons.{redundant}

## Prompts

`prompts.jsonl` has {n} prompts with their answers, `pairs.jsonl` the same as clean and corrupted prompts for
`interp.circuits.load_pairs`.

## Measured

The model's first choice is the answer on {right} of {n} prompts.
"""


def write_card(out: Path, name: str, title: str, planted: str, truth: CircuitTruth, seed: int) -> None:
    """Write ``README.md``: how it was made, what was planted, what was measured, licence."""
    model = load_model(out)
    prompts = load_prompts(out / "prompts.jsonl", model.tokenizer)
    choice = forward(model, prompts).logits.argmax(-1).tolist()
    answers = [model.tokenizer.convert_tokens_to_ids(str(a)) for a in prompts.columns["answer"]]
    true = [edge for edge in truth.edges if edge.true]
    false = [edge for edge in truth.edges if not edge.true]
    sets = "; ".join(", ".join(f"`{edge}`" for edge in edges) for edges in truth.redundant)
    backups = f"\n\nThese stand in for each other, so that ablating one alone changes nothing: {sets}." if sets else ""
    text = CARD.format(
        name=name, title=title, layers={1: "one", 2: "two"}[model.n_layers], heads={4: "four"}[N_HEADS],
        d_model=D_MODEL, seed=seed, planted=planted, counterfactual=truth.counterfactual,
        rows="\n".join(f"| `{e.name}` | {e.effect:.3f} | {e.why} |" for e in true), others=len(false),
        largest=max(e.effect for e in false), redundant=backups, n=len(prompts),
        right=sum(int(c == a) for c, a in zip(choice, answers, strict=True)),
    )  # fmt: skip
    (out / "README.md").write_text(text, encoding="utf-8", newline="\n")
