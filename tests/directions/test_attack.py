"""Attackers that really differ, trained anew, and judged by a null of their own."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy.stats import binom

from interp.directions import attack, fit_leace, fit_mean
from interp.directions.erasers.attackers import SEEDED, SUITE
from interp.directions.erasers.discriminant import discriminant_scores
from interp.directions.erasers.networks import network_scores
from interp.errors import SplitError, StatisticsError
from interp.splits import Folds, grouped_folds

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


def test_what_cannot_be_attacked_is_named():
    x, y, g = blobs(20)
    with pytest.raises(StatisticsError, match="got 'svm'"):
        attack(x, y, g, suite=("svm",))
    with pytest.raises(SplitError, match="made for other labels"):
        attack(x, y, g, folds=grouped_folds(1 - y, g, 2))


def test_scikit_learn_is_not_needed(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("sklearn")]:
        monkeypatch.setitem(sys.modules, name, None)
    x, y, g = blobs(20)
    assert len(attack(x, y, g, folds=2).readings) == len(SUITE)


def peers(truth, seed, n):
    """The suite as scikit-learn has it."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier

    def of(model, read, target=truth):
        return lambda x, z: read(model.fit(x, target), z)

    signs = 2.0 * truth - 1.0
    nets = {"mlp 16": (16,), "mlp 32-16": (32, 16)}
    return {
        **{
            f"logistic C={C:g}": of(
                LogisticRegression(C=C, tol=1e-10, max_iter=5000), lambda m, z: m.decision_function(z)
            )
            for C in (0.1, 1, 10)
        },
        "lda": of(
            LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5]),
            lambda m, z: m.decision_function(z),
        ),
        "kernel ridge": lambda x, z: (
            KernelRidge(alpha=1.0, kernel="rbf", gamma=1 / x.shape[1]).fit(x, signs - signs.mean()).predict(z)
        ),
        **{
            name: of(
                MLPClassifier(hidden, max_iter=200, batch_size=min(200, n), random_state=seed),
                lambda m, z: np.diff(m.predict_log_proba(z), axis=1)[:, 0],
            )
            for name, hidden in nets.items()
        },
        "knn": of(KNeighborsClassifier(min(5, n), weights="distance"), lambda m, z: m.predict_proba(z)[:, 1] - 0.5),
    }


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(("n", "d"), [(40, 6), (30, 60), (250, 4)])
def test_scores_are_those_of_scikit_learn(n, d):
    rng = np.random.default_rng(n)
    x, z = rng.normal(size=(n, d)), rng.normal(size=(15, d))
    z[0] = x[0]
    truth = x[:, 0] + rng.normal(size=n) > 0.3
    train, test = (torch.from_numpy(t)[None] for t in (x, z))
    for name, peer in peers(truth, 3, n).items():
        ours = SUITE[name](train, torch.from_numpy(truth)[None], test, 3)
        assert ours[0].numpy() == pytest.approx(peer(x, z), abs={"logi": 5e-3, "knn": 1e-6}.get(name[:4], 1e-8)), name


@pytest.mark.parametrize("name", SUITE)
def test_many_label_vectors_together_are_each_alone(name):
    rng = np.random.default_rng(1)
    x, z, truth = (
        torch.from_numpy(t)
        for t in (rng.normal(size=(4, 30, 5)), rng.normal(size=(4, 9, 5)), rng.random((4, 30)) < 0.5)
    )
    shared, own = SUITE[name](x[:1], truth, z[:1], 2), SUITE[name](x, truth, z, 2)
    # A network in float32 takes its own way where a unit is about to die; all of them are near.
    tolerance = {"abs": 2e-2} if name in SEEDED else {"abs": 1e-3}
    for k in range(4):
        assert shared[k].numpy() == pytest.approx(
            SUITE[name](x[:1], truth[k : k + 1], z[:1], 2)[0].numpy(), **tolerance
        )
        assert own[k].numpy() == pytest.approx(
            SUITE[name](x[k : k + 1], truth[k : k + 1], z[k : k + 1], 2)[0].numpy(), **tolerance
        )


def test_networks_that_stop_leave_the_others_unchanged():
    # Labels that cannot be learnt from one constant column stop early; the planted ones go on.
    x = torch.zeros(1, 40, 1, dtype=torch.float64)
    x[0, :, 0] = torch.linspace(-2, 2, 40)
    truth = torch.stack([x[0, :, 0] > 0, torch.arange(40) % 2 == 0, x[0, :, 0] < -1])
    together = network_scores(x, truth, x, (8,), 0)
    for k in range(3):
        assert torch.allclose(together[k], network_scores(x, truth[k : k + 1], x, (8,), 0)[0])
    longer = network_scores(x[:, :, :], truth[1:2], x, (8,), 0)
    assert float(longer.abs().max()) < float(together[0].abs().max())


def test_a_singular_covariance_has_the_shortest_solution():
    # Two rows of each class, symmetric about its mean: nothing is shrunk, and features outnumber rows.
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x = np.random.default_rng(0).normal(size=(4, 6))
    truth = np.array([True, False, True, False])
    for rows in (x, np.hstack([x, np.ones((4, 2))])):
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[0.5, 0.5]).fit(rows, truth)
        both = np.stack([truth, ~truth])
        ours = discriminant_scores(*(torch.from_numpy(a) for a in (rows, both, 2 * rows)))
        assert ours[0].numpy() == pytest.approx(model.decision_function(2 * rows), rel=1e-6)
        assert ours[1].numpy() == pytest.approx(-ours[0].numpy(), rel=1e-6)


def test_the_null_is_that_of_suites_trained_anew():
    x, y, g = blobs(24, 4, 1.0)
    suite = ("logistic C=1", "lda", "kernel ridge", "knn")
    for fit in (None, fit_mean):
        found = attack(x, y, g, fit=fit, suite=suite, folds=3, permutations=5)
        for k, labels in enumerate(found.permutations.labels):
            folds = Folds(found.folds.of, labels, g)
            again = attack(x, labels, g, fit=fit, suite=suite, folds=folds)
            assert [r.auc for r in again.readings] == pytest.approx(found.null[k], abs=1e-2)
            assert [r.oriented for r in again.readings] == pytest.approx(found.null_oriented[k], abs=1 / 24 + 1e-9)
