"""Concept vectors of domains, and how much they have in common beyond what all of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from ...errors import PromptError
from ...prompts import PromptSet
from ...run import capture_stats
from ...sites import Site

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]
THIRDS = ("early", "middle", "late")


@dataclass(frozen=True, eq=False)
class Entanglement:
    """Cosines between the domains' concept vectors, by mark and layer; ``matrix[mark]`` is ``[layer, domain, domain]``.

    A concept vector is the mean activation over a domain's prompts, minus the mean of these means: what all domains
    share (that they are harmful, that they are requests) is taken out, and would otherwise make every cosine near 1.
    """

    domains: tuple[str, ...]
    sites: tuple[Site, ...]
    matrix: dict[str, Float[np.ndarray, "layer domain domain"]]

    def third(self, mark: str, name: str) -> Float[np.ndarray, "domain domain"]:
        """The mean over one third of the layers."""
        part = np.array_split(np.arange(len(self.sites)), 3)[THIRDS.index(name)]
        return self.matrix[mark][part].mean(0)

    def layers(self, name: str) -> tuple[Site, ...]:
        """The sites of one third."""
        return tuple(self.sites[i] for i in np.array_split(np.arange(len(self.sites)), 3)[THIRDS.index(name)])


def entangle(means: Float[torch.Tensor, "domain d"]) -> Float[torch.Tensor, "domain domain"]:
    """Cosines of the rows after their mean is taken out.

    Raises:
        PromptError: a domain whose vector is nothing but the mean of all.

    Source: arXiv 2511.14017, section 5.

    >>> entangle(torch.tensor([[5.0, 1.0], [5.0, -1.0]])).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    x = means.double() - means.double().mean(0)
    norms = x.norm(dim=1, keepdim=True)
    if not bool((norms > 1e-9 * means.double().norm(dim=1).max().clamp_min(1e-300)).all()):
        raise PromptError("a domain's mean activation is that of all domains, so its concept vector has no direction")
    unit = x / norms
    return unit @ unit.T


def concept_entanglement(
    model: Model,
    prompts: PromptSet,
    domains: Array,
    *,
    marks: tuple[str, ...] = ("t_inst", "t_post"),
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Entanglement:
    """Entanglement of domains behind every block, at each mark.

    Args:
        domains: the domain of each prompt.

    Raises:
        PromptError: fewer than three domains, or prompts without a mark.

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> prompts = interp.PromptSet.from_tokens([[5, 9], [8, 6], [7, 5]])
    >>> found = concept_entanglement(model, prompts, np.array(["a", "b", "c"]), marks=("last",))
    >>> found.domains, found.matrix["last"].shape
    (('a', 'b', 'c'), (2, 3, 3))
    """
    names = np.asarray(domains).astype(str)
    known = tuple(np.unique(names).tolist())
    if len(known) < 3:
        raise PromptError(f"entanglement takes three domains or more, got {', '.join(known) or 'none'}")
    sites = model.expand("resid_post")
    matrix = {}
    for mark in marks:
        found = capture_stats(
            model, prompts, sites, at=mark, by=names.tolist(), batch_tokens=batch_tokens, progress=progress
        )
        matrix[mark] = np.stack([
            entangle(torch.stack([found.mean(site, of=name) for name in known])).numpy() for site in sites
        ])  # fmt: skip
    return Entanglement(known, sites, matrix)
