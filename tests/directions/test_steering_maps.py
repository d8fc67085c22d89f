"""CAA at an answer token, heads by held-out accuracy, and maps that leave some rows where they are."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.directions import Direction
from interp.directions.contrast import answer_prompts, caa
from interp.directions.heads import HeadShifts, fit_heads, iti
from interp.directions.null_space import NullSpaceMap, fit_null_space_map
from interp.errors import ActivationError, PromptError, ProvenanceError, SplitError, StatisticsError
from interp.prompts import PromptSet
from interp.provenance import Provenance
from interp.run import capture, forward
from interp.sites import Site
from tests.identity.architectures import fresh
from tests.prompts.made_tokenizers import TEMPLATES, byte_level

MADE = {"site": "resid_post.1", "mark": "last", "provenance": Provenance("a1", "tiny")}

# ---- null-space map


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(1, 12), st.floats(1e-3, 100))
def test_the_map_is_the_formula_and_keeps_what_it_should(seed, kept, moved, ridge):
    g = torch.Generator().manual_seed(seed)
    d = 9
    keep, move = torch.randn(kept, d, generator=g).double(), torch.randn(moved, d, generator=g).double()
    target = torch.randn(moved, d, generator=g).double()
    made = fit_null_space_map(keep, move, target, energy=1.0, ridge=ridge, **MADE)
    p = torch.eye(d).double() - torch.linalg.pinv(keep) @ keep
    formula = torch.linalg.pinv(p @ move.T @ move @ p + ridge * p, rtol=1e-9) @ p @ move.T @ target
    assert torch.allclose(made.delta, formula, atol=1e-7)
    assert float(made(keep).abs().max()) < 1e-9, "what was to stay has moved"
    assert made.dimensions == d - kept
    # the gradient of |H P D - R|^2 + a |P D|^2 within the null space is zero
    assert float((p @ (move.T @ (move @ made.delta - target)) + ridge * made.delta).abs().max()) < 1e-7


def test_a_small_ridge_reaches_the_target_and_a_large_one_does_nothing():
    g = torch.Generator().manual_seed(0)
    keep, move = torch.randn(30, 20, generator=g) @ torch.randn(20, 64, generator=g), torch.randn(8, 64, generator=g)
    vector = torch.randn(64, generator=g).double()
    near, far = (fit_null_space_map(keep, move, vector, energy=1.0, ridge=a, **MADE) for a in (1e-6, 1e9))
    assert torch.allclose(near(move.double()), vector.expand(8, -1), atol=1e-4)
    assert float(far(move.double()).abs().max()) < 1e-5
    other = torch.randn(200, 20, generator=g) @ torch.randn(20, 64, generator=torch.Generator().manual_seed(9))
    assert float(near(other.double()).abs().max()) > 1e-3, "other rows do move"


def test_energy_says_how_much_of_the_kept_rows_may_move():
    g = torch.Generator().manual_seed(1)
    keep = torch.randn(200, 16, generator=g).double() * torch.logspace(1, -2, 16).double()
    move, vector = torch.randn(5, 16, generator=g), torch.ones(16)
    loose, tight = (fit_null_space_map(keep, move, vector, energy=e, **MADE) for e in (0.9, 0.99999))
    assert loose.dimensions > tight.dimensions > 0
    for one, e in ((loose, 0.9), (tight, 0.99999)):
        inside = float((keep @ one.left).square().sum() / keep.square().sum())
        assert inside <= 1 - e + 1e-9
        assert one.kept == pytest.approx(1 - inside)
    with pytest.raises(ActivationError, match="nothing is left to read"):
        fit_null_space_map(keep, move, vector, energy=1.0, **MADE)
    with pytest.raises(StatisticsError, match="energy"):
        fit_null_space_map(keep, move, vector, energy=0.0, **MADE)


def test_the_map_as_an_edit_and_a_file(tmp_path):
    model = fresh("llama")
    prompts = PromptSet.from_tokens([[4, 5, 6, 7], [9, 3, 1, 8], [4, 9, 2, 2], [8, 8, 1, 3]])
    rows = capture(model, prompts, "resid_post.1", at="last")["resid_post.1"].tensor()
    about = {**MADE, "provenance": model.provenance()}
    made = fit_null_space_map(rows[:2], rows[2:], torch.ones(32) * 3, energy=1.0, ridge=1e-6, **about)
    plain = forward(model, prompts).logits
    steered = forward(model, prompts, edits=[made.edit(at="last")]).logits
    assert torch.allclose(steered[:2], plain[:2], atol=1e-4)
    assert (steered[2:] - plain[2:]).abs().max() > 0.1
    back = NullSpaceMap.load(made.save(tmp_path / "map.safetensors"), model.fingerprint)
    assert torch.equal(back.right, made.right)
    assert torch.equal(back.left, made.left)
    assert str(back) == str(made)
    with pytest.raises(ProvenanceError):
        NullSpaceMap.load(tmp_path / "map.safetensors", "other")


# ---- contrastive activation addition


QUESTIONS = [
    {"question": "how do you do? (A) well (B) badly", "answer_matching_behavior": "(A)",
     "answer_not_matching_behavior": "(B)"},
    {"question": "are you kind? (A) no (B) yes", "answer_matching_behavior": "(B)",
     "answer_not_matching_behavior": "(A)"},
]  # fmt: skip


@pytest.mark.parametrize("template", [None, "chatml", "inst", "headers", "turns"])
def test_the_answer_mark_is_the_letter(template):
    tokenizer = byte_level(template=None if template is None else TEMPLATES[template])
    prompts = answer_prompts(QUESTIONS, tokenizer)
    assert prompts.labels.tolist() == [1, 0, 1, 0]
    assert prompts.pairs.tolist() == ["0", "0", "1", "1"]
    for tokens, at, letter in zip(prompts.tokens, prompts.marks["answer"], "ABBA", strict=True):
        assert tokenizer.decode([tokens[at]]).strip("()") == letter
    if template is not None:
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": QUESTIONS[0]["question"]}], add_generation_prompt=True, tokenize=False
        )
        assert prompts.texts[0] == asked + "(A)"


def test_caa_is_the_mean_of_paired_differences():
    model = fresh("llama")
    rng = np.random.default_rng(0)
    stems = rng.integers(3, 90, (6, 4)).tolist()
    tokens = [[*stem, letter] for i, stem in enumerate(stems) for letter in ((1, 2) if i % 2 else (2, 1))]
    prompts = PromptSet.from_tokens(
        tokens, labels=[1, 0] * 6, pairs=[i // 2 for i in range(12)], marks={"answer": [4] * 12}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = caa(model, prompts, "resid_post.1,resid_post.2")
    rows = capture(model, prompts, "resid_post.2", at="last")["resid_post.2"].tensor().double()
    wanted = (rows[::2] - rows[1::2]).mean(0)
    one = made[Site("resid_post", 2)]
    assert torch.allclose(one.vector, wanted, atol=1e-5)
    assert (one.method, one.mark, len(made)) == ("caa", "answer", 2)


def test_caa_says_when_the_letter_could_be_it():
    tokens = [[5 + i, 1 + j] for i in range(5) for j in (0, 1)]
    prompts = PromptSet.from_tokens(
        tokens, labels=[1, 0] * 5, pairs=[i // 2 for i in range(10)], marks={"answer": [1] * 10}
    )
    with pytest.warns(UserWarning, match="100% of the matching answers are '1'"):
        caa(fresh("llama"), prompts, "resid_post.0")


def test_caa_refuses_what_is_no_contrast_of_answers():
    model = fresh("llama")
    pairs = PromptSet.from_tokens([[5, 1], [6, 2]], labels=[1, 0], pairs=["a", "a"], marks={"answer": [1, 1]})
    with pytest.raises(PromptError, match="differ before the answer"):
        caa(model, pairs, "resid_post.0")
    with pytest.raises(SplitError, match="not one prompt of each label"):
        caa(model, pairs.with_pairs(["a", "b"]), "resid_post.0")
    with pytest.raises(PromptError, match="labels"):
        caa(model, pairs.with_labels(None), "resid_post.0")
    with pytest.raises(PromptError, match="both answers are"):
        answer_prompts([{**QUESTIONS[0], "answer_not_matching_behavior": "(A)"}], byte_level())
    with pytest.raises(PromptError, match="row 1 has nothing in 'question'"):
        answer_prompts([{"answer_matching_behavior": "(A)"}], byte_level())


# ---- heads


def planted_heads(seed=0, n=120, layers=2, heads=3, d=4, gap=2.5):
    g = torch.Generator().manual_seed(seed)
    y = np.arange(n) % 2
    rows = {Site("z", k): torch.randn(n, heads, d, generator=g).double() for k in range(layers)}
    rows[Site("z", 1)][y == 1, 2, 0] += gap
    return rows, y


@pytest.mark.parametrize("theta", ["mean", "probe"])
def test_the_planted_head_is_chosen_with_its_direction(theta):
    rows, y = planted_heads()
    made = fit_heads(rows, y, np.arange(120), "last", MADE["provenance"], top=1, theta=theta, permutations=39)
    [one] = made.directions
    assert str(one.site) == "z.1.h2"
    assert float(one.unit[0]) > 0.9
    report = {r["site"]: r for r in made.report.rows}
    assert report["z.1.h2"]["p_max"] <= 0.05
    assert report["z.1.h2"]["test_acc"] > 0.75
    assert report["z.0.h0"]["p_max"] > 0.05
    assert made.sigmas[0] == pytest.approx(float(one(rows[Site("z", 1)][:, 2]).std()), rel=0.2)
    assert "is right in" in made.report.headline


def test_no_head_is_found_in_noise():
    rows, y = planted_heads(gap=0.0)
    made = fit_heads(rows, y, np.arange(120), "last", MADE["provenance"], top=2, permutations=39)
    assert made.report.headline.startswith("No head at last beats shuffled labels")
    chosen = [r for r in made.report.rows if r["chosen"]]
    assert np.mean([r["val_acc"] for r in chosen]) >= np.mean([r["test_acc"] for r in chosen]) - 0.1
    with pytest.raises(StatisticsError, match="top=7 of 6"):
        fit_heads(rows, y, np.arange(120), "last", MADE["provenance"], top=7)


def test_heads_of_a_model_become_edits_of_those_heads_alone(tmp_path):
    model = fresh("llama")
    rng = np.random.default_rng(0)
    tokens = rng.integers(3, 90, (40, 5))
    prompts = PromptSet.from_tokens(tokens.tolist(), labels=(tokens[:, -1] > 45).tolist())
    made = iti(model, prompts, top=2, permutations=0)
    assert all(d.site.head is not None and len(d.unit) == model.sizes.d_head for d in made.directions)
    one, sigma = made.directions[0], made.sigmas[0]
    whole = Site("z", one.site.layer)
    before = capture(model, prompts, [whole])[whole].tensor()
    after = capture(model, prompts, [whole], edits=HeadShifts((one,), (sigma,)).edits(3.0))[whole].tensor()
    moved = (after - before).reshape(len(before), model.sizes.n_heads, -1)
    assert torch.allclose(moved[:, one.site.head], (3 * sigma * one.unit).float().expand(len(before), -1), atol=1e-4)
    others = [h for h in range(model.sizes.n_heads) if h != one.site.head]
    assert float(moved[:, others].abs().max()) == 0
    back = HeadShifts.load(made.save(tmp_path / "heads.safetensors"), model.fingerprint)
    assert [str(d.site) for d in back.directions] == [str(d.site) for d in made.directions]
    assert back.sigmas == made.sigmas
    assert isinstance(back.directions[0], Direction)
    with pytest.raises(ProvenanceError):
        HeadShifts.load(tmp_path / "heads.safetensors", "other")
