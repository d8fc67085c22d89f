"""Where trained twins can be told from untrained ones: a probe per depth at the `recall` marks, blocks left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .curves import FOLDERS
from .prompts import MARKS, N_RECALL

RECALL = tuple(f"recall_{k}" for k in range(1, N_RECALL + 1))
OTHERS = ("key", "record_end")


def recall_features(model: Any, bed: Path, dose: int, marks: tuple[str, ...] = RECALL) -> tuple[dict[str, Tensor], Any]:
    """Per depth, ``[record, d_model]`` of the planted wordings of a dose: the mean over ``marks``; and their prompts.

    Depth 0 (``resid_pre.0``) is the embedding.
    """
    from ...prompts import load_prompts
    from ...run import capture

    prompts = load_prompts(bed / "records.jsonl", model.tokenizer, marks=MARKS)
    prompts = prompts.select((prompts.columns["dose"] == dose) & (prompts.columns["pool"] == "M"))
    sites = ["resid_pre.0", *(f"resid_post.{layer}" for layer in range(model.n_layers))]
    acts = capture(model, prompts, sites, at=list(marks), progress=False)
    features = {}
    for site in sites:
        # Rows go by record, then by position: the marks of a record are neighbours.
        rows = acts[site].tensor()
        features[site] = rows.reshape(len(prompts), len(marks), -1).mean(1)
    return features, prompts


def measure_signature(bed: Path, doses: tuple[int, ...], permutations: int = 199) -> list[dict[str, Any]]:
    """AUC by model, dose, mark and depth, with the p-value of the best depth under permuted labels."""
    from ...models import load_model

    rows = []
    models = {name: load_model(bed / folder) for name, folder in FOLDERS.items()}
    models["untrained"] = models["memory"].untrained(0)
    for name, model in models.items():
        for dose in doses if name == "memory" else doses[:1]:
            for mark, marks in (("recall", RECALL), *((m, (m,)) for m in OTHERS)):
                if mark == "recall" or (name == "memory" and dose == doses[0]):
                    found = _probe(model, bed, dose, marks, permutations)
                    rows.append({"model": name, "dose": dose, "mark": mark, **found})
    return rows


def _probe(model: Any, bed: Path, dose: int, marks: tuple[str, ...], permutations: int) -> dict[str, Any]:
    from ...probes import cross_validate

    features, prompts = recall_features(model, bed, dose, marks)
    result = cross_validate(
        features, prompts.labels == "trained", prompts.groups, folds=min(10, len(set(prompts.groups))),
        permutations=permutations, bootstrap=200, nested=False, progress=False,
    )  # fmt: skip
    return {
        "auc": [round(float(a), 3) for a in result.auc.estimate],
        "p_best": round(float(np.min(result.p_max)), 4),
    }
