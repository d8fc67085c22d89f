"""Made-up probe reports: smooth curves with every null and control, or with as little as one wishes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from interp.provenance import Provenance
from interp.report import Report

SOURCE = Provenance(
    model="9f3c2a71d0e84b55",
    model_id="tiny",
    dtype="float32",
    seed=0,
    command="interp probe tiny pairs.jsonl --label label --out out",
)


def _row(kind: str, layer: int, layers: int) -> dict[str, Any]:
    value = 0.6 + 0.35 / (1 + math.exp(-8 * (layer / max(layers, 1) - 0.4)))
    row: dict[str, Any] = {"site": f"{kind}.{layer}", "kind": kind, "layer": layer}
    for metric, mean, luck in (("auc", value, 0.6), ("acc", 0.5 + 0.85 * (value - 0.5), 0.58)):
        row |= {metric: mean, f"{metric}_lo": mean - 0.05, f"{metric}_hi": min(mean + 0.04, 1.0)}
        row |= {f"untrained_{metric}": luck + 0.01 * (layer % 3), f"null_{metric}_hi": 0.57}
        row |= {f"untrained_{metric}_lo": luck - 0.04, f"untrained_{metric}_hi": luck + 0.06}
    return row | {"p": 0.005, "p_max": 0.005, "n": 400, "n_groups": 57}


@pytest.fixture
def make_probe() -> Callable[..., Report]:
    def make(layers: int = 5, kinds: Sequence[str] = ("resid_post",), bare: bool = False, **changes: Any) -> Report:
        rows = [_row(kind, layer, layers) for kind in kinds for layer in range(layers)]
        meta = {
            "baseline_bow_auc": 0.71,
            "baseline_bow_acc": 0.66,
            "baseline_last_token_auc": 0.53,
            "null_max_auc_95": 0.605,
            "null_max_acc_95": 0.59,
            "chance_auc": 0.5,
            "chance_acc": 0.5,
        }
        if bare:
            rows, meta = [{"site": r["site"], "auc": r["auc"]} for r in rows], {}
        values = {
            "kind": "probe",
            "title": "Is the subject's number readable?",
            "headline": "It is read best at the last layer.",
            "rows": rows,
            "meta": meta,
            "provenance": SOURCE,
        }
        return Report(**{**values, **changes})

    return make
