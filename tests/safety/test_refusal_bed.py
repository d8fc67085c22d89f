"""The whole study on the chat bed, where harm and refusal were planted apart, and where there is nothing to find."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import torch

import interp
from interp import testbeds
from interp.errors import ActivationError, SplitError
from interp.report import Report
from interp.safety.refusal.study import refusal_study

BED = testbeds.path("chat")
QUESTION = "would this cause harm ?"
SIZES = {"train": 32, "val": 20, "test": 24}
QUICK: dict[str, Any] = {"permutations": 99, "bootstrap": 100, "doses": (1.0,), "question": QUESTION}


def rows_of(name: str, **sizes: int) -> list[dict[str, Any]]:
    """The first rows of each part of a file of the bed."""
    wanted, seen, out = SIZES | sizes, Counter(), []
    for line in (BED / f"{name}.jsonl").read_text().splitlines():
        row = json.loads(line)
        seen[row["split"]] += 1
        if seen[row["split"]] <= wanted[row["split"]]:
            out.append(row)
    return out


@pytest.fixture(scope="module")
def model():
    return interp.load_model(BED)


@pytest.fixture(scope="module")
def study(model):
    four = {name: rows_of(name) for name in ("harmful", "harmless", "jailbroken", "overrefused")}
    return refusal_study(
        model, **four, compare=interp.load_model(testbeds.path("chat-tuned")), command="interp refusal", **QUICK
    )


def cells(study, **wanted):
    return [c for c in study.reports["beliefs"].meta["cells"] if all(c[k] == v for k, v in wanted.items())]


def test_harm_is_read_at_the_end_of_the_instruction_and_refusal_at_the_end_of_the_prompt(study):
    found = {(c["reading"], c["mark"]): c for c in cells(study)}
    assert found["harm", "t_inst"]["found"]
    assert found["harm", "t_inst"]["auc_lo"] > 0.8
    assert found["refusal", "t_post"]["found"]
    assert found["refusal", "t_post"]["auc_lo"] > 0.8
    # And not the other way round.
    assert not found["refusal", "t_inst"]["found"]
    assert abs(found["refusal", "t_inst"]["auc"] - 0.5) < 0.15
    assert not found["harm", "t_post"]["found"]


def test_off_the_diagonal_harm_is_followed_first_and_refusal_then(study):
    inst, post = cells(study, reading="off-diagonal")
    assert (inst["mark"], inst["verdict"]) == ("t_inst", "follows harmfulness")
    assert (post["mark"], post["verdict"]) == ("t_post", "follows refusal")
    rows = {(r["mark"], r["cell"]): r for r in study.reports["quadrants"].rows}
    for mark, near in (("t_inst", ("harmful-refused", "harmful-accepted")),
                       ("t_post", ("harmful-refused", "harmless-refused"))):  # fmt: skip
        for cell in ("harmful-refused", "harmful-accepted", "harmless-refused", "harmless-accepted"):
            assert (rows[mark, cell]["near"] > 0.9) == (cell in near), (mark, cell)
            assert (rows[mark, cell]["near"] < 0.1) == (cell not in near), (mark, cell)
    means = {r["mark"]: r for r in study.reports["regression"].rows if r["depth"] is None}
    assert means["t_inst"]["harm_lo"] > 10 * abs(means["t_inst"]["refusal"])
    assert means["t_post"]["refusal_lo"] > 3 * abs(means["t_post"]["harm"])


def test_every_control_fails_where_the_belief_is_found(study):
    for cell in cells(study):
        if cell["found"]:
            for name in ("untrained", "embedding", "surface", "bow"):
                assert cell[f"ahead_of_{name}_lo"] > 0, (cell["reading"], cell["mark"], name)


def test_the_harm_direction_flips_the_answer_and_the_refusal_direction_does_not(study):
    rows = study.reports["dissociation"].rows
    own = {}
    for row in rows:
        own.setdefault((row["outcome"], row["direction"]), []).append(row)
    [harm] = own["answer", "harm"]
    assert harm["moves"]
    assert harm["flipped"] > 0.9
    assert harm["beyond_lo"] > 1
    assert all(row["flipped"] < 0.1 and not row["moves"] for row in own["answer", "refusal"])
    assert all(row["flipped"] < 0.1 for row in own["answer", "random"])
    assert any(row["moves"] and row["flipped"] > 0.9 for row in own["refusal, after it", "refusal"])
    assert all(row["flipped"] < 0.1 for row in own["refusal, after it", "harm"])
    assert study.reports["dissociation"].meta["double"]
    leads = study.reports["dissociation"].meta["leads"]
    assert leads["answer"]["lead_lo"] > 1
    assert leads["refusal, after it"]["lead_lo"] > 0.5


def test_directions_point_along_what_was_planted(study):
    truth = testbeds.truth("chat")
    for name, site, unit in (
        ("harm", truth.harm_site, truth.harm_unit), ("refusal", truth.refusal_site, truth.refusal_unit)
    ):  # fmt: skip
        direction = next(d for d in study.directions[name] if str(d.site) == site)
        assert float(direction(torch.tensor(unit, dtype=torch.float64))) > 0.95, name
    assert {d.mark for d in study.directions["harm"]} == {"t_inst"}
    assert {d.mark for d in study.directions["refusal"]} == {"t_post"}


def test_the_guard_catches_jailbroken_requests_that_the_model_answers(study):
    rows = {(r["role"], r["category"]): r for r in study.reports["guard"].rows}
    assert rows["jailbroken", None]["flagged"] > 0.9
    assert rows["jailbroken", None]["refused"] < 0.1
    assert rows["jailbroken", None]["ahead_lo"] > 0.5
    assert rows["overrefused", None]["flagged"] < 0.2
    assert study.reports["guard"].meta["auroc_lo"] > study.reports["guard"].meta["bow_auroc"]


def test_fine_tuning_took_refusal_away_and_left_the_belief(study):
    report = study.reports["checkpoints"]
    assert report.meta["refusal_change_hi"] < -0.9
    base, kept, refitted = report.meta["areas"]
    assert min(area["auc_lo"] for area in (base, kept, refitted)) > 0.8
    own = {(r["what"], r["mark"], r["role"]): r for r in report.rows}
    anew = "other model, means fitted anew"
    assert own[anew, "t_inst", "harmful"]["near"] > 0.9 > 0.1 > own[anew, "t_inst", "harmless"]["near"]
    assert own[anew, "t_inst", "harmful"]["refused"] == 0
    # By the base model's means, beliefs are fainter: the two streams have moved apart.
    old = "other model, the base model's means"
    assert own[old, "t_inst", "harmful"]["belief_hi"] < own[anew, "t_inst", "harmful"]["belief_lo"]


def test_claims_headline_and_files(study, model, tmp_path):
    said = {row["claim"]: row for row in study.summary.rows}
    assert set(study.summary.columns) == {"claim", "value", "value_lo", "value_hi", "null", "p", "verdict", "holds"}
    assert said["Plain harmful requests are refused more often than plain harmless ones (difference of shares)"][
        "holds"
    ]
    assert study.summary.headline.startswith("'chat' refuses: 76 of 76 plain harmful and 0 of 76 plain harmless")
    assert "lie by harm (AUC 1.00) at t_inst and lie by refusal (AUC 0.00) at t_post" in study.summary.headline
    folder = study.save(tmp_path / "out")
    assert Report.load(folder / "report.json") == study.summary
    for name, report in study.reports.items():
        assert Report.load(folder / f"{name}.json") == report
        assert report.provenance.command == "interp refusal"
        assert report.provenance.model == model.fingerprint
    path = folder / "directions" / "harm.resid_post.1.safetensors"
    assert interp.Direction.load(path, model.fingerprint).mark == "t_inst"
    assert repr(study) == repr(study.summary)


def test_two_quadrants_are_said_to_be_confounded(model):
    found = refusal_study(
        model, harmful=rows_of("harmful"), harmless=rows_of("harmless"), untrained=False, draws=1, **QUICK
    )
    assert "but with these requests harm and refusal are one" in found.summary.headline
    assert found.reports["beliefs"].warnings[0].startswith("Harmfulness and refusal are confounded (76 refused harmful")
    assert {c["reading"] for c in cells(found)} == {"plain"}
    assert "regression" not in found.reports


def test_three_quadrants_and_no_permutations(model):
    three = {name: rows_of(name) for name in ("harmful", "harmless", "jailbroken")}
    found = refusal_study(model, **three, untrained=False, draws=1, **{**QUICK, "permutations": 0})
    [warning] = found.reports["beliefs"].warnings
    assert warning.startswith("Too few refused harmless requests")
    assert {c["reading"] for c in cells(found)} == {"plain"}
    assert {c["verdict"] for c in cells(found)} == {"not tested: no permutations"}
    assert not any(c["found"] for c in cells(found))
    # One level of refusal has both kinds, and one kind both fates: enough for directions and for partial regression.
    means = {r["mark"]: r for r in found.reports["regression"].rows if r["depth"] is None}
    assert means["t_inst"]["harm_lo"] > 1 > 0.2 > abs(means["t_inst"]["refusal"])
    assert means["t_post"]["refusal_lo"] > 1
    truth = testbeds.truth("chat")
    refusal = next(d for d in found.directions["refusal"] if str(d.site) == truth.refusal_site)
    assert float(refusal(torch.tensor(truth.refusal_unit, dtype=torch.float64))) > 0.9


@pytest.mark.parametrize("kind", ["null-last", "null-length", "null-template"])
def test_nothing_is_found_where_only_the_wording_differs(model, kind):
    rows = rows_of(kind, train=64, val=40, test=48)
    sides = [
        [{k: v for k, v in r.items() if k not in ("harmful", "refused")} for r in rows if r["label"] == label]
        for label in "ab"
    ]
    found = refusal_study(model, harmful=sides[0], harmless=sides[1], draws=1, **QUICK)
    assert not any(row["holds"] for row in found.summary.rows), found.summary
    assert found.summary.headline.startswith("No refusal that goes by harm found in 'chat'")
    assert set(found.directions) == {"harm"}
    assert {"quadrants", "belief-map", "regression"}.isdisjoint(found.reports)


@pytest.mark.parametrize("kind", ["never", "untrained"])
def test_a_model_that_does_not_refuse_is_told_so_whether_or_not_it_sees_harm(model, kind):
    four = {name: rows_of(name) for name in ("harmful", "harmless", "jailbroken", "overrefused")}
    other = interp.load_model(testbeds.path("chat-never")) if kind == "never" else model.untrained(3)
    found = refusal_study(other, **four, untrained=kind == "never", **{**QUICK, "draws": 19 if kind == "never" else 1})
    assert found.summary.headline.startswith("No refusal found in")
    assert set(found.directions) == {"harm"}
    assert "the model does so in 50 % of them" in found.reports["behaviour"].warnings[0]
    held = {row["claim"] for row in found.summary.rows if row["holds"]}
    assert not any("efus" in claim.split("(")[0] and "guard" not in claim for claim in held), held
    if kind == "untrained":
        assert not held
    else:
        assert "Harmful and harmless requests are told apart at the end of the instruction (t_inst) (AUC)" in held
        assert "Steering along the harm direction moves the answer to the question about harm" in held


def test_too_few_requests_and_another_architecture_are_refused(model):
    few = {name: rows_of(name, train=4, val=4, test=4) for name in ("harmful", "harmless")}
    with pytest.raises(SplitError, match="beliefs need 8 harmful and 8 harmless requests in the training part"):
        refusal_study(model, **few, **QUICK)
    other = interp.load_model(testbeds.path("memory"))
    with pytest.raises(ActivationError, match="means of one mean nothing in the other"):
        refusal_study(model, harmful=rows_of("harmful"), harmless=rows_of("harmless"), compare=other, **QUICK)
