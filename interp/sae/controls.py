"""What a dictionary is held against: as many fixed directions (PCA), and rows of unrelated coordinates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import SaeError
from ..sites import Site
from ..store import Activations, Rows
from ..store.sources import MemorySource


@dataclass(frozen=True, eq=False)
class Basis:
    """A mean and some orthonormal directions: the best reconstruction from ``k`` numbers in fixed directions."""

    mean: Float[Tensor, " d"]
    rows: Float[Tensor, "k d"]

    @property
    def width(self) -> int:
        """Width of a row."""
        return len(self.mean)

    def reconstruct(self, x: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
        """The projection on the directions, about the mean."""
        mean, rows = self.mean.to(x), self.rows.to(x)
        return mean + (x - mean) @ rows.T @ rows


def pca_basis(rows: Rows, train: Int[np.ndarray, " row"], k: int) -> Basis:
    """Mean and ``k`` leading principal directions of some rows; ``k = 0`` is the mean alone.

    Raises:
        SaeError: more directions than a row is wide.

    >>> basis = pca_basis(Rows(MemorySource(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))), np.arange(2), 1)
    >>> basis.reconstruct(torch.tensor([[5.0, 4.0]])).tolist()
    [[5.0, 0.0]]
    """
    if not 0 <= k <= rows.shape[1]:
        raise SaeError(f"rows are {rows.shape[1]} wide: they have no {k} principal directions")
    total, outer = torch.zeros(rows.shape[1], dtype=torch.float64), torch.zeros(rows.shape[1], rows.shape[1]).double()
    for piece in np.array_split(train, max(1, len(train) // 65536)):
        x = rows[piece].double().cpu()
        total += x.sum(0)
        outer += x.T @ x
    mean = total / len(train)
    cov = outer / len(train) - torch.outer(mean, mean)
    _, vectors = torch.linalg.eigh(cov)
    return Basis(mean.float(), vectors.flip(1)[:, :k].T.float().contiguous())


def shuffled(acts: Activations, site: Site | str, seed: int = 0) -> Activations:
    """The same rows with each coordinate shuffled over rows by itself: every coordinate keeps its values, none its row.

    What an SAE still explains there it explains without any direction that means something.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> acts = interp.capture(model, interp.PromptSet.from_tokens([[5, 9, 7, 5]]), "resid_post.0")
    >>> mixed = shuffled(acts, "resid_post.0")["resid_post.0"].tensor()
    >>> bool((mixed.sort(0).values == acts["resid_post.0"].tensor().sort(0).values).all())
    True
    """
    where = Site.parse(site)
    x = acts[where].tensor()
    special = torch.from_numpy(acts.index.special.copy())
    rng = np.random.default_rng(seed)
    mixed = x.clone()
    for kind in (special, ~special):  # rows of special tokens are left out of training, and are shuffled apart
        numbers = torch.nonzero(kind)[:, 0]
        for column in range(x.shape[1]):
            order = torch.from_numpy(rng.permutation(len(numbers)))
            mixed[numbers, column] = x[numbers[order], column]
    return replace(acts, rows={where: Rows(MemorySource(mixed))})
