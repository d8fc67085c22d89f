"""Attackers that really differ, trained anew, and judged by a null of their own."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy.stats import binom

from interp.directions import attack, fit_leace, fit_mean
from interp.directions.erasers.attackers import SEEDED, SUITE
from interp.errors import SplitError, StatisticsError
from interp.splits import grouped_folds

FAST = tuple(name for name in SUITE if name not in SEEDED)


def blobs(n=60, d=6, shift=2.0, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = rng.normal(size=(n, d))
    x[:, 0] += shift * y
    return torch.from_numpy(x), y, np.arange(n) // 2


def test_attackers_really_differ():
    x, y, g = blobs(shift=4.0)
    found = attack(x, y, g, folds=3)
    assert [r.label for r in found.readings] == list(SUITE)
    assert len(SUITE) >= 6
    assert all(r.auc > 0.75 for r in found.readings)
    scores = np.stack([r.scores for r in found.readings])
    ranks = scores.argsort(1).argsort(1)
    for i in range(len(scores)):
        for j in range(i):
            assert not np.array_equal(ranks[i], ranks[j]), (found.readings[i].label, found.readings[j].label)


def test_a_seed_changes_exactly_those_that_draw_from_it():
    x, y, g = blobs(40)
    folds = grouped_folds(y, g, 2)
    one, same, other = (attack(x, y, g, folds=folds, seed=s).readings for s in (1, 1, 2))
    assert all(np.array_equal(a.scores, b.scores) for a, b in zip(one, same, strict=True))
    changed = {a.label for a, b in zip(one, other, strict=True) if not np.array_equal(a.scores, b.scores)}
    assert changed == set(SEEDED)


def test_curved_classes_that_linear_attackers_miss():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(120, 2)))
    y = (x[:, 0] * x[:, 1] > 0).numpy()
    found = {r.label: r.auc for r in attack(x, y, np.arange(120), folds=3).readings}
    assert max(found[k] for k in ("logistic C=0.1", "logistic C=1", "logistic C=10", "lda")) < 0.65
    assert min(found[k] for k in ("kernel ridge", "knn", "mlp 32-16")) > 0.75


def test_leace_stops_linear_attackers_on_other_keys_and_not_the_curved():
    # Classes that differ in spread as well: least squares erases the first moment only.
    x, y, g = blobs(240, 3)
    x[y == 1] *= 3.0
    a, b = np.flatnonzero(g % 2 == 0), np.flatnonzero(g % 2 == 1)
    left = attack(fit_leace(x[a], y[a])(x[b]), y[b], g[b], suite=FAST, folds=4)
    found = {r.label: r.auc for r in left.readings}
    assert abs(found["logistic C=1"] - 0.5) < 0.15
    assert found["kernel ridge"] > 0.75
    assert left.best.label in ("kernel ridge", "knn")


def test_in_sample_attackers_fall_below_chance_together_and_nested_ones_do_not():
    x, y, g = blobs(14, 256, 0.0)
    inside = attack(fit_mean(x, y)(x), y, g, suite=FAST, folds=7)
    nested = attack(x, y, g, fit=fit_mean, suite=FAST, folds=7)
    assert max(r.accuracy for r in inside.readings[:4]) == 0
    assert [r.accuracy for r in nested.readings[:3]] == [0.5] * 3
    assert (inside.erased, nested.erased) == ("as given", "nested")


def test_p_values_have_power_and_their_null():
    x, y, g = blobs(32, 3, 3.0)
    found = attack(x, y, g, suite=("logistic C=1", "kernel ridge"), folds=2, permutations=39)
    assert found.p_best == found.p_best_oriented == pytest.approx(1 / 40)
    assert found.null.shape == found.null_oriented.shape == (39, 2)
    assert (found.null_oriented >= 0.5).all()
    assert 0.5 < found.chance() < 0.9
    assert found.rows()[0]["p"] == pytest.approx(1 / 40)
    unjudged = attack(x, y, g, suite=("knn",))
    assert np.isnan(unjudged.p_best)
    assert unjudged.rows()[0]["p"] is None


def best_p_values(runs, permutations, folds, suite):
    """p of the best attacker after a nested eraser, on noise in pairs, by AUC and by accuracy turned round."""
    rng, p = np.random.default_rng(5), []
    for seed in range(runs):
        x = torch.from_numpy(rng.normal(size=(20, 6)))
        found = attack(
            x, np.arange(20) % 2, np.arange(20) // 2, fit=fit_mean, suite=suite, folds=folds,
            permutations=permutations, seed=seed,
        )  # fmt: skip
        p.append((found.p_best, found.p_best_oriented))
    return np.array(p).T


def test_the_best_of_the_suite_finds_nothing_where_there_is_nothing():
    for values in best_p_values(16, 9, 2, ("kernel ridge", "knn")):
        assert (values <= 0.1).sum() <= binom.ppf(0.998, 16, 0.1)
        assert np.median(values) > 0.2
        assert (values < 0.9).any()


@pytest.mark.slow
def test_false_positives_of_the_best_of_the_suite():
    for values in best_p_values(200, 19, 2, ("logistic C=1", "kernel ridge", "knn")):
        assert (values <= 0.05).sum() <= binom.ppf(0.998, 200, 0.05)
        assert np.median(values) > 0.3


def test_what_cannot_be_attacked_is_named(monkeypatch):
    x, y, g = blobs(20)
    with pytest.raises(StatisticsError, match="got 'svm'"):
        attack(x, y, g, suite=("svm",))
    with pytest.raises(SplitError, match="made for other labels"):
        attack(x, y, g, folds=grouped_folds(1 - y, g, 2))
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(StatisticsError, match="pip install scikit-learn"):
        attack(x, y, g, suite=("knn",))
    assert attack(x, y, g, suite=("logistic C=1",)).best.auc > 0.5
