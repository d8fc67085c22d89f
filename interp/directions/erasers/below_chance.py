"""The table of ``docs/methods/below-chance.md``: ``python -m interp.directions.erasers.below_chance``.

Pairs of rows, one of each class, of independent Gaussian numbers; in "signal" the second class is shifted by four
standard deviations along one direction. A logistic probe is tested on one pair at a time, after erasers that saw all
pairs, or all but that one, or the other half of the pairs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .inlp import fit_probe_direction
from .mean import fit_mean
from .nested import Fit, nested_erasure

SIGMAS = 4.0
DATA_SETS = 100
BEDS = ((7, 512), (9, 128))
METHODS: dict[str, Fit] = {"mean": fit_mean, "probe": fit_probe_direction}
COLUMNS = (
    "none", "in-sample mean", "in-sample probe", "nested mean", "nested probe", "none, half", "other half mean",
    "other half probe",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One line of the table: what was measured on data of one kind, averaged over data sets."""

    pairs: int
    d: int
    data: str
    accuracy: dict[str, float]
    oriented: dict[str, float]


def pairs_of(pairs: int, d: int, sigmas: float, seed: int) -> tuple[Tensor, NDArray[Any], NDArray[Any]]:
    """Rows, labels and pair of each: noise, with the second class shifted along one random direction.

    >>> x, y, pair = pairs_of(3, 8, 4.0, seed=0)
    >>> list(x.shape), y.tolist(), pair.tolist()
    ([6, 8], [0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2])
    """
    rng = np.random.default_rng([seed, pairs, d])
    x, direction = rng.normal(size=(2 * pairs, d)), rng.normal(size=d)
    y = np.tile([0, 1], pairs)
    x += sigmas * y[:, None] * direction / np.linalg.norm(direction)
    return torch.from_numpy(x), y, np.repeat(np.arange(pairs), 2)


def measure(pairs: int, d: int, sigmas: float, data_sets: int = DATA_SETS, *, fresh: bool = True) -> Line:
    """Means over data sets with seeds 0, 1, ... of leave-one-pair-out accuracy, plain and orientation-corrected."""
    plain: dict[str, list[float]] = {}
    oriented: dict[str, list[float]] = {}
    for seed in range(data_sets):
        x, y, pair = pairs_of(pairs, d, sigmas, seed)
        for name, fit in METHODS.items():
            found = nested_erasure(x, y, pair, fit, fresh=fresh, seed=seed)
            named = {f"in-sample {name}": found.in_sample, f"nested {name}": found.nested}
            if name == "mean":
                named["none"] = found.before
            if found.fresh is not None and found.fresh_before is not None:
                named |= {"none, half": found.fresh_before, f"other half {name}": found.fresh}
            for column, reading in named.items():
                plain.setdefault(column, []).append(reading.accuracy)
                oriented.setdefault(column, []).append(reading.oriented)
    means = [{k: float(np.mean(v)) for k, v in table.items()} for table in (plain, oriented)]
    return Line(pairs, d, f"{sigmas:g} sigma signal" if sigmas else "noise", *means)


def table(data_sets: int = DATA_SETS) -> str:
    """All lines, as Markdown: plain accuracy, then the orientation-corrected one."""
    lines = [measure(pairs, d, sigmas, data_sets) for pairs, d in BEDS for sigmas in (0.0, SIGMAS)]
    head = ["pairs", "d", "data", *COLUMNS]
    out = []
    for title, kind in (("Accuracy", "accuracy"), ("max(accuracy, 1 - accuracy)", "oriented")):
        out += ["", f"{title}, mean of {data_sets} data sets:", "", _row(head), _row(["---"] * len(head))]
        out += [
            _row([str(line.pairs), str(line.d), line.data, *(f"{getattr(line, kind)[c]:.3f}" for c in COLUMNS)])
            for line in lines
        ]
    return "\n".join(out[1:]) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(table())
