"""``LatentScores``: scores of the latents that did anything, and of the error of every site, that can be saved."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..directions.artefact import load_artefact, save_artefact
from ..errors import CircuitError
from ..provenance import Provenance
from ..sae.latents import Sae
from .batches import PairBatch
from .graph import Graph
from .latents import Latents, rests
from .outcome import Outcome
from .pairs import Pairs
from .scores import Origin, Ranking, _arrays, _damage, _origin, _plain, _tensors

REST = ("error", "skip", "latents", "whole")
"""What is scored of a site besides single latents, coded -1, -2, -3, -4: the last two are sums."""
NODES = -2
"""Codes from here on are of nodes; those below are sums of nodes."""


@dataclass(frozen=True, eq=False)
class LatentScores:
    """One score per latent, and per site one of the error, one of all latents together and one of the whole site.

    A score is the (estimated) loss of the metric when that latent alone is ablated, mean over pairs. A latent that is
    not listed has the score 0: neither the clean nor the ablated run had it differ. The scores of a site's latents,
    error and skip sum to ``whole``, which is the score of the site as one node.

    Attributes:
        saes: of each SAE ``site reads n_latents architecture fingerprint``.
        sae: which SAE each score is of; ``latent`` its number, or a code of `REST`.
        ranking: ``absolute`` or ``signed``; sums are not ranked.
    """

    graph: Graph
    saes: tuple[dict[str, Any], ...]
    sae: Int[np.ndarray, " score"]
    latent: Int[np.ndarray, " score"]
    values: Float[np.ndarray, " score"]
    origin: Origin
    provenance: Provenance
    ranking: Ranking = "absolute"
    lo: Float[np.ndarray, " score"] | None = None
    hi: Float[np.ndarray, " score"] | None = None

    def __post_init__(self) -> None:
        if self.ranking not in ("absolute", "signed"):
            raise CircuitError(f"ranking={self.ranking!r}: 'absolute' or 'signed'")
        for name in ("sae", "latent", "values", "lo", "hi"):
            array = getattr(self, name)
            if array is not None:
                if array.shape != self.values.shape:
                    raise CircuitError(f"{name} has the shape {array.shape}, but there are {len(self.values)} scores")
                array = array.view()
                array.flags.writeable = False
                object.__setattr__(self, name, array)

    @property
    def sites(self) -> tuple[str, ...]:
        """Where the SAEs write."""
        return tuple(about["site"] for about in self.saes)

    def name(self, i: int) -> str:
        """The name of the ``i``-th score: ``resid_post.2.l37``, ``resid_post.2.error``."""
        return latent_name(self.sites[self.sae[i]], int(self.latent[i]))

    @cached_property
    def _place(self) -> dict[str, int]:
        return {self.name(i): i for i in range(len(self.values))}

    def __getitem__(self, name: str) -> float:
        """A score by name; 0 for a latent that did nothing."""
        if name in self._place:
            return float(self.values[self._place[name]])
        _, latent = parse_latent(name, self.saes)
        if latent < 0:
            raise CircuitError(f"{name!r} is not among these scores; its SAE has no {REST[-1 - latent]}")
        return 0.0

    def order(self, n: int | None = None, *, errors: bool = True) -> list[int]:
        """The strongest single nodes, the strongest first; ``errors=False`` leaves errors and skips out."""
        there = np.flatnonzero(self.latent >= (NODES if errors else 0))
        strength = np.abs(self.values) if self.ranking == "absolute" else self.values
        return there[np.argsort(-strength[there], kind="stable")][:n].tolist()

    def rows(self, n: int | None = None, *, errors: bool = True) -> list[dict[str, Any]]:
        """The strongest as plain rows: ``latent site score``, and the interval's ends if there are any."""
        return [self._row(i) for i in self.order(n, errors=errors)]

    def site_rows(self) -> list[dict[str, Any]]:
        """Of each site: the error (and the skip), all latents together, and the whole site."""
        return [self._row(i) for i in np.flatnonzero(self.latent < 0).tolist()]

    def _row(self, i: int) -> dict[str, Any]:
        row: dict[str, Any] = {"latent": self.name(i), "site": self.sites[self.sae[i]], "score": float(self.values[i])}
        if self.lo is not None and self.hi is not None:
            row |= {"score_lo": float(self.lo[i]), "score_hi": float(self.hi[i])}
        return row

    def __repr__(self) -> str:
        best = ", ".join(f"{r['latent']} {r['score']:.3g}" for r in self.rows(3))
        total, o = sum(about["n_latents"] for about in self.saes), self.origin
        some = int((self.latent >= 0).sum())
        return (
            f"LatentScores({o.method}, {o.metric}, {o.ablation}; {some} of {total} latents, {o.n_pairs} pairs; {best})"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write everything as safetensors with a JSON header."""
        fields = {
            "graph": self.graph.to_dict(), "saes": list(self.saes), "ranking": self.ranking,
            "origin": _plain(self.origin), "provenance": self.provenance.to_dict(),
        }  # fmt: skip
        arrays = {k: getattr(self, k) for k in ("sae", "latent", "values", "lo", "hi")}
        return save_artefact(path, "latent_scores", _tensors(arrays), fields)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LatentScores:
        """Read what `save` wrote.

        Raises:
            ArtefactError: the file is missing, damaged or something else.
        """
        _, tensors, fields = load_artefact(path, ("latent_scores",))
        with _damage(path):
            sae, latent, values = (tensors[k].numpy() for k in ("sae", "latent", "values"))
            return cls(
                Graph.from_dict(fields["graph"]), tuple(fields["saes"]), sae, latent, values,
                _origin(fields["origin"]), Provenance.from_dict(fields["provenance"]), fields["ranking"],
                *_arrays(tensors, "lo", "hi"),
            )  # fmt: skip


def latent_name(site: str, latent: int) -> str:
    """The name of a latent, or of what is coded by a negative number.

    >>> latent_name("resid_post.2", 37), latent_name("mlp_out.0", -1)
    ('resid_post.2.l37', 'mlp_out.0.error')
    """
    return f"{site}.l{latent}" if latent >= 0 else f"{site}.{REST[-1 - latent]}"


def parse_latent(name: str, saes: tuple[dict[str, Any], ...]) -> tuple[int, int]:
    """Which SAE and which latent (or code) a name is of.

    Raises:
        CircuitError: no SAE has it.
    """
    for i, about in enumerate(saes):
        tail = name.removeprefix(about["site"] + ".")
        if tail == name:
            continue
        if tail in REST:
            return i, -1 - REST.index(tail)
        if tail[:1] == "l" and tail[1:].isdigit() and int(tail[1:]) < about["n_latents"]:
            return i, int(tail[1:])
    first = saes[0]["site"]
    raise CircuitError(f"{name!r} is nothing that these SAEs have; names look like '{first}.l0' and '{first}.error'")


def about_saes(saes: tuple[Sae, ...]) -> tuple[dict[str, Any], ...]:
    """Of each SAE what is kept with its scores."""
    return tuple(
        {
            "site": str(s.site), "reads": str(s.reads), "n_latents": s.n_latents, "architecture": s.architecture,
            "fingerprint": s.fingerprint,
        }
        for s in saes
    )  # fmt: skip


class LatentOutcome(Outcome):
    """Collects per-pair scores of latents; only those are kept that some pair has."""

    def __init__(self, kind: Latents, graph: Graph, pairs: Pairs, replicates: int, seed: int) -> None:
        super().__init__(graph, pairs, replicates, seed)
        self._kind = kind
        self._slots = kind.width + 2  # the two sums
        self._known = torch.zeros(0, dtype=torch.long)

    def add(
        self,
        batch: PairBatch,
        scores: Float[Tensor, "pair score"],
        clean: Float[Tensor, " pair"],
        ablated: Float[Tensor, " pair"],
    ) -> None:
        """Take one batch: ``[pair, sae x slot]``."""
        every = scores.cpu().unflatten(1, (len(self._kind.saes), -1))
        n = [sae.n_latents for sae in self._kind.saes]
        latents = torch.stack([every[:, i, : n[i]].sum(-1) for i in range(len(n))], 1)
        every = torch.cat([every, latents[..., None], every.sum(-1)[..., None]], -1)
        needed = every.any(0)
        for i, sae in enumerate(self._kind.saes):
            needed[i, n[i] : n[i] + len(rests(sae))] = True
        needed[:, -2:] = True
        needed.view(-1)[self._known] = False
        flat = needed.flatten().nonzero()[:, 0]
        self._known = torch.cat([self._known, flat])
        super().add(batch, every.flatten(1)[:, self._known], clean, ablated)

    def latent_scores(self, origin: Origin, made: Provenance, ranking: Ranking) -> LatentScores:
        """As scores, in the order of SAEs and latents."""
        sae, slot = (self._known // self._slots).numpy(), (self._known % self._slots).numpy()
        n = np.array([s.n_latents for s in self._kind.saes])[sae]
        code = np.where(slot < n, slot, -1 - (slot - n))
        code = np.where(slot >= self._slots - 2, self._slots - slot - 5, code)
        mean, ends = self.numbers()
        order = np.lexsort((code, sae))
        lo, hi = (None, None) if ends is None else (e[order] for e in ends)
        return LatentScores(
            self._graph,
            about_saes(self._kind.saes),
            sae[order],
            code[order],
            mean[order],
            origin,
            made,
            ranking,
            lo,
            hi,
        )
