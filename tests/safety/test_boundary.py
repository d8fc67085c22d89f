"""The boundary between harmful and nearly so: measures against scikit-learn's, their null, the loss, training."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch

from interp import ablate, add, load_model, testbeds
from interp.errors import ActivationError, PromptError, StatisticsError
from interp.prompts import PromptSet, load_prompts
from interp.prompts.join import join
from interp.report import Report
from interp.run.training import live_tokens
from interp.safety.boundary.diagnose import Treatment, boundary
from interp.safety.boundary.loss import boundary_loss, safe_mean
from interp.safety.boundary.measures import Space, centroid_margin, measure, neighbour_overlap, silhouette
from interp.safety.boundary.training import BoundarySettings, draw_boundary
from interp.safety.spread.unlearn import refusal_of
from interp.sites import Site
from interp.stats import permutation_p, permute_labels


def two_classes(seed, n=30, d=6, apart=1.0):
    rng = np.random.default_rng(seed)
    positive = np.arange(2 * n) < n
    return rng.normal(size=(2 * n, d)) + apart * positive[:, None], positive


# ---- measures ----


def test_measures_are_scikit_learns():
    from sklearn.metrics import silhouette_samples
    from sklearn.neighbors import NearestCentroid, NearestNeighbors

    x, y = two_classes(0)
    space = Space.of(x)
    np.testing.assert_allclose(silhouette(space, y), silhouette_samples(x, y))
    near = NearestNeighbors(n_neighbors=5).fit(x).kneighbors(return_distance=False)  # a row is not its own neighbour
    np.testing.assert_allclose(neighbour_overlap(space, y, k=5), (y[near] != y[:, None]).mean(1))
    margin = centroid_margin(space, y)
    for i in range(len(x)):
        rest = np.arange(len(x)) != i
        right = NearestCentroid().fit(x[rest], y[rest]).predict(x[i : i + 1])[0] == y[i]
        assert (margin[i] > 0) == right


def test_wordings_of_one_request_do_not_judge_each_other():
    """In noise, twins in one class look apart unless their group is left out."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 4)
    x, y = rng.normal(size=(20, 8))[groups] + 0.05 * rng.normal(size=(80, 8)), groups < 10
    leaky, honest = (measure(Space.of(x, g), y).mean(0) for g in (None, groups))
    assert leaky[1] < 0.3 < 0.45 < honest[1] < 0.7
    assert leaky[2] > 0.05 > honest[2]
    assert leaky[0] > 2 * honest[0]


def test_noise_is_called_apart_once_in_twenty_at_most_and_a_boundary_is_found():
    seeds, found = 200, 0
    for seed in range(seeds):
        x, y = two_classes(seed, n=15, apart=0.0)
        space, groups = Space.of(x), np.arange(30)
        drawn = permute_labels(y, groups, 39, seed=seed).labels
        null = [silhouette(space, labels).mean() for labels in drawn]
        found += float(permutation_p(silhouette(space, y).mean(), null)) < 0.05
    assert found / seeds <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / seeds)
    x, y = two_classes(0, apart=2.0)
    margin, overlap, score = measure(Space.of(x), y).mean(0)
    assert margin > 0.5
    assert overlap < 0.1
    assert score > 0.3


def test_measures_refuse_what_they_cannot_tell():
    x, y = two_classes(0, n=4)
    with pytest.raises(StatisticsError, match="two groups or more"):
        silhouette(Space.of(x, y), y)
    with pytest.raises(StatisticsError, match="two groups or more"):
        centroid_margin(Space.of(x, y), y)
    with pytest.raises(StatisticsError, match="8 neighbours: every row has 7"):
        neighbour_overlap(Space.of(x), y, k=8)
    with pytest.raises(StatisticsError, match="NaN or infinity"):
        Space.of(np.full((3, 2), np.nan))


# ---- the loss ----


def test_the_hinges_let_go_at_a_right_angle():
    old, mean = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0.0, 1.0, 0.0])
    for angle, pulls in ((30, True), (89, True), (90.5, False), (150, False)):
        turned = torch.tensor([[math.cos(math.radians(angle)), 0.0, math.sin(math.radians(angle))]], requires_grad=True)
        parts = boundary_loss(old, old, turned, old, mean)
        assert float(parts.erase.detach()) == pytest.approx(max(math.cos(math.radians(angle)), 0), abs=1e-6)
        parts.erase.backward()
        assert bool(turned.grad.abs().sum() > 0) is pulls
    near = torch.tensor([[0.2, 0.9, 0.0]], requires_grad=True)
    away = torch.tensor([[0.2, -0.9, 0.0]], requires_grad=True)
    for state, pulls in ((near, True), (away, False)):
        boundary_loss(old, old, state, torch.tensor([[0.0, 0.0, 1.0]]), mean).separate.backward()
        assert bool(state.grad.abs().sum() > 0) is pulls


def test_the_loss_weighs_its_parts_and_starts_without_nan():
    kept = torch.randn(5, 4, requires_grad=True)
    parts = boundary_loss(kept, kept.detach(), torch.randn(3, 4), torch.randn(3, 4), torch.ones(4))
    parts.total(2.0, 3.0).backward()
    assert torch.isfinite(kept.grad).all()
    moved = boundary_loss(kept.detach() + 3.0, kept.detach(), torch.randn(3, 4), torch.randn(3, 4), torch.ones(4))
    assert float(moved.retain) == pytest.approx(6.0)
    assert float(moved.total(2.0, 3.0)) == pytest.approx(12 + 3 * float(moved.erase + moved.separate))
    assert float(safe_mean(torch.tensor([[5.0, 0.0], [0.0, 0.1]])).sum()) == pytest.approx(1.0)  # lengths do not count
    with pytest.raises(ActivationError, match="both sides are needed"):
        boundary_loss(kept[:0], kept[:0], kept, kept, torch.ones(4))


def test_live_tokens_are_captures_rows():
    from interp import capture
    from tests.identity.architectures import ragged, shared_model

    model, prompts = shared_model("llama"), PromptSet.from_tokens(ragged((4, 9, 2)))
    sites = [Site("resid_post", 0), Site("resid_post", 1)]
    rows = live_tokens(model, prompts, sites)
    acts = capture(model, prompts, sites)
    for site in sites:
        torch.testing.assert_close(rows[site].detach(), acts[site].tensor(), rtol=1e-5, atol=1e-5)
    part = live_tokens(model, prompts, sites, np.array([[1, 3], [0, 9], [1, 2]]))[sites[1]]
    example, position = acts.index.example, acts.index.position
    inside = np.isin(example, [1]) | ((example == 0) & np.isin(position, [1, 2])) | ((example == 2) & (position == 1))
    torch.testing.assert_close(part.detach(), acts[sites[1]].tensor()[torch.from_numpy(inside)], rtol=1e-5, atol=1e-5)
    with pytest.raises(PromptError, match="which has 2"):
        live_tokens(model, prompts, sites, np.array([[1, 3], [0, 9], [1, 3]]))


# ---- the chat bed ----


@pytest.fixture(scope="module")
def chat():
    folder = testbeds.path("chat")
    model = load_model(folder)

    @cache
    def part(name, split):
        prompts = load_prompts(folder / f"{name}.jsonl", model.tokenizer)
        return prompts.select(np.flatnonzero(prompts.columns["split"].astype(str) == split))

    return model, part


def test_the_planted_boundary_is_found_where_harm_stands_and_an_edit_takes_it_away(chat):
    model, part = chat
    truth = testbeds.truth("chat")
    removed = tuple(ablate(Site("resid_post", layer), "direction", truth.harm) for layer in range(model.n_layers))
    rng = np.random.default_rng(0)
    random = tuple(ablate(e.site, "direction", torch.from_numpy(rng.normal(size=model.d_model))) for e in removed)
    report = boundary(
        model, part("harmful", "test"), part("harmless", "test"), truth.harm_site, at="t_inst",
        after=Treatment(model, removed), controls=[Treatment(model, random)], permutations=99, bootstrap=200,
        progress=False,
    )  # fmt: skip
    [row] = report.rows
    assert row["p_max"] < 0.05
    assert row["margin_lo"] > 0.2
    assert row["overlap_hi"] < 0.1
    assert row["margin_change_hi"] < -0.1
    assert row["silhouette_change_hi"] < -0.05
    assert abs(row["margin_control"]) < 0.25 * abs(row["margin_change"])
    assert Report.from_json(report.to_json()) == report


def test_two_halves_of_the_same_requests_are_not_apart(chat):
    model, part = chat
    harmless = part("harmless", "train")
    half = np.random.default_rng(0).permutation(len(harmless)) < len(harmless) // 2
    first, second = harmless.select(half), harmless.select(~half)
    report = boundary(model, first, second, at="t_inst", permutations=39, bootstrap=50, progress=False)
    assert min(report.column("p_max")) > 0.05
    assert "not apart beyond luck" in report.headline


def test_training_turns_harmful_states_and_keeps_safe_ones(chat):
    model, part = chat
    before = model.fingerprint
    harmful = join([part("harmful", "train"), part("jailbroken", "train")])
    settings = BoundarySettings(layers=(3,), steps=30, lr=2e-2, batch=8)
    done = draw_boundary(model, harmful, part("harmless", "train"), settings)
    assert model.fingerprint == before
    first, last = done.curve[0], done.curve[-1]
    assert first.erase == pytest.approx(1.0)
    assert first.retain == 0.0
    assert last.erase < 0.8
    assert last.separate < 0.75 * first.separate
    report = boundary(
        model, part("jailbroken", "test"), part("harmless", "test"), "resid_post.3", after=Treatment(done.model),
        permutations=19, bootstrap=100, progress=False,
    )  # fmt: skip
    assert report.rows[0]["silhouette_change_lo"] > 0.2
    assert report.rows[0]["margin_change_lo"] > 0.1
    ids = testbeds.truth("chat").refusal_ids
    for name, low, high in (
        ("harmful", 0.98, 1),
        ("harmless", 0, 0.02),
        ("jailbroken", 0.1, 1),
        ("overrefused", 0.98, 1),
    ):
        assert low <= (refusal_of(done.model, part(name, "test"), ids) > 0).mean() <= high, name
    assert (refusal_of(model, part("jailbroken", "test"), ids) > 0).mean() < 0.02
    with pytest.raises(PromptError, match="needs the mark 'nowhere'"):
        draw_boundary(model, harmful, harmful, settings, between=("nowhere", "last"))
    with pytest.raises(StatisticsError, match="out of range"):
        BoundarySettings(layers=())


def test_an_edit_that_adds_a_constant_changes_no_measure(chat):
    model, part = chat
    shift = (add("resid_post.1", torch.ones(model.d_model)),)
    report = boundary(
        model, part("harmful", "val"), part("harmless", "val"), "resid_post.1", after=Treatment(model, shift),
        permutations=9, bootstrap=50, progress=False,
    )  # fmt: skip
    for name in ("margin", "overlap", "silhouette"):
        assert report.rows[0][f"{name}_change"] == pytest.approx(0.0, abs=1e-4)
