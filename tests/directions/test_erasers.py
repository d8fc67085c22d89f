"""Erasers do what their papers promise, alone and against the reference implementation of LEACE."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from interp.directions import (
    ERASERS,
    Eraser,
    erase,
    fit_inlp,
    fit_leace,
    fit_mdpga,
    fit_mean,
    fit_probe_direction,
    fit_random,
)
from interp.edits import Edit
from interp.errors import ActivationError, ArtefactError, NonFiniteError, ProvenanceError, SplitError, StatisticsError
from interp.provenance import Provenance
from interp.sites import Site

MADE = Provenance(model="a1b2", model_id="tiny", seed=3)


def rows(n=60, d=7, shift=3.0, seed=0, classes=2):
    """Correlated activations far from 0, the classes apart along several directions."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % classes)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 10 * rng.normal(size=d)
    x += shift * rng.normal(size=(classes, d))[y]
    return torch.from_numpy(x), y


def cross_covariance(x, y):
    hot = torch.from_numpy((np.asarray(y)[:, None] == np.unique(y)[None]).astype(float))
    return (x - x.mean(0)).T @ (hot - hot.mean(0)) / len(x)


@pytest.mark.parametrize("name", sorted(ERASERS))
@pytest.mark.parametrize("n, d", [(60, 7), (12, 40)])
def test_every_eraser_is_a_projection_of_its_rank(name, n, d):
    x, y = rows(n, d)
    before = x.clone()
    eraser = ERASERS[name](x, y)
    once = eraser(x)
    assert torch.equal(x, before)
    assert not torch.allclose(once, x, atol=1e-3)
    assert torch.allclose(eraser(once), once, atol=1e-8)
    assert (eraser.method, eraser.width) == (name, d)
    assert int(torch.linalg.matrix_rank(torch.eye(d) - eraser.matrix)) == eraser.rank >= 1
    assert torch.allclose(x @ eraser.matrix.T + eraser.shift, once, atol=1e-8)
    assert torch.allclose(eraser(x.reshape(2, n // 2, d)).reshape(n, d), once)


@pytest.mark.parametrize("name", ["mean", "probe", "inlp", "random"])
def test_orthogonal_projections_are_orthogonal_and_may_keep_the_mean(name):
    x, y = rows()
    free, kept = ERASERS[name](x, y), ERASERS[name](x, y, keep_mean=True)
    assert torch.allclose(free.matrix, free.matrix.T)
    assert torch.allclose(free.matrix, kept.matrix)
    assert not free.shift.any()
    assert torch.allclose(kept(x).mean(0), x.mean(0))
    assert not torch.allclose(free(x).mean(0), x.mean(0), atol=1e-3)


def test_the_mean_projection_removes_exactly_the_difference_of_means():
    x, y = rows()
    difference = x[y == 1].mean(0) - x[y == 0].mean(0)
    unit = difference / difference.norm()
    assert torch.allclose(fit_mean(x, y)(x), x - (x @ unit)[:, None] * unit)
    many, labels = rows(classes=4)
    eraser = fit_mean(many, labels)
    assert eraser.rank == 3
    assert float(cross_covariance(eraser(many), labels).abs().max()) < 1e-10


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(6, 50), d=st.integers(1, 30), classes=st.integers(2, 4), shrinkage=st.sampled_from([0.0, 0.3, 1.0]),
    seed=st.integers(0, 999),
)  # fmt: skip
def test_leace_leaves_no_covariance_with_the_classes(n, d, classes, shrinkage, seed):
    x, y = rows(n, d, seed=seed, classes=classes)
    eraser = fit_leace(x, y, shrinkage=shrinkage)
    scale = float(cross_covariance(x, y).abs().max())
    assert float(cross_covariance(eraser(x), y).abs().max()) < 1e-8 * scale
    assert eraser.rank <= min(classes - 1, d)
    assert torch.allclose(eraser(x).mean(0), x.mean(0))


def test_after_leace_no_linear_probe_beats_chance_on_its_rows():
    x, y = rows(200, 6)
    erased = fit_leace(x, y)(x).numpy()
    assert LogisticRegression(C=100).fit(x.numpy(), y).score(x.numpy(), y) > 0.9
    probe = LogisticRegression(C=100, tol=1e-10).fit(erased, y)
    assert np.abs(probe.coef_ * erased.std(0)).max() < 1e-6


def test_leace_changes_activations_least_in_the_whitened_norm():
    # Every other projection that equalises the means moves whitened rows at least as far; the mean projection is one.
    x, y = rows(300, 5)
    covariance = torch.cov(x.T, correction=0)

    def moved(eraser):
        step = eraser(x) - x
        return float((step @ torch.linalg.inv(covariance) * step).sum(1).mean())

    assert moved(fit_leace(x, y)) < 0.9 * moved(fit_mean(x, y, keep_mean=True))
    full = fit_leace(x, y, shrinkage=1.0)
    assert torch.allclose(full.matrix, fit_mean(x, y).matrix, atol=1e-8)


@pytest.mark.parametrize("n, d, classes", [(80, 6, 2), (80, 6, 3), (10, 25, 2)])
def test_leace_is_the_reference_implementations(n, d, classes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it scripts functions with torch.jit, which torch deprecates
        peer = pytest.importorskip("concept_erasure", reason="needs the concept-erasure package: pip install it")
    x, y = rows(n, d, classes=classes)
    hot = torch.from_numpy((y[:, None] == np.arange(classes)).astype(float))
    theirs = peer.LeaceFitter.fit(x, hot, shrinkage=False, constrain_cov_trace=False, svd_tol=1e-8).eraser
    others = torch.randn(20, d, dtype=torch.float64)
    ours = fit_leace(x, y)
    assert torch.allclose(ours(x), theirs(x), atol=1e-7)
    assert torch.allclose(ours(others), theirs(others), atol=1e-6)


def test_one_round_of_inlp_removes_the_probes_direction():
    x, y = rows(80, 5)
    x = x * torch.tensor([1.0, 10.0, 0.1, 1.0, 5.0])
    mean, scale = x.mean(0), x.std(0, correction=0)
    model = LogisticRegression(tol=1e-10).fit(((x - mean) / scale).numpy(), y)
    w = torch.from_numpy(model.coef_[0]) / scale
    removed = fit_probe_direction(x, y).right[0]
    assert float((removed @ w / w.norm()).abs()) == pytest.approx(1, abs=1e-6)


def test_inlp_takes_a_direction_per_round_and_stops_when_nothing_is_read():
    x, y = rows(200, 6, shift=4.0)

    def balanced(features):
        model = LogisticRegression().fit(features, y)
        guess = model.predict(features)
        return np.mean([np.mean(guess[y == c] == c) for c in (0, 1)])

    assert fit_inlp(x, y, rounds=3).rank == 3
    assert fit_inlp(*rows(120, 6, classes=3), rounds=1).rank == 3  # one against the rest
    gone = fit_inlp(x, y, rounds=6, stop=0.6)
    assert gone.rank < 6
    assert gone.settings["rounds"] == gone.rank
    assert balanced(x.numpy()) > 0.9
    assert balanced(gone(x).numpy()) < 0.62


def test_mdpga_is_its_formula():
    x, y = rows(50, 6)
    z = (x - x.mean(0)) / x.std(0, correction=0)
    high, low = z[y == 1], z[y == 0]
    delta = high.mean(0) - low.mean(0)
    values, vectors = torch.linalg.eigh(torch.outer(delta, delta) + torch.cov(high.T) - torch.cov(low.T))
    top = vectors[:, values.abs().argsort(descending=True)[:2]]
    expected = (z - z @ top @ top.T) * x.std(0, correction=0) + x.mean(0)
    assert torch.allclose(fit_mdpga(x, y)(x), expected)
    wide, labels = rows(10, 300)
    assert fit_mdpga(wide, labels, k=3).rank == 3


def test_mdpga_takes_a_difference_of_spread_that_means_do_not_show():
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    x = torch.from_numpy(rng.normal(size=(400, 4)) * np.where(y[:, None] & (np.arange(4) == 2), 4.0, 1.0))
    removed = fit_mdpga(x, y, k=1).right[0]
    assert int(removed.abs().argmax()) == 2


def test_a_random_projection_ignores_labels_and_follows_its_seed():
    x, y = rows()
    a, b = fit_random(x, y, rank=3, seed=1), fit_random(x, 1 - y, rank=3, seed=1)
    assert torch.equal(a.right, b.right)
    assert not torch.allclose(a.matrix, fit_random(x, y, rank=3, seed=2).matrix)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_results_have_the_dtype_of_the_activations(dtype):
    x, y = rows()
    eraser = fit_leace(x, y)
    low = x.to(dtype)
    assert eraser(low).dtype == dtype
    assert torch.equal(eraser(low), eraser(low.double()).to(dtype))


def test_files_bring_everything_back(tmp_path):
    x, y = rows()
    eraser = fit_inlp(x, y, rounds=2).made_with(MADE)
    back = Eraser.load(eraser.save(tmp_path / "new" / "eraser.safetensors"), "a1b2")
    assert torch.equal(back(x), eraser(x))
    assert (back.method, back.settings, back.provenance) == ("inlp", eraser.settings, MADE)
    with pytest.raises(ProvenanceError, match="made with model a1b2"):
        Eraser.load(tmp_path / "new" / "eraser.safetensors", "c3d4")
    bare = fit_mean(x, y).save(tmp_path / "bare.safetensors")
    assert Eraser.load(bare).provenance is None
    with pytest.raises(ArtefactError, match="does not say which model"):
        Eraser.load(bare, "a1b2")


def test_an_edit_applies_it():
    x, y = rows()
    eraser = fit_leace(x, y)
    edit = erase("resid_post.2", eraser, at="last", when="prompt")
    assert isinstance(edit, Edit)
    assert (edit.site, edit.at, edit.when, edit.width) == (Site.parse("resid_post.2"), "last", "prompt", 7)
    given_rows = x.float()
    before = given_rows.clone()
    assert torch.equal(edit.fn(given_rows, None), eraser(x.float()))
    assert torch.equal(given_rows, before)


def test_what_cannot_be_fitted_is_named():
    x, y = rows()
    bad = x.clone()
    bad[3, 1] = float("nan")
    for call, error, match in [
        (lambda: fit_leace(bad, y), NonFiniteError, "in 1 rows, first number 3"),
        (lambda: fit_mean(x, np.zeros(60)), SplitError, "all 60 rows have label"),
        (lambda: fit_mean(x, y[:-1]), ActivationError, r"labels \[59\]"),
        (lambda: fit_mean(x.new_ones(4, 2), [0, 0, 1, 1]), ActivationError, "class means are equal"),
        (lambda: fit_leace(x.new_ones(4, 2), [0, 0, 1, 1]), ActivationError, "are equal"),
        (lambda: fit_leace(fit_leace(x, y)(x), y), ActivationError, "class means are equal"),
        (lambda: fit_inlp(fit_leace(x, y)(x), y), ActivationError, "reads nothing"),
        (lambda: fit_leace(x, y, shrinkage=2.0), StatisticsError, "between 0 and 1, got 2.0"),
        (lambda: fit_inlp(x, y, rounds=0), StatisticsError, "got 0"),
        (lambda: fit_mdpga(x, y, k=8), StatisticsError, "k=8"),
        (lambda: fit_mdpga(*rows(classes=3)), SplitError, "labels have 3"),
        (lambda: fit_random(x, y, rank=8), StatisticsError, "rank=8"),
        (lambda: fit_mean(x, y)(x[:, :5]), ActivationError, "7 numbers per row, the activations have 5"),
        (lambda: Eraser.projection(x[:2] * 0, "by hand"), ActivationError, "none of which has a length"),
        (lambda: Eraser(x[:7, :1], x[:7, :1].T, x[0], "by hand"), ActivationError, "erasing twice"),
    ]:
        with pytest.raises(error, match=match):
            call()


def test_settings_reach_the_fit_by_partial():
    x, y = rows()
    assert functools.partial(fit_random, rank=4)(x, y).rank == 4
