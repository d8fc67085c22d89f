"""Probes carried from one model to another, and the probe's direction projected out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import interp
from interp import testbeds
from interp.errors import ActivationError, StatisticsError
from interp.memorisation import load_records
from interp.memorisation.project_out import project_out
from interp.memorisation.transfer import carry, headline, transfer
from interp.splits import grouped_folds
from interp.stats import permute_labels

FAST = {"C": 1.0, "tol": 1e-4, "bootstrap": 100, "level": 0.95, "seed": 0}


def twins(seed, angle, n=32, d=5, strength=2.5):
    """Rows of two regimes in which the class shifts along directions ``angle`` degrees apart."""
    rng = np.random.default_rng(seed)
    groups, truth = np.repeat(np.arange(n), 2), np.tile([True, False], n)
    turn = np.deg2rad(angle)
    axes = {"natural": np.eye(d)[0], "injected": np.cos(turn) * np.eye(d)[0] + np.sin(turn) * np.eye(d)[1]}
    made = {
        name: {"site": torch.from_numpy(rng.normal(size=(2 * n, d)) + strength * np.outer(truth, axis))}
        for name, axis in axes.items()
    }
    return made, truth, groups


def carried(made, truth, groups, permutations=99):
    split = grouped_folds(truth, groups, 8, seed=0)
    drawn = permute_labels(truth, groups, permutations, folds=split.of)
    found = carry(made, truth, groups, split, drawn.labels, **FAST)
    return {(c.train, c.test): c for c in found}


def test_a_shared_direction_carries_over_and_another_does_not():
    same = carried(*twins(0, 0))
    assert set(same) == {(a, b) for a in ("natural", "injected") for b in ("natural", "injected")}
    for one in same.values():
        assert one.auc.estimate[0] > 0.85
        assert one.p_max[0] == 0.01
    other = carried(*twins(0, 90))
    assert other["natural", "natural"].auc.estimate[0] > 0.85
    assert abs(other["natural", "injected"].auc.estimate[0] - 0.5) < 0.15
    assert other["natural", "injected"].p_max[0] > 0.05
    against = carried(*twins(0, 180))["natural", "injected"]
    assert against.auc.estimate[0] < 0.15  # a reversed reading is not a transfer
    assert against.p[0] > 0.9


def test_groups_are_left_out_of_both_models():
    # Both models hold the same rows, which a probe that had seen a row's group could remember.
    made, truth, groups = twins(1, 0, strength=0.0, n=24, d=40)
    made["injected"] = made["natural"]
    found = carried(made, truth, groups)
    assert abs(found["natural", "injected"].auc.estimate[0] - 0.5) < 0.2
    assert found["natural", "injected"].auc.estimate[0] == pytest.approx(found["natural", "natural"].auc.estimate[0])


def test_false_positives():
    p = [
        carried(*twins(seed, 0, strength=0.0, n=16), permutations=19)["natural", "injected"].p_max[0]
        for seed in range(60)
    ]
    assert (np.array(p) <= 0.05).sum() <= 9
    assert 0.3 < np.median(p) < 0.75


def test_models_of_other_widths_are_refused():
    made, truth, groups = twins(2, 0)
    made["injected"] = {"site": made["injected"]["site"][:, :3]}
    with pytest.raises(ActivationError, match=r"site is \[3, 5\] wide in the two models"):
        carried(made, truth, groups)
    with pytest.raises(ActivationError, match="other sites or rows"):
        carried({"natural": made["natural"], "injected": {}}, truth, groups)


@pytest.fixture(scope="module")
def model():
    return interp.load_model(testbeds.path("memory"))


@pytest.fixture(scope="module")
def records(model):
    return load_records(testbeds.path("memory") / "records.jsonl", model.tokenizer)


def test_transfer_on_the_bed(model, records):
    injected = interp.load_model(testbeds.path("memory-injected"))
    report = transfer(model, injected, records, permutations=39, bootstrap=100, command="interp memorisation")
    assert (report.kind, len(report.rows)) == ("transfer", 4 * 5)
    home = [r["auc"] for r in report.rows if r["train"] == r["test"] == "natural"]
    assert max(home) > 0.58
    assert {r["dose"] for r in report.rows} == {512}
    assert report.meta["injected"] == injected.fingerprint
    assert interp.Report.from_json(report.to_json()) == report
    parts = [{**p, "p_max": 0.5} for p in report.meta["parts"]]
    assert headline(parts).startswith("No probe carries over at recall, dose 512")
    assert "would have been found 4 times in 5" in headline(parts)
    parts = [{**p, "p_max": 0.01 if p["train"] == "natural" else 0.5} for p in report.meta["parts"]]
    assert "one way only" in headline(parts)
    assert "without permutations" in headline([{**p, "p_max": None} for p in parts])
    with pytest.raises(StatisticsError, match="got -1"):
        transfer(model, injected, records, permutations=-1)


def test_projecting_out_on_the_bed(model, records):
    neutral = records.contrast("B", "C", 0).select(range(20))
    report = project_out(model, records, sites=["resid_post.1"], random=2, neutral=neutral, bootstrap=100)
    [row] = report.rows
    assert (report.kind, row["depth"], row["site"]) == ("project-out", 2, "resid_post.1")
    assert row["in_sample_auc"] < row["nested_auc"]
    assert row["in_sample_acc"] <= row["nested_acc"]
    assert row["log_p_change"] == pytest.approx(row["log_p_after"] - row["log_p_before"])
    assert row["beyond_random"] == pytest.approx(row["log_p_change"] - row["random_change"])
    assert -0.1 < row["log_p_before"] <= 0  # recited
    assert np.isfinite([row["neutral_before"], row["neutral_after"], row["twin_change"]]).all()
    assert row["neutral_before"] != row["neutral_after"]
    assert "In-sample readings are below chance by construction" in report.warnings[0]
    assert f"{row['in_sample_acc']:.2f} says nothing" in report.headline
    with pytest.raises(StatisticsError, match="random must be 1 or more directions, got 0"):
        project_out(model, records, random=0)
