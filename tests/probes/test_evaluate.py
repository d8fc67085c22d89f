from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from interp.errors import ActivationError, NonFiniteError, SplitError
from interp.probes import cross_validate, paired_difference
from interp.probes.standardise import moments
from interp.splits import Folds, grouped_folds, leave_one_group_out

FAST = {"bootstrap": 200, "permutations": 19, "folds": 5}


def data(n_groups=30, per_group=4, d=6, signal=2.0, seed=0):
    """Three sites; only the second knows the label. Groups have means of their own."""
    rng = np.random.default_rng(seed)
    groups = np.repeat([f"g{i:02d}" for i in range(n_groups)], per_group)
    labels = np.tile(np.arange(per_group) % 2, n_groups)
    own = np.repeat(rng.normal(size=(n_groups, 3, d)), per_group, 0)
    x = own + rng.normal(size=(groups.size, 3, d))
    x[:, 1, 0] += signal * labels
    features = {f"site {k}": torch.from_numpy(x[:, k]).float() for k in range(3)}
    return features, np.where(labels == 1, "singular", "plural"), groups


def test_scores_are_those_of_a_plain_loop():
    features, labels, groups = data()
    result = cross_validate(features, labels, groups, C=0.7, **FAST)
    assert result.classes == ("plural", "singular")
    for k, x in enumerate(features.values()):
        expected = np.empty(len(labels))
        for f in range(5):
            train, test = result.folds.train(f), result.folds.test(f)
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.7, tol=1e-10, max_iter=10_000))
            expected[test] = model.fit(x[train], labels[train]).decision_function(x[test])
        assert result.scores[k] == pytest.approx(expected, abs=1e-3)
        assert float(result.auc.estimate[k]) == pytest.approx(roc_auc_score(labels == "singular", expected), abs=1e-3)
        right = np.where(expected > 0, "singular", "plural") == labels
        assert float(result.accuracy.estimate[k]) == pytest.approx(right.mean())


def test_the_null_is_that_of_refitted_probes():
    features, labels, groups = data(n_groups=12)
    result = cross_validate(features, labels, groups, **FAST)
    for b in (0, 7, 18):
        shuffled = result.permutations.labels[b]
        again = cross_validate(features, shuffled, groups, **{**FAST, "folds": _same_folds(result, shuffled)})
        assert again.auc.estimate == pytest.approx(result.null[b], abs=2e-3)


def _same_folds(result, labels):
    return Folds(result.folds.of, labels, result.folds.groups)


def test_planted_truth_is_found_and_judged():
    features, labels, groups = data()
    result = cross_validate(features, labels, groups, **{**FAST, "permutations": 99})
    assert result.sites[result.best] == "site 1"
    assert result.p_max[1] == pytest.approx(0.01)
    assert result.p_max[0] > 0.05
    assert result.p_max[2] > 0.05
    assert (result.p_max >= result.p).all()
    assert result.auc.low[1] > 0.7
    assert result.nested is not None
    assert set(result.nested.chosen) == {"site 1"}
    assert float(result.nested.auc.estimate) == pytest.approx(float(result.auc.estimate[1]), abs=0.02)
    assert result.null_max() == pytest.approx(np.quantile(result.null.max(1), 0.95))


def test_the_peak_of_noise_is_no_finding_and_its_nested_estimate_is_lower():
    rng, peaks, honest, found = np.random.default_rng(0), [], [], 0
    for seed in range(6):
        features = {k: torch.from_numpy(rng.normal(size=(40, 4))) for k in range(8)}
        result = cross_validate(features, np.arange(40) % 2, range(40), seed=seed, **FAST)
        peaks.append(float(result.auc.estimate.max()))
        honest.append(float(result.nested.auc.estimate))
        found += bool(result.p_max.min() <= 0.05)
    assert np.mean(peaks) > 0.6
    assert np.mean(honest) < 0.55
    assert found <= 1


def test_the_order_of_examples_does_not_matter():
    features, labels, groups = data()
    folds = grouped_folds(labels, groups, 5)
    order = np.random.default_rng(1).permutation(len(labels))
    one = cross_validate(features, labels, groups, **{**FAST, "folds": folds})
    moved = Folds(folds.of[order], labels[order], groups[order])
    other = cross_validate(
        {k: x[order] for k, x in features.items()}, labels[order], groups[order], **{**FAST, "folds": moved}
    )
    assert other.scores == pytest.approx(one.scores[:, order], abs=1e-3)
    assert other.auc.estimate == pytest.approx(one.auc.estimate, abs=1e-3)


def test_the_scale_of_features_does_not_matter():
    features, labels, groups = data()
    one = cross_validate(features, labels, groups, **FAST)
    scale = torch.logspace(-2, 2, 6)
    other = cross_validate({k: x * scale + 10 * scale for k, x in features.items()}, labels, groups, **FAST)
    assert other.scores == pytest.approx(one.scores, abs=0.02)


def test_held_out_rows_touch_neither_weights_nor_scales():
    # An outlier changes the scores of the folds that train on it, and of no other example of its own fold.
    features, labels, groups = data()
    folds = grouped_folds(labels, groups, 5)
    before = cross_validate(features, labels, groups, **{**FAST, "folds": folds})
    changed = {k: x.clone() for k, x in features.items()}
    odd = int(folds.test(2)[0])
    for x in changed.values():
        x[odd] += 100.0
    after = cross_validate(changed, labels, groups, **{**FAST, "folds": folds})
    same = folds.test(2)[1:]
    assert after.scores[:, same] == pytest.approx(before.scores[:, same], abs=1e-4)
    assert not np.allclose(after.scores[:, folds.train(2)], before.scores[:, folds.train(2)])


def test_constant_features_are_harmless():
    features, labels, groups = data()
    plain = cross_validate({"x": features["site 1"]}, labels, groups, **FAST)
    padded = torch.cat([features["site 1"], torch.full((len(labels), 2), 3.7)], 1)
    assert cross_validate({"x": padded}, labels, groups, **FAST).scores == pytest.approx(plain.scores, abs=1e-3)
    # So are features whose spread is rounding: they are not blown up to unit variance.
    noisy = padded.clone()
    noisy[:, -1] += 4e-7 * torch.from_numpy(np.where(labels == "plural", 1.0, -1.0)).float()
    assert float(noisy[:, -1].std()) > 0
    assert float(moments(noisy)[1][-1]) == 1.0
    assert cross_validate({"x": noisy}, labels, groups, **FAST).scores == pytest.approx(plain.scores, abs=1e-3)


def test_group_identity_is_not_the_label():
    # Features know the group perfectly, and labels vary within groups: a split by example would see leaks.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 4)
    x = torch.from_numpy(np.repeat(np.eye(20), 4, 0) * 5 + 0.01 * rng.normal(size=(80, 20)))
    constant = np.repeat(np.arange(20) % 2, 4)
    whole = cross_validate({"x": x}, constant, groups, **FAST)
    split = cross_validate({"x": x}, constant, range(80), **FAST)
    assert float(whole.auc.estimate[0]) < 0.7
    assert float(split.auc.estimate[0]) > 0.95


def test_differences_are_paired():
    features, labels, groups = data()
    a = cross_validate(features, labels, groups, **FAST)
    weaker = {k: x + 3 * torch.randn(x.shape) for k, x in features.items()}
    b = cross_validate(weaker, labels, groups, **{**FAST, "folds": a.folds})
    gap = paired_difference(a, b)
    assert gap.estimate == pytest.approx(a.auc.estimate - b.auc.estimate)
    assert gap.low[1] > 0
    zero = paired_difference(a, a)
    assert float(np.abs([zero.estimate, zero.low, zero.high]).max()) == 0.0
    one = cross_validate({"site 1": features["site 1"]}, labels, groups, **{**FAST, "folds": a.folds})
    assert paired_difference(a, one).estimate[1] == pytest.approx(0.0, abs=1e-3)
    other = cross_validate(features, labels, groups[::-1].copy(), **FAST)
    with pytest.raises(SplitError, match="same examples"):
        paired_difference(a, other)


def test_leave_one_group_out_and_missing_nested_choice():
    features, labels, groups = data(n_groups=4)
    result = cross_validate(features, labels, groups, folds=leave_one_group_out(labels, groups), bootstrap=50)
    assert result.permutations.attainable == 16
    assert result.permutations.min_p == pytest.approx(1 / 8)
    assert result.nested is not None
    two = cross_validate(features, labels, groups, folds=2, permutations=3, bootstrap=50)
    assert two.nested is None
    assert "three folds" in two.nested_missing
    off = cross_validate(features, labels, groups, folds=2, permutations=0, bootstrap=50, nested=False)
    assert off.null.shape == (0, 3)
    assert off.p_max.tolist() == [1.0, 1.0, 1.0]
    assert np.isnan(off.null_max())


def test_permuted_labels_always_leave_two_classes_to_train_on():
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    labels = [0, 0, 0, 0, 0, 0, 0, 1, 1]
    result = cross_validate({"x": x}, labels, range(9), folds=9, permutations=500, bootstrap=50, nested=False)
    assert len(result.null) == 35  # 9 over 2, less the observed one
    assert np.isfinite(result.null).all()


def test_bad_input():
    features, labels, groups = data()
    with pytest.raises(SplitError, match="nothing to tell apart"):
        cross_validate(features, ["one"] * len(labels), groups)
    with pytest.raises(SplitError, match="40 folds need 40 groups, there are 30"):
        cross_validate(features, labels, groups, folds=40)
    with pytest.raises(SplitError, match="other labels or groups"):
        cross_validate(features, labels, groups, folds=grouped_folds(labels[::-1], groups, 5))
    with pytest.raises(ActivationError, match=r"site 0 have shape \[119, 6\], but there are 120"):
        cross_validate({"site 0": features["site 0"][1:]}, labels, groups)
    with pytest.raises(ActivationError, match="no sites"):
        cross_validate({}, labels, groups)
    features["site 2"][7, 3] = torch.inf
    with pytest.raises(NonFiniteError, match="site 2 hold NaN or infinity in 1 examples, first number 7"):
        cross_validate(features, labels, groups)


def test_progress_only_when_asked(capsys):
    features, labels, groups = data(n_groups=10)
    cross_validate(features, labels, groups, folds=3, permutations=2, bootstrap=20)
    assert capsys.readouterr().err == ""
    cross_validate(features, labels, groups, folds=3, permutations=2, bootstrap=20, progress=True)
    assert "probing" in capsys.readouterr().err
