"""Data of known truth as contrasts and arms, and reports from which sentences are made."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from interp.memorisation.signature.arms import Arms
from interp.memorisation.signature.cells import probe_cell
from interp.memorisation.signature.contrasts import Contrast
from interp.prompts import PromptSet

SETTINGS = {
    "C": 1.0, "permutations": 39, "bootstrap": 100, "level": 0.95, "tol": 1e-3, "seed": 0, "progress": False,
}  # fmt: skip


@cache
def blank(n):
    """Prompts that stand for rows of activations, and are never read."""
    return PromptSet.from_tokens([[1]] * n)


def cell_of(data, *, name="twins", dose=8, mark="recall", controls=None, baselines=None, folds=5, **settings):
    """A cell of data from `interp.testbeds.null_data`."""
    units = data.groups.astype(str) if data.pairs is None else data.pairs.astype(str)
    made = Contrast(name, dose, blank(len(data.labels)), data.labels == 1, data.groups, units)
    return probe_cell(
        made, mark, data.features, controls or {}, baselines or {}, folds=folds, settings={**SETTINGS, **settings}
    )


def arms_of_pools(groups, pools, baseline="C-B"):
    """M against C beside C against B."""
    used = np.stack([np.isin(pools, ["M", "C"]), np.isin(pools, ["C", "B"])])
    return Arms(blank(len(groups)), groups, used, np.stack([pools == "M", pools == "C"]), baseline)


def pools_of(seed, keys=16, prefixes=2, d=6, memory=0.0, style=0.0):
    """Rows of keys in three wordings: M shifted by ``memory``, C against M and B by ``style`` (both alike)."""
    rng = np.random.default_rng([seed, 77])
    groups = np.repeat(np.arange(keys), 3 * prefixes)
    pools = np.tile(np.repeat(["M", "C", "B"], prefixes), keys)
    x = (
        3 * rng.normal(size=(keys, d))[groups]
        + rng.normal(size=(3 * keys, d))[np.repeat(np.arange(3 * keys), prefixes)]
    )
    x[:, 0] += memory * (pools == "M")
    x[:, 1] += style * (pools == "C")
    x += 0.1 * rng.normal(size=x.shape)
    return torch.from_numpy(x), groups, pools
