"""Parts of the refusal cliff: exact sums over heads, drops and their null, places counted from the end, selections."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import capture
from interp.circuits.contributions import contributions, normed
from interp.errors import ActivationError, ModelError, PromptError, SiteError, StatisticsError
from interp.probes import Probe
from interp.prompts import PromptSet
from interp.provenance import Provenance
from interp.run.held import hold
from interp.safety.cliff.ablation import count_of
from interp.safety.cliff.drop import compare, drops, left_out
from interp.safety.cliff.judge import rank_by_cliff
from interp.safety.cliff.kinds import kinds_of
from interp.safety.cliff.prober import fit_rows
from interp.safety.cliff.settings import Settings
from interp.safety.cliff.thinking import find_thinking, think
from interp.safety.cliff.trajectory import aligned, trajectory
from interp.safety.cliff.where import where_to_read
from interp.safety.headsets import random_sets
from interp.sites import Site
from interp.stats import auc
from tests.identity.architectures import ragged, shared_model
from tests.identity.test_decomposition import POST_NORMS, attention_output
from tests.safety import thinking_by_hand as by_hand

PROMPTS = PromptSet.from_tokens(ragged((6, 11, 3)))


# ---- contributions ----


# Learned positions and a Conv1D; GQA; parallel blocks; norms behind attention; one matrix for all; experts.
KINDS = ("gpt2", "llama", "gpt_neox", "gemma2", "olmo2", "falcon", "bloom", "gpt_oss")


@pytest.mark.parametrize("name", KINDS)
def test_parts_add_up_to_the_direct_reading(name):
    """The promise is 1e-5 of what is read, through the final norm and without it, at the end and in the middle."""
    model = shared_model(name)
    w = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0))
    last = model.n_layers - 1
    for site, norm in ((f"resid_post.{last}", "none"), (f"resid_post.{last}", "final"), ("resid_pre.1", "none")):
        found = contributions(model, PROMPTS, w, 0.3, site, norm=norm, progress=False)
        acts = capture(model, PROMPTS, site, at="last")[site].tensor()
        direct = (normed(model, acts, norm).double() @ w.double() + 0.3).numpy()
        np.testing.assert_allclose(found.values.sum(1), direct, rtol=0, atol=1e-5 * np.abs(found.values).sum(1).max())
        assert found.error < 1e-6
    heads, values = contributions(model, PROMPTS, w, 0.0, f"resid_post.{last}", progress=False).heads()
    assert len(heads) == model.n_layers * model.sizes.n_heads
    assert np.abs(values).max() > 0.1, "heads that add nothing prove nothing"


@pytest.mark.parametrize("name", ["gpt2", "llama", "phi", "falcon"])
def test_a_heads_contribution_is_its_z_through_its_matrix(name):
    model = shared_model(name)
    w = torch.randn(model.d_model, generator=torch.Generator().manual_seed(1)).double()
    heads, values = contributions(model, PROMPTS, w, 0.0, f"resid_post.{model.n_layers - 1}", progress=False).heads()
    d = model.sizes.d_head
    for column, head in enumerate(heads):
        block = model.module(f"{model.parts['blocks'].name}.{head.layer}")
        z = capture(model, PROMPTS, Site("z", head.layer), at="last")[Site("z", head.layer)].tensor()
        alone = torch.zeros_like(z)
        alone[:, head.head * d : (head.head + 1) * d] = z[:, head.head * d : (head.head + 1) * d]
        matrix = attention_output(block)
        with torch.no_grad():
            by_hand = (matrix(alone) - matrix(torch.zeros_like(z))).double() @ w
        np.testing.assert_allclose(values[:, column], by_hand.numpy(), atol=1e-5 * np.abs(values).max())


@pytest.mark.parametrize("name", ["gemma2", "olmo2"])
def test_a_norm_behind_attention_is_held(name):
    """With the norm's scale held, halving one head's z takes half its contribution away, and no other's."""
    model, layer = shared_model(name), 1
    assert name in POST_NORMS
    w = torch.randn(model.d_model, generator=torch.Generator().manual_seed(2)).double()
    found = contributions(model, PROMPTS, w, 0.0, f"resid_mid.{layer}", progress=False)
    own = [k for k, part in enumerate(found.parts) if part.startswith(f"z.{layer}.")]
    out = capture(model, PROMPTS, Site("attn_out", layer), at="last")[Site("attn_out", layer)].tensor().double() @ w
    np.testing.assert_allclose(found.values[:, own].sum(1), out.numpy(), rtol=1e-4, atol=1e-4)


def test_contributions_refuse_what_they_cannot_be():
    model = shared_model("gpt2")
    with pytest.raises(SiteError, match="contributions are to the residual stream"):
        contributions(model, PROMPTS, torch.ones(32), 0.0, "mlp_out.1")


def test_what_is_no_norm_is_refused():
    with pytest.raises(ModelError, match="no norm whose scale can be held"):
        hold(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh()), torch.randn(4, 8))


@pytest.mark.parametrize("width", [7, 8])
@pytest.mark.parametrize("kind", ["LayerNorm", "RMSNorm"])
def test_a_held_norm_is_linear_and_right_where_it_is_held(kind, width):
    torch.manual_seed(0)
    norm = getattr(torch.nn, kind)(width).double()
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(torch.randn_like(parameter))
    x, u = torch.randn(5, width).double(), torch.randn(5, width).double()
    held = hold(norm, x)
    assert held.centred is (kind == "LayerNorm")
    direct = (norm(x) * u).sum(-1).detach()
    torch.testing.assert_close((held.pull(u) * x).sum(-1) + u @ held.shift, direct)


# ---- drops ----


def test_the_plateau_leaves_out_the_end_of_the_thinking_and_the_template():
    score = np.concatenate([np.full(20, 0.8), np.full(8, 0.2), [0.5, 0.6, 0.1]])
    found = drops([score, score[20:]], np.array([28, 8]), [[1, 2, 3], [1, 2, 3]])
    assert left_out(28) == 7
    assert left_out(8) == 2
    np.testing.assert_allclose(found.plateau, [(20 * 0.8 + 0.2) / 21, 0.2])
    np.testing.assert_allclose(found.drop[1], 0.1)
    with pytest.raises(ActivationError, match="both parts are needed"):
        drops([np.ones(3)], np.array([3]), [[]])


def made_drops(seed: int, trap: str, effect: float = 0.0, n: int = 24):
    """Suspects and controls of 2 prompts a group; all scores fall behind the thinking; a trap sets the two apart."""
    rng = np.random.default_rng(seed)
    scores, lengths, templates, suspect, groups = [], [], [], [], []
    for group in range(2 * n):
        is_suspect, own = group < n, 0.1 * rng.normal()
        for _ in range(2):
            shorter = (20, 60) if is_suspect else (8, 30)
            length = int(rng.integers(*shorter)) if trap == "length" else int(rng.integers(8, 40))
            template = 2 + (trap == "template" and rng.random() < (0.2 if is_suspect else 0.8))
            score = 0.5 + own + 0.15 * rng.normal(size=length + template)
            score[:length] += 0.4  # whatever a prober says of tokens that it was not fitted at
            if trap == "length":  # it drifts along the thinking
                score[:length] += 0.02 * np.minimum(np.arange(length), 30)
            score[-1] -= 0.3 * (template == 3)
            score[:length] += effect * is_suspect
            scores.append(score)
            lengths.append(length)
            templates.append([1, 2, 3][:template])
            suspect.append(is_suspect)
            groups.append(group)
    return drops(scores, np.array(lengths), templates), np.array(suspect), np.array(groups)


@pytest.mark.parametrize("trap", ["none", "template", "length"])
def test_a_template_a_length_or_luck_is_called_a_cliff_once_in_twenty_at_most(trap):
    seeds, found, naive = 100, 0, 0
    for seed in range(seeds):
        one, suspect, groups = made_drops(seed, trap)
        verdict = compare(one, suspect, groups, permutations=99, bootstrap=150, seed=seed)
        found += verdict.found
        naive += verdict.own[1] > 0
    assert found <= 11  # of 100 at 5 %: more has probability .01
    assert naive == seeds, "every score falls: without controls each of these is a cliff"


def test_a_planted_cliff_is_found_with_its_size():
    hits = 0
    for seed in range(20):
        verdict = compare(*made_drops(seed, "none", effect=0.15), permutations=99, bootstrap=150, seed=seed)
        hits += verdict.found
    assert hits >= 18
    low, high = verdict.beyond[1:]
    assert low < 0.15 < high


def test_no_control_with_the_same_template_means_no_verdict():
    scores = [np.array([0.9, 0.9, 0.1])] * 8
    suspect, groups = np.arange(8) < 4, np.arange(8)
    found = drops(scores, np.array([2] * 4 + [1] * 4), [[1]] * 4 + [[1, 2]] * 4)
    with pytest.raises(StatisticsError, match="no suspect has the same tokens"):
        compare(found, suspect, groups)


# ---- trajectories, selections, markers ----


def test_places_count_from_the_end_and_nothing_is_padded():
    scores = [np.array([0.9, 0.9, 0.9, 0.3]), np.array([0.5, 0.1])]
    np.testing.assert_array_equal(np.isnan(aligned(scores, 4)).sum(0), [1, 1, 0, 0])
    path = trajectory(scores, np.array([True, True]), np.array(["a", "b"]))
    np.testing.assert_allclose(path.mean, [0.9, 0.9, 0.7, 0.2])  # zero padding would give 0.45, 0.45, ...
    assert path.place.tolist() == [-3, -2, -1, 0]
    assert path.prompts.tolist() == [1, 1, 2, 2]
    assert np.isnan(path.low[:2]).all()
    assert (path.low[2:] < path.mean[2:]).all()


def test_the_judge_takes_the_largest_and_at_least_one():
    drop = np.linspace(1, 0, 400)
    assert rank_by_cliff(drop).chosen == 7  # 1.7 % of 400, rounded up
    assert rank_by_cliff(drop[:3]).chosen == 1
    among = np.arange(400) >= 100
    assert rank_by_cliff(drop, among).order[0] == 100
    with pytest.raises(StatisticsError, match="share to select"):
        rank_by_cliff(drop, share=0)


def test_random_sets_of_heads_are_others_and_never_repeat():
    heads = [Site("z", layer, head) for layer in range(3) for head in range(4)]
    sets, exact = random_sets(heads, heads[:2], 30, seed=0)
    assert not exact
    assert len(set(sets)) == 30
    assert tuple(heads[:2]) not in sets
    sets, exact = random_sets(heads, heads[:1], 30, seed=0)
    assert exact
    assert len(sets) == 11
    assert count_of(3, 100) == 3


class Words:
    """A tokenizer of three markers."""

    def __call__(self, text, add_special_tokens=True):
        return {"input_ids": {"<think>": [1], "</think>": [2], "so": [4, 5]}[text]}


def test_thinking_is_found_between_its_markers():
    prompts = PromptSet.from_tokens([[9, 1, 7, 7, 2, 3], [9, 1, 8, 2, 8, 2, 3]])
    found = find_thinking(prompts, Words()).prompts
    assert found.marks["think_start"].tolist() == [2, 2]
    assert found.marks["think_end"].tolist() == [4, 5]  # the last one closes
    assert found.spans["thinking"].tolist() == [[2, 4], [2, 5]]
    for tokens, message in (
        ([9, 1, 7], "its thinking is not over"),
        ([9, 7, 2], "where its thinking begins"),
        ([1, 2], "no thinking"),
    ):
        with pytest.raises(PromptError, match=message):
            find_thinking(PromptSet.from_tokens([tokens]), Words())


def test_thinking_that_never_ends_is_an_error():
    model = shared_model("gpt2")
    with pytest.raises(PromptError, match="it may not think"):
        think(_with_words(model), PromptSet.from_tokens([[9, 9, 9]]), max_new_tokens=2)


def _with_words(model):
    from dataclasses import replace

    class Decoding(Words):
        def decode(self, ids, skip_special_tokens=True):
            return " ".join(map(str, ids))

    return replace(model, tokenizer=Decoding())


# ---- the prober ----


def test_one_scale_for_all_features_keeps_the_prober_at_home_along_the_thinking():
    """Features that hardly vary at the end, set other tokens apart, and must not be the reading."""
    rng = np.random.default_rng(0)
    refused = np.repeat([True, False], 60)
    end = np.column_stack([4.0 * refused + rng.normal(size=120), 0.01 * rng.normal(size=(120, 30))])
    thinking = np.column_stack([4.0 * refused + rng.normal(size=120), 3.0 * rng.normal(size=(120, 30))])
    truth, about = torch.from_numpy(refused), Provenance("a1", "tiny")
    where = Site("resid_post", 0)
    ours = fit_rows(torch.from_numpy(end), truth, where, "end", "none", 1.0, about).probe
    scaled = Probe.fit(torch.from_numpy(end), truth, ("accepted", "refused"), where, "end", about)
    home, away = (float(auc(probe(torch.from_numpy(thinking)).numpy(), refused)) for probe in (ours, scaled))
    assert home > 0.95 > 0.75 > away
    assert float(auc(ours(torch.from_numpy(end)).numpy(), refused)) > 0.97


def test_the_reading_is_taken_where_the_end_first_shows_what_the_model_does():
    for where, site in (("end", "resid_post.1"), ("nowhere", "resid_post.1")):
        model, prompts = by_hand.model(where), by_hand.thoughts(20).prompts
        kinds = kinds_of(model, prompts, [by_hand.REFUSE])
        found = where_to_read(model, prompts, kinds, Settings())
        assert str(found.site) == site
    shown = where_to_read(
        by_hand.model("end"), prompts, kinds_of(by_hand.model("end"), prompts, [by_hand.REFUSE]), Settings()
    )
    assert shown.shown is not None
    assert shown.shown[0] < 0.1  # before the head acts, the end looks like a refusal
    assert shown.shown[1] > 0.9
    with pytest.raises(SiteError, match="reads one site"):
        where_to_read(model, prompts, kinds, Settings(site="resid_post"))
