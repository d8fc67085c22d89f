"""Dose-response: the answer key, made-up records with known gaps, nulls, records that lack doses, twins or labels."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

import interp
from interp import PromptSet, testbeds
from interp.errors import PromptError, StatisticsError
from interp.memorisation.metrics import Extraction, extract, split_records
from interp.memorisation.recall import dose_response, means, sign_flip_p, trend_p, twin_gaps
from interp.metrics import TokenScores
from interp.provenance import Provenance
from tests.memorisation.planted import bed, never_trained, planted


def made(values, groups, dose=None, labels=None, pairs=None, **more):
    """An extraction with these log p, of records of three tokens."""
    n = len(values)
    columns = {"record": [f"r{i}" for i in range(n)], **({} if dose is None else {"dose": dose})}
    prompts = PromptSet.from_tokens(
        [[5, 6, 7]] * n, ids=columns["record"], columns=columns, groups=groups, labels=labels, pairs=pairs
    )
    empty, none = np.zeros((n, 3)), np.zeros((n, 3), int)
    scores = TokenScores(empty, empty, empty, none, none.astype(bool))
    numbers = {"log_p": np.asarray(values, float), **more}
    return Extraction(prompts, scores, split_records(prompts), numbers, "suffix", Provenance("a1", "made"))


def twins(gain_by_dose, rng, blocks=8, pairs=2, noise=1.0):
    """Blocks of twin pairs with a block effect; the trained twin gains what its dose says."""
    rows = []
    for dose, gain in gain_by_dose.items():
        for b in range(blocks):
            shift = rng.normal()
            for p in range(pairs):
                for label in ("trained", "untrained"):
                    value = shift + noise * rng.normal() + gain * (label == "trained")
                    rows.append((value, f"d{dose}b{b}", dose, label, f"d{dose}b{b}p{p}"))
    values, groups, dose, labels, names = zip(*rows, strict=True)
    return made(values, groups, list(dose), list(labels), names)


@pytest.fixture(scope="module")
def found():
    return extract(bed(), planted(), metrics=["exact", "log_p", "strength"])


def test_the_memory_bed(found):
    report = dose_response(found)
    truth = testbeds.truth("memory")
    assert report.kind == "recall"
    assert [(r["dose"], r["label"]) for r in report.rows] == [
        (d, label) for d in truth.doses for label in ("trained", "untrained")
    ]
    for row in report.rows:
        own = [r for r in truth.records if r.dose == row["dose"] and r.trained == (row["label"] == "trained")]
        assert row["records"] == len(own)
        assert row["exact"] == pytest.approx(np.mean([r.recalled for r in own]))
        assert row["log_p"] == pytest.approx(-np.mean([r.loss_with for r in own]), abs=1e-3)
        assert row["exact_lo"] <= row["exact"] <= row["exact_hi"]
        assert row["log_p_lo"] < row["log_p"] < row["log_p_hi"]
    for gap in report.meta["gaps"]:
        assert gap["gap"] == pytest.approx(-np.mean(list(truth.twin_gaps(gap["dose"]).values())), abs=1e-3)
    by_dose = {g["dose"]: g for g in report.meta["gaps"]}
    assert by_dose[512]["p"] < 0.001
    assert by_dose[0]["p"] > 0.01
    assert by_dose[0]["gap_lo"] < 0 < by_dose[0]["gap_hi"]
    assert report.meta["trend_p"] < 0.001
    assert report.meta["trend_of"] == "twins"
    assert report.headline.startswith("At dose 512 greedy decoding reproduces")
    assert "rises with dose" in report.headline
    assert any("6 groups only" in w for w in report.warnings)
    assert interp.Report.from_json(report.to_json()) == report


def test_the_never_trained_model_shows_no_dose():
    report = dose_response(extract(never_trained(), planted(), metrics=["exact", "log_p"]))
    assert max(row["exact"] for row in report.rows) < 0.05
    assert report.meta["trend_p"] > 0.01
    assert all(abs(gap["gap"]) < 1 for gap in report.meta["gaps"])


def test_same_seed_same_report(found):
    assert dose_response(found, metrics=["log_p"]) == dose_response(found, metrics=["log_p"])
    assert dose_response(found, metrics=["log_p"]) != dose_response(found, metrics=["log_p"], seed=1)


# ---- intervals -------------------------------------------------------------------------------------------------------


def test_means_of_equal_groups_get_students_interval():
    rng = np.random.default_rng(0)
    x = rng.normal(size=12)
    found = means({"log_p": np.repeat(x, 3)}, np.repeat(np.arange(12), 3), replicates=20_000)
    half = stats.t.ppf(0.975, 11) * x.std(ddof=1) / np.sqrt(12)
    assert found["log_p"] == pytest.approx(x.mean())
    assert found["log_p_hi"] - found["log_p"] == pytest.approx(half, rel=0.03)
    assert found["log_p"] - found["log_p_lo"] == pytest.approx(half, rel=0.03)


def test_means_cover_what_they_should():
    rng, hits = np.random.default_rng(1), 0
    for i in range(300):
        x = np.repeat(rng.normal(size=12), 4) + rng.normal(size=48)
        found = means({"log_p": x}, np.repeat(np.arange(12), 4), replicates=300, seed=i)
        hits += found["log_p_lo"] <= 0 <= found["log_p_hi"]
    assert 0.905 <= hits / 300 <= 0.985  # a true 0.95 stays within in 999 cases of 1000


def test_shares_stay_shares_and_one_group_has_no_interval():
    found = means({"exact": np.ones(6), "log_p": np.zeros(6)}, np.arange(6))
    assert list(found) == ["exact", "exact_lo", "exact_hi", "log_p", "log_p_lo", "log_p_hi"]
    assert 0.5 < found["exact_lo"] < found["exact_hi"] <= 1
    lone = means({"exact": np.ones(6)}, np.zeros(6))
    assert lone == {"exact": 1.0, "exact_lo": None, "exact_hi": None}


# ---- tests -----------------------------------------------------------------------------------------------------------


def test_sign_flips_by_hand():
    values, groups = np.array([3.0, -1.0, 2.0]), np.array(["a", "b", "c"])
    # Of the 8 sign patterns, the sums are 4, 0, 6, 2, -2, -6, 0, -4: two are at least 4.
    assert sign_flip_p(values, groups) == (0.25, 0.125)
    assert sign_flip_p(np.array([3.0, -1.0]), np.array(["a", "a"])) == (0.5, 0.5)


def test_sign_flips_of_many_groups_are_drawn():
    rng = np.random.default_rng(0)
    p, least = sign_flip_p(rng.normal(3, 1, 40), np.arange(40), 499)
    assert p == least == pytest.approx(1 / 500)


def test_trend_p_is_near_the_full_enumeration():
    rng = np.random.default_rng(3)
    values, rank = rng.normal(size=7) + np.array([0, 0, 0.3, 0.3, 0.6, 0.6, 0.6]), np.array([0, 0, 1, 1, 2, 2, 2])
    every = [values @ np.array(order) for order in permutations(rank)]
    exact = np.mean(np.array(every) >= values @ rank - 1e-9)
    p, least = trend_p(values, rank, 20_000)
    assert p == pytest.approx(exact, abs=0.01)
    assert least == pytest.approx(1 / 210)


def test_no_false_trend_and_no_false_gap():
    rng = np.random.default_rng(5)
    trend, gap = [], []
    for i in range(200):
        report = dose_response(
            twins({0: 0.0, 8: 0.0, 64: 0.0}, rng, blocks=6, pairs=1), replicates=100, permutations=199, seed=i
        )
        trend.append(report.meta["trend_p"] <= 0.05)
        gap.append(report.meta["gaps"][0]["p"] <= 0.05)
    assert np.mean(trend) <= 0.1  # a true 0.05 stays below in 999 cases of 1000
    assert np.mean(gap) <= 0.1


def test_a_planted_trend_is_found_and_a_constant_gap_is_none():
    rng = np.random.default_rng(6)
    rising = dose_response(twins({0: 0.0, 8: 1.0, 64: 3.0}, rng, blocks=20))
    assert rising.meta["trend_p"] < 0.001
    assert rising.meta["trend_slope"] == pytest.approx(1.5, abs=0.5)
    assert [g["p"] < 0.01 for g in rising.meta["gaps"]] == [False, True, True]
    constant = dose_response(twins({8: 2.0, 64: 2.0}, rng, blocks=20))
    assert constant.meta["trend_p"] > 0.01
    assert all(g["p"] < 0.01 for g in constant.meta["gaps"])
    falling = dose_response(twins({8: 3.0, 64: 0.0}, rng))
    assert falling.meta["trend_p"] > 0.9
    assert "does not detectably rise" in falling.headline


def test_the_gap_is_paired():
    # A large effect of blocks, which the twins share, does not hide a small gain.
    rng = np.random.default_rng(7)
    rows = [(50.0 * b + 0.5 * (label == "trained") + 0.1 * rng.normal(), f"b{b}", label) for b in range(12)
            for label in ("trained", "untrained")]  # fmt: skip
    values, groups, labels = zip(*rows, strict=True)
    report = dose_response(made(values, groups, [4] * 24, list(labels), groups))
    gap = report.meta["gaps"][0]
    assert gap["gap"] == pytest.approx(0.5, abs=0.1)
    assert 0.3 < gap["gap_lo"] < gap["gap_hi"] < 0.7
    assert gap["p"] < 0.001
    assert report.meta["trend_p"] is None
    assert "All records have dose 4, so there is no trend to test." in report.warnings
    assert f"the gap between twins in log_p is {gap['gap']:.2f} [" in report.headline


# ---- records that lack something -------------------------------------------------------------------------------------


def test_neither_doses_nor_labels():
    report = dose_response(made([-1.0, -2.0, -3.0], ["a", "b", "c"], exact=np.array([True, True, False])))
    assert [(r["dose"], r["label"], r["records"]) for r in report.rows] == [(None, None, 3)]
    assert report.headline == "Greedy decoding reproduces 67 % of 3 records."
    assert any("do not say which were trained on" in w for w in report.warnings)
    assert any("no doses" in w for w in report.warnings)
    assert report.meta["gaps"] == []


def test_doses_without_labels():
    rng = np.random.default_rng(0)
    dose = np.repeat([1, 2, 4], 8)
    report = dose_response(made(rng.normal(dose, 0.5), np.arange(24).astype(str), dose.tolist()))
    assert [r["dose"] for r in report.rows] == [1, 2, 4]
    assert report.meta["trend_of"] == "records"
    assert report.meta["trend_p"] < 0.01
    assert "log_p rises with dose" in report.headline
    assert any("rather than to showing them" in w for w in report.warnings)


def test_labels_without_pairs_are_compared_within_groups():
    found = made([-1.0, -3.0, -2.0, -6.0], ["a", "a", "b", "b"], labels=["trained", "untrained"] * 2)
    gaps, warnings = twin_gaps(found, "log_p")
    assert (gaps.values.tolist(), gaps.of, warnings) == ([2.0, 4.0], "groups", [])
    report = dose_response(found)
    assert not report.meta["twins"]
    assert "the gap between trained and untrained records in log_p is 3.00" in report.headline


def test_exact_recall_has_its_own_test(found):
    by_dose = {gap["dose"]: gap for gap in dose_response(found, metrics=["log_p"]).meta["exact_gaps"]}
    assert by_dose[512]["p"] < 0.001
    assert by_dose[512]["gap"] > 0.9
    assert by_dose[0]["p"] > 0.05
    assert by_dose[8]["min_p"] == pytest.approx(1 / 64)  # six groups


def unpaired(exact, labels, groups=None):
    n = len(exact)
    return made(np.zeros(n), groups or [str(i) for i in range(n)], labels=labels, exact=np.asarray(exact, bool))


def test_exact_recall_of_records_that_nothing_pairs():
    (gap,) = dose_response(unpaired([1, 1, 1, 1, 0, 0], ["trained"] * 3 + ["untrained"] * 3)).meta["exact_gaps"]
    # Of the 20 ways to choose three, the four that leave out two zeros have the same or a larger difference.
    assert (gap["gap"], gap["p"], gap["min_p"]) == (pytest.approx(2 / 3), pytest.approx(4 / 20), pytest.approx(1 / 20))
    assert (gap["gap_lo"], gap["pairs"], gap["groups"]) == (None, None, 6)
    rng = np.random.default_rng(8)
    p = [
        dose_response(unpaired(rng.random(24) < 0.3, ["trained", "untrained"] * 12), metrics=["exact"], replicates=100,
                      permutations=99).meta["exact_gaps"][0]["p"]
        for _ in range(60)
    ]  # fmt: skip
    assert np.mean(np.array(p) <= 0.05) <= 0.15  # a true 0.05 stays below in 999 cases of 1000


def test_labels_that_never_meet():
    found = made([-1.0, -3.0], ["a", "b"], labels=["trained", "untrained"])
    gaps, warnings = twin_gaps(found, "log_p")
    assert (gaps.values.tolist(), gaps.of) == ([-1.0], "records")
    assert "no pairs of a trained and an untrained record" in warnings[0]


def test_groups_that_hold_several_doses_have_no_trend():
    report = dose_response(made([-1.0, -2.0, -3.0, -4.0], ["a", "a", "b", "b"], [1, 2, 1, 2]))
    assert report.meta["trend_p"] is None
    assert any("'a' holds several doses" in w for w in report.warnings)


def test_too_few_groups_for_any_trend():
    report = dose_response(made([-1.0, -2.0, -3.0], ["a", "b", "c"], [1, 2, 2]))
    assert any("so few that no trend can have a p-value below 0.33" in w for w in report.warnings)
    lone = dose_response(made([-1.0, -2.0], ["a", "a"]))
    assert any("one group only" in w for w in lone.warnings)


def test_what_cannot_be_asked(found):
    with pytest.raises(PromptError, match="'zlib' was not measured"):
        dose_response(found, metrics=["zlib"])
    with pytest.raises(PromptError, match="'min_k' was not measured"):
        dose_response(found, trend_metric="min_k")
    for wrong in ({"level": 1.0}, {"replicates": 10}, {"permutations": 0}):
        with pytest.raises(StatisticsError, match="dose_response needs a level"):
            dose_response(found, **wrong)


def test_another_metric_for_the_trend(found):
    report = dose_response(found, metrics=["strength"], trend_metric="strength")
    assert report.meta["gap_metric"] == "strength"
    assert "the gap between twins in strength rises" in report.headline
