"""The model card of the `modadd` bed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..reproducible import THREADS
from .network import ModAdd
from .spec import ModAddSpec
from .truth import THRESHOLD, ModAddTruth, accuracy

CARD = """\
---
license: mit
tags: [interpretability, memorisation, test-bed]
---

# modadd: a network that computes and memorises at once

`square(first[a] + second[b]) @ out`: a two-layer network with {neurons} neurons and no biases that adds modulo
{modulus}. It is plain torch and no language model: `interp.testbeds.modadd.load(interp.testbeds.path("modadd"))`.
`interp testbed build modadd --seed {seed}` makes everything here again, in about half a minute on a core of
its own.

## Training

{n_train} of {n_all} pairs, all at once in each of {steps} steps of AdamW (rate {lr:g}, betas .9 and .98, weight decay
{weight_decay:g}), squared error against one-hot labels. {n_corrupted} of the training pairs ({share:.0%}) were shown
with a wrong label drawn at random. {threads} thread, deterministic kernels, torch {torch}, CPU: the same bytes come out
again with this version on the same kind of processor.

Accuracy on the way. `memorised`: wrong labels that it answers as it was taught. `corrected`: the same pairs answered
with their true sum. `clean`: the other training pairs. `test`: pairs it never saw.

{curve_table}

## What was planted, and where it is

`truth.json` (`interp.testbeds.truth("modadd")`) has the training pairs, the corrupted ones with their wrong labels,
and for each neuron its inverse participation ratio (IPR: the sum of squared shares of the frequencies in the power of
its weights, averaged over its three weights) and its strongest frequency. {n_periodic} neurons are periodic (IPR of
{threshold} or more); they use {n_frequencies} of the {n_all_frequencies} frequencies. {n_low} neurons are below 0.1,
{n_high} above 0.8 and {n_between} in between, {n_near} of these within 0.1 of the threshold.

Neurons ablated (set to zero), in the order named, and accuracy with the rest:

{ablation_table}

So the neurons of low IPR hold the wrong labels, and those of high IPR do the sum. With its periodic neurons alone the
network answers {corrected:.1%} of the corrupted pairs with the true sum, {clean:.1%} of the clean ones rightly and
{test:.1%} of the test pairs. With the others alone it answers {wrong:.1%} of the corrupted pairs as it was taught,
{clean_low:.1%} of the clean ones rightly and {test_low:.1%} of the test pairs: they know some right labels by heart.

## Limits

Which neurons became periodic was found in the weights and not planted; what was planted is which labels are wrong.
"""


def write_card(out: Path, spec: ModAddSpec, truth: ModAddTruth, model: ModAdd, curve: list[dict[str, float]]) -> None:
    """Write ``README.md``: how it was made, what was planted, what was measured, licence."""
    examples = truth.examples
    periodic, others = (
        accuracy(model, examples, torch.from_numpy(m).float()) for m in (truth.periodic, ~truth.periodic)
    )
    text = CARD.format(
        **{name: getattr(spec, name) for name in spec.__dataclass_fields__ if name not in ("train", "corrupted")},
        n_train=int(examples.train.sum()),
        n_all=examples.modulus**2,
        n_corrupted=len(truth.corrupted),
        share=len(truth.corrupted) / examples.train.sum(),
        threads=THREADS,
        torch=torch.__version__,
        threshold=THRESHOLD,
        n_periodic=int(truth.periodic.sum()),
        n_frequencies=len(set(truth.frequency[truth.periodic].tolist())),
        n_all_frequencies=examples.modulus // 2,
        n_low=int((truth.ipr < 0.1).sum()),
        n_high=int((truth.ipr > 0.8).sum()),
        n_between=int(((truth.ipr >= 0.1) & (truth.ipr <= 0.8)).sum()),
        n_near=int((np.abs(truth.ipr - THRESHOLD) < 0.1).sum()),
        curve_table=_curve_table(curve),
        ablation_table=_ablation_table(truth, model),
        corrected=periodic["corrected"],
        clean=periodic["clean"],
        test=periodic["test"],
        wrong=others["memorised"],
        clean_low=others["clean"],
        test_low=others["test"],
    )
    (out / "README.md").write_text(text, encoding="utf-8", newline="\n")


def _curve_table(curve: list[dict[str, float]]) -> str:
    lines = ["| step | memorised | corrected | clean | test |", "|---|---|---|---|---|"]
    for point in curve:
        cells = " | ".join(f"{point[name]:.3f}" for name in ("memorised", "corrected", "clean", "test"))
        lines.append(f"| {point['step']:.0f} | {cells} |")
    return "\n".join(lines)


def _ablation_table(truth: ModAddTruth, model: ModAdd) -> str:
    rising = np.argsort(truth.ipr, kind="stable")
    orders = {
        "lowest IPR": rising,
        "highest IPR": rising[::-1],
        "any": np.random.default_rng(truth.seed).permutation(len(rising)),
    }
    lines = ["| ablated | of these | memorised | corrected | clean | test |", "|---|---|---|---|---|---|"]
    for share in (0, 0.2, 0.4, 0.6):
        count = round(share * len(rising))
        for name, order in list(orders.items())[: None if count else 1]:
            keep = torch.ones(len(rising))
            keep[order[:count].copy()] = 0.0
            found = accuracy(model, truth.examples, keep)
            lines.append(
                f"| {count} | {name if count else '-'} | " + " | ".join(f"{v:.3f}" for v in found.values()) + " |"
            )
    return "\n".join(lines)
