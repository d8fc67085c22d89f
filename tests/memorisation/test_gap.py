"""The gap between M against C and C against B: its parts, its null, and the traps that the paper fell into."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression

import interp
from interp import testbeds
from interp.errors import PromptError, StatisticsError
from interp.memorisation import load_records
from interp.memorisation.signature import gap
from interp.memorisation.signature.arms import arms_of
from interp.memorisation.signature.gapfit import measure_gap
from interp.memorisation.signature.gapwords import gap_found, gap_headline, gap_warnings
from tests.memorisation.designs import arms_of_pools, pools_of

FAST = {"C": 1.0, "folds": None, "permutations": 499, "bootstrap": 200, "level": 0.95, "tol": 1e-4, "seed": 0}


def measured(x, groups, pools, embedding=None, **settings):
    """The gap at a depth, with an embedding before it that knows nothing."""
    before = torch.zeros(len(groups), 2, dtype=torch.float64) if embedding is None else embedding
    return measure_gap({"resid_pre.0": before, "resid_post.0": x}, arms_of_pools(groups, pools), **{**FAST, **settings})


def by_hand(x, groups, first, second, pools):
    """Leave-one-key-out accuracy, keys averaged, standardised on the training keys' three wordings."""
    keep = np.isin(pools, [first, second])
    shares = []
    for key in np.unique(groups):
        train, test = (groups != key) & keep, (groups == key) & keep
        rows = x[groups != key]
        z = (x - rows.mean(0)) / rows.std(0)
        fitted = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(z[train], pools[train] == first)
        shares.append((fitted.predict(z[test]) == (pools[test] == first)).mean())
    return np.mean(shares)


def test_both_accuracies_are_those_of_leaving_one_key_out():
    x, groups, pools = pools_of(0, keys=9, memory=1.0, style=0.7)
    found = measured(x, groups, pools)
    assert found.folds == 9
    assert found.memorised.estimate[1] == pytest.approx(by_hand(x.numpy(), groups, "M", "C", pools))
    assert found.baseline.estimate[1] == pytest.approx(by_hand(x.numpy(), groups, "C", "B", pools))
    assert found.plain.estimate == pytest.approx(found.memorised.estimate - found.baseline.estimate)


def test_memory_is_found_and_style_alone_is_not():
    memory = measured(*pools_of(1, keys=24, memory=6.0)).summary()
    assert gap_found(memory)
    assert memory["p_mean"] == memory["p_peak"] == 1 / 500
    assert memory["mean_gap"] > 0.15
    assert memory["mean_gap_lo"] < memory["nested_gap"] < memory["mean_gap_hi"]
    assert set(memory["nested_sites"]) == {"resid_post.0"}
    style = measured(*pools_of(1, keys=24, style=9.0))
    assert style.memorised.estimate[1] > 0.8 < style.baseline.estimate[1]
    assert not gap_found(style.summary())
    assert abs(style.summary()["mean_gap"]) < 0.1


def test_keys_that_can_be_recognised_give_no_gap():
    gaps, found = [], 0
    for seed in range(40):
        summary = measured(*pools_of(seed, keys=12, prefixes=4), permutations=99, tol=1e-3, folds=4).summary()
        gaps.append(summary["mean_gap"])
        found += gap_found(summary)
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / np.sqrt(40) + 0.01
    assert found <= binom.ppf(0.998, 40, 0.05)


@pytest.mark.parametrize("name", ["templates_only", "keys_and_templates"])
def test_wordings_equally_far_from_each_other_give_no_gap(name):
    p, gaps = rates(name, 40)
    assert (p[:, 0] <= 0.05).sum() <= binom.ppf(0.998, 40, 0.05)
    assert 0.3 < np.median(p) < 0.75
    assert abs(gaps.mean()) < 3 * gaps.std() / np.sqrt(40)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["templates_only", "keys_and_templates"])
def test_false_positives_of_the_gap(name):
    p, gaps = rates(name, 1000)
    print(f"{name}: {(p <= 0.05).mean(0)} (mean of depths, peak), gap {gaps.mean():+.4f}")
    assert ((p <= 0.05).sum(0) <= binom.ppf(0.998, 1000, 0.05)).all()


def rates(name, runs):
    p, gaps = [], []
    for seed in range(runs):
        data = testbeds.gap_nulls()[name](seed)
        arms = arms_of_pools(data.groups, data.pools)
        blank = {"none": torch.zeros(len(data.groups), 1)}
        settings = {**FAST, "folds": 5, "permutations": 199, "bootstrap": 2, "tol": 1e-3, "seed": seed}
        summary = measure_gap({**blank, **data.features}, arms, **settings).summary()
        p.append((summary["p_mean"], summary["p_peak"]))
        gaps.append(summary["mean_gap"])
    return np.array(p), np.array(gaps)


def test_a_baseline_below_chance_inflates_the_plain_gap_only():
    # In each key C and B are the same two rows, once this way round and once the other: the rest leans against it.
    keys = 8
    groups = np.repeat(np.arange(keys), 3)
    pools = np.tile(["M", "C", "B"], keys)
    x = torch.zeros(3 * keys, 1, dtype=torch.float64)
    side = np.where(np.arange(keys) % 2, 1.0, -1.0)
    x[1::3, 0], x[2::3, 0] = torch.from_numpy(side), torch.from_numpy(-side)
    summary = measured(x, groups, pools).summary()
    assert summary["baseline_mean"] == 0.0
    assert summary["mean_gap"] > 0
    assert summary["mean_gap_clamped"] == pytest.approx(summary["mean_gap"] - 0.5)
    assert not gap_found(summary)
    part = {**summary, "mark": "last", "dose": None, "baseline": "C-B"}
    assert any("The baseline is below chance (down to 0.00)" in w for w in gap_warnings([part]))
    if summary["p_mean"] <= 0.05:
        assert "comes from a baseline below chance" in gap_headline([part])


def test_few_keys_have_few_arrangements_and_that_is_said():
    found = measured(*pools_of(3, keys=4, memory=4.0), permutations=999)
    summary = found.summary()
    assert (summary["arrangements"], summary["permutations"], summary["min_p"]) == (16, 15, 1 / 16)
    assert summary["p_mean"] >= 1 / 16
    part = {**summary, "mark": "last", "dose": None, "baseline": "C-B"}
    assert any("With 4 groups there are 16 ways" in w and "below 0.062" in w for w in gap_warnings([part]))


def test_two_keys_allow_no_nested_choice_and_no_null_is_no_finding():
    summary = measured(*pools_of(3, keys=2), permutations=0).summary()
    assert summary["nested_gap"] is None
    assert "three folds" in summary["nested_missing"]
    part = {**summary, "mark": "last", "dose": 8, "baseline": "C-B"}
    assert "without permutations this may be luck" in gap_headline([part])
    assert not gap_found(part)
    assert any("No nested choice of a depth" in w for w in gap_warnings([part]))


@pytest.fixture(scope="module")
def model():
    return interp.load_model(testbeds.path("memory"))


@pytest.fixture(scope="module")
def records(model):
    return load_records(testbeds.path("memory") / "records.jsonl", model.tokenizer)


def test_on_the_bed(model, records):
    report = gap(model, records, permutations=199, bootstrap=100, command="interp memorisation")
    assert (report.kind, len(report.rows)) == ("gap", 5)
    [part] = report.meta["parts"]
    assert (part["dose"], part["mark"], part["groups"], part["baseline"]) == (512, "recall", 16, "C-B")
    depths = [row["gap"] for row in report.rows if row["depth"] > 0]
    assert part["mean_gap"] == pytest.approx(np.mean(depths))
    assert part["peak_gap"] == max(row["gap"] for row in report.rows)
    for row in report.rows:
        assert row["gap"] == pytest.approx(row["acc_mc"] - row["acc_cb"])
        assert row["gap_clamped"] == pytest.approx(row["acc_mc"] - max(0.5, row["acc_cb"]))
    twins = gap(model, records, doses=[8, 32, 128], baseline="twins", permutations=99, bootstrap=100)
    assert {row["dose"] for row in twins.rows} == {8, 32, 128}
    assert twins.meta["dose_trend"][0]["doses"] == [8, 32, 128]
    assert all(abs(row["gap"]) < 1e-9 for row in twins.rows if row["depth"] == 0)  # twins have the same words
    assert interp.Report.from_json(report.to_json()) == report


def test_what_cannot_be_compared(model, records):
    with pytest.raises(PromptError, match="the baseline is one of C-B, twins, got 'B-C'"):
        arms_of(records, 8, "B-C")
    two = records.select(records.column("pool") != "B")
    with pytest.raises(PromptError, match="needs wordings B, C, M; there are: M, C"):
        gap(model, two)
    unlabelled = type(records)(records.prompts.with_labels(None))
    with pytest.raises(PromptError, match="never-seen twins"):
        arms_of(unlabelled, 8, "twins")
    lacking = (records.prompts.groups == "d8-b00") & (records.column("pool") == "C")
    with pytest.raises(PromptError, match=r"group 'd8-b00' lacks a wording .* \(1 of 6 groups lack one\)"):
        arms_of(records.select(~lacking), 8, "C-B")
    with pytest.raises(StatisticsError, match="permutations must be 0 or more, got -3"):
        gap(model, records, permutations=-3)
