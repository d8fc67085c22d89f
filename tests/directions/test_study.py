"""Directions of a model, site by site: what the report says of them, and what it warns of."""

from __future__ import annotations

import numpy as np
import pytest

from interp import testbeds
from interp.directions import fit_directions
from interp.errors import ActivationError, PromptError
from interp.models import load_model
from interp.prompts import PromptSet, load_prompts
from interp.prompts.join import join
from interp.run import capture
from interp.sites import Site
from tests.directions.planted_refusal import basis, refusing, requests

QUICK = {"folds": 4, "permutations": 19, "bootstrap": 50, "untrained": False, "progress": False}


@pytest.fixture(scope="module")
def prompts():
    return join([requests("harmful", 40), requests("harmless", 40)], labels=["bad", "good"])


def test_directions_are_those_of_all_prompts_and_numbers_are_out_of_fold(prompts):
    study = fit_directions(refusing(), prompts, "resid_pre", at="t_post", **QUICK)
    rows = {row["site"]: row for row in study.report.rows}
    assert "resid_pre.0" not in map(str, study.directions), "the same token everywhere: there is nothing to find"
    assert rows["resid_pre.0"]["gap"] is None
    assert any("At resid_pre.0 the rows of the two classes are alike" in w for w in study.report.warnings)
    one = study.directions[Site("resid_pre", 2)]
    acts = capture(refusing(), prompts, "resid_pre.2", at="t_post", progress=False)["resid_pre.2"].tensor().double()
    up = prompts.labels == "good"
    assert float(one.unit @ (acts[up].mean(0) - acts[~up].mean(0))) == pytest.approx(rows["resid_pre.2"]["gap"])
    assert float(one.unit @ basis()[1]) < -0.95, "bad requests have it, and 'good' sorts last"
    assert rows["resid_pre.2"]["cos_halves"] > 0.95
    assert rows["resid_pre.2"]["cos_mean"] == pytest.approx(1)
    assert rows["resid_pre.2"]["auc"] == 1
    assert study.best is not None
    assert study.report.meta["method"] == "diff_means"
    assert "By the difference of means: 'good' against 'bad' can be read at t_post" in study.report.headline


def test_a_direction_far_from_the_means_is_told():
    """In the bed hardly anything varies but the plant, so logistic regression weighs tiny differences as much."""
    bed = testbeds.path("chat")
    model = load_model(bed)
    sides = [load_prompts(bed / f"{kind}.jsonl", model.tokenizer, limit=60) for kind in ("harmful", "harmless")]
    both, site = join(sides, labels=["harmful", "harmless"]), "resid_post.2"
    study = fit_directions(model, both, site, at="t_post", method="logistic", **QUICK)
    [row] = study.report.rows
    assert row["auc"] == 1
    assert row["cos_mean"] < 0.5
    assert any("it tells the classes apart by what varies little" in w for w in study.report.warnings)
    plain = fit_directions(model, both, site, at="t_post", **QUICK)
    assert not any("a cosine of" in w for w in plain.report.warnings)
    assert abs(float(plain.best.unit @ testbeds.truth("chat").refusal)) > 0.95


def test_nothing_is_found_between_two_sets_of_one_kind():
    whole = requests("harmful", 80)
    halves = join([whole.select(np.arange(k, 80, 2)) for k in (0, 1)], labels=["one", "other"])
    study = fit_directions(refusing(), halves, "resid_pre.1,resid_pre.3", at="t_inst", **QUICK)
    assert study.report.headline.startswith("By the difference of means: No site at t_inst separates")


def test_unknown_methods_are_refused_before_the_model_runs(prompts):
    with pytest.raises(ActivationError, match="no method 'svm'"):
        fit_directions(refusing(), prompts, method="svm")
    with pytest.raises(PromptError, match="no labels"):
        fit_directions(refusing(), PromptSet.from_tokens([[1], [2]]), **QUICK)
