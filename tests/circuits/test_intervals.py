"""Confidence intervals over pairs: what streams by is what a bootstrap over all of it gives, and it covers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from interp.circuits import attribute, edge_report, top_edges
from interp.circuits.resample import FEW_GROUPS, Totals
from interp.stats import cluster_bootstrap
from tests.circuits.conftest import off, random_pairs, small


def test_intervals_cover_the_truth():
    """Nominal 95 %: over 400 draws of 40 pairs in 20 groups, of a skewed score with group effects."""
    rng = np.random.default_rng(0)
    hits = np.zeros(2)
    groups = np.repeat([f"g{i}" for i in range(20)], 2)
    for seed in range(400):
        effects = np.repeat(rng.normal(size=(20, 2)), 2, axis=0)
        scores = 1.0 + effects + rng.exponential(size=(40, 2)) - 1.0
        totals = Totals(groups, 200, seed)
        for start in range(0, 40, 16):
            chosen = torch.arange(start, min(40, start + 16))
            totals.add(chosen, torch.from_numpy(scores[chosen]).float())
        low, high = totals.interval()
        hits += (low < 1.0) & (high > 1.0)
    coverage = hits / 400
    assert (coverage > 0.92).all(), coverage
    assert (coverage < 0.98).all(), coverage


# What scores of pairs may look like, [group, score], and their expectation.
SHAPES = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
    "heavy tails": (lambda rng, shape: rng.standard_t(3, shape), 0.0),
    "exponential": (lambda rng, shape: rng.exponential(size=shape), 1.0),
    "squared": (lambda rng, shape: rng.normal(size=shape) ** 2, 1.0),
    "log-normal": (lambda rng, shape: rng.lognormal(size=shape), np.exp(0.5)),
    "3 of 10 pairs": (lambda rng, shape: (rng.random(shape) < 0.3) * (1 + rng.normal(size=shape)), 0.3),
    "1 of 10 pairs": (lambda rng, shape: (rng.random(shape) < 0.1) * (1 + rng.normal(size=shape)), 0.1),
}


def covered(shape: str, n_groups: int, rounds: int, columns: int) -> float:
    """How many of rounds x columns simulated data sets, a pair per group, have an interval that covers the truth.

    Every round draws replicates of its own.
    """
    draw, truth = SHAPES[shape]
    rng, hits, n = np.random.default_rng(n_groups), 0, 0
    for seed in range(rounds):
        totals = Totals(np.arange(n_groups), 200, seed)
        totals.add(torch.arange(n_groups), torch.from_numpy(draw(rng, (n_groups, columns))))
        low, high = totals.interval()
        some = low < high  # a score that is the same everywhere has no interval
        hits, n = hits + int((some & (low <= truth) & (truth <= high)).sum()), n + int(some.sum())
    return hits / n


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_coverage_by_groups(shape):
    """93 to 97 % from 16 groups on, the two most extreme shapes from 64 on; 4,000 data sets each."""
    found = {n: covered(shape, n, 10, 400) for n in (8, 16, 32, 64)}
    print(f"\n{shape:<14}", "  ".join(f"{n} groups {100 * c:.1f} %" for n, c in found.items()))
    enough = 64 if shape in ("log-normal", "1 of 10 pairs") else FEW_GROUPS
    for n, coverage in found.items():
        assert coverage < 0.98, (n, coverage)
        assert coverage > (0.925 if n >= enough else 0.85), (n, coverage)


def test_skewed_scores_are_covered():
    """Where Student's t alone has 88 %."""
    assert covered("squared", 16, 2, 1000) > 0.925


def test_skewness_from_a_stream():
    """Groups of unequal sizes, their pairs in any order, scores that come up late: as computed from all at once."""
    rng = np.random.default_rng(3)
    groups = np.array(list("aaabbcddddeeffg"))
    scores = 100 + rng.exponential(size=(15, 4))
    scores[:, 2] = 7.0  # the same everywhere
    order = rng.permutation(15)
    scores[order[:6], 3] = 0.0  # unknown to the first two batches
    totals = Totals(groups, 20, 0)
    for start in range(0, 15, 3):
        some = order[start : start + 3]
        totals.add(torch.from_numpy(some), torch.from_numpy(scores[some, : 3 if start < 6 else 4]))
    _, index, size = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(index, column) for column in scores.T], 1)
    rest = sums - size[:, None] * scores.mean(0)
    want = [stats.skew(rest[:, k]) if k != 2 else 0.0 for k in range(4)]
    assert np.allclose(totals._moments.skewness(totals.mean), want, atol=1e-8)
    assert not totals._moments._open
    assert (totals.interval()[0] <= totals.mean).all()


def test_symmetric_scores_have_students_interval():
    """With no skewness at all nothing is transformed."""
    half = np.random.default_rng(4).normal(size=(10, 3))
    scores = torch.from_numpy(np.concatenate([half, -half]))
    totals = Totals(np.arange(20).astype(str), 500, 0)
    totals.add(torch.arange(20), scores)
    low, high = totals.interval()
    assert np.allclose(high - totals.mean, totals.mean - low)
    error = totals.draws.std(0) * np.sqrt(20 / 19)
    assert off(high - totals.mean, stats.t.ppf(0.975, 19) * error) < 1e-4


def test_streaming_is_the_bootstrap():
    """The same spread as the bootstrap that holds every score; groups are drawn whole."""
    rng = np.random.default_rng(1)
    groups = np.repeat(["a", "b", "c", "d", "e", "f"], 4)
    scores = np.repeat(rng.normal(size=6), 4) + 0.01 * rng.normal(size=24)
    totals = Totals(groups, 4000, 0)
    totals.add(torch.arange(24), torch.from_numpy(scores)[:, None].float())
    low, high = totals.interval()
    want = cluster_bootstrap(lambda w: (w @ scores / w.sum(-1))[..., None], groups, method="t", replicates=4000)
    width = want.high[0] - want.low[0]
    assert low[0] <= want.low[0] + 0.05 * width
    assert high[0] >= want.high[0] - 0.05 * width
    spread = totals.draws.std() * np.sqrt(6 / 5) * stats.t.ppf(0.975, 5)
    assert off([2 * spread], [width]) < 0.1
    alone = Totals(np.arange(24).astype(str), 2000, 0)
    alone.add(torch.arange(24), torch.from_numpy(scores)[:, None].float())
    assert (alone.interval()[1] - alone.interval()[0])[0] < 0.7 * (high - low)[0]


def test_batches_do_not_change_the_interval():
    model, pairs = small("gpt2"), random_pairs(6, groups=list("aabbcc"))
    whole = attribute(model, pairs, method="eap", replicates=50)
    parts = attribute(model, pairs, method="eap", replicates=50, max_bytes=400_000)
    assert parts.origin.details["plan"]["pairs"] < 6
    for name in ("lo", "hi", "draws"):
        assert off(getattr(parts, name), getattr(whole, name)) < 1e-4
    assert (whole.lo <= whole.values).all()
    assert (whole.values <= whole.hi).all()
    assert whole.draws.shape == (50, whole.graph.n_edges)


def test_few_groups_are_said():
    """On the page of a circuit, where there are intervals; the number of groups is noted with the scores."""
    model = small("gpt2")
    few = attribute(model, random_pairs(6, groups=list("aabbcc")), method="eap", replicates=10)
    enough = attribute(model, random_pairs(FEW_GROUPS, width=5), method="eap", replicates=10)
    assert (few.origin.details["groups"], enough.origin.details["groups"]) == (3, FEW_GROUPS)
    said, silent = (edge_report(s, top_edges(s, 3)).warnings for s in (few, enough))
    assert any("over 3 groups" in w for w in said)
    assert not any("groups" in w for w in silent)


def test_one_group_has_no_interval():
    scores = attribute(small("gpt2"), random_pairs(3, groups=["a"] * 3), method="eap")
    assert scores.lo is None
    assert scores.draws is None
