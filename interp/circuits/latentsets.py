"""``LatentTable``: scores of latents as a table of SAEs and slots; and the model with only some latents left."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import CircuitError
from ..run.tape import Tape
from ..sae.latents import Sae
from .ablation import make_ablation
from .batches import pair_batches
from .constants import AblationLike
from .latents import latent_level, rests, slots
from .latentscores import LatentScores, latent_name, parse_latent
from .metrics import Metric, bind
from .nodeset import NodeSet
from .observe import observe
from .pairs import Pairs
from .plan import auto_bytes, plan_rows
from .scores import NodeScores

if TYPE_CHECKING:
    from ..models import Model
    from ..models.hooks import Write
    from ..models.resolve import Tap


@dataclass(frozen=True, eq=False)
class LatentTable(NodeScores):
    """`LatentScores` with a row per SAE: its latents, its error, and the skip of a skip transcoder.

    Latents that did nothing have the score 0; what an SAE with fewer latents lacks is NaN. It is saved as what it was
    made of, ``source``.
    """

    saes: tuple[Sae, ...] = ()
    source: LatentScores | None = None

    @classmethod
    def of(cls, scores: LatentScores, saes: tuple[Sae, ...]) -> LatentTable:
        """Scores with the SAEs that they are of."""
        n = np.array([sae.n_latents for sae in saes])
        values = np.full((len(saes), max(sae.n_latents + len(rests(sae)) for sae in saes)), np.nan)
        for i, sae in enumerate(saes):
            values[i, : sae.n_latents + len(rests(sae))] = 0.0
        lo, hi = values.copy(), values.copy()
        nodes = np.flatnonzero(scores.latent >= -2)  # errors and skips, and no sums
        slot = np.where(scores.latent >= 0, scores.latent, n[scores.sae] - 1 - scores.latent)[nodes]
        at = (scores.sae[nodes], slot)
        values[at] = scores.values[nodes]
        if scores.lo is None or scores.hi is None:
            lo = hi = None
        else:
            lo[at], hi[at] = scores.lo[nodes], scores.hi[nodes]
        return cls(
            scores.graph, "latent", values, scores.origin, scores.provenance, scores.ranking, lo, hi, saes=saes,
            source=scores,
        )  # fmt: skip

    def name(self, place: tuple[int, ...]) -> str:
        """The name of a latent, ``resid_post.2.l37``, or an error, ``resid_post.2.error``."""
        return slot_name(self.saes, place)

    def place(self, node: str) -> tuple[int, ...]:
        """The place of a latent or an error, from its name."""
        assert self.source is not None
        sae, latent = parse_latent(node, self.source.saes)
        return sae, latent if latent >= 0 else self.saes[sae].n_latents - 1 - latent

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the scores; `LatentScores.load` reads them."""
        assert self.source is not None
        return self.source.save(path)


def slot_name(saes: tuple[Sae, ...], place: tuple[int, ...]) -> str:
    """The name of a slot of an SAE."""
    sae, slot = saes[place[0]], place[1]
    return latent_name(str(sae.site), slot if slot < sae.n_latents else -1 - (slot - sae.n_latents))


def run_latents(
    model: Model, pairs: Pairs, sets: list[NodeSet], metric: Metric, ablation: AblationLike,
    max_bytes: int | None,
) -> Float[np.ndarray, "set pair"]:  # fmt: skip
    """The metric of every pair with only some latents (and errors) left; the others have their ablated values.

    What is left is what it is in that very run, and is not put through the SAE: ``x - (latents - ablated) decoder``
    over those taken out.

    Raises:
        CircuitError: sets that are not of the slots of these SAEs.
    """
    pairs.check(model)
    saes = sets[0].saes
    kind, graph = latent_level(model, saes), sets[0].graph
    shape = (len(saes), max(sae.n_latents + len(rests(sae)) for sae in saes))
    if any(s.mask.shape != shape or s.saes != saes for s in sets):
        raise CircuitError(f"sets of {sets[0].mask.shape} latents for SAEs with {shape} (SAE, latent)")
    bound, plan = bind(metric, pairs), plan_rows(model, graph, pairs, max_bytes)
    # Of one row of a pass: latents, their difference and the ablated ones, of every SAE at once.
    row = 16 * int(pairs.clean.lengths.max()) * sum(slots(sae).stop for sae in saes)
    room = max(1, (auto_bytes(model) if max_bytes is None else max_bytes) // 2 // row)
    n_pairs, rows = min(plan.pairs, room), min(plan.rows, room)
    fill = make_ablation(model, pairs, ablation, n_pairs=n_pairs, view=kind.view)
    masks = torch.from_numpy(np.stack([s.mask for s in sets]))
    found = torch.empty(len(sets), len(pairs))
    for batch in pair_batches(pairs, n_pairs):
        seen, _ = observe(model, batch, kind.view)
        ablated = fill.writes(batch, seen.corrupted)
        at_once = max(1, rows // len(batch))
        for start in range(0, len(sets), at_once):
            some = masks[start : start + at_once].to(ablated.device)
            with Tape(model, writes=_writes(model, saes, some, ablated)) as tape:
                logits = tape.play(batch.clean.times(len(some))).logits
            value = bound(logits, batch.example.repeat(len(some)), seen.logits.repeat(len(some), 1))
            found[start : start + len(some), batch.example] = value.unflatten(0, (len(some), -1)).float().cpu()
    return found.numpy()


def _writes(
    model: Model, saes: tuple[Sae, ...], masks: Bool[Tensor, "set sae slot"],
    ablated: Float[Tensor, "sae pair pos width"],
) -> list[tuple[Tap, Write]]:  # fmt: skip
    """What changes a pass; a transcoder's input is noted where it is read."""
    writes: list[tuple[Tap, Write]] = []
    for i, sae in enumerate(saes):
        read: list[Tensor] = []
        if sae.is_transcoder:
            writes.append((model.resolve(sae.reads), partial(_note, read)))
        writes.append((model.resolve(sae.site), partial(_only, sae, masks[:, i], ablated[i], read)))
    return writes


def _note(read: list[Tensor], x: Tensor) -> Tensor:
    read[:] = [x]
    return x


def _only(
    sae: Sae, mask: Bool[Tensor, "set slot"], ablated: Float[Tensor, "pair pos width"], read: list[Tensor],
    y: Float[Tensor, "row pos d"],
) -> Float[Tensor, "row pos d"]:  # fmt: skip
    """What stands at the site, less what those outside a row's set add beyond their ablated values."""
    x, n = (read[0] if read else y), sae.n_latents
    out = ~mask[:, None, None, :]
    pieces = [sae.error(x, y)] + ([sae.skip(x)] if sae.has_skip else [])
    was = ablated[..., n : slots(sae).stop].split(sae.width, -1)
    latents = sae.encode(x).unflatten(0, (len(mask), -1))
    change = ((latents - ablated[..., :n]) * out[..., :n]) @ sae.decoder.to(latents)
    for i, (now, then) in enumerate(zip(pieces, was, strict=True)):
        change = change + (now.unflatten(0, (len(mask), -1)) - then) * out[..., n + i, None]
    return y - change.flatten(0, 1).to(y)
