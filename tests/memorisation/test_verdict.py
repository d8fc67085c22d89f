"""The verdict on erasers: what each half saw, what words follow from which numbers, and planted truth."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from interp import load_model, testbeds
from interp.errors import PromptError, SplitError, StatisticsError
from interp.memorisation import load_records
from interp.memorisation.erasure import Contrast, contrast_of, judge, verdict
from interp.memorisation.erasure.behaviour import neutral_costs, planted_records, recall
from interp.memorisation.erasure.contrast import LEAST_GROUPS
from interp.memorisation.erasure.halves import attack_halves, best_site, fresh_scores
from interp.memorisation.erasure.rows import attack_fields, headline, warnings_of
from interp.memorisation.erasure.treatment import Treatment, erase_every_depth, fold_everywhere
from interp.memorisation.erasure.words import words
from interp.prompts import PromptSet, load_prompts
from interp.run import forward
from interp.sites import Site
from interp.weights import weights_changed

BED = testbeds.path("memory")
FAST = {"suite": ("logistic C=1", "kernel ridge"), "attack_permutations": 19, "sites": ["resid_post.3"]}


@pytest.fixture(scope="module")
def model():
    return load_model(BED, device="cpu")


@pytest.fixture(scope="module")
def records(model):
    lines = [json.loads(line) for line in (BED / "records.jsonl").read_text().splitlines()]
    return load_records([row for row in lines if row["dose"] == 512], model.tokenizer)


@pytest.fixture(scope="module")
def neutral(model):
    return load_prompts(BED / "stories.jsonl", model.tokenizer, limit=24)


@pytest.fixture(scope="module")
def judged(model, records, neutral):
    return judge(model, records, ["mean", "leace", "random"], neutral=neutral, **FAST)


def test_rows_have_what_figures_need(judged):
    report = judged.report
    assert report.kind == "erasure"
    assert report.column("method") == ("none", "mean", "leace", "random")
    assert report.column("where") == (None, "model", "model", "model")
    assert report.column("rank") == (0, 1, 1, 1)
    for row in report.rows:
        for name in ("in_sample_acc", "nested_auc", "fresh_auc", "attack_auc", "attack_p", "exact_before",
                     "exact_after", "log_p_before", "log_p_after", "loss_before", "loss_after", "kl",
                     "weights_changed", "detectable_auc"):  # fmt: skip
            assert np.isfinite(row[name]), name
        assert row["nested_auc_lo"] <= row["nested_auc"] <= row["nested_auc_hi"]
        assert row["fresh_auc_lo"] <= row["fresh_auc"] <= row["fresh_auc_hi"]
        assert row["attack"] in report.meta["suite"]
    assert report.provenance.command is None
    assert report.provenance.seed == 0


def test_the_row_without_eraser_changes_nothing(judged):
    none = judged.report.rows[0]
    assert none["kl"] == 0
    assert none["loss_after"] == none["loss_before"]
    assert none["exact_after"] == none["exact_before"] >= 0.95
    assert none["log_p_after"] == pytest.approx(none["log_p_before"])
    assert none["nested_auc"] == none["fresh_auc"] == none["other_auc"]


def test_in_sample_is_below_chance_and_nested_is_not(judged):
    for row in judged.report.rows[1:3]:
        assert row["in_sample_auc"] < 0.45
        assert row["nested_auc"] == pytest.approx(0.5, abs=0.02)
    assert any("below chance" in note for note in judged.report.warnings)


def test_each_half_is_judged_by_what_did_not_see_it(judged, model):
    one, other = judged.parts
    assert not set(one.groups) & set(other.groups)
    assert len(one) + len(other) == 128
    for part, treatment in zip((other, one), judged.treatments["mean"], strict=True):
        again = erase_every_depth(model, part, lambda x, y: _mean(x, y), "mean", mark="recall")
        for site, eraser in treatment.erasers.items():
            assert torch.allclose(eraser.matrix, again.erasers[site].matrix, atol=1e-6)


def _mean(x, y):
    from interp.directions import fit_mean

    return fit_mean(x, y, keep_mean=True)


def test_an_eraser_at_each_depth_equalises_what_the_ones_before_left(judged):
    treatment, fitted_on = judged.treatments["leace"][1], judged.parts[0]
    seen = treatment.read(fitted_on, list(treatment.erasers), "recall")
    for rows in seen.values():
        x, y = rows.double(), torch.from_numpy(fitted_on.truth)
        assert (x[y].mean(0) - x[~y].mean(0)).norm() < 1e-4 * x.norm(dim=1).mean()


def test_an_eraser_folded_into_the_weights(model, judged):
    part = judged.parts[0]
    site = Site("resid_post", 1)
    done = fold_everywhere(model, part, _mean, "mean-weights", mark="recall", site=site)
    assert done.where == "weights"
    assert done.edits == ()
    assert done.weights_changed == weights_changed(model, done.model) > 0
    [eraser] = done.erasers.values()
    for rows in done.read(part, model.expand("resid_post"), "recall").values():
        assert ((rows.double() - eraser.offset) @ eraser.right.T).abs().max() < 1e-3


def test_recall_and_costs_are_those_of_the_plain_model(model, records, neutral):
    chosen, trained = planted_records(records, contrast_of(records, dose=512))
    plain = Treatment("none", model)
    found = recall(plain, chosen)
    truth = {r.id: r for r in testbeds.truth("memory").records}
    keys = chosen.planted().columns["record"].tolist()
    assert trained.tolist() == [truth[key].trained for key in keys]
    assert found.log_p == pytest.approx([-truth[key].loss_with for key in keys], abs=2e-3)
    assert found.exact[trained].mean() >= 0.95
    assert found.exact[~trained].mean() == 0
    before, [cost] = neutral_costs(model, [plain], neutral)
    logits = forward(model, neutral, at="all").logits
    losses, row = [], 0
    for tokens in neutral.tokens:
        part_logits = logits[row : row + len(tokens) - 1]
        losses.append(
            torch.nn.functional.cross_entropy(part_logits, torch.tensor(tokens[1:].copy()).long(), reduction="sum")
        )
        row += len(tokens)
    assert before == pytest.approx(float(sum(losses)) / sum(len(t) - 1 for t in neutral.tokens), rel=1e-5)
    assert cost.kl == 0


HERE, NOISE = Site("resid_post", 0), Site("resid_post", 1)


def _planted(n_groups: int, strength: float, seed: int = 0) -> tuple[torch.Tensor, Contrast]:
    """Features with a planted signal, in place of a model's activations."""
    rng = np.random.default_rng(seed)
    truth = np.tile([True, False], 4 * n_groups)
    x = rng.normal(size=(len(truth), 6))
    x[:, 0] += strength * truth
    prompts = PromptSet.from_tokens([[1, 2]] * len(truth))
    return torch.from_numpy(x), Contrast("twins", prompts, truth, np.repeat(np.arange(n_groups), 8))


def _attacked(strength: float, seed: int, suite: tuple[str, ...], permutations: int, n_groups: int = 8):
    made = [_planted(n_groups, strength, seed=2 * seed + k) for k in range(2)]
    features, parts = [{HERE: x} for x, _ in made], [part for _, part in made]
    return attack_halves(features, parts, suite=suite, permutations=permutations, seed=seed)


def test_attackers_find_a_planted_signal_and_nothing_in_noise():
    found = _attacked(2.0, 0, FAST["suite"], 39)
    assert found.auc > 0.85
    assert found.p == pytest.approx(1 / 40)
    assert 0.5 < found.chance < found.detectable < found.auc
    ps = [_attacked(0.0, 50 + seed, ("logistic C=1",), 19).p for seed in range(20)]
    assert np.mean(np.array(ps) <= 0.05) <= 0.2  # 20 draws at 5 %: 5 or more has a chance of .003


def _with_one_label_each(seed: int) -> tuple[torch.Tensor, Contrast]:
    """Five groups of which each has one label: ten arrangements."""
    x, part = _planted(5, 0.0, seed)
    truth = np.repeat([True, True, True, False, False], 8)
    return x + 5 * torch.from_numpy(truth)[:, None], Contrast("twins", part.prompts, truth, part.groups)


def test_where_nothing_could_have_been_found_no_power_is_promised():
    for made, least in (
        ([_planted(4, 9.0, seed=k) for k in range(2)], 1 / 16),
        ([_with_one_label_each(k) for k in range(2)], 1 / 10),
    ):
        features, parts = [{HERE: x} for x, _ in made], [part for _, part in made]
        found = attack_halves(features, parts, suite=("logistic C=1",), permutations=39, folds=5)
        assert found.auc > 0.95
        assert found.p >= found.min_p >= least > 0.05
        assert np.isnan(found.detectable)
        row = {**NUMBERS, **attack_fields(found)}
        assert (row["attack_min_p"], row["detectable_auc"]) == (found.min_p, None)
        assert words(row, row) == "signature: nothing could have been found; recall kept"
        table = [{**row, "method": "none"}, {**row, "in_sample_acc": 0.5, "verdict": "x"}]
        assert headline(table).startswith(f"Nothing could have been found: no p-value below {found.min_p:.2g}")
        [note] = warnings_of(table, parts)
        assert "Verdicts on the signature say nothing" in note


def test_the_least_p_is_what_a_strong_signal_gets():
    for seed in range(4):
        made = [_planted(5, 9.0, seed=2 * seed + k) for k in range(2)]
        features, parts = [{HERE: x} for x, _ in made], [part for _, part in made]
        found = attack_halves(features, parts, suite=("logistic C=1",), permutations=39, seed=seed)
        assert found.p == found.min_p
        assert found.min_p in (1 / 32, 2 / 32)
        assert np.isnan(found.detectable) == (found.min_p > 0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("n_groups", "strength"), [(5, 1.4), (8, 1.0)])
def test_what_is_called_detectable_is_found_four_times_in_five(n_groups, strength):
    found = [_attacked(strength, seed, FAST["suite"], 39, n_groups) for seed in range(80)]
    assert np.mean([f.auc for f in found]) == pytest.approx(np.nanmean([f.detectable for f in found]), abs=0.03)
    assert 0.68 <= np.mean([f.p <= 0.05 for f in found]) <= 0.95


def test_the_best_site_is_where_the_signal_is():
    x, part = _planted(8, 2.0)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert best_site({NOISE: noise, HERE: x}, part) == HERE
    scores = fresh_scores(x, part)
    assert scores[part.truth].mean() > scores[~part.truth].mean() + 1


NUMBERS = {
    "method": "x", "attack_p": 0.5, "attack_auc": 0.6, "detectable_auc": 0.7, "attack_min_p": 0.025,
    "exact_before": 1.0, "exact_after": 1.0,
    "loss_before": 1.0, "loss_after": 1.0, "kl": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "before_p", "said"),
    [
        ({"attack_p": 0.05}, 0.01, "signature still readable"),
        ({"attack_p": 0.051}, 0.01, "not readable by this suite (finds AUC 0.70)"),
        ({"attack_p": 0.5}, 0.2, "not readable before or after"),
        ({"attack_p": None}, None, "not tested"),
        ({"exact_after": 0.05}, 0.01, "recall gone"),
        ({"exact_after": 0.5}, 0.01, "recall weaker"),
        ({"exact_before": 0.0, "exact_after": 0.0}, 0.01, "nothing was recited before"),
        ({"loss_after": 1.06}, 0.01, "model damaged"),
        ({"kl": 0.2}, 0.01, "model damaged"),
    ],
)
def test_words_follow_from_numbers(changes, before_p, said):
    before = {**NUMBERS, "method": "none", "attack_p": before_p}
    text = words({**NUMBERS, **changes}, before)
    assert said in text
    assert ("damaged" in text) == ("damaged" in said)


def test_what_cannot_be_judged_is_refused(model, records, neutral):
    with pytest.raises(StatisticsError, match="'spell'"):
        verdict(model, records, ["spell"], neutral=neutral)
    with pytest.raises(StatisticsError, match="19 or more"):
        verdict(model, records, ["mean"], neutral=neutral, attack_permutations=9)
    with pytest.raises(PromptError, match="two neutral"):
        verdict(model, records, ["mean"], neutral=neutral.select([0]))
    with pytest.raises(PromptError, match="dose 7"):
        verdict(model, records, ["mean"], neutral=neutral, dose=7)
    with pytest.raises(PromptError, match="'C-C'"):
        verdict(model, records, ["mean"], neutral=neutral, contrast="C-C")
    few = records.select(np.isin(records.prompts.groups, np.unique(records.prompts.groups)[-9:]))
    with pytest.raises(SplitError, match=r"9 groups .* in 16 ways, .* below 0.062 .* 10 groups or more"):
        verdict(model, few, ["mean"], neutral=neutral)


def test_ten_groups_are_the_fewest_by_which_anything_can_be_found():
    for count in (9, 10):
        _, part = _planted(count, 0.0)
        if count < LEAST_GROUPS:
            with pytest.raises(SplitError, match="9 groups are too few"):
                part.halves(seed=0)
        else:
            halves = part.halves(seed=0)
            assert [half.n_groups for half in halves] == [5, 5]
            assert 2 / 2**5 > 0.05 >= 1 / 2**5  # both halves would have to be mirror images at once


def test_records_without_recall_marks_are_read_at_their_end(model, neutral):
    lines = [json.loads(line) for line in (BED / "records.jsonl").read_text().splitlines()]
    plain = [{k: v for k, v in row.items() if not k.startswith("recall_")} for row in lines if row["dose"] == 512]
    records = load_records([row for row in plain if row["pool"] == "M"], model.tokenizer)
    assert not records.recall_marks
    options = {**FAST, "suite": ("logistic C=1",), "attack_permutations": 0}
    found = judge(model, records, ["mean"], neutral=neutral, **options)
    assert found.report.meta["mark"] == "last"
    assert found.report.title.endswith("in 'memory', read at last")


def test_wordings_as_the_contrast(model, records, neutral):
    options = {**FAST, "suite": ("logistic C=1",), "attack_permutations": 0}
    found = judge(model, records, ["mean"], neutral=neutral, contrast="M-C", **options)
    assert found.report.meta["contrast"] == "M-C"
    assert found.report.rows[0]["twin_log_p_before"] is None
    assert found.report.rows[1]["attack_p"] is None
    assert "not tested" in found.report.rows[1]["verdict"]
    assert found.parts[0].pairs.shape == (32, 2)
