from __future__ import annotations

import numpy as np
import pytest

from interp.errors import StatisticsError
from interp.stats import accuracy, auc, cluster_bootstrap


def mean_of(x):
    return lambda w: (w * x).sum(-1) / w.sum(-1)


def grouped_scores(rng, groups: int, icc: float, shift: float, constant: bool):
    """Scores with a group effect; labels constant within groups or not. Sizes of groups vary."""
    group = np.repeat(np.arange(groups), rng.integers(1, 8, groups))
    label = group < groups // 2 if constant else rng.random(group.size) < 0.5
    noise = np.sqrt(1 - icc) * rng.normal(size=group.size)
    return shift * label + np.sqrt(icc) * rng.normal(size=groups)[group] + noise, label, group


def coverage(groups: int, constant: bool, runs: int, method: str = "logit", shift: float = 1.5) -> tuple[float, float]:
    """Share of intervals for AUC and for accuracy that hold the value of a very large sample."""
    icc = 0.4
    scores, label, _ = grouped_scores(np.random.default_rng(99), 100_000, icc, shift, constant)
    truth = np.array([float(auc(scores, label)), float(accuracy(scores > shift / 2, label))])
    rng, hits = np.random.default_rng(5), []
    while len(hits) < runs:
        s, y, g = grouped_scores(rng, groups, icc, shift, constant)
        if y.all() or not y.any():
            continue
        units = min(len(np.unique(g[y])), len(np.unique(g[~y])))

        def both(w, s=s, y=y):
            return np.stack([auc(s, y, w), accuracy(s > shift / 2, y, w)], -1)

        i = cluster_bootstrap(both, g, replicates=500, method=method, units=units, seed=len(hits))
        hits.append((i.low <= truth) & (truth <= i.high))
    return tuple(np.mean(hits, 0).tolist())


@pytest.mark.parametrize("constant", [True, False])
def test_coverage_with_thirty_groups(constant):
    # 300 runs: a true coverage of 0.95 stays within these bounds in 999 cases of 1000.
    for found in coverage(30, constant, 300):
        assert 0.905 <= found <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("groups", [12, 20, 50])
@pytest.mark.parametrize("constant", [True, False])
def test_coverage(groups, constant):
    design = f"{groups} groups, labels {'constant' if constant else 'mixed'} in groups"
    for method in ("percentile", "bca", "logit"):
        found = coverage(groups, constant, 2000, method)
        print(f"{design}, {method}: AUC {found[0]:.3f}, accuracy {found[1]:.3f}")
    assert all(0.93 <= f <= 0.97 for f in found)


@pytest.mark.slow
@pytest.mark.parametrize("constant", [True, False])
def test_coverage_near_one(constant):
    # AUC 0.96 with twelve groups: many data sets separate perfectly, and no interval of this kind is quite right.
    found = coverage(12, constant, 2000, shift=2.5)
    print(f"12 groups, constant {constant}, AUC 0.96: AUC {found[0]:.3f}, accuracy {found[1]:.3f}")
    assert all(0.88 <= f <= 0.99 for f in found)


def test_resampling_examples_covers_too_little():
    # What the group bootstrap is for: with groups ignored, intervals miss far more often than 1 in 20.
    rng, hits = np.random.default_rng(0), []
    for seed in range(100):
        s, _, g = grouped_scores(rng, 30, 0.6, 0.0, True)
        naive = cluster_bootstrap(mean_of(s), np.arange(s.size), replicates=200, method="t", seed=seed)
        right = cluster_bootstrap(mean_of(s), g, replicates=200, method="t", seed=seed)
        hits.append([i.low < 0 < i.high for i in (naive, right)])
    naive, right = np.mean(hits, 0)
    assert naive < 0.8
    assert right > 0.88


@pytest.mark.parametrize("method", ["t", "percentile", "bca"])
def test_agrees_with_the_textbook_for_a_mean(method):
    x = np.random.default_rng(0).normal(size=400)
    i = cluster_bootstrap(mean_of(x), np.arange(400), replicates=4000, method=method)
    half = 1.966 * x.std(ddof=1) / 20
    assert float(i.estimate) == pytest.approx(x.mean())
    assert [float(i.low), float(i.high)] == pytest.approx([x.mean() - half, x.mean() + half], abs=0.012)


def test_bca_follows_scipy():
    from scipy.stats import bootstrap

    x = np.random.default_rng(1).exponential(size=60)
    theirs = bootstrap(
        (x,), np.mean, n_resamples=40_000, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    i = cluster_bootstrap(mean_of(x), np.arange(60), replicates=40_000, method="bca")
    assert [float(i.low), float(i.high)] == pytest.approx([theirs.low, theirs.high], abs=0.02)


def test_degenerate_replicates_are_counted_and_left_out():
    scores, labels, groups = np.arange(6.0), np.array([0, 0, 0, 0, 0, 1]), np.arange(6)
    i = cluster_bootstrap(lambda w: auc(scores, labels, w), groups, replicates=1000, method="percentile")
    assert int(i.degenerate) == pytest.approx(1000 * (5 / 6) ** 6, abs=60)
    assert float(i.low) == float(i.high) == 1.0


def test_a_perfect_score_leaves_room_below():
    scores, labels = np.arange(24.0), np.arange(24) >= 12
    i = cluster_bootstrap(lambda w: auc(scores, labels, w), np.arange(24), replicates=100, method="logit", units=12)
    assert float(i.high) == 1.0
    assert float(i.low) == pytest.approx(0.025 ** (1 / 12))
    i = cluster_bootstrap(lambda w: auc(-scores, labels, w), np.arange(24), replicates=100, method="logit", units=12)
    assert [float(i.low), float(i.high)] == pytest.approx([0.0, 1 - 0.025 ** (1 / 12)])


def test_replicates_are_shared_so_that_differences_are_paired():
    rng = np.random.default_rng(0)
    x, groups = rng.normal(size=60), np.repeat(np.arange(20), 3)
    i = cluster_bootstrap(lambda w: (w @ np.stack([x, x + 1], 1)) @ np.array([-1, 1]) / w.sum(-1), groups, method="t")
    assert [float(i.estimate), float(i.low), float(i.high)] == pytest.approx([1, 1, 1])


def test_errors():
    with pytest.raises(StatisticsError, match="two groups"):
        cluster_bootstrap(mean_of(np.ones(3)), ["a"] * 3)
    with pytest.raises(StatisticsError, match="'bayes'"):
        cluster_bootstrap(mean_of(np.ones(3)), [1, 2, 3], method="bayes")
