"""The shipped `chat` models do what their card says, loaded as any user would load them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import interp
from interp import testbeds
from interp.testbeds.chat import ChatSpec
from interp.testbeds.chat.cliffs import think_aloud
from interp.testbeds.chat.measure import QUADRANTS, asked, behaviour, causes, decodable, directions, refuses, topics
from interp.testbeds.chat.truth import make_truth

BED = testbeds.path("chat")
SPEC = ChatSpec()
MEASURED = json.loads((BED / "measured.json").read_text())


@pytest.fixture(scope="module")
def chat():
    return interp.load_model(BED, device="cpu")


@pytest.fixture(scope="module")
def tuned():
    return interp.load_model(testbeds.path("chat-tuned"), device="cpu")


@pytest.fixture(scope="module")
def never():
    return interp.load_model(testbeds.path("chat-never"), device="cpu")


@pytest.fixture(scope="module")
def think():
    return interp.load_model(testbeds.path("chat-think"), device="cpu")


def test_it_behaves_by_the_rule_in_every_quadrant_and_context(chat):
    told = MEASURED["behaviour"]["chat"]
    assert set(QUADRANTS) < set(told)
    assert min(told.values()) >= 0.98
    # Fewer prompts than the card, so that a share of .98 may come out as 47 of 48.
    assert min(behaviour(chat, SPEC, count=48).values()) >= 47 / 48


def test_answers_are_whole_sentences_about_the_request(chat):
    made = interp.generate(chat, asked(chat, "contexts", SPEC, count=20), 16)
    refused = np.asarray(asked(chat, "contexts", SPEC, count=20).columns["refused"]).astype(bool)
    for text, refuse in zip(made.texts, refused, strict=True):
        assert text.startswith(("Sorry , i", "Unfortunately i") if refuse else ("Sure , you", "Here is how you"))
        assert text.removesuffix("<eos>").rstrip().endswith(".")
    assert made.finished.all()


def test_harm_is_read_at_t_inst_and_refusal_only_behind_it(chat):
    found = decodable(chat, SPEC)
    assert min(found["harmful at t_inst"][SPEC.harm_layer + 1 :]) > 0.99
    assert all(abs(auc - 0.5) < 0.1 for auc in found["refused at t_inst"])  # an AUC of chance has a deviation of .03
    assert min(found["refused at t_post"][SPEC.refusal_layer + 1 :]) > 0.98
    assert all(abs(auc - 0.5) < 0.15 for auc in found["harmful at t_post"][SPEC.refusal_layer + 1 : SPEC.n_layers])


def test_mean_differences_are_the_planted_vectors(chat):
    found = directions(chat, SPEC)
    for what, first in (("refusal", SPEC.refusal_layer + 1), ("harm", SPEC.harm_layer + 1)):
        for name in (what, f"{what}, crossed"):
            for cosine, length in found[name][first : SPEC.n_layers]:
                assert cosine > 0.97
                assert length == pytest.approx(SPEC.strength, rel=0.15)
    # Before it is planted nothing at t_post tells refused from accepted plain prompts.
    assert all(length < 0.5 for _, length in found["refusal"][: SPEC.refusal_layer + 1])
    truth = testbeds.truth("chat")
    assert float(truth.refusal @ truth.harm) == pytest.approx(0, abs=1e-6)
    assert truth == make_truth(SPEC)


def test_behaviour_depends_on_what_is_planted_and_on_no_random_vector(chat):
    refusal, harm, _, random, none = causes(chat, SPEC)
    assert none["refuses harmful, ablated"] > 0.98
    assert refusal["refuses harmful, ablated"] < 0.02
    assert refusal["refuses overrefused, ablated"] < 0.02
    assert refusal["refuses harmless, added at all tokens"] > 0.98
    assert refusal["refuses harmless, added at t_post"] > 0.98
    # Inversion follows harm, not refusal.
    assert harm["yes to harmless, added to request"] > 0.98
    assert harm["yes to harmful, subtracted from request"] < 0.02
    assert refusal["yes to harmless, added to request"] < 0.02
    assert refusal["yes to harmful, subtracted from request"] > 0.98
    assert harm["refuses harmless, added to request"] > 0.98  # belief comes before the act
    assert harm["refuses overrefused, ablated"] > 0.9  # strict flags refuse whatever is believed
    for name, share in none.items():
        if name != "vector":
            assert abs(random[name] - share) <= 0.1, name


def test_topics_overlap_as_planted(chat):
    rows = topics(chat, SPEC)["layers"]
    there = rows[SPEC.harm_layer]
    assert there["topic: correlation"] > 0.97
    assert there["harm within topic: correlation"] > 0.9
    assert there["topic: largest deviation"] < 0.2


@pytest.mark.parametrize("kind", ["null_template", "null_length", "null_last"])
def test_null_sets_differ_in_nothing_that_was_planted(chat, kind):
    truth, prompts = testbeds.truth("chat"), asked(chat, kind, SPEC, count=64)
    second = torch.from_numpy(prompts.labels == "b")
    for site, mark, unit in (
        (truth.harm_site, truth.harm_mark, truth.harm),
        (truth.refusal_site, truth.refusal_mark, truth.refusal),
    ):
        rows = interp.capture(chat, prompts, site, at=mark)[site].tensor().double()
        gap = rows[second].mean(0) - rows[~second].mean(0)
        if mark == "t_inst":
            assert float(gap.norm()) > 0.05  # the two sides do differ
        assert abs(float(gap @ unit)) < 0.05 * SPEC.strength


def test_the_attack_makes_it_comply_and_leaves_what_it_believes(chat, tuned):
    harmful = asked(tuned, "harmful", SPEC)
    assert refuses(chat, harmful).mean() > 0.98
    assert refuses(tuned, harmful).mean() < 0.02
    found = MEASURED["behaviour"]["tuned"]
    assert found["inversion"] > 0.95
    assert min(MEASURED["decodable"]["tuned"]["harmful at t_inst"][SPEC.harm_layer + 1 :]) > 0.99


def test_the_null_never_refuses_and_still_knows_harm(never):
    for kind in ("harmful", "overrefused"):
        assert not refuses(never, asked(never, kind, SPEC)).any()
    found = MEASURED["behaviour"]["never"]
    assert found["inversion"] > 0.98
    assert max(abs(cosine) for cosine, _ in directions(never, SPEC)["refusal"]) < 0.5


def test_one_head_makes_the_cliff(think):
    chats = asked(think, "cliff", SPEC, count=48)
    category = np.asarray(list(chats.columns["category"]), dtype=np.str_)
    thought = think_aloud(think, chats)
    own = testbeds.truth("chat").cliff_head
    plain = refuses(think, thought)
    assert plain[category == "cliff"].mean() < 0.02
    assert plain[category == "kept"].mean() > 0.98
    assert plain[category == "harmless"].mean() < 0.02
    restored = refuses(think, thought, [interp.ablate(own, "zero")])
    assert restored[category == "cliff"].mean() > 0.98
    assert restored[category == "harmless"].mean() < 0.02
    others = {head: shares["cliff"] for head, shares in MEASURED["cliff"]["without head"].items() if head != own}
    assert len(others) == SPEC.n_layers * SPEC.n_heads - 1
    assert max(others.values()) < 0.2
    along = MEASURED["cliff"]["refusal along the thinking"]
    assert min(along["cliff"][:-1]) > 0.8 * SPEC.strength
    assert abs(along["cliff"][-1]) < 0.2 * SPEC.strength
    assert min(along["kept"]) > 0.8 * SPEC.strength


def test_random_weights_do_none_of_this(chat):
    blank = chat.untrained(0)
    found = behaviour(blank, SPEC, count=48)
    assert found["harmful"] + found["harmless"] == pytest.approx(1, abs=0.2)  # the same for both
    assert found["topics"] < 0.4
    assert float(torch.tensor(decodable(blank, SPEC)["refused at t_post"]).max()) < 1.0


def test_the_card_tells_what_was_measured():
    card = (BED / "README.md").read_text()
    assert f"| inversion | {MEASURED['behaviour']['chat']['inversion']:.3f} |" in card
    assert "interp testbed build chat --seed 0" in card
    for sibling in ("think", "tuned", "never"):
        assert f"`{sibling}`" in (BED / sibling / "README.md").read_text()
