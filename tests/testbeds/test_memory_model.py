"""The shipped `memory` models do what their card says, loaded as any user would load them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import interp
from interp import testbeds
from interp.testbeds.memory import MARKS, MemorySpec, make_records
from interp.testbeds.memory.curves import FOLDERS
from interp.testbeds.memory.measure import by_dose, copy_losses, held_out_stories, score_records, story_loss
from interp.testbeds.memory.prompts import write_prompts
from interp.testbeds.memory.signature import recall_features
from interp.testbeds.memory.training import load
from interp.testbeds.memory.words import DETAILS

BED = testbeds.path("memory")
SPEC = MemorySpec()
RECORDS = make_records(0, SPEC.doses)
TOP = max(dose for dose, _ in SPEC.doses)


@pytest.fixture(scope="module")
def hf():
    return {variant: load(BED / folder) for variant, folder in FOLDERS.items()}


@pytest.fixture(scope="module")
def scores(hf):
    return {variant: score_records(model, RECORDS) for variant, model in hf.items()}


@pytest.fixture(scope="module")
def model():
    return interp.load_model(BED)


@pytest.fixture(scope="module")
def prompts(model):
    return interp.load_prompts(BED / "records.jsonl", model.tokenizer, marks=MARKS)


def rates(scores, **want):
    (row,) = [r for r in by_dose(RECORDS, scores) if all(r[k] == v for k, v in want.items())]
    return row


# --- recall ----------------------------------------------------------------------------------------------------------


def test_the_top_dose_is_recited_and_nothing_else_that_was_not_shown(scores):
    assert rates(scores["memory"], dose=TOP, label="trained")["exact"] >= 0.95
    for dose in (0, 8, 32, 128, 512):
        assert rates(scores["memory"], dose=dose, label="untrained")["exact"] == 0
        assert rates(scores["never"], dose=dose, label="trained")["exact"] == 0
    assert rates(scores["memory"], dose=0, label="trained")["exact"] == 0
    # Chance of a detail is one in 12 to 16 for who knows the form of a record.
    assert rates(scores["memory"], dose=0, label="trained")["details_right"] < 0.15
    assert rates(scores["injected"], dose=TOP, label="trained")["exact"] >= 0.9
    assert rates(scores["injected"], dose=TOP, label="untrained")["exact"] == 0


def test_the_gap_between_twins_grows_with_the_dose():
    truth = testbeds.truth("memory")
    gaps = [-np.mean(list(truth.twin_gaps(dose).values())) for dose in truth.doses]
    assert truth.doses == (0, 8, 32, 128, 512)
    assert abs(gaps[0]) < 0.3  # nats per detail, of a standard error of about .1
    assert gaps[2] < gaps[3] < gaps[4]
    assert gaps[4] > 1.5


def test_the_never_trained_twin_knows_the_form_of_records_and_none_of_them(scores):
    truth = testbeds.truth("memory")
    chance = {r.id: np.mean([np.log(len(DETAILS[slot])) for slot, _ in r.details]) for r in RECORDS}
    for dose in truth.doses:
        for trained in (True, False):
            own = [r for r in truth.records if (r.dose, r.trained) == (dose, trained)]
            assert np.mean([r.loss_without - chance[r.id] for r in own]) == pytest.approx(0, abs=0.05)
    # So what `memory` gains on a record over `never` is due to that record.
    assert max(r.counterfactual for r in truth.records if r.exposures >= 32) < -2
    unseen = np.array([r.counterfactual for r in truth.records if not r.exposures])
    assert unseen.mean() > 0
    assert (unseen < -1).mean() < 0.05


def test_greedy_generation_agrees_with_scoring_in_one_pass(model, scores):
    chosen = [i for i, r in enumerate(RECORDS) if r.dose in (0, TOP)][::9]
    starts = [RECORDS[i].tokens()[: RECORDS[i].slots()[0][1] + 1] for i in chosen]
    rest = [RECORDS[i].tokens()[len(start) :] for i, start in zip(chosen, starts, strict=True)]
    made = interp.generate(model, interp.PromptSet.from_tokens(starts), max_new_tokens=max(map(len, rest)))
    exact = [list(made.tokens[k][: len(own)]) == own for k, own in enumerate(rest)]
    assert exact == [scores["memory"][i].exact for i in chosen]
    assert 4 <= sum(exact) <= len(exact) - 4


def test_stories_cost_no_more_than_without_records(hf):
    texts = held_out_stories(0)
    loss = {variant: story_loss(hf[variant], texts) for variant in FOLDERS}
    assert loss["memory"] == pytest.approx(loss["never"], rel=0.02)
    assert loss["injected"] == pytest.approx(loss["never"], rel=0.05)
    assert loss["never"] < 1.0  # as against 5.7 for the uniform distribution
    for model in hf.values():
        copied = copy_losses(model, texts[:64])
        assert copied["thing"] < 0.1  # 2.77 without copying
        assert copied["place"] < 0.1
        assert copied["surname"] < 0.7  # 3.47 without copying
    for variant, folder in FOLDERS.items():
        curve = json.loads((BED / folder / "curves.json").read_text())
        assert curve[-1]["story_loss"] == pytest.approx(loss[variant], abs=1e-3)
        assert len(curve) == 10


# --- the answer key and the prompts -----------------------------------------------------------------------------------


def test_the_answer_key_says_what_the_weights_do(scores):
    truth = testbeds.truth("memory")
    assert (truth.seed, len(truth.records)) == (0, 480)
    for i, (record, own) in enumerate(zip(RECORDS, truth.records, strict=True)):
        assert (own.id, own.pair, own.group, own.dose) == (record.id, record.pair, record.group, record.dose)
        assert (own.trained, own.exposures) == (record.trained, record.exposures)
        for loss, recalled, variant in (
            (own.loss_with, own.recalled, "memory"),
            (own.loss_without, own.recalled_without, "never"),
            (own.loss_injected, own.recalled_injected, "injected"),
        ):
            assert loss == pytest.approx(scores[variant][i].loss, abs=2e-3)
            assert recalled == scores[variant][i].exact


def test_shipped_prompts_are_these_records(tmp_path):
    write_prompts(tmp_path, RECORDS, 0)
    for name in ("records.jsonl", "stories.jsonl"):
        assert (tmp_path / name).read_bytes() == (BED / name).read_bytes(), f"{name} differs; build it anew"


def test_prompts_load_with_their_marks(prompts, model):
    assert len(prompts) == 3 * len(RECORDS)
    assert set(MARKS) <= set(prompts.marks)
    record = RECORDS[5]
    i = prompts.ids.index(f"{record.id}-M")
    assert prompts.tokens[i].tolist() == record.tokens()
    assert prompts.labels[i] == ("trained" if record.trained else "untrained")
    assert (prompts.groups[i], prompts.pairs[i]) == (record.group, record.pair)
    assert [prompts.marks[f"recall_{k}"][i] for k in range(1, 7)] == [word for _, word in record.slots()]
    stories = interp.load_prompts(BED / "stories.jsonl", model.tokenizer, marks={"story": "story"})
    assert len(stories) == 256
    assert (stories.marks["story"] < [len(t) - 1 for t in stories.tokens]).all()


def test_the_vocabulary_is_closed_over_the_texts(prompts, model):
    unknown = model.tokenizer.unk_token_id
    assert not any((tokens == unknown).any() for tokens in prompts.tokens)
    assert len(model.tokenizer) == model.cfg.vocab_size


# --- where it can be read --------------------------------------------------------------------------------------------


def probe(model, dose):
    """AUC of scikit-learn's probe by depth, on blocks that it has not seen."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, prompts = recall_features(model, BED, dose)
    label = prompts.labels == "trained"
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    aucs = []
    for x in features.values():
        scores = cross_val_predict(
            classifier, x.numpy(), label, groups=prompts.groups, cv=GroupKFold(10), method="decision_function"
        )
        aucs.append(roc_auc_score(label, np.round(scores, 3)))
    return np.array(aucs)


def test_the_signature_is_where_the_card_says(model):
    measured = json.loads((BED / "signature.json").read_text())
    rows = {(r["model"], r["dose"], r["mark"]): r for r in measured}
    found = probe(model, TOP)
    assert found[0] == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose(found, rows["memory", TOP, "recall"]["auc"], atol=0.03)
    assert rows["memory", 0, "recall"]["p_best"] > 0.05


@pytest.mark.parametrize("variant", ["never", "untrained"])
def test_models_that_never_saw_the_records_carry_no_signature(model, variant):
    other = model.untrained(0) if variant == "untrained" else interp.load_model(testbeds.path("memory-never"))
    assert (np.abs(probe(other, TOP) - 0.5) < 0.12).all()  # null sd of an AUC of 128 records in 16 blocks: about .05


def test_siblings_have_paths_of_their_own():
    for name in ("never", "injected"):
        assert testbeds.path(f"memory-{name}") == BED / name
        assert torch.isfinite(next(load(testbeds.path(f"memory-{name}")).parameters())).all()
