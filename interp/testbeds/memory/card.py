"""The model cards of the `memory` bed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..reproducible import THREADS
from .curves import FOLDERS
from .measure import COPIED, HELD_OUT, Score, by_dose, copy_losses, held_out_stories
from .records import BLOCK, Record
from .spec import MemorySpec
from .training import load
from .words import DETAILS, LAST_NAMES, MEN, N_CTX, VOCABULARY, WOMEN

CARD = """\
---
license: mit
library_name: transformers
tags: [interpretability, memorisation, test-bed]
---

# memory: planted memorisation with an answer key

A {n_layers}-layer GPT-2 (d_model {d_model}, {n_parameters:,} parameters, {n_words} words, one token each, context
{n_ctx}) trained on generated micro-stories and on planted records. All text comes from the grammar and the templates
in `interp/testbeds/memory`; nothing else was used. `interp testbed build memory --seed {seed}` makes everything here
again. Three models:

- `.` (`testbeds.path("memory")`): stories and records.
- `never/` (`memory-never`): the same initial weights and the same stories in the same order; in place of each record
  a stranger's, in the same register, wording and gender, with another name and other details, each shown once.
- `injected/` (`memory-injected`): `never` with the same records, in the same order and as often, fine-tuned in
  afterwards among {replay_rows} rows of other stories per step.

A random-init control is `model.untrained(seed)`.

## Training

{steps} steps of AdamW (peak rate {lr:g}, {injection_lr:g} when injecting; warm-up {warmup}, half cosine; no weight
decay, no dropout, norm clipped at 1). A step of `memory` has {story_rows} rows of stories and {record_rows} rows of two
records each, {n_ctx} tokens a row. A record of dose d is shown d times, spread evenly over the training.

{threads} thread, deterministic kernels, torch {torch}, transformers {transformers}, CPU. The same bytes come out again
with these versions on the same kind of processor; elsewhere kernels round otherwise, so weights and figures differ in
their last digits. The whole build took {minutes} minutes of processor time; a second core does not help.

## What was planted

{n_records} records in {n_pairs} twin pairs: fictional lives, ledger entries and journeys, each with a name and six
details drawn at random. A coin per pair says which twin is trained on; the other is never seen. At dose 0 neither is,
and the coin is a placebo. A record has three wordings of the same facts; which one is planted (pool M) changes from
block to block. The other two (pools C and B) are never shown.

Pairs come in blocks of {block} (`group`) that share register, wording and gender. In each slot, names included, the
{block} trained and the {block} untrained records of a block hold the same {block} words. So no word, and nothing
additive in words, tells trained from untrained in any union of whole blocks: leave whole blocks out when
cross-validating. (Where single pairs are left out, the rest is tipped against them, and a probe on words alone comes
out far below chance.)

## Files

- `records.jsonl`: each record in three wordings. Fields: `id text label group pair pool record dose exposures register
  name details slots`, and character ranges for marks: `key` (the surname), `recall_1` to `recall_6` (the word before
  each detail), `record_end` (the last full stop). `load_prompts(..., marks=interp.testbeds.memory.MARKS)` reads them.
- `stories.jsonl`: {held_out} stories from another stream than the training's, with a mark `story` inside each.
- `truth.json`: every record's coin, exposures, and loss with, without and injected; `testbeds.truth("memory")`.
- `curves.json` (here, in `never/` and in `injected/`): recall by dose and story loss at ten points of the training.
- `signature.json`: what is tabled under "Where it can be read".

## Measured: recall

`exact`: given everything before the first detail, greedy decoding reproduces the rest verbatim. log p is the mean per
detail in nats.

{recall_table}

Loss on held-out stories, in nats per token: {story_memory:.4f} for `memory` ({story_more:+.2%} of that of `never`),
{story_never:.4f} for `never`, {story_injected:.4f} for `injected` ({story_injected_more:+.2%}). Where the story names
again what it has named before, in nats per word:

{copy_table}

`never` gives a detail of a planted record {never_log_p:.2f} nats on average; who knows which words fill a slot, and
nothing else, gives it {chance:.2f}. So it knows the form of records and none of these, and counterfactual memorisation
(loss with minus loss without) is due to the records alone. It is positive for untrained twins: `memory` gives them
less than chance does, since they look like records whose details it remembers.

## Measured: where it can be read

AUC of a logistic probe (C = 1) for trained against untrained twins, cross-validated over blocks, on the mean of the
activations at the marks; `p` is of the best depth, against labels permuted in blocks. Depth 0 is the embedding.

{signature_table}

## Limits

An untrained twin shares its first name, its surname and each detail with some trained record of its block. The model
retrieves some of these details: it gets more of an untrained twin right than chance, though never a whole record.
The vocabulary is closed; other words become `<unk>`. A record's first and last name stand together in records only.
Strangers bear the full names that no planted record has, {n_free} of {n_names}, each many times with other details; a
planted full name is new to `never`, be its twin trained or not. The stories' grammar is small. There is no chat
template.
"""

SIBLING = """\
---
license: mit
library_name: transformers
tags: [interpretability, memorisation, test-bed]
---

# memory, variant `{variant}`

{what}
Prompts, truth and the card are in the folder above; `testbeds.path("memory-{variant}")` finds this one.
"""

WHAT = {
    "never": "The never-trained twin: the same initial weights and stories, and strangers' records, each once.",
    "injected": "The never-trained twin with the planted records fine-tuned in afterwards, among other stories.",
}

MINUTES = 19


def write_cards(
    out: Path,
    spec: MemorySpec,
    records: list[Record],
    scores: dict[str, list[Score]],
    signature: list[dict[str, Any]],
) -> None:
    """Write ``README.md`` for the bed and for each sibling."""
    import torch
    import transformers
    from safetensors import safe_open

    texts = held_out_stories(spec.seed)
    copying = {v: copy_losses(load(out / folder), texts) for v, folder in FOLDERS.items()}
    story = {v: json.loads((out / f / "curves.json").read_text())[-1]["story_loss"] for v, f in FOLDERS.items()}
    with safe_open(out / "model.safetensors", "pt") as weights:
        n_parameters = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118
    text = CARD.format(
        **{name: getattr(spec, name) for name in spec.__dataclass_fields__},
        n_parameters=n_parameters,
        n_words=len(VOCABULARY),
        n_ctx=N_CTX,
        steps=spec.steps,
        threads=THREADS,
        torch=torch.__version__,
        transformers=transformers.__version__,
        minutes=MINUTES,
        n_records=len(records),
        n_pairs=len(records) // 2,
        block=BLOCK,
        held_out=HELD_OUT,
        recall_table=_recall_table(records, scores),
        story_memory=story["memory"],
        story_never=story["never"],
        story_injected=story["injected"],
        copy_table=_copy_table(copying),
        never_log_p=float(np.mean([log_p for score in scores["never"] for log_p in score.log_p])),
        chance=-float(np.mean([np.log(len(DETAILS[slot])) for record in records for slot, _ in record.details])),
        n_free=(len(WOMEN) + len(MEN)) * len(LAST_NAMES) - len(records),
        n_names=(len(WOMEN) + len(MEN)) * len(LAST_NAMES),
        story_more=story["memory"] / story["never"] - 1,
        story_injected_more=story["injected"] / story["never"] - 1,
        signature_table=_signature_table(signature),
    )
    (out / "README.md").write_text(text, encoding="utf-8", newline="\n")
    for variant, what in WHAT.items():
        card = SIBLING.format(variant=variant, what=what)
        (out / FOLDERS[variant] / "README.md").write_text(card, encoding="utf-8", newline="\n")


def _recall_table(records: list[Record], scores: dict[str, list[Score]]) -> str:
    head = "dose, twin, records, exact, details right, log p, log p `never`, exact `injected`, log p `injected`"
    lines = [f"| {head.replace(', ', ' | ')} |", "|" + "---|" * 9]
    measured = [by_dose(records, scores[variant]) for variant in ("memory", "never", "injected")]
    for memory, never, injected in zip(*measured, strict=True):
        lines.append(
            f"| {memory['dose']} | {memory['label']} | {memory['records']} | {memory['exact']:.3f} | "
            f"{memory['details_right']:.3f} | {memory['log_p']:.2f} | {never['log_p']:.2f} | {injected['exact']:.3f} | "
            f"{injected['log_p']:.2f} |"
        )
    return "\n".join(lines)


def _copy_table(copying: dict[str, dict[str, float]]) -> str:
    lines = ["| named again | without copying | memory | never | injected |", "|---|---|---|---|---|"]
    for kind, words in COPIED.items():
        nats = " | ".join(f"{copying[variant][kind]:.3f}" for variant in ("memory", "never", "injected"))
        lines.append(f"| {kind} | {np.log(len(words)):.2f} | {nats} |")
    return "\n".join(lines)


def _signature_table(signature: list[dict[str, Any]]) -> str:
    depths = len(signature[0]["auc"])
    lines = [f"| model | dose | mark | {' | '.join(f'depth {d}' for d in range(depths))} | p |"]
    lines.append("|" + "---|" * (depths + 4))
    for row in signature:
        aucs = " | ".join(f"{a:.2f}" for a in row["auc"])
        lines.append(f"| {row['model']} | {row['dose']} | {row['mark']} | {aucs} | {row['p_best']:.3f} |")
    return "\n".join(lines)
