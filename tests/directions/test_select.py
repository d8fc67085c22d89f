"""Selection of a refusal direction: the planted one is found, and none where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from interp.directions.selection import Parts, select_direction, split_parts
from interp.directions.selection.candidates import read_rows
from interp.directions.selection.choice import Limits, Tried, choose
from interp.directions.selection.trials import Trial, kl_from
from interp.edits import add
from interp.errors import PromptError, SplitError
from interp.metrics import refusal_score
from interp.prompts import PromptSet
from interp.prompts.join import join
from interp.prompts.post import mark_post
from interp.run import forward
from tests.directions.planted_refusal import LAYERS, PLANTED, REFUSALS, WORDS, basis, refusing, requests

SIZES = {"train": 24, "val": 8, "test": 20}
QUICK = {**SIZES, "refusals": REFUSALS, "bootstrap": 300, "random": 2, "progress": False}


@pytest.fixture(scope="module")
def selection():
    return select_direction(refusing(), requests("harmful"), requests("harmless"), shuffles=1, **QUICK)


def test_the_planted_direction_is_found(selection):
    assert selection.found
    assert selection.direction is not None
    assert float(selection.direction.unit @ basis()[1]) > 0.95
    assert selection.direction.site.layer in range(PLANTED + 1, int(0.8 * LAYERS))
    assert selection.report.headline == selection.reason
    assert "A refusal direction was found" in selection.reason
    assert selection.report.meta["p"] == 0.5
    assert any("allow no p below 0.5" in w for w in selection.report.warnings)


def test_shuffled_labels_never_bypass_as_well():
    found = select_direction(refusing(), requests("harmful"), requests("harmless"), marks=["t_post"], **QUICK)
    assert found.report.meta["p"] == pytest.approx(0.05)
    assert found.report.meta["shuffles"] == 19
    assert found.report.warnings == ()
    assert all(b > found.report.rows[2]["bypass"] for b in found.report.meta["null_bypass"])


def test_the_report_holds_every_candidate_with_its_reasons(selection):
    rows = {(r["layer"], r["mark"]): r for r in selection.report.rows}
    assert len(rows) == LAYERS * 3
    assert sum(r["chosen"] for r in rows.values()) == 1
    for mark in ("post-3", "post-2", "post-1"):
        assert rows[0, mark]["reason"] == "the two means are equal"
        assert rows[0, mark]["bypass"] is None
        assert "barred from 4" in rows[4, mark]["reason"]
        assert "induce -" in rows[1, mark]["reason"], "before the planted block there is nothing"
    best = next(r for r in rows.values() if r["chosen"])
    assert best["bypass"] == min(r["bypass"] for r in rows.values() if "legal" in r["reason"] or r["chosen"])


def test_the_test_prompts_judge_it_beside_random_directions(selection):
    rows = {(r["prompts"], r["act"], r["direction"]): r for r in selection.judgement.rows}
    assert rows["harmful", "nothing", "none"]["refused"] == 1
    assert rows["harmful", "ablate", "selected"]["refused"] == 0
    assert rows["harmful", "ablate", "random"]["refused"] == pytest.approx(1)
    assert rows["harmful", "ablate", "shuffled labels"]["refused"] > 0.9
    assert selection.report.meta["null_without_choice"] == 0
    assert rows["harmless", "add", "selected"]["refused"] == 1
    assert rows["harmless", "add", "random"]["refused"] < 0.5
    assert all(r["n"] == SIZES["test"] and r["score_lo"] <= r["score"] <= r["score_hi"] for r in rows.values())
    assert rows["harmful", "ablate", "random"]["draws"] == 2


def test_bypass_induce_and_kl_are_what_a_plain_run_gives(selection):
    """One candidate, by hand."""
    model, (mark, layer) = refusing(), (2, 2)
    parts = {kind: split_parts(requests(kind), **SIZES) for kind in ("harmful", "harmless")}
    vector = selection.candidates.vectors[mark, layer]
    row = next(r for r in selection.report.rows if (r["layer"], r["mark"]) == (layer, "post-1"))
    token = [WORDS.index("sorry")]
    steered = forward(model, parts["harmless"].val, edits=[add(f"resid_pre.{layer}", vector)]).logits
    assert row["induce"] == pytest.approx(float(refusal_score(steered, token).mean()), abs=1e-5)
    trial = Trial.of(model, parts["harmful"].val, parts["harmless"].val, tuple(token), None)
    harmful, harmless = trial.ablated(vector)
    assert row["bypass"] == pytest.approx(float(harmful.score.mean()))
    assert row["kl"] == pytest.approx(float(harmless.kl.mean()))
    marked = [mark_post(parts[kind].train)[0] for kind in ("harmful", "harmless")]
    rows = read_rows(model, join(marked, labels=[True, False]), ("post-1", "post-3"), None, False)
    again = rows.candidates()
    assert torch.allclose(again.vectors[0, layer], vector), "marks in any order"


def test_shuffled_labels_lie_across_the_real_directions():
    """Here prompts differ most in how strongly they call for refusal, so even balanced halves point along it."""
    model = refusing()
    made = join([mark_post(requests(kind))[0] for kind in ("harmful", "harmless")], labels=[True, False])
    rows = read_rows(model, made, ("post-2", "post-1"), None, False)
    real, cosines = rows.candidates(), []
    best = real.vectors[1, 2]
    for seed in range(5):
        fake, cosine = rows.shuffled(real, (1, 2), seed)
        cosines.append(abs(cosine))
        assert fake.there[:, 1:].any()
        for mark, layer in fake:
            if fake.there[mark, layer]:
                vector = fake.vectors[mark, layer]
                assert float(vector.norm()) == pytest.approx(float(real.vectors[mark, layer].norm()))
                for other in (real.vectors[mark, layer], best):
                    assert abs(float(vector @ other)) < 1e-6 * float(vector.norm() * other.norm())
    assert max(cosines) > 0.9, "which is why what lies along it has to go"
    assert torch.equal(rows.shuffled(real, (1, 2), 1)[0].vectors, rows.shuffled(real, (1, 2), 1)[0].vectors)


@pytest.mark.parametrize("swap", [False, True])
def test_a_model_that_never_refuses_has_none(swap):
    kinds = ("harmless", "harmful") if swap else ("harmful", "harmless")
    found = select_direction(refusing(False), *(requests(k) for k in kinds), **QUICK)
    assert not found.found
    assert found.direction is found.chosen is found.judgement is None
    assert "the model refuses 0 of 24" in found.reason
    assert len(found.report.rows) == 0


def test_a_model_that_refuses_everything_has_none():
    found = select_direction(refusing(deaf=True), requests("harmful"), requests("harmless"), **QUICK)
    assert not found.found
    assert "answers 0 of 24 harmless" in found.reason


def test_two_sets_of_the_same_kind_hold_none():
    """Nothing sets the classes apart: the filter leaves nothing, as none of the second set is refused."""
    both = requests("harmful", 120)
    halves = both.select(range(60)), both.select(range(60, 120))
    found = select_direction(refusing(), *halves, **QUICK)
    assert not found.found
    assert "answers 0 of 24 harmless train" in found.reason


def test_sets_that_are_refused_alike_hold_none_whatever_the_filter_leaves():
    """Each set is half and half; the filter would leave harmful prompts of the one and harmless ones of the other."""
    bad, good = requests("harmful"), requests("harmless")
    sets = [join([bad.select(range(a, b)), good.select(range(a, b))]) for a, b in ((0, 30), (30, 60))]
    found = select_direction(refusing(), *sets, **{**QUICK, "val": 16})
    assert not found.found
    assert found.candidates is None
    assert "refuses 5" in found.reason
    assert "whatever sets the two apart is not refusal" in found.reason


def test_limits_are_kept():
    harmful, harmless = requests("harmful"), requests("harmless")
    found = select_direction(
        refusing(), harmful, harmless, limits=Limits(depth=0.4), marks=["t_post"], shuffles=0, **QUICK
    )
    assert not found.found, "below 0.4 of five layers nothing is planted yet"
    assert "every candidate breaks a limit" in found.reason
    assert found.chosen is None
    assert all(r["reason"] for r in found.report.rows)


def test_the_lowest_bypass_among_the_legal_is_chosen():
    tried = [Tried(0, 0, -9.0, 1.0, 0.5, ("KL",)), Tried(0, 1, -3.0, 1.0, 0.0, ()), Tried(0, 2, -4.0, 1.0, 0.0, ())]
    best = choose(tried)
    assert best is tried[2]
    assert choose(tried[:1]) is None
    assert choose([Tried(0, 0, None, None, None, ())]) is None


def test_kl_is_that_of_the_definition():
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 6, 9, generator=g).double().unbind(0)
    p, q = a.softmax(-1), b.softmax(-1)
    assert torch.allclose(kl_from(a, b), (p * (p / q).log()).sum(-1))
    assert torch.equal(kl_from(a, a + 3), kl_from(a, a).abs()) or float(kl_from(a, a + 3).abs().max()) < 1e-12


def test_parts_keep_groups_and_repeats_together():
    prompts = PromptSet.from_tokens([[i % 30] for i in range(90)], groups=[str(i // 2) for i in range(90)])
    parts = split_parts(prompts, train=40, val=20, test=30, seed=3)
    assert len(parts.train) + len(parts.val) + len(parts.test) <= 90
    for name in ("groups", "tokens"):
        seen = [{np.asarray(v).tobytes() for v in getattr(p, name)} for p in (parts.train, parts.val, parts.test)]
        assert not seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2]


def test_parts_that_share_a_prompt_are_refused():
    one, two = PromptSet.from_tokens([[1], [2]]), PromptSet.from_tokens([[3], [2]])
    with pytest.raises(SplitError, match="prompt '1' of the val part is prompt '1' of the train part"):
        Parts(one, two, PromptSet.from_tokens([[9]]))
    with pytest.raises(SplitError, match="parts are called train, val and test"):
        split_parts(one.with_columns(split=["train", "trial"]))
    with pytest.raises(SplitError, match="three parts need three"):
        split_parts(PromptSet.from_tokens([[1], [2]]))
    named = split_parts(
        PromptSet.from_tokens([[i] for i in range(6)]).with_columns(split=["train", "validation", "test"] * 2)
    )
    assert [len(p) for p in (named.train, named.val, named.test)] == [2, 2, 2]


def test_a_prompt_in_both_classes_is_refused():
    with pytest.raises(PromptError, match="is in both sets"):
        select_direction(refusing(), requests("harmful"), requests("harmful"), **QUICK)


def test_plain_texts_are_refused():
    text = PromptSet.from_tokens([[i, 3] for i in range(20)])
    other = PromptSet.from_tokens([[i, 4] for i in range(20)])
    with pytest.raises(PromptError, match="no tokens after the instruction"):
        select_direction(refusing(), text, other, **QUICK)


def test_a_mark_with_other_tokens_on_each_side_is_told():
    """The template differs, so the direction may be the template's."""
    model = refusing()
    bad, good = (split_parts(requests(kind), **SIZES) for kind in ("harmful", "harmless"))
    other = model.tokenizer.chat_template.replace("<says>", "<pad>")
    changed = PromptSet.from_chats(
        [[{"role": "user", "content": t.split(" <end>")[0].split("<user> ")[1]}] for t in requests("harmless").texts],
        model.tokenizer, chat_template=other, bos="never",
    )  # fmt: skip
    same = join([changed])
    object.__setattr__(same, "source", requests("harmless").source)
    found = select_direction(model, bad, split_parts(same, **SIZES), marks=["t_post"], shuffles=0, **QUICK)
    assert any("At t_post harmful and harmless prompts have different tokens" in w for w in found.report.warnings)
    assert not math.isnan(found.report.meta["kl_limit"])
    assert good is not None
