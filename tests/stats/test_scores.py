from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from interp.errors import StatisticsError
from interp.stats import accuracy, adjust, auc, balanced_accuracy


@pytest.mark.parametrize("rounding", [0, 1, 8])  # from nearly all tied to none
@pytest.mark.parametrize("weighted", [False, True])
def test_auc_is_scikit_learns(rounding, weighted):
    rng = np.random.default_rng(1)
    scores, labels = rng.normal(size=(3, 80)).round(rounding), rng.random(80) < 0.3
    weights = rng.integers(0, 4, 80) if weighted else None
    expected = [roc_auc_score(labels, s, sample_weight=weights) for s in scores]
    assert auc(scores, labels, weights) == pytest.approx(expected, abs=1e-12)
    assert [float(auc(s, labels, weights)) for s in scores] == pytest.approx(expected, abs=1e-12)


def test_auc_broadcasts_scores_labels_and_weights():
    rng = np.random.default_rng(2)
    scores, labels, weights = rng.normal(size=(4, 1, 30)), rng.random((5, 30)) < 0.5, rng.random((4, 5, 30))
    found = auc(scores, labels, weights)
    assert found.shape == (4, 5)
    expected = [
        [roc_auc_score(labels[j], scores[i, 0], sample_weight=weights[i, j]) for j in range(5)] for i in range(4)
    ]
    assert found == pytest.approx(np.array(expected), abs=1e-12)


def test_auc_without_a_class_is_nan_and_of_nan_raises():
    assert np.isnan(auc([1.0, 2.0], [1, 1]))
    assert np.isnan(auc([1.0, 2.0, 3.0], [1, 0, 0], [0, 1, 1]))
    with pytest.raises(StatisticsError, match="1 NaN"):
        auc([1.0, np.nan], [1, 0])


@given(hnp.arrays(np.float64, 12, elements=st.integers(-4, 4).map(float)), st.integers(1, 2**12 - 2))
def test_auc_properties(scores, bits):
    labels = np.array([bits >> i & 1 for i in range(12)], bool)
    value = float(auc(scores, labels))
    assert float(auc(-scores, labels)) == pytest.approx(1 - value)
    assert float(auc(scores, ~labels)) == pytest.approx(1 - value)
    assert float(auc(np.exp(scores), labels)) == pytest.approx(value)
    twice = float(auc(np.repeat(scores, 2), np.repeat(labels, 2)))
    assert twice == pytest.approx(value) == pytest.approx(float(auc(scores, labels, np.full(12, 2.0))))


def test_accuracies():
    rng = np.random.default_rng(3)
    predicted, labels, weights = rng.random((2, 40)) < 0.5, rng.random(40) < 0.2, rng.integers(0, 3, 40)
    expected = [np.average(p == labels, weights=weights) for p in predicted]
    assert accuracy(predicted, labels, weights) == pytest.approx(expected)
    assert float(accuracy(predicted[0], labels, weights)) == pytest.approx(expected[0])
    expected = [balanced_accuracy_score(labels, p, sample_weight=weights) for p in predicted]
    assert balanced_accuracy(predicted, labels, weights) == pytest.approx(expected)
    assert np.isnan(accuracy([True], [True], [0]))


def test_adjusted_p_values():
    assert adjust([[0.01, 0.02], [0.03, 0.04]], "fdr_bh") == pytest.approx(np.full((2, 2), 0.04))
    assert adjust([]).size == 0
    with pytest.raises(StatisticsError, match=r"1\.5"):
        adjust([0.1, 1.5])
