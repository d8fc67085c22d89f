"""What each reading of `nested_erasure` has seen, and the measures themselves."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from interp.directions import fit_leace, fit_mean, fit_random, nested_erasure
from interp.directions.erasers.below_chance import pairs_of
from interp.directions.erasers.readings import Reading
from interp.errors import SplitError
from interp.splits import Folds, grouped_folds


def pairs(n=10, d=20, shift=3.0, seed=0, prefixes=1):
    rng = np.random.default_rng(seed)
    y = np.tile(np.repeat([0, 1], prefixes), n)
    x = rng.normal(size=(n * 2, d))
    x[:, 0] += shift * np.tile([0, 1], n)
    x = np.repeat(x, prefixes, 0) + (0.1 * rng.normal(size=(n * 2 * prefixes, d)) if prefixes > 1 else 0)
    return torch.from_numpy(x), y, np.repeat(np.arange(n), 2 * prefixes)


def by_hand(x, y, g, treat):
    """Held-out scores of scikit-learn's pipeline; ``treat(train)`` is what the rows go through."""
    out = np.empty(len(y))
    for key in np.unique(g):
        train, test = np.flatnonzero(g != key), np.flatnonzero(g == key)
        rows = treat(train)(x).numpy()
        model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10, max_iter=1000))
        out[test] = model.fit(rows[train], y[train]).decision_function(rows[test])
    return out


def test_each_reading_is_what_its_label_says():
    x, y, g = pairs()
    fit = functools.partial(fit_random, rank=3)
    weak = functools.partial(fit_leace, shrinkage=0.5)
    for method in (fit, weak):
        found = nested_erasure(x, y, g, method)
        expected = {
            "before": lambda train: lambda rows: rows,
            "in_sample": lambda train, m=method: m(x, y),
            "nested": lambda train, m=method: m(x[train], y[train]),
        }
        for name, treat in expected.items():
            assert getattr(found, name).scores == pytest.approx(by_hand(x, y, g, treat), abs=1e-3), name
    assert [r.label for r in found.readings()] == [
        "none", "in-sample", "nested", "none (half the groups)", "other half",
    ]  # fmt: skip


def test_a_nested_eraser_never_sees_what_it_is_judged_by():
    x, y, g = pairs(6)
    seen = []

    def spy(rows, labels):
        seen.append({float(v) for v in rows[:, 0]})
        return fit_mean(rows, labels)

    nested_erasure(x, y, g, spy)
    everything, folds, halves = seen[0], [s for s in seen[1:] if len(s) == 10], [s for s in seen[1:] if len(s) == 6]
    assert len(everything) == 12
    assert (len(folds), len(halves)) == (6, 2)
    assert sorted(len(everything - s) for s in folds) == [2] * 6
    assert set.union(*(everything - s for s in folds)) == everything
    assert not halves[0] & halves[1]


def test_an_eraser_of_the_other_half_is_applied_to_this_one():
    x, y, g = pairs(8, seed=4)
    found = nested_erasure(x, y, g, fit_mean, seed=7)
    half = grouped_folds(y, g, 2, seed=7).of
    out = np.empty(len(y))
    for k in range(2):
        mine, others = np.flatnonzero(half == k), np.flatnonzero(half != k)
        treated = fit_mean(x[others], y[others])(x[mine])
        out[mine] = by_hand(treated, y[mine], g[mine], lambda train: lambda rows: rows)
    assert found.fresh.scores == pytest.approx(out, abs=1e-3)


def test_signal_that_an_eraser_misses_is_read_in_the_other_half_only():
    # Few keys, many dimensions: the eraser's direction is mostly noise. Linear probes on its own rows see nothing.
    found = [nested_erasure(*pairs_of(9, 128, 5.0, seed), fit_mean, seed=seed) for seed in range(8)]
    means = {k: np.mean([getattr(f, k).accuracy for f in found]) for k in ("before", "in_sample", "nested", "fresh")}
    assert means["before"] > 0.85
    assert means["in_sample"] == 0
    assert means["nested"] == 0.5
    assert means["fresh"] > 0.7


def test_with_enough_keys_erasure_works_and_every_honest_reading_says_so():
    x, y, g = pairs(150, 4, 3.0)
    found = nested_erasure(x, y, g, fit_leace, folds=grouped_folds(y, g, 5))
    assert found.before.auc > 0.95
    assert found.nested.oriented < 0.58
    assert abs(found.fresh.auc - 0.5) < 0.1
    interval = found.fresh.interval(replicates=300)
    assert interval.groups == 150
    assert interval.low < 0.5 < interval.high


def test_prefixes_stay_with_their_key():
    # Noise: a probe that had seen other prefixes of a key would know its class.
    found = [nested_erasure(*pairs(6, 64, 0.0, s, 4), fit_random, fresh=False) for s in range(8)]
    assert abs(np.mean([f.before.accuracy for f in found]) - 0.5) < 0.2
    assert found[0].folds.count == 6
    x, y, _ = pairs(6, 64, 0.0, prefixes=4)
    leaky = Folds(np.arange(len(y)) % 4, y, np.arange(len(y)))
    assert nested_erasure(x, y, np.arange(len(y)), fit_random, folds=leaky, fresh=False).before.accuracy > 0.9


def test_what_cannot_be_split_is_named():
    x, y, g = pairs(3)
    found = nested_erasure(x, y, g, fit_mean)
    assert found.fresh is None
    assert "halves of the groups" in found.fresh_missing
    assert len(found.rows()) == 3
    assert nested_erasure(*pairs(6), fit_mean, fresh=False).fresh_missing == "it was not asked for"
    with pytest.raises(SplitError, match="made for other labels"):
        nested_erasure(x, y, g, fit_mean, folds=grouped_folds(1 - y, g, 3))
    with pytest.raises(SplitError, match="labels have 3"):
        nested_erasure(x, np.arange(6) % 3, g, fit_mean)


def test_measures_of_scores():
    truth, groups = np.array([True, False, True, False]), np.array(["a", "a", "b", "b"])
    reversed_pairs = Reading("x", np.array([-1.0, 1.0, -2.0, 2.0]), truth, groups)
    assert (reversed_pairs.accuracy, reversed_pairs.oriented, reversed_pairs.auc) == (0, 1, 0)
    assert reversed_pairs.concordance == 0
    rounding = Reading("x", np.array([1e-16, -1e-16, 3e-16, 0.0]), truth, groups)
    assert (rounding.accuracy, rounding.auc, rounding.concordance) == (0.5, 0.5, 0.5)
    # A fold that shifts both of its scores costs AUC, not concordance.
    shifted = Reading("x", np.array([-9.0, -10.0, 10.0, 9.0]), truth, groups)
    assert (shifted.auc, shifted.concordance) == (0.75, 1.0)
    lonely = Reading("x", np.array([1.0, 0.0, 1.0, 0.0]), truth, np.arange(4))
    assert np.isnan(lonely.concordance)
    assert lonely.row()["pair_concordance"] is None
