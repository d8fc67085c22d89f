"""Latents of SAEs and transcoders as what is scored, beside the error that each leaves, which is a node of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import CircuitError, TooLargeError
from ..run.nodes import NodeValues
from ..sae.latents import Sae
from ..sites import Site
from ..store import size_text
from .batches import PairBatch
from .contract import Differences
from .levels import Level, Setting, Slopes
from .plan import Plan

if TYPE_CHECKING:
    from ..models import Model
    from ..models.resolve import Tap
    from .graph import Graph

SHARE = 0.5
"""How much of the memory latents may take; the rest is for the passes."""


class LatentValues(NodeValues):
    """Latents, then the error (and a skip transcoder's skip), of every SAE: one "node" per SAE, as wide as the widest.

    What is kept is what stands at the SAEs' sites; latents are made of it when they are asked for.
    """

    saes: ClassVar[tuple[Sae, ...]] = ()

    @classmethod
    def taps(cls, model: Model) -> dict[str, Tap]:
        """Where an SAE writes, ``out.<i>``, where a transcoder reads, ``in.<i>``, and ``input``."""
        taps = {f"out.{i}": model.resolve(sae.site) for i, sae in enumerate(cls.saes)}
        taps |= {f"in.{i}": model.resolve(sae.reads) for i, sae in enumerate(cls.saes) if sae.is_transcoder}
        return taps | {"input": model.resolve(Site("resid_pre", 0))}

    def pieces(self) -> Iterator[Float[Tensor, "node row pos width"]]:
        """Each SAE's latents and what they leave."""
        width = max(slots(sae).stop for sae in self.saes)
        for i, sae in enumerate(self.saes):
            y = self.values[f"out.{i}"]
            x = self.values.get(f"in.{i}", y)
            latents = sae.encode(x)
            parts = [latents, sae.error(x, y)] + ([sae.skip(x)] if sae.has_skip else [])
            found = torch.cat(parts, -1)
            yield torch.nn.functional.pad(found, (0, width - found.shape[-1]))[None]

    @property
    def n_nodes(self) -> int:
        """How many SAEs there are."""
        return len(self.saes)


def slots(sae: Sae) -> range:
    """The numbers that one token has of an SAE: latents, error, skip."""
    return range(sae.n_latents + sae.width * len(rests(sae)))


def rests(sae: Sae) -> tuple[str, ...]:
    """What stands beside the latents: the error, and the skip of a skip transcoder."""
    return ("error", "skip") if sae.has_skip else ("error",)


class Latents(Level):
    """Every latent and every error: their difference, written out, times the gradient of what stands at the site.

    A pair's scores are ``[sae, latent]``, with the error (and the skip) behind the latents.
    """

    def __init__(self, saes: tuple[Sae, ...]) -> None:
        self.saes = saes
        self.view = type("LatentValues", (LatentValues,), {"saes": saes})

    @property
    def width(self) -> int:
        """Scores per SAE; an SAE with fewer latents leaves the last ones at zero."""
        return max(sae.n_latents + len(rests(sae)) for sae in self.saes)

    def cuts(self, model: Model, first: int = 0) -> dict[str, Tap]:
        """Where SAEs write."""
        return {f"site.{i}": model.resolve(s.site) for i, s in enumerate(self.saes) if start_of(s) >= first}

    def stage(self, graph: Graph, layer: int, part: str) -> slice:
        """Latents are no parts of layers.

        Raises:
            CircuitError: always.
        """
        raise CircuitError("latents belong to sites, not to the parts of a layer")

    def places(self, model: Model, graph: Graph) -> list[tuple[int, slice, Tap]]:
        """Each SAE's site."""
        return [(start_of(s), slice(i, i + 1), model.resolve(s.site)) for i, s in enumerate(self.saes)]

    def away(
        self, setting: Setting, batch: PairBatch, differences: Differences, sources: slice
    ) -> Float[Tensor, "pair pos width"]:
        """What the latents of one SAE, its error and its skip take away together at its site."""
        sae = self.saes[sources.start]
        found = []
        for columns in _columns(setting, batch.clean.width):
            delta = differences(columns)[sources.start]
            latents, others = _split(sae, delta)
            found.append(latents @ sae.decoder.to(latents) + others.sum(0))
        return torch.cat(found, 1)

    def meet(
        self, setting: Setting, differences: Differences, slopes: Slopes, sources: slice = slice(None), first: int = 0
    ) -> Float[Tensor, "pair sae slot"]:
        """Some columns at a time: ``(latent - ablated) (decoder . gradient)``, summed over tokens."""
        low, high, _ = sources.indices(len(self.saes))
        total: Tensor | None = None
        for columns in _columns(setting, next(iter(slopes.gradients.values())).shape[1]):
            delta = differences(columns)
            if total is None:
                total = delta.new_zeros(delta.shape[1], len(self.saes), self.width)
            for i in range(low, high):
                sae, slope = self.saes[i], slopes.over_steps(f"site.{i}")[:, columns].to(delta)
                latents, others = _split(sae, delta[i - low])
                total[:, i, : sae.n_latents] += (latents * (slope @ sae.decoder.to(delta).T)).sum(1)
                for j, other in enumerate(others):
                    total[:, i, sae.n_latents + j] += (other * slope).sum((1, 2))
        assert total is not None
        return total

    def planned(self, plan: Plan, width: int) -> Plan:
        """The plan with as many pairs and columns as fit, when latents may take what was left for them.

        Raises:
            TooLargeError: one column of one pair does not fit.
        """
        column = bytes_per_token(self.saes)
        scores = 4 * 4 * len(self.saes) * self.width
        room = int(SHARE / (1 - SHARE) * plan.max_bytes)
        pairs = max(1, min(plan.pairs, room // (column + scores)))
        columns = min(width, (room - pairs * scores) // (pairs * column))
        if columns < 1:
            raise TooLargeError(
                f"the latents of one token take {size_text(column + scores)}, but {size_text(room)} is left for them; "
                "give a larger max_bytes, or fewer SAEs at a time"
            )
        peak = plan.peak + pairs * (scores + columns * column)
        return replace(plan, pairs=pairs, columns=columns, peak=peak, max_bytes=plan.max_bytes + room)


def bytes_per_token(saes: Sequence[Sae]) -> int:
    """What one token's latents take: clean, ablated and difference, and one more while pieces are joined."""
    return 4 * 4 * len(saes) * max(slots(s).stop for s in saes)


def pairs_at_once(saes: Sequence[Sae], pairs: int, width: int, room: int) -> int:
    """How many pairs' latents fit with all of their tokens, no more than ``pairs``.

    Raises:
        TooLargeError: those of one pair do not fit.
    """
    one = width * bytes_per_token(saes)
    if one > room:
        raise TooLargeError(
            f"the latents of one pair of {width} tokens take {size_text(one)}, but {size_text(room)} is left for them; "
            "give a larger max_bytes, or fewer SAEs at a time"
        )
    return min(pairs, room // one)


def latent_level(model: Model, saes: Sequence[Sae]) -> Latents:
    """The level of these SAEs' latents.

    Raises:
        CircuitError: no SAE, or two that write at one site.
        SaeError, ProvenanceError: an SAE of another model.
    """
    if not saes:
        raise CircuitError("level='latent' needs saes=[...]: which SAEs' latents?")
    seen: set[str] = set()
    for sae in saes:
        sae.check(model)
        if str(sae.site) in seen:
            raise CircuitError(f"two SAEs write at {sae.site}; score them one after the other")
        seen.add(str(sae.site))
    return Latents(tuple(saes))


def start_of(sae: Sae) -> int:
    """The first layer that has to be computed when something is written at an SAE's site."""
    if sae.site.layer is None:
        return 0
    return max(0, sae.site.layer - 1) if sae.site.kind == "resid_pre" else sae.site.layer


def _split(sae: Sae, delta: Float[Tensor, "*rows width"]) -> tuple[Tensor, Tensor]:
    """Latents, and the error (and the skip) one over the other."""
    latents, rest = delta[..., : sae.n_latents], delta[..., sae.n_latents : slots(sae).stop]
    return latents, torch.stack(rest.split(sae.width, -1))


def _columns(setting: Setting, width: int) -> Iterator[slice]:
    """Pieces of the rectangle that fit."""
    step = setting.plan.columns
    for start in range(0, width, step):
        yield slice(start, min(start + step, width))
