"""Steering by dose: a planted direction is found, random ones are not, costs are what they are by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from interp import Direction, PromptSet, add, forward, generate, scale
from interp.edits import Condition
from interp.errors import EditError, PromptError, ProvenanceError, StatisticsError
from interp.metrics import refusal_score
from interp.safety.beyond import beyond_random, ratios_over
from interp.safety.controls import random_vectors, rows_at, turned, typical_norm
from interp.safety.neutral import Arm, distinct_pairs, measure_costs
from interp.safety.outcomes import Outcome, outcome
from interp.safety.side_effects import side_effects
from interp.safety.steering import steer_dose_response, steering
from tests.identity.architectures import fresh, ragged, shared_model

PROMPTS = PromptSet.from_tokens(ragged((6, 11, 3, 9, 7, 4, 8, 5, 10, 6, 7, 9)))
NEUTRAL = PromptSet.from_tokens(ragged((9, 12, 7, 10), seed=3))
SITE = "resid_post.2"
WANTED, OTHER = 11, 29


def logit_gap(logits, _prompts):
    return logits[:, WANTED] - logits[:, OTHER]


GAP = Outcome("gap", "logits", logit_gap, signed=True)


def towards(model, seed=None):
    """What raises one logit and lowers the other; or, with a seed, a random direction of that length."""
    rows = model.hf.get_output_embeddings().weight.detach()
    vector = rows[WANTED] - rows[OTHER]
    if seed is not None:
        drawn = torch.randn(len(vector), generator=torch.Generator().manual_seed(seed))
        vector = drawn / drawn.norm() * vector.norm()
    return Direction.of(vector, SITE, "last", "by hand", model.provenance())


@pytest.fixture(scope="module")
def found():
    model = shared_model("gpt2")
    return steer_dose_response(model, PROMPTS, towards(model), [-1, 1, 2, 4], GAP, neutral=NEUTRAL, stories=3)


def test_a_planted_direction_raises_its_logit_dose_by_dose(found):
    assert found.column("coeff") == (-1.0, 0.0, 1.0, 2.0, 4.0)
    effect = found.column("effect")
    assert all(a < b for a, b in pairwise(effect))
    assert effect[1] == 0
    for row in (found.rows[2], found.rows[3], found.rows[4]):
        assert row["effect_lo"] <= row["effect"] <= row["effect_hi"]
        assert row["random_effect_lo"] < row["random_effect"] < row["random_effect_hi"] < row["effect"]
        assert (row["p"], row["p_max"]) == (0.05, 0.05)
        assert row["p_prompts"] <= 2 / 2**12 + 1e-12
        assert row["verdict"].startswith("beyond random")
    assert "beyond 19 random directions (p = 0.05)" in found.headline
    assert found.rows[4]["positive"] == 1.0


def test_scores_are_those_of_the_edited_model(found):
    model = shared_model("gpt2")
    made = towards(model)
    for row in found.rows:
        edits = [add(SITE, row["coeff"] * made.vector)] if row["coeff"] else []
        want = float(logit_gap(forward(model, PROMPTS, edits=edits).logits, None).double().mean())
        assert row["score"] == pytest.approx(want, rel=1e-5)
        assert row["added"] == pytest.approx(row["coeff"] * made.scale)


def test_costs_are_those_computed_text_by_text(found):
    """KL and loss of one text at a time, through plain PyTorch hooks."""
    model = shared_model("gpt2")
    vector = 2 * towards(model).vector.float()
    block = model.module("transformer.h.2")
    kl, change, tokens, predicted = 0.0, 0.0, 0, 0
    for text in NEUTRAL.tokens:
        ids = torch.tensor(text)[None]
        with torch.no_grad():
            base = model.hf(ids).logits[0].log_softmax(-1)
            handle = block.register_forward_hook(
                lambda _m, _a, out: (out[0] + vector, *out[1:]) if isinstance(out, tuple) else out + vector
            )
            edited = model.hf(ids).logits[0].log_softmax(-1)
            handle.remove()
        kl += float((base.exp() * (base - edited)).sum())
        following = ids[0, 1:, None]
        change += float((base[:-1].gather(-1, following) - edited[:-1].gather(-1, following)).sum())
        tokens, predicted = tokens + len(text), predicted + len(text) - 1
    row = next(r for r in found.rows if r["coeff"] == 2)
    assert row["kl"] == pytest.approx(kl / tokens, rel=1e-4)
    assert row["ce_change"] == pytest.approx(change / predicted, rel=1e-4)
    assert 0 < row["random_kl_lo"] <= row["random_kl"] <= row["random_kl_hi"]


def test_fluency_is_the_unedited_models_surprise_at_greedy_text():
    model = shared_model("gpt2")
    edit = add(SITE, towards(model), 30.0)
    costs, notes = measure_costs(model, [Arm("x", (edit,))], NEUTRAL, stories=3, new_tokens=8)
    assert notes == ()
    for k, edits in enumerate(([], [edit])):
        made = generate(model, NEUTRAL.select([0, 1, 2]), 8, edits=edits)
        for i, text in enumerate(made.tokens):
            whole = np.concatenate([NEUTRAL.tokens[i], text])
            log_p = forward(model, PromptSet.from_tokens([whole]), at="all").logits.log_softmax(-1)
            start = len(NEUTRAL.tokens[i])
            own = [float(log_p[p - 1, int(whole[p])]) for p in range(start, len(whole))]
            assert costs.nll[k, i] == pytest.approx(-sum(own), rel=1e-4)
            assert costs.written[k, i] == 8
            assert costs.distinct[k, i] == distinct_pairs(text)
    assert costs.nll[1].mean() > costs.nll[0].mean() + 1
    assert distinct_pairs(np.array([4, 4, 4, 4])) == pytest.approx(1 / 3)
    assert np.isnan(distinct_pairs(np.array([4])))


def test_an_edit_that_changes_nothing_costs_nothing():
    model = shared_model("gpt2")
    costs, _ = measure_costs(model, [Arm("none", (scale(SITE, 1.0),))], NEUTRAL, stories=0)
    assert not costs.kl.any()
    assert not costs.ce_change.any()
    made = side_effects(model, [scale(SITE, 1.0)], NEUTRAL, stories=0)
    assert "act along no direction" in made.warnings[0]
    assert made.column("arm") == ("unedited", "edited")


def test_side_effects_stand_beside_random_edits_of_equal_length():
    model = shared_model("llama")
    made = side_effects(model, [add(SITE, towards(model), 3.0)], NEUTRAL, n_random=3, stories=2, new_tokens=8, seed=4)
    assert made.column("arm") == ("unedited", "edited", "random 1", "random 2", "random 3")
    kl = [row["kl"] for row in made.rows[1:]]
    assert made.meta["random_kl"] == pytest.approx(np.mean(kl[1:]))
    assert made.meta["random_kl_hi"] == pytest.approx(max(kl[1:]))
    assert all(row["kl_lo"] <= row["kl"] <= row["kl_hi"] for row in made.rows[1:])
    assert len({row["nll"] for row in made.rows}) == 5
    marked = add(SITE, towards(model), at="verb", when="prompt")
    with pytest.raises(PromptError, match="needs the mark 'verb', which not all neutral texts have"):
        side_effects(model, [marked], NEUTRAL)
    with pytest.raises(StatisticsError, match="no edits"):
        side_effects(model, [], NEUTRAL)
    with pytest.raises(PromptError, match="two neutral texts or more"):
        side_effects(model, [marked], NEUTRAL.select([0]))


# -- the test against random directions --


def test_random_directions_are_rarely_called_beyond_random():
    """Each of 120 random directions of the model itself against 19 others, at two doses."""
    model, groups = shared_model("gpt2"), np.arange(len(PROMPTS))
    plain = logit_gap(forward(model, PROMPTS).logits, None).double().numpy()
    vectors = random_vectors(towards(model).vector.float(), 120, seed=7)
    effects = np.stack([
        [logit_gap(forward(model, PROMPTS, edits=[add(SITE, v, c)]).logits, None).double().numpy() - plain
         for c in (1.0, 3.0)]
        for v in vectors
    ])  # fmt: skip
    rng = np.random.default_rng(0)
    hits, over_prompts = [], []
    for i in range(120):
        others = rng.choice([j for j in range(120) if j != i], 19, replace=False)
        found = beyond_random(effects[i], effects[others], groups, permutations=999)
        hits.append(found.found(0.05).any())
        over_prompts.append((found.p_prompts <= 0.05).any())
    assert np.mean(hits) <= 0.12  # .05 and three standard errors of a share among 120
    # Sign flips over prompts alone would call most of them an effect: that is what the ranks are for.
    assert np.mean(over_prompts) > 0.5


def test_ranks_among_directions_hold_their_level_and_see_through_a_shared_bias():
    rng = np.random.default_rng(1)
    groups = np.arange(10)
    found = 0
    for _ in range(600):
        own = rng.normal(0, 1, (20, 3, 1)) * [[1.0], [2.0], [8.0]] + rng.normal(0, 0.3, (20, 3, 10))
        found += bool((beyond_random(own[0], own[1:], groups, permutations=1).p_max <= 0.05).any())
    assert found / 600 <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5
    biased = 5 + rng.normal(0, 0.1, (19, 1, 1)) + rng.normal(0, 0.1, (19, 1, 10))
    like_others = beyond_random(np.full((1, 10), 5.0), biased, groups)
    unlike = beyond_random(np.full((1, 10), -4.0), biased, groups)  # smaller than 5, and the other way
    assert like_others.p[0] > 0.2
    assert unlike.p[0] == 0.05


def test_effects_that_only_some_prompts_have_are_not_found():
    rng = np.random.default_rng(2)
    drawn = rng.normal(0, 0.01, (19, 1, 8))
    effect = np.zeros((1, 8))
    effect[0, 0] = 50.0  # one prompt alone
    found = beyond_random(effect, drawn, np.arange(8))
    assert found.p_max[0] == 0.05
    assert not found.found(0.05)[0]
    with pytest.raises(StatisticsError, match=r"random effects are \[draw, dose, prompt\]"):
        beyond_random(effect, drawn[:0], np.arange(8))


def test_one_coefficient_of_several_is_a_hint():
    """Beyond random where it was looked at, but a random direction stands out as much at another coefficient."""
    rng = np.random.default_rng(3)
    drawn = rng.normal(0, 1, (19, 2, 1)) + rng.normal(0, 0.01, (19, 2, 12))
    drawn[4, 1] += 40.0
    found = beyond_random(np.stack([np.full(12, 8.0), np.full(12, 0.1)]), drawn, np.arange(12))
    assert found.p[0] == 0.05
    assert found.p_max[0] == 0.1
    assert found.hinted(0.05).tolist() == [True, False]
    assert not found.found(0.05).any()


def test_intervals_of_ratios_draw_texts_again():
    sizes, totals = np.array([10.0, 20.0, 30.0, 40.0]), np.array([5.0, 10.0, 15.0, 20.0])
    found = ratios_over(totals, sizes)
    assert float(found.estimate) == 0.5
    assert float(found.low) == pytest.approx(0.5)
    assert float(found.high) == pytest.approx(0.5)


# -- what it is compared with, and in what unit --


def test_random_directions_have_the_length_and_natural_ones_the_spread():
    like, basis = torch.tensor([3.0] + [0.0] * 31), torch.randn(3, 32)
    rows = torch.randn(50, 3) @ basis + 7
    for kind in ("isotropic", "natural"):
        made = random_vectors(like, 40, kind=kind, rows=rows, seed=1)
        assert torch.allclose(made.norm(dim=-1), torch.full((40,), 3.0))
        assert torch.equal(made, random_vectors(like, 40, kind=kind, rows=rows, seed=1))
        outside = made - made @ torch.linalg.pinv(basis) @ basis
        assert (outside.norm(dim=-1).max() < 1e-3) == (kind == "natural")
    edits = (add("resid_post.0", like), add("resid_post.1", like), add("resid_post.1", 2 * like))
    for one, two, other in turned(edits, 3, seed=2):
        assert torch.equal(one.along.vector, two.along.vector)
        assert other.along.vector.norm() == pytest.approx(6.0)
    with pytest.raises(EditError, match="acts along no direction"):
        turned([scale("resid_post.0", 2.0)], 1)
    for options, why in (
        ({"count": 0}, "one random direction or more"),
        ({"count": 1, "kind": "natural"}, "give two rows or more"),
        ({"count": 1, "kind": "natural", "rows": torch.ones(4, 32)}, "do not differ at all"),
    ):
        with pytest.raises(StatisticsError, match=why):
            random_vectors(like, **options)


def test_coefficients_count_in_the_unit_that_was_asked_for():
    model = shared_model("llama")
    made = towards(model)
    norm = typical_norm(model, NEUTRAL, SITE)
    lengths = rows_at(model, NEUTRAL, SITE).norm(dim=-1)
    assert (lengths < norm).sum() == pytest.approx(len(lengths) / 2, abs=1)
    for unit, length in (("length", made.scale), ("norm", norm), ("absolute", 1.0)):
        [edit] = steering(model, made, unit=unit, reference=NEUTRAL).edits(-2.0)
        moved = edit.fn(torch.zeros(1, 32), None)[0].double()
        assert torch.allclose(moved, -2 * length * made.unit, atol=1e-5)
    with pytest.raises(StatisticsError, match="give reference="):
        steering(model, made, unit="norm")


def test_control_tokens_do_not_set_the_typical_length():
    model = fresh("llama")
    with torch.no_grad():
        model.hf.get_input_embeddings().weight[3] *= 1e4
    tokens = [[3, 11, 12], [3, 13]]
    counted = typical_norm(model, PromptSet.from_tokens(tokens), "resid_pre.0")
    left_out = typical_norm(model, PromptSet.from_tokens(tokens, special_ids=[3]), "resid_pre.0")
    assert left_out < 100
    assert counted >= left_out


# -- what is said --


def test_what_is_not_beyond_random_is_said_not_to_be():
    model = shared_model("gpt2")
    made = steer_dose_response(model, PROMPTS, towards(model, seed=5), [1, 2], GAP)
    assert made.headline.startswith("No effect beyond random directions: at coefficient")
    assert any("says nothing about this direction" in text for text in made.warnings)
    assert any("No neutral text was given" in text for text in made.warnings)
    assert set(made.column("verdict")[1:]) == {"not beyond random"}


def test_too_few_random_directions_are_said_to_be_too_few():
    model = shared_model("gpt2")
    made = steer_dose_response(model, PROMPTS, towards(model), [2], GAP, n_random=4)
    assert made.rows[1]["verdict"] == "not beyond random"
    assert "4 random directions are too few to tell (p cannot be below 0.2)" in made.headline
    assert "19 are needed" in made.warnings[0]
    one = steer_dose_response(model, PROMPTS.with_groups(["a"] * 12), towards(model), [2], GAP)
    assert any("1 prompts or groups of them allow no p over prompts below 1" in text for text in one.warnings)
    assert "score_lo" not in one.rows[1]


def test_side_effects_that_dominate_are_named(found):
    row = next(r for r in found.rows if r["coeff"] == 4)
    assert row["kl"] > 0.1
    assert row["verdict"] == "beyond random, at a price"
    assert any("Side effects dominate at" in text and f"coefficient 4 ({row['kl']:.2g})" in text
               for text in found.warnings)  # fmt: skip


def test_conditions_are_counted_and_their_silence_is_told():
    model = shared_model("gpt2")
    never = Condition.on(towards(model), 2.0)
    made = steer_dose_response(model, PROMPTS, towards(model), [2], GAP, condition=never, neutral=NEUTRAL, n_random=2)
    assert (made.meta["condition_met"], made.meta["condition_met_neutral"]) == (0.0, 0.0)
    assert made.rows[1]["effect"] == made.rows[1]["kl"] == 0
    assert any("No prompt meets the condition" in text for text in made.warnings)
    always = Condition.on(towards(model), -2.0)
    made = steer_dose_response(model, PROMPTS, towards(model), [2], GAP, condition=always, neutral=NEUTRAL, n_random=2)
    assert any("100 % of the neutral texts meet the condition" in text for text in made.warnings)


def test_refusals():
    model, other = shared_model("gpt2"), shared_model("llama")
    made = towards(model)
    with pytest.raises(ProvenanceError, match="the direction was made with model"):
        steer_dose_response(other, PROMPTS, made, [1], GAP)
    assert steer_dose_response(other, PROMPTS, made, [1], GAP, n_random=1, foreign=True).rows[1]["effect"] != 0
    for options, why in (
        ({"coeffs": [0]}, "finite numbers, one of them not 0"),
        ({"coeffs": [float("nan")]}, "finite numbers"),
        ({"coeffs": [1], "n_random": 0}, "n_random >= 1"),
        ({"coeffs": [1], "when": "generated"}, "edits of generated tokens come too late"),
    ):
        with pytest.raises(StatisticsError, match=why):
            steer_dose_response(model, PROMPTS, made, metric=GAP, **options)


# -- outcomes --


def test_outcomes_refuse_what_they_cannot_give():
    model = shared_model("gpt2")
    for what, options, why in (
        ("loudness", {}, "unknown metric 'loudness'; one of refusal, log_p, logit_diff, says"),
        ("log_p", {}, "needs answer"),
        ("logit_diff", {"answer": "a"}, "needs answer and wrong"),
        ("log_p", {"answer": "a"}, "no tokenizer"),
        ("refusal", {}, "tokenizer"),
    ):
        with pytest.raises(PromptError, match=why):
            outcome(what, model, PROMPTS, **options)
    with pytest.raises(PromptError, match=r"returned \[3\] for 12 prompts"):
        outcome(lambda logits, _: logits[:3, 0], model, PROMPTS).measure(model, PROMPTS)
    with pytest.raises(Exception, match=r"'bad' is nan on prompt '0'"):
        Outcome("bad", "x", lambda logits, _: logits[:, 0] * float("nan")).measure(model, PROMPTS)


def test_the_score_of_refusals_is_that_of_metrics():
    model = shared_model("gpt2")
    made = Outcome("refusal score", "log odds", lambda x, _: refusal_score(x, [5, 6]), signed=True)
    want = refusal_score(forward(model, PROMPTS).logits, [5, 6]).numpy()
    assert np.allclose(made.measure(model, PROMPTS), want)
