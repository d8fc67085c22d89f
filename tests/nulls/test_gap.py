"""Where M is one more paraphrase, a gap is found once in twenty times."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom

from interp import testbeds
from interp.memorisation.signature.arms import Arms
from interp.memorisation.signature.gapfit import measure_gap
from interp.prompts import PromptSet
from interp.stats import max_null_p, permutation_p

ALPHA = 0.05
BEDS = testbeds.gap_nulls()


def gap_of(data, seed: int, permutations: int):
    """The gap of null data, and the p-values of its largest value over sites and of its mean."""
    prompts = PromptSet.from_tokens([[k] for k in range(len(data.labels))])
    m, c, b = (data.pools == pool for pool in ("M", "C", "B"))
    arms = Arms(prompts, data.groups, np.stack([m | c, c | b]), np.stack([m, c]), "C-B")
    found = measure_gap(
        data.features, arms, C=1.0, folds=5, permutations=permutations, bootstrap=200, level=0.95, tol=1e-3, seed=seed
    )
    largest = float(max_null_p(found.plain.estimate, found.null)[1].min())
    return found, largest, float(permutation_p(found.mean.estimate, found.null[:, 1:].mean(1)))


def p_values(name: str, runs: int, permutations: int = 99) -> np.ndarray:
    """p of the largest gap and of the mean gap ``[2, run]``, in many independent data sets."""
    return np.array([gap_of(BEDS[name](seed), seed, permutations)[1:] for seed in range(runs)]).T


@pytest.mark.parametrize("name", BEDS)
def test_false_positives(name):
    for p in p_values(name, 25):
        assert (p <= ALPHA).sum() <= binom.ppf(0.998, 25, ALPHA)
        assert np.median(p) > 0.2
        assert (p < 0.8).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", BEDS)
def test_false_positives_over_many_seeds(name):
    for what, p in zip(("largest gap", "mean gap"), p_values(name, 400), strict=True):
        print(f"{name}, {what}: {(p <= ALPHA).mean():.3f}")
        for alpha in (0.05, 0.1, 0.2):
            assert (p <= alpha).sum() <= binom.ppf(0.998, 400, alpha)


def test_a_gap_is_found():
    # Three wordings alike, but for a shift of the memorised one.
    rng, hits = np.random.default_rng(0), []
    for seed in range(5):
        data = BEDS["templates_only"](seed)
        for x in data.features.values():
            x[:] = torch.from_numpy(rng.normal(size=x.shape))
            x[data.pools == "M", 0] += 3.0
        found, largest, mean = gap_of(data, seed, 99)
        assert found.plain.estimate.min() > 0
        hits.append(max(largest, mean) <= ALPHA)
    assert sum(hits) >= 4
