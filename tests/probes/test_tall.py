"""Sites with many rows: what splits share changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from interp.errors import ActivationError, ConvergenceError, SplitError
from interp.probes import crossfit, tall
from interp.probes.crossfit import held_out_scores
from interp.probes.rows import OwnRows, SharedRows
from interp.probes.standardise import moments, moments_of_unions


def site(n=600, d=12, labels=3, seed=0):
    """Correlated features of very unequal size, far from 0; labels, the first one planted."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ (rng.normal(size=(d, d)) * np.exp(-np.linspace(0, 4, d)))
    y = rng.random((labels, n)) < 0.4
    x[:, 0] += 2 * x[:, 0].std() * y[0]
    x = x * np.geomspace(1e-2, 1e3, d) + np.linspace(-50, 50, d)
    return torch.from_numpy(x), torch.from_numpy(y).double()


def folds(n=600, count=4):
    of = np.arange(n) % count
    return [
        (torch.from_numpy(np.flatnonzero(of != f)), torch.from_numpy(np.flatnonzero(of == f))) for f in range(count)
    ]


@pytest.fixture
def both(monkeypatch):
    """Scores by the shared way and by the plain one."""

    def run(*args, **options):
        out = []
        for large in (0, 10**12):
            monkeypatch.setattr(crossfit, "LARGE", large)
            out.append(held_out_scores(*args, **options))
        return out

    return run


@pytest.mark.parametrize("labels", [1, 3, 11])
def test_scores_are_those_of_scikit_learn(labels, monkeypatch):
    monkeypatch.setattr(crossfit, "LARGE", 0)
    x, y = site(labels=labels)
    for (train, test), scores in zip(folds(), held_out_scores(x, y, folds(), C=0.7, tol=1e-7), strict=True):
        for p in {0, labels - 1}:
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.7, tol=1e-12, max_iter=10_000))
            expected = model.fit(x[train].numpy(), y[p, train].numpy()).decision_function(x[test].numpy())
            assert scores[p].numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("labels", [2, 11])
def test_label_vectors_that_leave_rows_out(both, labels):
    x, y = site(labels=labels)
    used = torch.from_numpy(np.random.default_rng(1).random(y.shape) < 0.7).double()
    for mine, plain in zip(*both(x, y, folds(), used=used, tol=1e-7), strict=True):
        assert torch.allclose(mine, plain, atol=1e-4)


def test_splits_need_not_be_folds(both):
    # Two parts left out at a time, and training rows that nobody tests.
    x, y = site()
    of = np.arange(600) % 5
    splits = [
        (torch.from_numpy(np.flatnonzero((of != i) & (of != j))), torch.from_numpy(np.flatnonzero(of == j)))
        for i in range(5)
        for j in range(i)
    ]
    for mine, plain in zip(*both(x, y, splits, tol=1e-7), strict=True):
        assert torch.allclose(mine, plain, atol=1e-4)


def test_a_feature_that_is_constant_but_for_the_rows_held_out(both):
    x, y = site()
    x[:, 3] = 5.0
    x[folds()[1][1][0], 3] = 1e6
    x[:, 4] = 7.0
    for k, (mine, plain) in enumerate(zip(*both(x, y, folds(), tol=1e-7), strict=True)):
        # The odd row is 1e6 times what its fold has seen; its weight is a rounding error times that.
        first = 1 if k == 1 else 0
        assert torch.allclose(mine[:, first:], plain[:, first:], atol=1e-4)


def test_a_tolerance_for_each_label_vector(both):
    x, y = site(labels=10)
    exact, _ = both(x, y, folds(), tol=1e-8)
    tol = torch.full((10,), 1e-2, dtype=torch.float64)
    tol[0] = 1e-7
    rough, plain = both(x, y, folds(), tol=tol)
    for mine, other, best in zip(rough, plain, exact, strict=True):
        assert torch.allclose(mine[0], best[0], atol=1e-4)
        assert torch.allclose(other[0], best[0], atol=1e-4)
        size = float(best.abs().max())
        assert 1e-7 < float((mine[1:] - best[1:]).abs().max()) < 0.1 * size


def test_chunks_do_not_matter(monkeypatch):
    monkeypatch.setattr(crossfit, "LARGE", 0)
    x, y = site(labels=11)
    whole = held_out_scores(x, y, folds(), tol=1e-7)
    steps = []
    monkeypatch.setattr(tall, "MAPS", 1)
    monkeypatch.setattr(tall, "MARGINS", 1)
    for a, b in zip(whole, held_out_scores(x, y, folds(), tol=1e-7, step=steps.append), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
    assert steps == [1, 1, 1, 1]


def test_what_cannot_be_fitted_is_named(monkeypatch):
    monkeypatch.setattr(crossfit, "LARGE", 0)
    x, y = site()
    bad = x.clone()
    bad[3, 1] = torch.nan
    with pytest.raises(ActivationError, match="1 of 600 rows"):
        held_out_scores(bad, y, folds())
    same = y.clone()
    same[2] = 1.0
    with pytest.raises(SplitError, match=r"label vector 2 .* 450 rows of problem 0 \(4 such fits of 12\)"):
        held_out_scores(x, same, folds())
    monkeypatch.setattr(tall, "MOST_STEPS", 0)
    with pytest.raises(ConvergenceError, match="12 of 12 fits missed tol=1e-07 after 0"):
        held_out_scores(x, y, folds(), tol=1e-7)


def test_moments_of_unions_are_those_of_their_rows():
    x, _ = site()
    part = torch.arange(600) % 5
    unions = torch.tensor([[True, True, False, True, False], [False, False, True, False, False]])
    mean, scale = moments_of_unions(x, part, unions)
    for k, chosen in enumerate(unions):
        own_mean, own_scale = moments(x[chosen[part]])
        assert torch.allclose(mean[k], own_mean, rtol=1e-12)
        assert torch.allclose(scale[k], own_scale, rtol=1e-10)


def test_shared_rows_are_the_stored_ones():
    rng = torch.Generator().manual_seed(0)
    x, turn, offset, u, r = (
        torch.randn(*shape, generator=rng, dtype=torch.float64)
        for shape in ((20, 3), (2, 3, 3), (2, 3), (2, 4, 4), (2, 4, 20))
    )
    used = (torch.rand(2, 20, generator=rng) < 0.7).double()
    shared = SharedRows(x, turn, offset, used)
    for k in range(2):
        stored, mask = OwnRows(shared.stored(k)[None]), used[k] > 0
        assert torch.allclose(shared.forward(u)[k][:, mask], stored.forward(u[k : k + 1])[0])
        assert float(shared.forward(u)[k][:, ~mask].abs().max()) == 0.0
        assert torch.allclose(shared.adjoint(r)[k], stored.adjoint(r[k : k + 1, :, mask])[0])
        assert torch.equal(shared.of(torch.arange(2) == k).ones[0, mask], stored.ones[0])
