from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from interp.errors import ActivationError, ConvergenceError, SplitError, StatisticsError
from interp.probes import fit_logistic, solver

# name: rows, features, strength of the planted signal, whether features are correlated
SHAPES = {
    "tall": (300, 20, 1.0, False),
    "square": (120, 110, 1.0, False),
    "wide": (60, 200, 1.0, False),
    "correlated": (150, 80, 1.0, True),
    "separable": (80, 10, 20.0, False),
}


def problem(n, d, signal, correlated, labels=3, problems=2, seed=0):
    """Standardised features [problem, n, d] and labels [problem, label, n]; the first label vector is planted."""
    rng = np.random.default_rng(seed)
    y = rng.random((problems, labels, n)) < 0.4
    x = rng.normal(size=(problems, n, d))
    if correlated:
        x = x * np.exp(-np.linspace(0, 5, d)) @ np.linalg.qr(rng.normal(size=(d, d)))[0]
    x[:, :, 0] += signal * y[:, 0]
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    return torch.from_numpy(x), torch.from_numpy(y).double()


def reference(x, y, weight=None, C=1.0):
    model = LogisticRegression(C=C, tol=1e-12, max_iter=100_000)
    model.fit(x.numpy(), y.numpy(), sample_weight=None if weight is None else weight.numpy())
    return torch.from_numpy(np.append(model.coef_[0], model.intercept_))


def difference(fits, k, p, expected):
    found = torch.cat([fits.coef[k, p], fits.intercept[k, p, None]])
    return float((found - expected).abs().max())


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_scikit_learn(shape, C):
    x, y = problem(*SHAPES[shape])
    fits = fit_logistic(x, y, C=C)
    assert bool(fits.converged.all())
    for k in range(2):
        for p in range(3):
            expected = reference(x[k], y[k, p], C=C)
            assert difference(fits, k, p, expected) < 1e-4 * max(1.0, float(expected.abs().max()))


@pytest.mark.parametrize("seed", range(4))
def test_errors_along_directions_of_little_curvature_are_not_overlooked(seed):
    # Repeated, separable rows and hardly any penalty: curvatures span ten orders of magnitude.
    x, y = problem(15, 60, 1.0, False, problems=1, seed=seed)
    y[:, :, 0], y[:, :, 1] = 0.0, 1.0
    x, y = x.repeat(1, 4, 1), y.repeat(1, 1, 4)
    fits = fit_logistic(x, y, C=1e4)
    model = LogisticRegression(C=1e4, solver="newton-cholesky", tol=1e-13, max_iter=5000)
    expected = model.fit(x[0].numpy(), y[0, 0].numpy()).coef_[0]
    assert fits.coef[0, 0].numpy() == pytest.approx(expected, abs=1e-4 * np.abs(expected).max())


def test_agrees_to_1e_4_without_allowance_at_the_penalty_that_probes_use():
    for shape in SHAPES.values():
        x, y = problem(*shape, seed=1)
        fits = fit_logistic(x, y)
        worst = max(difference(fits, k, p, reference(x[k], y[k, p])) for k in range(2) for p in range(3))
        assert worst < 1e-4


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_sample_weights(shape):
    x, y = problem(*SHAPES[shape])
    weight = torch.from_numpy(np.random.default_rng(3).choice([0.0, 0.5, 1.0, 3.0], size=x.shape[:2]))
    fits = fit_logistic(x, y, weight)
    for k in range(2):
        assert difference(fits, k, 1, reference(x[k], y[k, 1], weight[k])) < 1e-4


@pytest.mark.parametrize("shape", ["tall", "wide", "separable"])
def test_label_vectors_may_have_weights_of_their_own(shape):
    x, y = problem(*SHAPES[shape])
    weight = torch.from_numpy(np.random.default_rng(3).choice([0.0, 1.0], p=[0.4, 0.6], size=y.shape))
    weight[:, :, :5] = 0.0  # rows that no label vector uses
    weight[0, 2, 5:] *= 2.5
    fits = fit_logistic(x, y, weight)
    for k in range(2):
        for p in range(3):
            expected = reference(x[k], y[k, p], weight[k, p])
            assert difference(fits, k, p, expected) < 1e-4 * max(1.0, float(expected.abs().max()))
    alone = fit_logistic(x, y[:, 1:2], weight[:, 1:2])
    assert torch.allclose(alone.coef, fits.coef[:, 1:2], atol=1e-5)
    y[1, 2] = weight[1, 2]
    with pytest.raises(SplitError, match="label vector 2 has one class only"):
        fit_logistic(x, y, weight)


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_rows_of_weight_zero_might_as_well_be_missing(shape):
    x, y = problem(*SHAPES[shape])
    weight = torch.ones(x.shape[:2], dtype=torch.float64)
    weight[0, ::5] = 0
    weight[1, 40:] = 0
    x[weight == 0] = 1e3
    fits = fit_logistic(x, y, weight)
    for k in range(2):
        kept = weight[k] > 0
        alone = fit_logistic(x[k : k + 1, kept], y[k : k + 1, :, kept])
        assert torch.allclose(fits.coef[k], alone.coef[0], atol=2e-5)
        assert torch.allclose(fits.intercept[k], alone.intercept[0], atol=2e-5)


def test_features_far_from_the_origin_and_of_unequal_size():
    # Nobody standardised these: the intercept must not be penalised, whatever the means.
    x, y = problem(100, 5, 1.0, False)
    x = x * torch.tensor([0.1, 1.0, 3.0, 1.0, 0.3]) + torch.tensor([1e3, -50.0, 0.0, 7.0, 1.0])
    fits = fit_logistic(x, y)
    model = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x[0].numpy(), y[0, 0].numpy())
    assert fits.coef[0, 0].numpy() == pytest.approx(model.coef_[0], abs=1e-5)
    assert float(fits.intercept[0, 0]) == pytest.approx(model.intercept_[0], rel=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(30, 6), (20, 35)]))
def test_symmetries(seed, size):
    x, y = problem(*size, 1.0, False, problems=1, seed=seed)
    y[:, :, 0], y[:, :, 1] = 0.0, 1.0  # both classes are there
    fits = fit_logistic(x, y)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(size[0]), rng.permutation(size[1])
    shuffled = fit_logistic(x[:, rows], y[:, :, rows])
    assert torch.allclose(shuffled.coef, fits.coef, atol=2e-5)
    moved = fit_logistic(x[:, :, columns], y)
    assert torch.allclose(moved.coef, fits.coef[:, :, columns], atol=2e-5)
    mirrored = fit_logistic(x, 1 - y)
    assert torch.allclose(mirrored.coef, -fits.coef, atol=2e-5)
    assert torch.allclose(mirrored.intercept, -fits.intercept, atol=2e-5)
    turned = fit_logistic(-x, y)
    assert torch.allclose(turned.coef, -fits.coef, atol=2e-5)
    twice = fit_logistic(x.repeat(1, 2, 1), y.repeat(1, 1, 2), C=0.5)
    assert torch.allclose(twice.coef, fits.coef, atol=2e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_row_space_gives_the_same_weights(seed):
    # Columns of zeros change nothing but the route: more features than rows are solved in the row space.
    x, y = problem(25, 10, 1.0, False, problems=1, seed=seed)
    y[:, :, 0], y[:, :, 1] = 0.0, 1.0
    narrow = fit_logistic(x, y)
    wide = fit_logistic(torch.cat([x, torch.zeros(1, 25, 30, dtype=x.dtype)], 2), y)
    assert torch.allclose(wide.coef[..., :10], narrow.coef, atol=2e-5)
    assert float(wide.coef[..., 10:].abs().max()) == 0.0


def test_batches_do_not_matter(monkeypatch):
    x, y = problem(60, 12, 1.0, False, labels=5, problems=7)
    together = fit_logistic(x, y)
    monkeypatch.setattr(solver, "ELEMENTS", 1)
    alone = fit_logistic(x, y)
    assert torch.allclose(together.coef, alone.coef, atol=2e-5)


def test_float32_features_are_solved_in_float64():
    x, y = problem(*SHAPES["tall"])
    fits = fit_logistic(x.float(), y.float())
    assert fits.coef.dtype == torch.float64
    assert difference(fits, 0, 0, reference(x[0].float().double(), y[0, 0])) < 1e-4


def test_decision():
    x, y = problem(50, 4, 1.0, False)
    fits = fit_logistic(x, y)
    expected = torch.einsum("kpd,knd->kpn", fits.coef, x) + fits.intercept[..., None]
    assert torch.allclose(fits.decision(x), expected)
    right = (fits.decision(x)[:, 0] > 0) == (y[:, 0] > 0.5)
    assert float(right.double().mean()) > 0.6


def test_a_missed_tolerance_is_never_silent():
    x, y = problem(*SHAPES["square"])
    with pytest.raises(ConvergenceError, match=r"6 of 6 fits missed tol=1e-06 after 0 Newton steps"):
        fit_logistic(x, y, max_steps=0)
    with pytest.warns(RuntimeWarning, match="6 of 6 fits missed"):
        fits = fit_logistic(x, y, max_steps=0, on_failure="warn")
    assert not bool(fits.converged.any())
    assert float(fits.error.min()) > 1e-6


def test_the_error_estimate_is_of_the_size_of_the_error():
    x, y = problem(*SHAPES["square"])
    exact = fit_logistic(x, y, tol=1e-9)
    for tol in (1e-2, 1e-3, 1e-4):
        fits = fit_logistic(x, y, tol=tol)
        assert float(fits.error.max()) <= tol
        assert float((fits.coef - exact.coef).abs().max()) < 20 * tol


def test_bad_input():
    x, y = problem(20, 3, 1.0, False)
    bad = x.clone()
    bad[1, 4, 0] = torch.nan
    with pytest.raises(ActivationError, match="1 of 40 rows"):
        fit_logistic(bad, y)
    same = y.clone()
    same[1, 2] = 1.0
    with pytest.raises(SplitError, match=r"label vector 2 .* 20 rows of problem 1 \(1 such fits of 6\)"):
        fit_logistic(x, same)
    with pytest.raises(StatisticsError, match="C must be above 0"):
        fit_logistic(x, y, C=0.0)
    with pytest.raises(StatisticsError, match="'ignore'"):
        fit_logistic(x, y, on_failure="ignore")
