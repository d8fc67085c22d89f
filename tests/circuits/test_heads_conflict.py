"""Memory and context heads: they agree with single-head ablation done by hand, and pruning them moves what is said."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from interp import load_model, testbeds
from interp.circuits.conflict import answer_scores, check_answers, head_effects
from interp.circuits.conflict_report import ConflictSettings, conflict_reports
from interp.circuits.headtokens import answer_tokens
from interp.errors import CircuitError
from interp.prompts import load_prompts


@pytest.fixture(scope="module")
def model():
    return load_model(testbeds.path("conflict"))


@pytest.fixture(scope="module")
def prompts(model):
    return load_prompts(testbeds.path("conflict") / "conflicts.jsonl", model.tokenizer)


@pytest.fixture(scope="module")
def answers(model, prompts):
    return answer_tokens(model, prompts, "memory"), answer_tokens(model, prompts, "context")


@pytest.fixture(scope="module")
def truth():
    return testbeds.truth("conflict")


@pytest.fixture(scope="module")
def direct(model, prompts, answers):
    return head_effects(model, prompts, *answers, path="direct", how="zero")


@pytest.fixture(scope="module")
def reports(model, prompts, answers):
    return conflict_reports(model, prompts, *answers, ConflictSettings(how="zero", draws=24, bootstrap=200))


def planted(truth):
    return {f"z.{h.layer}.h{h.head}": h for h in truth.heads}


def test_full_ablation_is_that_of_the_answer_key(model, prompts, answers, truth):
    """The key was made by zeroing rows of weights, without any hook."""
    found = head_effects(model, prompts, *answers, path="full", how="zero")
    for k, head in enumerate(found.heads):
        told = planted(truth)[str(head)]
        assert found.memory[:, k].mean() == pytest.approx(told.memory, abs=1e-3)
        assert found.context[:, k].mean() == pytest.approx(told.context, abs=1e-3)


def test_path_patching_ranks_heads_as_full_ablation_does(direct, truth):
    for name in ("memory", "context"):
        told = [getattr(planted(truth)[str(head)], name) for head in direct.heads]
        assert spearmanr(getattr(direct, name).mean(0), told).statistic >= 0.9, name


def test_the_last_layer_has_nothing_behind_it(model, prompts, answers, direct):
    """Without MLPs a last-layer head's direct effect is what ablation at the last token does, and all that it does."""
    full = head_effects(model, prompts, *answers, path="full", how="zero")
    last = [k for k, head in enumerate(direct.heads) if head.layer == model.n_layers - 1]
    assert np.allclose(direct.memory[:, last], full.memory[:, last], atol=1e-4)
    assert not np.allclose(direct.memory[:, 0], full.memory[:, 0], atol=1e-4)


def test_roles_are_those_of_the_answer_key(reports, truth):
    for row in reports["conflict-heads"].rows:
        told = planted(truth)[row["part"]]
        if abs(told.memory) > 0.3 and abs(told.context) > 0.3:
            assert row["role"] == told.role, row["part"]
        assert row["role"] in (told.planted, "neither"), row["part"]


def test_pruning_moves_the_answer_on_prompts_that_chose_nothing(reports):
    memory, context = reports["conflict-pruned"].rows
    for row in (memory, context):
        assert row["beyond_lo"] > 0
        assert row["p"] < 0.05
    assert memory["says_context_after"] > memory["says_context_before"] + 0.2
    assert context["says_memory_after"] > context["says_memory_before"] + 0.2
    assert [report.rows[0]["n"] for report in reports.values()] == [192, 96]


def test_exchanged_answers_have_no_heads(model, prompts):
    """Answers that have nothing to do with the prompt: nothing speaks for them beyond chance."""
    prompts = prompts.select(slice(96))
    rng = np.random.default_rng(0)
    values = np.arange(4, 16)
    drawn = [rng.choice(values, 2, replace=False) for _ in range(len(prompts))]
    memory, context = ([np.array([pair[side]]) for pair in drawn] for side in (0, 1))
    made = conflict_reports(model, prompts, memory, context, ConflictSettings(how="zero", draws=2, bootstrap=200))
    roles = [row["role"] for row in made["conflict-heads"].rows]
    assert roles.count("neither") >= len(roles) - 1


def test_answers_must_differ_and_be_there(model, prompts, answers):
    with pytest.raises(CircuitError, match="no conflict"):
        check_answers(prompts, answers[0], answers[0])
    with pytest.raises(CircuitError, match="answers for 192 prompts"):
        answer_scores(model, prompts, answers[0][:3], answers[1])
    with pytest.raises(CircuitError, match="no field 'truth'"):
        answer_tokens(model, prompts, "truth")
