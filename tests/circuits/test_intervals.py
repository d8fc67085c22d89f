"""Confidence intervals over pairs: what streams by is what a bootstrap over all of it gives, and it covers."""

from __future__ import annotations

import numpy as np
import torch

from interp.circuits import attribute
from interp.circuits.resample import Totals
from interp.stats import cluster_bootstrap
from tests.circuits.conftest import off, random_pairs, small


def test_intervals_cover_the_truth():
    """Nominal 95 %: over 400 draws of 40 pairs in 20 groups, of a skewed score with group effects."""
    rng = np.random.default_rng(0)
    hits = np.zeros(2)
    groups = np.repeat([f"g{i}" for i in range(20)], 2)
    for seed in range(400):
        effects = np.repeat(rng.normal(size=(20, 2)), 2, axis=0)
        scores = 1.0 + effects + rng.exponential(size=(40, 2)) - 1.0
        totals = Totals(groups, 200, seed)
        for start in range(0, 40, 16):
            chosen = torch.arange(start, min(40, start + 16))
            totals.add(chosen, torch.from_numpy(scores[chosen]).float())
        low, high = totals.interval()
        hits += (low < 1.0) & (high > 1.0)
    coverage = hits / 400
    assert (coverage > 0.92).all(), coverage
    assert (coverage < 0.98).all(), coverage


def test_streaming_is_the_bootstrap():
    """The same spread as the bootstrap that holds every score; groups are drawn whole."""
    rng = np.random.default_rng(1)
    groups = np.repeat(["a", "b", "c", "d", "e", "f"], 4)
    scores = np.repeat(rng.normal(size=6), 4) + 0.01 * rng.normal(size=24)
    totals = Totals(groups, 4000, 0)
    totals.add(torch.arange(24), torch.from_numpy(scores)[:, None].float())
    low, high = totals.interval()
    want = cluster_bootstrap(lambda w: (w @ scores / w.sum(-1))[..., None], groups, method="t", replicates=4000)
    assert off([high[0] - low[0]], [want.high[0] - want.low[0]]) < 0.1
    alone = Totals(np.arange(24).astype(str), 2000, 0)
    alone.add(torch.arange(24), torch.from_numpy(scores)[:, None].float())
    assert (alone.interval()[1] - alone.interval()[0])[0] < 0.7 * (high - low)[0]


def test_batches_do_not_change_the_interval():
    model, pairs = small("gpt2"), random_pairs(6, groups=list("aabbcc"))
    whole = attribute(model, pairs, method="eap", replicates=50)
    parts = attribute(model, pairs, method="eap", replicates=50, max_bytes=400_000)
    assert parts.origin.details["plan"]["pairs"] < 6
    for name in ("lo", "hi", "draws"):
        assert off(getattr(parts, name), getattr(whole, name)) < 1e-4
    assert (whole.lo <= whole.values).all()
    assert (whole.values <= whole.hi).all()
    assert whole.draws.shape == (50, whole.graph.n_edges)


def test_one_group_has_no_interval():
    scores = attribute(small("gpt2"), random_pairs(3, groups=["a"] * 3), method="eap")
    assert scores.lo is None
    assert scores.draws is None
