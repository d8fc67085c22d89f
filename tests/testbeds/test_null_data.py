"""The null generators have nothing to find in them and the trap that their name says; the signal has its strength."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from interp import testbeds

EVERY = {**testbeds.nulls(), **testbeds.gap_nulls()}


def centred(x: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Rows less the mean of the rows that share ``by``."""
    return x - np.stack([x[by == value].mean(0) for value in by])


@pytest.mark.parametrize("name", EVERY)
def test_the_same_seed_draws_the_same_and_another_seed_another(name):
    one, same, other = EVERY[name](3), EVERY[name](3), EVERY[name](4)
    for site, x in one.features.items():
        assert torch.equal(x, same.features[site])
        assert x.shape[0] == len(one.labels) == len(one.groups)
        assert torch.isfinite(x).all()
        assert x.shape != other.features[site].shape or not torch.equal(x, other.features[site])
    assert np.array_equal(one.labels, same.labels)
    assert set(one.labels.tolist()) == {0, 1}


@pytest.mark.parametrize("name", testbeds.nulls())
def test_labels_say_nothing_about_features(name):
    # The difference of the class means, in standard errors over data sets, for each site and coordinate.
    differences = []
    for seed in range(300):
        data = testbeds.nulls()[name](seed)
        y = data.labels == 1
        differences.append([(x[y].mean(0) - x[~y].mean(0)).numpy() for x in data.features.values()])
        assert set(data.auc.values()) == {0.5}
    found = np.array(differences)
    z = found.mean(0) / (found.std(0) / np.sqrt(len(found)))
    assert np.abs(z).max() < 4


def test_groups_can_be_recognised_where_the_name_says_so():
    for name in ("group_identity", "few_groups", "repetitions", "prefixes"):
        data = testbeds.nulls()[name](0)
        x = data.features["site 0"].numpy()
        by = data.groups * 2 + data.labels  # a thing: a group, or one of the two in it
        assert centred(x, by).var() < (0.1 if name != "prefixes" else 4.5) * x.var()


def test_twins_are_one_of_each_label_and_share_their_content():
    for name in ("twins", "templates"):
        data = testbeds.nulls()[name](1)
        sums = [data.labels[data.pairs == pair].sum() for pair in np.unique(data.pairs)]
        assert sums == [1] * len(sums)
        first, second = (data.features["site 0"].numpy()[k::2] for k in (0, 1))
        assert np.corrcoef(first[:, 0], second[:, 0])[0, 1] > 0.2


def test_blocks_are_balanced_in_what_they_are_made_of():
    data = testbeds.nulls()["balanced_blocks"](0)
    x = data.features["site 1"].numpy()
    for block in np.unique(data.groups):
        one, other = (x[(data.groups == block) & (data.labels == label)] for label in (1, 0))
        assert np.abs(one.mean(0) - other.mean(0)).max() < 0.25  # .1 / sqrt(4) each
        assert np.abs(one[:, None] - other[None]).max(-1).min() > 0.1  # and yet no two rows are the same


def test_gap_nulls_are_read_equally_well_in_both_contrasts():
    gaps, high = {}, {}
    for name, make in testbeds.gap_nulls().items():
        found = []
        for seed in range(12):
            data = make(seed)
            x = data.features["site 0"].numpy()
            row = []
            for a, b in ("MC", "CB"):
                keep = np.isin(data.pools, [a, b])
                y, groups = data.pools[keep] == a, data.groups[keep]
                scores = cross_val_predict(
                    LogisticRegression(), x[keep], y, groups=groups, cv=GroupKFold(5), method="decision_function"
                )
                row.append(roc_auc_score(y, scores))
            found.append(row)
        mc, cb = np.array(found).T
        gaps[name], high[name] = (mc - cb).mean() / ((mc - cb).std() / np.sqrt(len(mc))), mc.mean()
    assert min(high.values()) > 0.65
    assert max(map(abs, gaps.values())) < 3.5


@pytest.mark.parametrize("strength", [0.0, 1.0, 3.0])
def test_the_signal_has_the_strength_that_it_claims(strength):
    data = testbeds.signal(0, strength, n_pairs=4000)
    for site, x in data.features.items():
        scores = cross_val_predict(
            LogisticRegression(), x.numpy(), data.labels, groups=data.groups, cv=GroupKFold(4),
            method="decision_function",
        )  # fmt: skip
        assert roc_auc_score(data.labels, scores) == pytest.approx(data.auc[site], abs=0.02)
    assert (data.auc["site 1"] > 0.5) == (strength > 0)
