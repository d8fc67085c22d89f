"""Data in which the label has nothing to do with the features, each with a trap of its own."""

from __future__ import annotations

import numpy as np
import torch

SITES = 2
WIDTH = 4


def _noise(rng, rows: int):
    return rng.normal(size=(SITES, rows, WIDTH))


def isotropic(rng):
    """Independent examples; there is nothing to get wrong."""
    groups = np.arange(40)
    return _noise(rng, 40), groups % 2, groups


def imbalanced(rng):
    """Independent examples, a third of them positive: stratified folds against permuted labels that are not."""
    groups = np.arange(42)
    return _noise(rng, 42), groups < 14, groups


def group_identity(rng):
    """Each group has its features and its label, and the two are unrelated. Sizes differ."""
    groups = np.repeat(np.arange(20), rng.integers(1, 6, 20))
    features = _noise(rng, 20)[:, groups] + 0.1 * _noise(rng, groups.size)
    return features, (groups % 2).astype(bool), groups


def few_groups(rng):
    """The same with eleven groups, five of them positive."""
    groups = np.repeat(np.arange(11), 3)
    return _noise(rng, 11)[:, groups] + 0.1 * _noise(rng, 33), groups < 5, groups


def shuffled_within(rng):
    """Strong group features; labels shuffled within groups."""
    groups = np.repeat(np.arange(12), 4)
    labels = np.concatenate([rng.permutation([0, 0, 1, 1]) for _ in range(12)])
    return _noise(rng, 12)[:, groups] + _noise(rng, 48), labels, groups


def repetitions(rng):
    """Two things in each group, one of each label, each seen through five prefixes that hardly matter."""
    things = np.repeat(np.arange(28), 5)
    return _noise(rng, 28)[:, things] + 0.1 * _noise(rng, things.size), things % 2, things // 2


def mixed_design(rng):
    """Groups with one label, groups with both, and as many examples as it happened."""
    sizes = rng.integers(1, 4, (16, 2))
    sizes[:4, 1] = 0
    sizes[4:8, 0] = 0
    things = np.repeat(np.arange(32), sizes.ravel())
    return _noise(rng, 32)[:, things] + 0.1 * _noise(rng, things.size), things % 2, things // 2


BEDS = {
    bed.__name__: bed
    for bed in (isotropic, imbalanced, group_identity, few_groups, shuffled_within, repetitions, mixed_design)
}


def draw(name: str, rng):
    """Features by site, labels and groups of one data set."""
    x, labels, groups = BEDS[name](rng)
    return {f"site {k}": torch.from_numpy(v) for k, v in enumerate(x)}, np.asarray(labels).astype(int), groups
