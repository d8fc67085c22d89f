"""What a study of spread found, as reports: the tests by mark and third of depth, and every pair of domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...provenance import Provenance
from ...report import Report
from .entanglement import THIRDS, Entanglement
from .mantel import Mantel

Array = NDArray[Any]
ALPHA = 0.05
TITLE = "Does unlearning refusal in one domain spread to those represented alike?"


def spread_report(
    entangled: Entanglement, loss: Array, tests: Mapping[str, tuple[Mantel, Mantel]], steps: Sequence[float],
    left: Sequence[float], settings: Mapping[str, Any], about: Provenance, warnings: Sequence[str],
) -> Report:  # fmt: skip
    """A row per mark and third of depth: how likeness and loss go together, each test corrected for the three.

    The first mark's early third is what the headline is about, whatever the others say.
    """
    rows = []
    for mark, (plain, alone) in tests.items():
        for k, third in enumerate(THIRDS):
            layers = entangled.layers(third)
            row: dict[str, Any] = {"mark": mark, "third": third, "layers": f"{layers[0]} to {layers[-1]}"}
            row |= {"r": plain.r[k], "p": plain.p[k], "p_three": plain.p_max[k]}
            row |= {"r_pairs": alone.r[k], "p_pairs": alone.p[k], "p_pairs_three": alone.p_max[k]}
            low, high = np.quantile(plain.null[:, k], [0.025, 0.975])
            rows.append(row | {"null_lo": low, "null_hi": high})
    off = ~np.eye(len(loss), dtype=bool)
    any_test = next(iter(tests.values()))[0]
    meta: dict[str, Any] = {
        **settings, "domains": list(entangled.domains), "loss": np.round(loss, 6).tolist(), "steps": list(steps),
        "left": list(left), "exact": any_test.exact, "arrangements": 1 + len(any_test.null), "min_p": any_test.min_p,
        "own_loss": float(np.diag(loss).mean()), "other_loss": float(loss[off].mean()),
        "entanglement": {
            f"{mark}, {third}": np.round(entangled.third(mark, third), 6).tolist() for mark in tests for third in THIRDS
        },
        "found": bool(rows[0]["p_three"] < ALPHA),
    }  # fmt: skip
    told = list(warnings)
    if any_test.min_p > ALPHA:
        told.append(
            f"{len(loss)} domains can be exchanged in {meta['arrangements']} ways only, so no p-value can be below "
            f"{any_test.min_p:.2g}."
        )
    return Report("spread", TITLE, _headline(rows, meta), rows, about, tuple(told), meta)


def _headline(rows: Sequence[Mapping[str, Any]], meta: Mapping[str, Any]) -> str:
    first = rows[0]
    numbers = f"rank correlation {first['r']:.2f} at {first['mark']}, p = {first['p_three']:.2g} for three thirds"
    losses = f"{meta['own_loss']:.1f} of log odds where it is unlearned and {meta['other_loss']:.1f} elsewhere"
    if meta["found"]:
        return f"Refusal loses {losses}, and more in domains that early layers represent alike ({numbers})."
    return f"Refusal loses {losses}; likeness in early layers does not foretell where ({numbers})."


def pairs_report(
    entangled: Entanglement, cells: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], about: Provenance
) -> Report:
    """A row per ordered pair of domains: entanglement in each third, and what the second loses."""
    index = {name: i for i, name in enumerate(entangled.domains)}
    rows = []
    for cell in cells:
        j, k = index[cell["unlearned"]], index[cell["measured"]]
        likeness = {
            f"{mark}_{third}": float(entangled.third(mark, third)[j, k])
            for mark in entangled.matrix
            for third in THIRDS
        }
        rows.append({**cell, **likeness})
    others = [row for row in rows if not row["own"]]
    worst = max(others, key=lambda row: row["loss"])
    headline = (
        f"Most is lost on '{worst['measured']}' when refusal is unlearned on '{worst['unlearned']}': "
        f"{worst['loss']:.1f} [{worst['loss_lo']:.1f}, {worst['loss_hi']:.1f}] of log odds; "
        f"{worst['refused_after']:.0%} of its prompts are still refused, {worst['refused_before']:.0%} before."
    )
    meta = {**settings, "marks": list(entangled.matrix), "unit": "log odds"}
    return Report("spread-pairs", "Every pair of domains", headline, rows, about, (), meta)
