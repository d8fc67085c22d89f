"""Where there is nothing to find, attackers find it once in twenty times, and erasure leaves nothing behind."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from interp import testbeds
from interp.directions import attack, fit_leace, nested_erasure

ALPHA = 0.05
BEDS = testbeds.nulls()
CHEAP = ("logistic C=1", "lda", "kernel ridge", "knn")
LAST = "site 1"
RUNS = 15


def at_most(runs: int, rate: float = ALPHA) -> int:
    """A true rate of this stays at or below this count in 998 cases of 1000."""
    return int(binom.ppf(0.998, runs, rate))


def best_p_values(name: str, runs: int, fit=None, permutations: int = 19) -> np.ndarray:
    """p of the best attacker, by AUC and by accuracy turned round ``[2, run]``, in many independent data sets."""
    found = []
    for seed in range(runs):
        data = BEDS[name](seed)
        result = attack(
            data.features[LAST], data.labels, data.groups, fit=fit, suite=CHEAP, folds=4, permutations=permutations,
            seed=seed,
        )  # fmt: skip
        found.append((result.p_best, result.p_best_oriented))
    return np.array(found).T


def readings(name: str, runs: int) -> dict[str, np.ndarray]:
    """For each reading of nested erasure, whether its interval lies above and below chance ``[run, 2]``."""
    found: dict[str, list[tuple[bool, bool]]] = {}
    for seed in range(runs):
        data = BEDS[name](seed)
        erasure = nested_erasure(data.features[LAST], data.labels, data.groups, fit_leace, tol=1e-3, seed=seed)
        for reading in erasure.readings():
            i = reading.interval(replicates=300, seed=seed)
            found.setdefault(reading.label, []).append((bool(i.low > 0.5), bool(i.high < 0.5)))
    return {label: np.array(rows) for label, rows in found.items()}


def test_false_positives_of_the_best_attacker():
    for p in best_p_values("twins", 24, permutations=9):
        assert (p <= 0.1).sum() <= at_most(24, 0.1)
        assert np.median(p) > 0.2
        assert (p < 0.8).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", BEDS)
def test_false_positives_of_the_best_attacker_over_many_seeds(name):
    for what, p in zip(("AUC", "accuracy turned round"), best_p_values(name, 200), strict=True):
        print(f"{name}, best attacker by {what}: {(p <= ALPHA).mean():.3f}")
        for alpha in (0.05, 0.1, 0.2, 0.5):
            assert (p <= alpha).sum() <= at_most(200, alpha)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["twins", "group_identity", "balanced_blocks"])
def test_false_positives_after_a_nested_eraser(name):
    for what, p in zip(("AUC", "accuracy turned round"), best_p_values(name, 200, fit=fit_leace), strict=True):
        print(f"{name}, best attacker after nested LEACE by {what}: {(p <= ALPHA).mean():.3f}")
        assert (p <= ALPHA).sum() <= at_most(200)


def test_nested_and_fresh_erasure_leave_nothing_behind_where_there_was_nothing():
    found = readings("twins", RUNS)
    assert {"none", "in-sample", "nested", "other half"} <= set(found)
    for label in ("none", "nested", "other half"):
        assert found[label][:, 0].sum() <= at_most(RUNS)
    # What the interval is for: the in-sample number lies below chance with confidence, and is no finding.
    assert found["in-sample"][:, 1].mean() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", BEDS)
def test_intervals_of_nested_erasure_over_many_seeds(name):
    found = readings(name, 200)
    for label, (above, below) in {k: v.mean(0) for k, v in found.items()}.items():
        print(f"{name}, {label}: above chance {above:.3f}, below {below:.3f}")
        assert above * 200 <= at_most(200), label
    # Equal means leave the probe its intercept. That knows nothing of a group with both classes, and is wrong about
    # every held-out group with one: there, nested readings lie below chance as well.
    data = BEDS[name](0)
    share = [data.labels[data.groups == g].mean() for g in np.unique(data.groups)]
    if np.allclose(share, 0.5):
        assert found["nested"].sum() == 0
        assert found["in-sample"][:, 1].mean() > 0.5


def test_a_signal_is_found():
    hits = []
    for seed in range(6):
        data = testbeds.signal(seed, 3.0, n_pairs=24)
        result = attack(data.features[LAST], data.labels, data.groups, suite=CHEAP, folds=4, permutations=19, seed=seed)
        hits.append(result.p_best <= ALPHA)
    assert sum(hits) >= 5
