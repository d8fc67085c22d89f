"""Cheap data in which there is nothing to find, each with a trap of its own, and data with a signal of known strength.

A test that says "p < .05" more often than once in twenty on any of `nulls` is wrong, and so is a gap between contrasts
that differs from zero on `gap_nulls`. Each generator takes a seed; seeds are independent of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor

Array = NDArray[Any]

SITES = 2
WIDTH = 4


@dataclass(frozen=True, eq=False)
class NullData:
    """Features by site, ``[example, d]``, two classes (0 and 1), and the groups that folds must keep whole.

    ``pairs`` says which two things belong together, ``pools`` ("M", "C", "B") which wording a row is. ``auc`` is what
    the best linear direction attains at each site in the limit of infinitely many groups.
    """

    features: dict[str, Float[Tensor, "example d"]]
    labels: NDArray[np.int64]
    groups: Array
    pairs: Array | None = None
    pools: Array | None = None
    auc: dict[str, float] = field(default_factory=dict)


def nulls() -> dict[str, Callable[[int], NullData]]:
    """Name -> generator (seed -> `NullData`) of data whose labels have nothing to do with the features.

    >>> data = nulls()["isotropic"](0)
    >>> data.features["site 0"].shape, data.labels.sum(), data.auc["site 0"]
    (torch.Size([40, 4]), np.int64(20), 0.5)
    """
    return {name: partial(_draw, name, make) for name, make in _NULLS.items()}


def gap_nulls() -> dict[str, Callable[[int], NullData]]:
    """Name -> generator of data in three pools in which M against C is told apart, and exactly as well as C against B.

    Labels are 1 in pool M. What is null is the gap between the two contrasts.

    >>> data = gap_nulls()["templates_only"](0)
    >>> sorted(set(data.pools.tolist())), len(data.labels)
    (['B', 'C', 'M'], 60)
    """
    return {name: partial(_draw, name, make) for name, make in _GAP_NULLS.items()}


def signal(seed: int, strength: float = 2.0, *, n_pairs: int = 64, sites: int = SITES, width: int = WIDTH) -> NullData:
    """Twins that differ by ``strength`` standard deviations of a twin's own noise, at the last site only.

    Each pair shares content as strong as the noise; a coin decides which twin carries the signal. The best direction's
    AUC is that of two normals ``strength`` apart, each of variance 2; pairs are in the right order more often.

    >>> round(signal(0, 2.0).auc["site 1"], 3), signal(0, 2.0).auc["site 0"], signal(0, 0.0).auc["site 1"]
    (0.841, 0.5, 0.5)
    """
    rng = np.random.default_rng([seed, *b"signal"])
    data = _twins(rng, n_pairs, sites, width)
    direction = rng.normal(size=width)
    shift = strength * np.outer(data.labels, direction / np.linalg.norm(direction))
    last = f"site {sites - 1}"
    features = {**data.features, last: data.features[last] + torch.from_numpy(shift)}
    auc = {**dict.fromkeys(features, 0.5), last: float(norm.cdf(strength / 2))}
    return NullData(features, data.labels, data.groups, data.pairs, auc=auc)


# --- independent examples --------------------------------------------------------------------------------------------


def _isotropic(rng: np.random.Generator) -> NullData:
    # Independent examples; there is nothing to get wrong.
    groups = np.arange(40)
    return _data(_noise(rng, 40), groups % 2, groups)


def _imbalanced(rng: np.random.Generator) -> NullData:
    # A third is positive: stratified folds against permuted labels that are not.
    groups = np.arange(42)
    return _data(_noise(rng, 42), groups < 14, groups)


# --- groups that can be recognised -----------------------------------------------------------------------------------


def _group_identity(rng: np.random.Generator) -> NullData:
    # Each group has its features and its label, and the two are unrelated. Sizes differ.
    groups = np.repeat(np.arange(20), rng.integers(1, 6, 20))
    features = _noise(rng, 20)[:, groups] + 0.1 * _noise(rng, groups.size)
    return _data(features, groups % 2, groups)


def _few_groups(rng: np.random.Generator) -> NullData:
    # The same with eleven groups, five of them positive.
    groups = np.repeat(np.arange(11), 3)
    return _data(_noise(rng, 11)[:, groups] + 0.1 * _noise(rng, 33), groups < 5, groups)


def _shuffled_within(rng: np.random.Generator) -> NullData:
    # Strong group features; labels shuffled within groups.
    groups = np.repeat(np.arange(12), 4)
    labels = np.concatenate([rng.permutation([0, 0, 1, 1]) for _ in range(12)])
    return _data(_noise(rng, 12)[:, groups] + _noise(rng, 48), labels, groups)


def _mixed_design(rng: np.random.Generator) -> NullData:
    # Groups with one label, groups with both, and as many examples as it happened.
    sizes = rng.integers(1, 4, (16, 2))
    sizes[:4, 1] = 0
    sizes[4:8, 0] = 0
    things = np.repeat(np.arange(32), sizes.ravel())
    return _data(_noise(rng, 32)[:, things] + 0.1 * _noise(rng, things.size), things % 2, things // 2)


# --- repetitions behind prefixes -------------------------------------------------------------------------------------


def _repetitions(rng: np.random.Generator) -> NullData:
    # Two things in each group, one of each label, each seen through five prefixes that hardly matter.
    things = np.repeat(np.arange(28), 5)
    features = _noise(rng, 28)[:, things] + 0.1 * _noise(rng, things.size)
    return _data(features, things % 2, things // 2, pairs=things // 2)


def _prefixes(rng: np.random.Generator) -> NullData:
    # Sixteen keys behind the same six prefixes: the prefix moves all keys alike, and a key's rows are one observation.
    keys, prefixes = np.repeat(np.arange(16), 6), np.tile(np.arange(6), 16)
    features = _noise(rng, 16)[:, keys] + 2 * _noise(rng, 6)[:, prefixes] + 0.1 * _noise(rng, keys.size)
    return _data(features, keys % 2, keys)


# --- twins -----------------------------------------------------------------------------------------------------------


def _twins(rng: np.random.Generator, n_pairs: int = 20, sites: int = SITES, width: int = WIDTH) -> NullData:
    # What the twins of a pair share is as strong as what sets them apart; a coin says which is labelled 1.
    pairs = np.repeat(np.arange(n_pairs), 2)
    coin = rng.integers(0, 2, n_pairs)
    labels = np.stack([coin, 1 - coin], axis=1).ravel()
    features = _noise(rng, n_pairs, sites, width)[:, pairs] + _noise(rng, pairs.size, sites, width)
    return _data(features, labels, pairs, pairs=pairs)


def _balanced_blocks(rng: np.random.Generator) -> NullData:
    # Blocks of four pairs whose labelled and unlabelled twins are made of the same words, dealt otherwise: each row is
    # the sum of three words of its block, so the classes of a block have the same mean but for a little noise.
    rows, labels, groups, pairs = [], [], [], []
    for block in range(10):
        words = _noise(rng, 12).reshape(SITES, 3, 4, WIDTH)
        other = np.stack([words[:, slot][:, np.roll(np.arange(4), rng.integers(1, 4))] for slot in range(3)], axis=1)
        for label, side in ((1, words), (0, other)):
            rows.append(side.sum(1))
            labels += [label] * 4
            groups += [block] * 4
            pairs += [4 * block + i for i in range(4)]
    features = np.concatenate(rows, axis=1)
    return _data(features + 0.1 * _noise(rng, len(labels)), labels, groups, pairs=np.array(pairs))


def _templates(rng: np.random.Generator) -> NullData:
    # Pairs in one of three templates of different length, which moves the features a lot and both twins alike.
    pairs = np.repeat(np.arange(20), 2)
    coin = rng.integers(0, 2, 20)
    template = rng.integers(0, 3, 20)[pairs]
    features = 4 * _noise(rng, 3)[:, template] + _noise(rng, pairs.size)
    features[..., 0] += np.array([12, 17, 25])[template]
    return _data(features, np.stack([coin, 1 - coin], axis=1).ravel(), pairs, pairs=pairs)


# --- three pools -----------------------------------------------------------------------------------------------------


def _templates_only(rng: np.random.Generator) -> NullData:
    # A pool is a template, and nothing else: equally far from each other, whatever the key.
    return _pools(rng, prefixes=1, key=1.0, apart=2.0)


def _keys_and_templates(rng: np.random.Generator) -> NullData:
    # Keys that can be recognised, each behind four prefixes.
    return _pools(rng, prefixes=4, key=3.0, apart=5.0)


def _pools(rng: np.random.Generator, prefixes: int, key: float, apart: float) -> NullData:
    keys = np.repeat(np.arange(20), 3 * prefixes)
    pools = np.tile(np.repeat(np.arange(3), prefixes), 20)
    # Three corners of an equilateral triangle with sides of length `apart`, turned at random.
    turn = np.stack([np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0] for _ in range(SITES)])
    corners = apart / sqrt(2) * turn[:, rng.permutation(3)]
    own = _noise(rng, 60)[:, keys * 3 + pools] + 0.1 * _noise(rng, keys.size)
    features = key * _noise(rng, 20)[:, keys] + corners[:, pools] + own
    return _data(features, pools == 0, keys, pools=np.array(["M", "C", "B"])[pools], auc={})


_NULLS: dict[str, Callable[[np.random.Generator], NullData]] = {
    make.__name__[1:]: make
    for make in (
        _isotropic, _imbalanced, _group_identity, _few_groups, _shuffled_within, _mixed_design, _repetitions, _prefixes,
        _twins, _balanced_blocks, _templates,
    )
}  # fmt: skip
_GAP_NULLS: dict[str, Callable[[np.random.Generator], NullData]] = {
    make.__name__[1:]: make for make in (_templates_only, _keys_and_templates)
}


def _draw(name: str, make: Callable[[np.random.Generator], NullData], seed: int) -> NullData:
    return make(np.random.default_rng([seed, *name.encode()]))


def _noise(rng: np.random.Generator, rows: int, sites: int = SITES, width: int = WIDTH) -> Array:
    return rng.normal(size=(sites, rows, width))


def _data(
    features: Array,
    labels: Any,
    groups: Any,
    *,
    pairs: Array | None = None,
    pools: Array | None = None,
    auc: dict[str, float] | None = None,
) -> NullData:
    by_site = {f"site {k}": torch.from_numpy(rows) for k, rows in enumerate(features)}
    chance = dict.fromkeys(by_site, 0.5) if auc is None else auc
    return NullData(by_site, np.asarray(labels).astype(np.int64), np.asarray(groups), pairs, pools, chance)
