"""Beliefs, regression and the guard on made-up numbers: what is right by hand, and what must hold whatever the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.errors import SplitError, StatisticsError
from interp.provenance import Provenance
from interp.safety.refusal.cells import CELLS, PLAIN, Quadrants
from interp.safety.refusal.centroids import CellMeans, belief
from interp.safety.refusal.guard import calibrate, guard_report, latent_guard, roc_curve, tpr_at
from interp.safety.refusal.regression import partial_effects
from interp.safety.refusal.requests import Requests
from interp.safety.refusal.settings import Settings
from interp.safety.refusal.surface import bag_features, surface_features
from interp.sites import Site

QUICK = Settings(permutations=49, bootstrap=100)
MADE = Provenance("a1", "tiny")


def test_a_belief_is_a_difference_of_cosines():
    g = torch.Generator().manual_seed(0)
    x, a, b = (torch.randn(5, 7, generator=g), torch.randn(7, generator=g), torch.randn(7, generator=g))
    cos = torch.nn.functional.cosine_similarity
    assert torch.allclose(belief(x, a, b, centred=False).float(), cos(x, a[None]) - cos(x, b[None]), atol=1e-6)
    m = (a + b) / 2
    assert torch.allclose(belief(x, a, b).float(), 2 * cos(x - m, (a - b)[None]), atol=1e-6)
    # The other way round, the other sign; at either mean, the same size; with equal means, nothing.
    assert torch.allclose(belief(x, b, a), -belief(x, a, b))
    assert belief(a[None], a, b).item() == pytest.approx(2.0)
    assert (belief(x, a, a * (1 + 1e-7)) == 0).all()


def test_centred_beliefs_do_not_see_a_common_part():
    g = torch.Generator().manual_seed(0)
    a, b, x = torch.randn(9, generator=g), torch.randn(9, generator=g), torch.randn(4, 9, generator=g)
    far = 100 * torch.randn(9, generator=g)
    assert torch.allclose(belief(x + far, a + far, b + far), belief(x, a, b), atol=1e-3)
    assert (belief(x + far, a + far, b + far, centred=False).abs() < 0.1).all()


def test_an_empty_cell_gives_no_axis():
    mean = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    mean[:, CELLS.index("harmful-refused")] = torch.nan
    means = CellMeans((Site("resid_post", 0),) * 3, ("t_inst", "t_post"), mean)
    with pytest.raises(SplitError, match="needs training prompts of harmful-refused"):
        means.sides(PLAIN)


def test_regression_gives_each_its_own_part_where_the_two_go_together():
    rng = np.random.default_rng(0)
    harmful = rng.random(400) < 0.5
    refused = harmful ^ (rng.random(400) < 0.1)
    noise = 0.1 * rng.standard_normal(400)
    scores = np.stack([2.0 * harmful + noise, 3.0 * refused + noise, noise])
    i = partial_effects(scores, harmful, refused, np.arange(400), {"replicates": 200})
    assert np.allclose(i.estimate, [[2, 0, 0], [0, 3, 0]], atol=0.1)
    truth = np.array([[2, 0, 0], [0, 3, 0]])
    assert ((i.low < truth) & (truth < i.high)).mean() > 0.8
    alone = partial_effects(scores, harmful, harmful, np.arange(400), {"replicates": 5})
    assert np.isnan(alone.estimate).all()


def test_a_threshold_keeps_its_promise_on_new_requests():
    rng = np.random.default_rng(0)
    for n, fpr in ((99, 0.05), (39, 0.1), (20, 0.01)):
        rates, promised = [], None
        for _ in range(2000):
            made = calibrate(rng.standard_normal(n), fpr)
            promised = made.promised
            rates.append(rng.standard_normal() >= made.alpha)
        # 2000 draws: three standard errors above what is promised.
        assert np.mean(rates) <= promised + 3 * (promised / 2000) ** 0.5
        assert promised == pytest.approx(fpr if fpr * (n + 1) >= 1 else 1 / (n + 1))
    with pytest.raises(StatisticsError, match="between 0 and 1"):
        calibrate(np.zeros(3), 0.0)


def test_rates_on_the_curve_are_those_by_hand():
    scores = np.array([0.9, 0.8, 0.8, 0.4, 0.3, 0.1])
    truth = np.array([1, 1, 0, 1, 0, 0]) > 0
    assert roc_curve(scores, truth) == ((0, 0), (0, 1 / 3), (1 / 3, 2 / 3), (1 / 3, 1), (2 / 3, 1), (1, 1))
    assert float(tpr_at(scores, truth, 0.01)) == pytest.approx(1 / 3)
    assert float(tpr_at(scores, truth, 0.34)) == 1
    weights = np.array([[1, 1, 0, 1, 1, 1], [1, 0, 0, 1, 0, 0]], float)
    assert tpr_at(scores, truth, 0.01, weights)[0] == 1
    assert np.isnan(tpr_at(scores, truth, 0.01, weights)[1])


def made_requests(each: int = 40) -> Requests:
    roles = np.repeat(["harmful", "harmless", "jailbroken", "overrefused"], each)
    n = len(roles)
    tokens = [[1, 5 + i % 7, 20, 2] for i in range(n)]
    from interp.prompts import PromptSet

    prompts = PromptSet.from_tokens(tokens, marks={"t_inst": [2] * n, "t_post": [3] * n})
    part = np.tile(np.repeat(["train", "val", "test"], [each // 4, each // 4, each // 2]), 4)
    blank = np.full(n, "")
    return Requests(prompts, ((),) * n, roles, blank, blank, np.arange(n), part, np.full(n, -1))


def test_a_guard_beats_refusals_on_jailbroken_requests_only_if_the_belief_is_there():
    requests = made_requests()
    refused = np.isin(requests.role, ("harmful", "overrefused"))
    rng = np.random.default_rng(0)
    good = 6.0 * requests.harmful + rng.standard_normal(len(requests))
    guard = latent_guard(good, refused, requests, fpr=0.1, settings=QUICK)
    rows = {(r["role"], r["category"]): r for r in guard_report(guard, requests, "t", MADE, QUICK).rows}
    assert guard.auroc.estimate > 0.99
    assert guard.p == pytest.approx(1 / 50)
    assert rows["jailbroken", None]["flagged"] > 0.9
    assert rows["jailbroken", None]["refused"] == 0
    assert rows["jailbroken", None]["ahead_lo"] > 0
    assert rows["overrefused", None]["flagged"] < 0.3 < rows["overrefused", None]["refused"]
    by_refusal = 6.0 * refused + rng.standard_normal(len(requests))
    lost = latent_guard(by_refusal, refused, requests, fpr=0.1, settings=QUICK)
    rows = {(r["role"], r["category"]): r for r in guard_report(lost, requests, "t", MADE, QUICK).rows}
    assert rows["jailbroken", None]["ahead_lo"] <= 0.2
    assert lost.auroc.low < 0.6


def test_a_guard_of_noise_is_seldom_significant_and_few_requests_promise_little():
    requests = made_requests(16)
    hits = 0
    for seed in range(200):
        score = np.random.default_rng(seed).standard_normal(len(requests))
        guard = latent_guard(
            score, np.zeros(len(requests), bool), requests,
            settings=Settings(permutations=39, bootstrap=2, seed=seed),
        )  # fmt: skip
        hits += guard.p <= 0.05
    assert hits <= 18  # Binomial(200, 0.05) exceeds it once in 100
    report = guard_report(guard, requests, "t", MADE, Settings(permutations=0, bootstrap=20))
    assert "4 harmless requests to calibrate on cannot promise a false positive rate of 0.01" in report.warnings[0]


def test_surface_features_see_lengths_last_tokens_and_what_stands_around_but_not_the_words_inside():
    requests = made_requests(8)
    inside = requests.prompts
    surface = surface_features(inside, "t_post")
    # All prompts have one length, one last token and one frame: nothing in them tells two prompts apart ...
    assert (surface == surface[0]).all()
    # ... but a bag of tokens sees the one word that differs.
    assert (bag_features(inside, "t_post") != bag_features(inside, "t_post")[0]).any()


def test_quadrants_count_parts_apart():
    cell = np.repeat(np.arange(4), 10)
    made = Quadrants(cell, np.tile(np.arange(10) < 9, 4), fewest=2)
    assert made.filled == ()
    assert made.count("harmful-refused", True) == 9
