"""The cross-sequence probe: it finds what was planted, and nothing in controls, and says so."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.stats import binom

import interp
from interp import testbeds
from interp.errors import PromptError, SplitError, StatisticsError
from interp.memorisation import load_records
from interp.memorisation.signature import signature
from interp.memorisation.signature.baselines import bag_of_tokens, mean_log_p, positions_of
from interp.memorisation.signature.cells import family_of
from interp.memorisation.signature.contrasts import contrasts_of, together
from interp.memorisation.signature.findings import headline, power_sentence, warnings_of
from interp.memorisation.signature.rows import cell_rows, cell_summary
from interp.memorisation.signature.trend import dose_trend, rising
from tests.memorisation.designs import cell_of

BED = testbeds.path("memory")


@pytest.fixture(scope="module")
def model():
    return interp.load_model(BED)


@pytest.fixture(scope="module")
def records(model):
    return load_records(BED / "records.jsonl", model.tokenizer)


@pytest.fixture(scope="module")
def report(model, records):
    never = interp.load_model(testbeds.path("memory-never"))
    return signature(
        model,
        records,
        doses=[0, 512],
        contrasts=["twins"],
        never=never,
        permutations=119,
        bootstrap=200,
        command="interp memorisation",
    )


def at(report, dose):
    return [row for row in report.rows if row["dose"] == dose]


def test_twins_are_told_apart_at_the_top_dose_and_the_choice_of_a_depth_is_paid_for(report):
    cell = report.meta["cells"][1]
    assert (cell["dose"], cell["mark"], cell["contrast"], cell["units"]) == (512, "recall", "twins", 64)
    assert cell["p_max"] < 0.01
    assert cell["p_family"] < 0.05
    assert cell["nested_auc_lo"] > 0.5
    assert cell["nested_auc"] <= cell["peak_auc"] + 1e-9
    assert set(cell["nested_sites"]) <= {row["site"] for row in report.rows}
    best = max(at(report, 512), key=lambda row: row["auc"])
    assert best["auc_lo"] > 0.5
    assert best["pairs"] > 0.55
    assert best["oriented"] == max(best["acc"], 1 - best["acc"])
    assert report.headline.startswith("Trained and never-seen twins can be told apart at recall at dose 512: AUC 0.")


def test_but_not_where_there_is_nothing_to_remember(report):
    placebo, top = report.meta["cells"]
    assert placebo["p_max"] > 0.05
    assert "not at recall at dose 0, where with 64 pairs an AUC of 0." in report.headline
    for control in ("never", "untrained"):
        assert top[f"{control}_p_max"] > 0.05
        assert top[f"{control}_peak_auc"] < 0.58
        assert placebo.get(f"{control}_p_max") is None  # permuted only where there is something to explain
    for row in report.rows:
        if row["depth"] == 0:  # words are balanced within blocks
            assert row["auc"] == pytest.approx(0.5, abs=0.02)
            assert row["p_max"] > 0.05
            assert row["detectable"] is None
    assert top["bow_auc"] == pytest.approx(0.5, abs=0.02)
    assert top["log_p_auc"] > 0.95  # the output knows


def test_the_report(report, records):
    assert report.kind == "signature"
    assert len(report.rows) == 2 * 5
    assert [row["depth"] for row in at(report, 0)] == [0, 1, 2, 3, 4]
    assert at(report, 0)[1]["site"] == "resid_post.0"
    assert all(row["n"] == 128 and row["n_groups"] == 16 for row in report.rows)
    for row in report.rows:
        assert row["p"] <= row["p_max"] <= row["p_family"] + 1e-9
        assert row["null_auc_lo"] <= row["null_auc_hi"]
    assert report.provenance.command == "interp memorisation"
    assert report.meta["controls"].keys() == {"untrained", "never"}
    assert report.meta["cells"][0]["min_p"] == pytest.approx(1 / 120)
    assert interp.Report.from_json(report.to_json()) == report


def test_wordings_that_lean_on_each_other_are_warned_about(model, records):
    found = signature(model, records, doses=[8], permutations=0, untrained=False, bootstrap=50, marks=["last"])
    assert {row["contrast"] for row in found.rows} == {"twins", "M-C", "C-B"}
    assert "p_max" not in found.columns
    assert "without permutations this may be luck" in found.headline
    assert found.meta["cells"][0]["p_max"] is None


def test_what_is_asked_for(records):
    default = contrasts_of(records)
    assert [(c.name, c.dose) for c in default] == [
        *(("twins", dose) for dose in records.doses), ("M-C", 512), ("C-B", 512),
    ]  # fmt: skip
    assert [(c.name, c.dose) for c in contrasts_of(records, None, [8])] == [("twins", 8), ("M-C", 8), ("C-B", 8)]
    [wordings] = contrasts_of(records, ["M-C"], [128])
    assert set(wordings.prompts.columns["pool"]) == {"M", "C"}
    assert wordings.truth.tolist() == (wordings.prompts.columns["pool"] == "M").tolist()
    assert wordings.n_units == 64
    prompts, rows = together(records, default[:2])
    assert [prompts.ids[i] for i in rows[1]] == list(default[1].prompts.ids)
    plain = records.select(records.column("pool") != "X")
    unlabelled = type(plain)(plain.prompts.with_labels(None))
    assert [(c.name, c.dose) for c in contrasts_of(unlabelled)][:2] == [("M-C", 0), ("M-C", 8)]


def test_what_cannot_be_asked_for(model, records):
    with pytest.raises(PromptError, match="no contrast 'M-X'; there are: twins, M-C, C-B"):
        contrasts_of(records, ["M-X"])
    alone = records.select(records.column("pool") == "M")
    with pytest.raises(PromptError, match="there is nothing to tell apart"):
        contrasts_of(type(alone)(alone.prompts.with_labels(None)))
    with pytest.raises(PromptError, match="no record has dose 7"):
        contrasts_of(records, None, [7])
    with pytest.raises(StatisticsError, match="permutations must be 0 or more, got -1"):
        signature(model, records, permutations=-1)
    few = records.select(np.isin(records.prompts.groups, ["d512-b00"]))
    with pytest.raises(SplitError):
        signature(model, few, untrained=False)


def test_prefixes_are_repeats_and_not_more_records(model):
    source = [json.loads(line) for line in (BED / "records.jsonl").read_text().splitlines()]
    some = [r for r in source if r["dose"] == 8 and r["pool"] == "M"]
    alone = load_records(some, model.tokenizer)
    behind = load_records(some, model.tokenizer, prefixes=["anna went home .", "one day"])
    one, two = (signature(model, r, permutations=39, bootstrap=50, untrained=False) for r in (alone, behind))
    assert [row["n"] for row in two.rows] == [2 * row["n"] for row in one.rows]
    assert [row["n_groups"] for row in two.rows] == [row["n_groups"] for row in one.rows]
    assert two.meta["cells"][0]["arrangements"] == one.meta["cells"][0]["arrangements"] == 64


def test_baselines_see_what_the_model_has_seen(model, records):
    prompts = records.twins(8).select([0, 1])
    last = np.stack([prompts.marks[f"recall_{k}"] for k in range(1, 7)]).max(0)
    assert positions_of(prompts, "recall").tolist() == last.tolist()
    assert bag_of_tokens(prompts, "recall").sum(1).tolist() == (last + 1).tolist()
    logits = model.hf(torch.from_numpy(prompts.tokens[0].copy())[None]).logits[0].detach()
    own = logits.log_softmax(-1)[:-1].gather(1, torch.from_numpy(prompts.tokens[0][1:].copy())[:, None])
    assert mean_log_p(model, prompts)[0] == pytest.approx(float(own.mean()), abs=1e-5)
    with pytest.raises(PromptError, match="a single token"):
        mean_log_p(model, interp.PromptSet.from_tokens([[5]]))


# --- on data of known truth -------------------------------------------------------------------------------------------


def test_a_planted_signal_is_found_and_a_control_that_has_it_too_is_said():
    data = testbeds.signal(0, 3.0, n_pairs=30)
    noise = testbeds.signal(1, 0.0, n_pairs=30)
    controls = {"untrained": noise.features, "never": data.features}
    bow = {"bow": torch.zeros(60, 1), "log_p": data.features["site 1"][:, :1]}
    cell = cell_of(data, controls=controls, baselines=bow, permutations=99)
    [family] = family_of([cell], 0)
    summary = cell_summary(cell, family)
    assert summary["p_max"] == 0.01
    assert summary["peak_site"] == "site 1"
    assert abs(summary["peak_auc"] - data.auc["site 1"]) < 0.1
    assert summary["never_p_max"] == 0.01
    assert summary["untrained_p_max"] > 0.05
    assert (summary["bow_auc"], summary["unit"], summary["units"]) == (0.5, "pairs", 30)
    assert any(
        w.startswith("The never-trained model tells trained and never-seen twins") for w in warnings_of([summary])
    )
    assert not any("untrained model tells" in w for w in warnings_of([summary]))
    rows = cell_rows(cell, family)
    assert rows[1]["pairs"] > 0.9
    assert rows[1]["p_oriented"] == 0.01
    assert "can be told apart at recall at dose 8: AUC 0.9" in headline([summary])


def test_nothing_planted_is_said_with_what_would_have_been_found():
    cell = cell_of(testbeds.signal(2, 0.0, n_pairs=30), permutations=99)
    summary = cell_summary(cell, family_of([cell], 0)[0])
    assert summary["p_max"] > 0.05
    assert headline([summary]).startswith("No depth tells trained and never-seen twins apart better than permuted")
    assert f"with 30 pairs an AUC of {summary['detectable']:.2f} would have been found 4 times in 5" in headline(
        [summary]
    )
    assert power_sentence([{**summary, "detectable": None}]) == "what could have been found is unknown"
    few = {**summary, "detectable": None, "min_p": 0.125, "groups": 4}
    assert power_sentence([few]) == "nothing could have been found: with 4 groups no p-value is below 0.12"


def test_no_power_is_promised_where_no_p_value_can_be_small_and_less_of_it_in_a_larger_table():
    one, *others = (cell_of(testbeds.signal(k, 0.0, n_pairs=20), dose=k, permutations=99) for k in range(6))
    alone, among = family_of([one], 0)[0], family_of([one, *others], 0)[0]
    assert cell_summary(one, among)["detectable"] > cell_summary(one, alone)["detectable"] + 0.01
    few = cell_of(testbeds.signal(0, 0.0, n_pairs=20), permutations=9)
    assert few.trained.permutations.min_p == 0.1
    assert cell_summary(few, family_of([few], 0)[0])["detectable"] is None
    assert all(row["detectable"] is None for row in cell_rows(few, family_of([few], 0)[0]))


@pytest.mark.parametrize("name", ["twins", "balanced_blocks"])
def test_false_positives_over_the_whole_table(name):
    runs, wrong, single = 30, 0, 0
    for seed in range(runs):
        cells = [
            cell_of(
                testbeds.nulls()[name](10 * seed + k),
                dose=k,
                folds=4,
                nested=False,
                bootstrap=2,
                permutations=19,
                seed=seed,
            )
            for k in range(2)
        ]
        found = np.concatenate([f.p for f in family_of(cells, seed)])
        wrong += bool((found <= 0.05).any())
        single += float(cells[0].p_nested) <= 0.05
    assert wrong <= binom.ppf(0.998, runs, 0.05)
    assert single <= binom.ppf(0.998, runs, 0.05)


def test_the_family_is_stricter_than_its_cells():
    cells = [cell_of(testbeds.signal(k, 1.5 * (k == 0), n_pairs=20), dose=k, permutations=99) for k in range(4)]
    family = family_of(cells, 0)
    alone = family_of(cells[:1], 0)
    assert family[0].p.min() >= alone[0].p.min()
    assert family[0].p.argmin() == 1
    assert (family[0].critical > alone[0].critical).all()
    at = cells[0].trained.auc.estimate
    assert ((at > family[0].critical) >= (family[0].p <= 0.05)).all()
    assert family_of([cell_of(testbeds.signal(0, 0.0, n_pairs=10), permutations=0)], 0)[0].p.tolist() == pytest.approx(
        [np.nan, np.nan], nan_ok=True
    )


def test_the_trend_over_doses():
    cells = [cell_of(testbeds.signal(k, strength, n_pairs=24), dose=8 * k) for k, strength in enumerate((0, 0.5, 2, 4))]
    [found] = dose_trend(cells)
    assert found["doses"] == [0, 8, 16, 24]
    assert found["slope"] > 0.08
    assert found["p"] < 0.01
    assert dose_trend(cells[:2]) == []
    rng = np.random.default_rng(0)
    nulls = [rng.normal(0.5, 0.05, 99) for _ in range(4)]
    p = [rising(rng.normal(0.5, 0.05, 4), nulls, np.arange(4.0))["p"] for _ in range(200)]
    assert np.mean(np.array(p) <= 0.05) < 0.1
    assert 0.35 < np.median(p) < 0.65
