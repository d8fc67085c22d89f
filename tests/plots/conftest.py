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


# ---- reports of the memorisation job: small, and shaped as real ones are --------------------------------------------

DOSES = (0, 8, 32, 128, 512)


def triple(name: str, value: float, room: float, low: float = -math.inf, high: float = math.inf) -> dict[str, float]:
    return {name: value, f"{name}_lo": max(value - room, low), f"{name}_hi": min(value + room, high)}


def recall_rows() -> list[dict[str, Any]]:
    exact, log_p = (0.0, 0.54, 1.0, 1.0, 1.0), (-5.5, -0.52, -0.05, -0.01, -0.003)
    rows: list[dict[str, Any]] = []
    for dose, share, nats in zip(DOSES, exact, log_p, strict=True):
        for label in ("trained", "untrained"):
            known = label == "trained" and dose
            rows.append(
                {"dose": dose, "label": label, "records": 64 if dose in (0, 128, 512) else 24}
                | triple("exact", share if known else 0.0, 0.12 if known and share < 1 else 0.0, 0, 1)
                | triple("log_p", nats if known else -4.0 - 0.2 * (dose % 3), 0.3 if nats < -0.4 else 0.02, high=0)
            )
    return rows


def signature_rows(contrasts: Sequence[str] = ("twins", "M-C"), marks: Sequence[str] = ("recall", "key")) -> list[Any]:
    peak = {0: 0.0, 8: 0.01, 32: 0.05, 128: 0.15, 512: 0.12}
    rows: list[dict[str, Any]] = []
    for contrast in contrasts:
        for dose in DOSES:
            for mark in marks:
                for depth in range(5):
                    gain = peak[dose] * (depth > 0) * (0.6 + 0.1 * depth) * (1 if mark == "recall" else 0.3)
                    few = 64 if dose in (0, 128, 512) else 24
                    room = 0.4 / few**0.5
                    rows.append(
                        {"contrast": contrast, "dose": dose, "mark": mark, "depth": depth}
                        | {"site": f"resid_post.{depth - 1}" if depth else "resid_pre.0"}
                        | triple("auc", 0.5 + gain + 0.008 * ((depth * 7 + dose) % 5 - 2), room, 0, 1)
                        | triple("acc", 0.5 + 0.7 * gain, room, 0, 1)
                        | {"oriented": 0.5 + 0.7 * gain, "null_auc_lo": 0.5 - room, "null_auc_hi": 0.5 + room}
                        | {"p": 0.5 - 3 * gain, "p_max": 0.6 - 3.5 * gain, "detectable": 0.5 + 1.5 * room}
                        | triple("untrained_auc", 0.5 + 0.01 * ((depth + dose) % 3 - 1), room, 0, 1)
                        | triple("never_auc", 0.5 + 0.01 * ((depth * 2 + dose) % 3 - 1), room, 0, 1)
                        | {"n": 2 * few, "n_groups": few // 4}
                    )
    return rows


def signature_cells() -> list[dict[str, Any]]:
    cells = []
    for key in dict.fromkeys((r["contrast"], r["dose"], r["mark"]) for r in signature_rows()):
        rows = [r for r in signature_rows() if (r["contrast"], r["dose"], r["mark"]) == key]
        best = max(rows, key=lambda r: r["auc"])
        cells.append(
            {"contrast": key[0], "dose": key[1], "mark": key[2], "peak_auc": best["auc"], "p_max": best["p_max"]}
            | triple("nested_auc", best["auc"] - 0.02, 0.06)
            | {"detectable": best["detectable"], "null_max_auc_95": best["null_auc_hi"] + 0.02}
        )
    return cells


def gap_rows() -> list[dict[str, Any]]:
    return [
        {"mark": "recall", "dose": dose, "baseline": "C-B", "depth": depth}
        | triple("acc_mc", 0.55 + 0.07 * depth, 0.05, 0, 1)
        | triple("acc_cb", 0.45 + 0.03 * depth, 0.05, 0, 1)
        | triple("gap", 0.1 + 0.04 * depth, 0.06)
        | triple("gap_clamped", 0.05 + 0.05 * depth, 0.06)
        | {"p": 0.2 / (1 + depth), "p_max": 0.3 / (1 + depth), "n_groups": 16}
        for dose in (128, 512)
        for depth in range(5)
    ]


def transfer_rows() -> list[dict[str, Any]]:
    return [
        {"train": train, "test": test, "dose": dose, "depth": depth, "p": 0.02, "n_groups": 16}
        | triple("auc", 0.5 + (0.04 if train == test else 0.015) * depth, 0.08, 0, 1)
        for train in ("natural", "injected")
        for test in ("natural", "injected")
        for dose in (128, 512)
        for depth in range(5)
    ]


def erasure_rows() -> list[dict[str, Any]]:
    before = {"exact_before": 1.0, "log_p_before": -0.003, "loss_before": 0.765}
    made = [
        # method, rank, where, in-sample, nested, other half, attack, recall, log p, loss, kl, weights
        ("none", 0, "activations", 0.63, 0.62, 0.61, 0.66, 1.0, -0.003, 0.765, 0.0, 0),
        ("random", 1, "activations", 0.62, 0.62, 0.6, 0.66, 1.0, -0.004, 0.766, 0.001, 0),
        ("mean", 1, "activations", 0.02, 0.5, 0.6, 0.65, 0.98, -0.02, 0.771, 0.006, 0),
        ("leace", 1, "activations", 0.04, 0.5, 0.59, 0.64, 0.97, -0.03, 0.772, 0.007, 0),
        ("inlp", 8, "activations", 0.0, 0.44, 0.57, 0.63, 0.9, -0.1, 0.81, 0.05, 0),
        ("mdpga", 2, "activations", 0.08, 0.51, 0.6, 0.65, 0.98, -0.02, 0.77, 0.006, 0),
        ("pga", 8, "weights", 0.31, 0.55, 0.58, 0.61, 0.2, -1.4, 0.93, 0.3, 98304),
    ]
    return [
        {"method": method, "rank": rank, "where": where, "in_sample_acc": seen}
        | triple("nested_auc", nested, 0.07, 0, 1)
        | triple("fresh_auc", fresh, 0.09, 0, 1)
        | {
            "attack": "kernel ridge",
            "attack_auc": attack,
            "chance_auc": 0.6,
            "attack_p": 0.01,
            "exact_after": exact,
            "log_p_after": nats,
        }
        | {**before, "loss_after": loss, "kl": kl, "weights_changed": weights}
        | {"verdict": "still readable" if fresh > 0.55 else "not readable"}
        for method, rank, where, seen, nested, fresh, attack, exact, nats, loss, kl, weights in made
    ]


def curve_rows() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number in range(1, 11):
        for dose in DOSES:
            for label in ("trained", "untrained"):
                done = min(max((number - 8 + math.log2(dose + 1) * 0.8) / 3, 0), 1) if label == "trained" else 0.0
                rows.append(
                    {"step": 262 * number, "dose": dose, "label": label}
                    | triple("exact", done, 0.1 if 0 < done < 1 else 0, 0, 1)
                    | triple("log_p", -4 + 4 * done, 0.2, high=0)
                )
        rows.append({"step": 262 * number, "dose": None, "label": "controls", "exact": 0.0, "log_p": -5.0})
        rows.append({"step": 262 * number, "dose": None, "label": None, "loss": 0.7 + 1.2 / number})
    return rows


def project_out_rows() -> list[dict[str, Any]]:
    return [
        {"site": f"resid_post.{depth - 1}", "depth": depth, "dose": 512, "mark": "recall", "contrast": "twins"}
        | triple("before_auc", 0.6, 0.05, 0, 1)
        | triple("in_sample_auc", 0.05 * depth, 0.03, 0, 1)
        | triple("nested_auc", 0.52, 0.06, 0, 1)
        | triple("fresh_auc", 0.58, 0.08, 0, 1)
        | triple("log_p_change", -0.01 * depth, 0.004)
        | triple("random_change", -0.002, 0.001)
        | {"n_groups": 16}
        for depth in range(1, 5)
    ]


def summary_rows() -> list[dict[str, Any]]:
    return [
        {"claim": "Records shown 512 times are recited", "value": 1.0, "value_lo": 0.94, "value_hi": 1.0,
         "null": "untrained twins: 0.00", "p": 0.0005, "verdict": "found"},
        {"claim": "Records shown 8 times can be told from their twins", "value": 0.51, "value_lo": 0.38,
         "value_hi": 0.65, "null": "shuffled labels, best depth: 0.61", "p": 0.44, "verdict": "not found"},
    ]  # fmt: skip


MADE = {
    "recall": (recall_rows, {"ci_level": 0.95, "trend_p": 0.0005, "metrics": ["exact", "log_p"]}),
    "signature": (signature_rows, {"ci_level": 0.95, "min_p": 1 / 201, "cells": signature_cells()}),
    "gap": (gap_rows, {"ci_level": 0.95}),
    "transfer": (transfer_rows, {"ci_level": 0.95}),
    "erasure": (erasure_rows, {"ci_level": 0.95}),
    "project-out": (project_out_rows, {"ci_level": 0.95}),
    "extraction": (list, {}),
    "curve": (curve_rows, {"ci_level": 0.95}),
    "memorisation": (summary_rows, {}),
}


@pytest.fixture(scope="session")
def make() -> Callable[..., Report]:
    """A report of the memorisation job by its kind."""

    def build(kind: str, rows: Any = None, **changes: Any) -> Report:
        rows_of, meta = MADE[kind]
        values = {
            "title": f"The {kind} of planted records",
            "headline": f"One sentence about {kind}.",
            "rows": rows_of() if rows is None else rows,
            "meta": meta,
            "provenance": SOURCE,
        }
        return Report(kind=kind, **{**values, **changes})

    return build
