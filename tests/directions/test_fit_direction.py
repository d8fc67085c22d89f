"""Directions: planted truth, the trap of centred PCA, parity with scikit-learn, and nothing where nothing is."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from interp import testbeds
from interp.directions import diff_means
from interp.directions.fit import METHODS, fit_direction, pair_rows
from interp.directions.held_out import scorer
from interp.directions.lda import lda_weights
from interp.directions.pca import pca_weights
from interp.errors import ActivationError, NonFiniteError, SplitError
from interp.probes import cross_validate
from interp.provenance import Provenance

MADE = {"site": "resid_post.1", "mark": "last", "provenance": Provenance("a1", "tiny")}


def planted(seed=0, pairs=40, d=12, gap=2.0, noise=1.0, shared=3.0):
    """Pairs that share an item and differ along a known direction; returns rows, labels, pair names, the direction."""
    g = torch.Generator().manual_seed(seed)
    unit = torch.randn(d, generator=g, dtype=torch.float64)
    unit /= unit.norm()
    item = shared * torch.randn(pairs, d, generator=g, dtype=torch.float64)
    rows = [item + sign * gap / 2 * unit + noise * torch.randn(pairs, d, generator=g, dtype=torch.float64)
            for sign in (1, -1)]  # fmt: skip
    return torch.cat(rows), np.repeat([1, 0], pairs), np.tile(np.arange(pairs), 2), unit


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_what_was_planted(method):
    x, y, pairs, unit = planted(pairs=200, gap=4.0, shared=1.0)
    found = fit_direction(x, y, method, pairs=pairs, **MADE)
    assert found.method == method
    assert float(found(unit)) > 0.9, "the positive class lies above"
    assert found.scale == pytest.approx(float(found(x[y == 1]).mean() - found(x[y == 0]).mean()))
    turned = fit_direction(x, 1 - y, method, pairs=pairs, **MADE)
    assert found.cosine(turned) == pytest.approx(-1, abs=1e-6)


def test_the_default_is_the_difference_of_means():
    x, y, _, _ = planted()
    ours, theirs = fit_direction(x, y, **MADE), diff_means(x[y == 1], x[y == 0], **MADE)
    assert ours.cosine(theirs) == pytest.approx(1)
    assert ours.scale == pytest.approx(theirs.scale)


def test_centred_pca_deletes_the_signal_of_consistent_pairs():
    x, y, pairs, unit = planted(pairs=200, d=64, gap=4.0, noise=0.5)
    rows = pair_rows(pairs, y == 1)
    truth = torch.from_numpy(y)[None].double()
    right, wrong = (pca_weights(x, truth, rows, centred=c)[0] for c in (False, True))
    assert float(right @ unit) > 0.99
    assert abs(float(wrong @ unit)) < 0.3, "what is left is noise in 64 dimensions"
    with pytest.warns(UserWarning, match="first principal component and the difference of means"):
        fit_direction(x, y, "pca", pairs=pairs, centred=True, **MADE)


def test_pca_without_pairs_is_that_of_all_differences():
    x, y, _, _ = planted(pairs=9, d=5)
    every = (x[y == 1][:, None] - x[y == 0][None]).reshape(-1, 5)
    wanted = torch.linalg.svd(torch.cat([every, -every]), full_matrices=False).Vh[0]
    for wide in (x, torch.cat([x, torch.zeros(len(x), 40, dtype=x.dtype)], 1)):  # both squares
        found = pca_weights(wide, torch.from_numpy(y)[None].double())[0]
        assert abs(float(found[:5] @ wanted)) == pytest.approx(1, abs=1e-9)


def test_pca_says_when_something_else_varies_more():
    x, y, _, unit = planted(gap=1.0, shared=0.0)
    loud = torch.randn(12, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    loud -= (loud @ unit) * unit
    volume = torch.randn(40, 1, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    x = x + torch.cat([volume, volume]) * loud * 4  # the same in both classes
    with pytest.warns(UserWarning, match="cosine of 0"):
        found = fit_direction(x, y, "pca", **MADE)
    assert abs(float(found(unit))) < 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(fit_direction(x, y, "lda", **MADE)(unit)) > 0.6


@pytest.mark.parametrize("shape", [(60, 6), (20, 35)])
@pytest.mark.parametrize("shrinkage", [0.05, 0.6])
def test_lda_is_scikit_learns_for_equal_classes(shape, shrinkage):
    n, d = shape
    g = torch.Generator().manual_seed(n)
    x = torch.randn(n, d, generator=g, dtype=torch.float64) * torch.linspace(0.3, 3, d, dtype=torch.float64)
    y = np.arange(n) % 2
    x[y == 1, :3] += 1
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=[0.5, 0.5]).fit(x.numpy(), y)
    ours = lda_weights(x, torch.from_numpy(y)[None].double(), shrinkage=shrinkage)[0]
    np.testing.assert_allclose(ours.numpy(), theirs.coef_[0], rtol=1e-8, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["diff_means", "pca", "lda"]), st.integers(6, 30))
def test_a_rotation_of_the_space_rotates_the_direction(seed, method, d):
    x, y, _, _ = planted(seed, pairs=10, d=d, gap=3.0, shared=1.0)
    g = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64)).Q
    shift = torch.randn(d, generator=g, dtype=torch.float64) * 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, after = fit_direction(x, y, method, **MADE), fit_direction(x @ turn + shift, y, method, **MADE)
    assert abs(float((before.unit @ turn) @ after.unit)) == pytest.approx(1, abs=1e-6)
    assert after.scale == pytest.approx(before.scale, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_many_label_vectors_are_fitted_as_each_alone(seed, count):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(16, 9, generator=g, dtype=torch.float64)
    y = torch.stack([torch.randperm(16, generator=g) % 2 for _ in range(count)]).double()
    for weights in METHODS.values():
        together = weights(x, y)
        for k in range(count):
            assert torch.allclose(together[k], weights(x, y[k : k + 1])[0], atol=1e-4)


def test_refusals_name_what_is_wrong():
    x, y, pairs, _ = planted(pairs=5)
    with pytest.raises(ActivationError, match="no method 'mean' to fit"):
        fit_direction(x, y, "mean", **MADE)
    with pytest.raises(SplitError, match="two classes"):
        fit_direction(x, np.zeros(10), **MADE)
    with pytest.raises(SplitError, match="not one positive and one negative"):
        fit_direction(x, y, "pca", pairs=np.where(pairs == 3, 4, pairs), **MADE)
    with pytest.raises(NonFiniteError, match="in 1 rows, first 2"):
        fit_direction(x.index_fill(0, torch.tensor([2]), torch.nan), y, **MADE)
    for method in METHODS:
        with pytest.raises(ActivationError, match="alike"):
            fit_direction(torch.ones(10, 4) + 1e-9 * x[:, :4], y, method, **MADE)


@pytest.mark.parametrize("method", METHODS)
def test_held_out_reading_finds_the_signal_and_nothing_in_noise(method):
    x, y, pairs, _ = planted(pairs=30, gap=4.0, shared=1.0)
    noise = planted(seed=5, pairs=30, gap=0.0)[0]
    kind = scorer(method, pairs if method == "pca" else None)
    result = cross_validate({"there": x, "not": noise}, y, pairs, folds=5, permutations=39, bootstrap=100, scorer=kind)
    assert result.auc.estimate[0] > 0.85
    assert result.p_max[0] <= 0.05
    assert 0.4 < result.null.mean() < 0.6
    assert result.nested is not None
    assert set(result.nested.chosen) == {"there"}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", testbeds.nulls())
def test_the_false_positives_are_one_in_twenty_at_most(method, kind):
    found = []
    for seed in range(200):
        data = testbeds.nulls()[kind](seed)
        score = scorer(method)
        x = {name: torch.as_tensor(v) for name, v in data.features.items()}
        result = cross_validate(
            x, data.labels, data.groups, folds=4, permutations=19, bootstrap=2, nested=False, seed=seed, tol=1e-3,
            scorer=score,
        )  # fmt: skip
        found.append(float(result.p_max.min()) <= 0.05)
    assert sum(found) <= 20, "at 5 %, more than 20 of 200 come up in 2 cases of 1000"


def test_a_direction_saw_nothing_of_the_rows_that_judge_it():
    """Scores of a fold do not move when the rows of that fold are replaced by anything else."""
    x, y, pairs, _ = planted(pairs=12)
    rows = torch.arange(24)
    held = torch.tensor([0, 12])
    train = rows[~torch.isin(rows, held)]
    truth = torch.from_numpy(y)[None].double()
    for method in METHODS:
        kind = scorer(method, pairs)
        [before] = kind(x, truth, [(train, held)])
        changed = x.clone()
        changed[held[0]] = 100.0
        [after] = kind(changed, truth, [(train, held)])
        assert torch.allclose(before[:, 1], after[:, 1])


def test_the_pairs_of_permuted_labels_must_stay_pairs():
    x, y, pairs, _ = planted(pairs=6)
    with pytest.raises(SplitError, match="both labels"):
        cross_validate({"a": x}, y, np.arange(12), folds=3, permutations=5, bootstrap=50, scorer=scorer("pca", pairs))
