"""The AUC that is said to be found four times in five is found about as often."""

from __future__ import annotations

import numpy as np
import pytest

from interp.memorisation.signature.power import detectable, least_detectable
from interp.probes import cross_validate
from interp.splits import grouped_folds
from interp.testbeds import null_data


def simulate(strength: float, runs: int, n_pairs: int, width: int):
    """Mean held-out AUC at the site with the signal, mean `detectable`, and the share of findings."""
    aucs, able, found = [], [], []
    for seed in range(runs):
        data = null_data.signal(seed, strength, n_pairs=n_pairs, sites=3, width=width)
        folds = grouped_folds(data.labels, data.groups, 8, seed=seed)
        result = cross_validate(
            data.features, data.labels, data.groups, folds=folds, permutations=79, bootstrap=2, nested=False, seed=seed,
            tol=1e-3, progress=False,
        )  # fmt: skip
        aucs.append(result.auc.estimate[-1])
        able.append(detectable(result.null)[-1])
        found.append(result.p_max[-1] <= 0.05)
    return np.mean(aucs), np.mean(able), np.mean(found)


def power_there(strengths: tuple[float, float], runs: int, n_pairs: int, width: int) -> float:
    """Power where the expected AUC is the detectable one, between two strengths of signal on either side of it."""
    (low, first, p_low), (high, second, p_high) = (simulate(s, runs, n_pairs, width) for s in strengths)
    able = (first + second) / 2
    assert low < able < high
    return float(p_low + (p_high - p_low) * (able - low) / (high - low))


def test_the_stated_power_is_about_right():
    assert power_there((1.5, 2.5), runs=30, n_pairs=20, width=8) > 0.7


@pytest.mark.slow
@pytest.mark.parametrize(("n_pairs", "width"), [(20, 8), (48, 32)])
def test_the_stated_power(n_pairs, width):
    found = power_there((1.5, 2.5), runs=300, n_pairs=n_pairs, width=width)
    print(f"{n_pairs} pairs, width {width}: found in {found:.3f}")
    assert 0.78 < found < 0.95


def test_sites_where_nothing_varies_have_no_power_and_none_is_stated():
    null = np.random.default_rng(0).normal(0.5, 0.05, (200, 2))
    null[:, 0] = 0.5
    assert np.isnan(detectable(null)[0])
    assert least_detectable(null) == detectable(null)[1]
    assert np.isnan(least_detectable(null[:0]))
    assert np.isnan(least_detectable(null[:, :1]))
    assert (detectable(null * 1.9)[1] == 1.0) == (np.quantile(null.max(1) * 1.9, 0.95) > 0.9)
