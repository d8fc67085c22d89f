"""``Question``: what every peer of the capture benchmark is asked, and how its rows are laid out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ..errors import BenchError
from ..models import Model
from ..prompts import PromptSet
from ..sites import Site
from .workloads import benchmark_sites, shape_model, workload_prompts

USERS_BATCH = 16
DTYPE = torch.float16
# Two units in the last place of a float16: one for its rounding, one for the order of a float32 sum.
_TOLERANCE = 2 * float(torch.finfo(DTYPE).eps)
Rows = dict[Site, Any]  # tensors, or what is read like one (`interp.store.Rows`)


@dataclass(frozen=True, eq=False)
class Question:
    """Rows of ``sites`` at ``at`` ("all" or "last") for every prompt, as float16, in the order of the prompts."""

    model: Model
    prompts: PromptSet
    sites: tuple[Site, ...]
    at: str
    workload: str

    @classmethod
    def make(cls, model: str, workload: str, n_prompts: int, at: str) -> Question:
        """The question of a named workload to a named shape.

        Raises:
            BenchError: an unknown name, or ``at`` that is neither "all" nor "last".
        """
        built = shape_model(model)
        prompts = workload_prompts(workload, n_prompts, built.sizes.d_vocab)
        return cls(built, prompts, benchmark_sites(built), at, workload)

    def __post_init__(self) -> None:
        if self.at not in ("all", "last"):
            raise BenchError(f"at={self.at!r}: the benchmark asks for 'all' or 'last'")

    @property
    def last_layer(self) -> int:
        """The last block that has to run."""
        return max(site.layer or 0 for site in self.sites)

    @property
    def n_rows(self) -> int:
        """Rows per site."""
        return self.prompts.n_tokens if self.at == "all" else len(self.prompts)

    @property
    def row_bytes(self) -> int:
        """Bytes of the answer, over all sites."""
        return self.n_rows * len(self.sites) * self.model.d_model * DTYPE.itemsize

    @cached_property
    def in_order(self) -> list[np.ndarray]:
        """Batches of 16 in the order of the prompts, whose lengths are random: what a plain loop makes."""
        n = len(self.prompts)
        return [np.arange(first, min(first + USERS_BATCH, n)) for first in range(0, n, USERS_BATCH)]

    def padded(self, chosen: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Right-padded ids ``[batch, pos]`` and lengths ``[batch]``."""
        tokens = [torch.tensor(self.prompts.tokens[i]) for i in chosen.tolist()]
        ids = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True)
        return ids, torch.tensor([len(t) for t in tokens])

    def collect(
        self, batches: Iterable[np.ndarray], run: Callable[[torch.Tensor, torch.Tensor], Mapping[Site, torch.Tensor]]
    ) -> Rows:
        """The loop that peers' users write: pad, run, keep the real (or last) tokens as float16, join, put in order."""
        kept: dict[Site, list[torch.Tensor]] = {site: [] for site in self.sites}
        order: list[np.ndarray] = []
        for chosen in batches:
            ids, lengths = self.padded(chosen)
            found = run(ids, lengths)
            for site in self.sites:
                kept[site].append(self.pick(found[site], lengths).to(DTYPE))
            order.append(chosen)
            del found
        joined = {site: torch.cat(parts) for site, parts in kept.items()}
        sequence = np.concatenate(order)
        if np.array_equal(sequence, np.arange(len(sequence))):
            return joined
        return {site: rows[self._row_order(sequence)] for site, rows in joined.items()}

    def pick(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Copies of the wanted rows of ``[batch, pos, d_model]``."""
        if self.at == "last":
            return x[torch.arange(len(lengths)), lengths - 1]
        return x[torch.arange(x.shape[1]) < lengths[:, None]]

    def _row_order(self, sequence: np.ndarray) -> torch.Tensor:
        if self.at == "last":
            return torch.from_numpy(np.argsort(sequence))
        lengths = self.prompts.lengths[sequence]
        starts = np.empty_like(lengths)
        starts[sequence] = np.cumsum(lengths) - lengths
        own = self.prompts.lengths
        within = np.arange(int(own.sum())) - np.repeat(np.cumsum(own) - own, own)
        return torch.from_numpy(np.repeat(starts, own) + within)

    def difference(self, ours: Rows, theirs: Rows, peer: str) -> float:
        """Largest difference of any number.

        Raises:
            BenchError: rows of another shape, or a difference that float16 does not explain.
        """
        worst = 0.0
        for site in self.sites:
            a, b = ours[site][:].float(), theirs[site][:].float()
            if a.shape != b.shape:
                raise BenchError(f"{peer} gave {tuple(b.shape)} rows at {site}, and we {tuple(a.shape)}")
            gap = (a - b).abs()
            limit = _TOLERANCE * a.abs().clamp(min=1.0)
            if not bool((gap <= limit).all()):
                raise BenchError(f"{peer} differs from us at {site} by up to {float(gap.max()):.2g}: not the same job")
            worst = max(worst, float(gap.max()))
        return worst


@dataclass(frozen=True, eq=False)
class Peer:
    """One way to answer a `Question`. ``run`` gives its rows, or ``None`` where it only computes (the limits).

    ``compare`` is false for a peer that cannot express the job; ``note`` then says what it did instead. ``core`` peers
    run in every cell of the table, the others only where asked; ``memory`` is measured for those that have it set.
    ``workloads`` and ``ats`` are those in which it says something.
    """

    name: str
    run: Callable[[Question], Rows | None]
    batches: str
    attention: str
    note: str = ""
    compare: bool = True
    core: bool = False
    memory: bool = False
    workloads: tuple[str, ...] = ("A", "B")
    ats: tuple[str, ...] = ("all", "last")

    def fits(self, question: Question, everywhere: bool) -> bool:
        """Whether this peer belongs into the question's part of the table."""
        first = question.workload == "A" and question.at == "all"
        return question.workload in self.workloads and question.at in self.ats and (self.core or everywhere or first)


def tl_name(site: Site) -> str:
    """TransformerLens' name of a `resid_post` site."""
    return f"blocks.{site.layer}.hook_resid_post"


def shared_twin(model: Any) -> Any:
    """A second module tree over the same weights (same storage)."""
    import copy

    return copy.deepcopy(model, {id(t): t for t in (*model.parameters(), *model.buffers())})
