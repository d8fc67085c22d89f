"""Where there is nothing to find, a p-value below 0.05 comes up once in twenty times, whatever the design."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom

from interp import testbeds
from interp.probes import cross_validate

ALPHA = 0.05
BEDS = testbeds.nulls()


def p_values(name: str, runs: int, permute: str = "groups", permutations: int = 19):
    """The corrected p of the best site, in many independent data sets."""
    found = []
    for seed in range(runs):
        data = BEDS[name](seed)
        result = cross_validate(
            data.features, data.labels, data.groups, folds=4, permutations=permutations, bootstrap=2, nested=False,
            seed=seed, permute=permute, tol=1e-3,
        )  # fmt: skip
        found.append(float(result.p_max.min()))
    return np.array(found)


def at_most(runs: int) -> int:
    """A true rate of 0.05 stays at or below this in 998 cases of 1000."""
    return int(binom.ppf(0.998, runs, ALPHA))


@pytest.mark.parametrize("name", ["imbalanced", "repetitions"])
def test_false_positives(name):
    p = p_values(name, 200)
    assert (p <= ALPHA).sum() <= at_most(200)
    assert np.median(p) > 0.3  # and they are p-values, not all 1 and not all small
    assert (p < 0.5).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", list(BEDS))
def test_false_positives_over_many_seeds(name):
    p = p_values(name, 1000, permutations=39)
    for alpha in (0.05, 0.1, 0.2, 0.5):
        assert (p <= alpha).sum() <= binom.ppf(0.998, 1000, alpha)
    print(f"{name}: {(p <= ALPHA).mean():.3f}")


def test_examples_permuted_one_by_one_find_what_is_not_there():
    # Why groups are permuted as wholes: repetitions of one thing, scattered over both labels, give too narrow a null.
    p = p_values("repetitions", 60, permute="examples")
    assert (p <= ALPHA).mean() > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["shuffled_within", "repetitions"])
def test_examples_permuted_one_by_one_over_many_seeds(name):
    rate = (p_values(name, 1000, permute="examples", permutations=39) <= ALPHA).mean()
    print(f"{name}, example by example: {rate:.3f}")
    assert rate > 0.2 if name == "repetitions" else rate * 1000 <= at_most(1000)


def test_power():
    # The same tests find what is there.
    found = []
    for seed in range(20):
        data = BEDS["repetitions"](seed)
        data.features["site 1"][:, 0] += 3.0 * torch.from_numpy(data.labels)
        result = cross_validate(
            data.features, data.labels, data.groups, folds=4, permutations=19, bootstrap=2, nested=False, seed=seed
        )
        found.append(result.p_max[1] <= ALPHA)
    assert np.mean(found) >= 0.9
