"""``exact_latents``: what ablating single latents, an error or a whole site really does to the metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import CircuitError
from ..run.progress import Progress
from ..run.tape import Tape
from ..sae.latents import Sae
from ..sites import Site
from .ablation import make_ablation
from .batches import PairBatch, pair_batches
from .constants import AblationLike, Constants
from .graph import Graph
from .latents import Latents, latent_level, pairs_at_once, slots, start_of
from .latentscores import REST, LatentScores, about_saes, parse_latent
from .metrics import Metric, bind
from .observe import Observed, observe
from .outcome import Outcome
from .pairs import Pairs
from .plan import plan_rows
from .scores import Ranking

if TYPE_CHECKING:
    from ..models import Model


def exact_latents(
    model: Model,
    pairs: Pairs,
    saes: Sequence[Sae],
    latents: Sequence[str],
    metric: Metric = "logit_diff",
    *,
    ablation: AblationLike = "resample",
    ranking: Ranking = "absolute",
    replicates: int = 200,
    seed: int = 0,
    max_bytes: int | None = None,
    progress: bool | None = None,
) -> LatentScores:
    """Ablate each of some latents alone, at every token, and measure how much of the metric is lost.

    Everything else at the site is left as it is, the error too; everything behind the site follows.

    Args:
        latents: names as in `LatentScores`: ``resid_post.2.l37``, ``resid_post.2.error``, or ``resid_post.2.latents``
            and ``resid_post.2.whole`` for all latents together and for the site as one node.
        ablation: as for `attribute`, but for fitted constants.

    Raises:
        CircuitError: no latent, one that no SAE has, one that is named twice, or an ablation that there is not.

    >>> import interp
    >>> from interp.circuits import Pairs
    >>> from interp.sae import train_sae
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> pairs = Pairs.from_tokens([[5, 9, 7, 8, 5]], [[5, 8, 7, 9, 5]], answers=[[9]], wrong=[[8]])
    >>> acts = interp.capture(model, interp.PromptSet.from_tokens([[5, 9, 7, 8]] * 20), "resid_post.0")
    >>> sae = train_sae(acts, "resid_post.0", n_latents=8, k=2, steps=2, batch=8, progress=False).sae
    >>> found = exact_latents(model, pairs, [sae], ["resid_post.0.whole"], replicates=0)
    >>> bool(abs(found["resid_post.0.whole"]) > 1)
    True
    """
    kind, graph, bound = latent_level(model, saes), Graph.of(model), bind(metric, pairs)
    if isinstance(ablation, Constants):
        raise CircuitError("latents have no optimal constants; ablate them by resample, zero or a mean")
    pairs.check(model)
    wanted = _wanted(kind, latents)
    plan = plan_rows(model, graph, pairs, max_bytes)
    width = int(max(pairs.clean.lengths.max(), pairs.corrupted.lengths.max()))
    plan = replace(plan, pairs=pairs_at_once(kind.saes, plan.pairs, width, plan.max_bytes))
    fill = make_ablation(model, pairs, ablation, n_pairs=plan.pairs, view=kind.view)
    outcome = Outcome(graph, pairs, replicates, seed)
    pre = {f"pre.{layer}": model.resolve(Site("resid_pre", layer)) for layer in range(model.n_layers)}
    with Progress(len(pairs), "pair", "exact", progress) as bar:
        for batch in pair_batches(pairs, plan.pairs):
            seen, corrupted = observe(model, batch, kind.view, pre)
            clean = bound(seen.logits, batch.example, seen.logits)
            lost = torch.zeros(len(batch), len(wanted), dtype=clean.dtype, device=clean.device)
            differences = seen.differences(fill)
            for i in range(len(kind.saes)):
                own = [n for n, (sae, _) in enumerate(wanted) if sae == i]
                for some in _chunks(own, max(1, plan.rows // len(batch))):
                    away = _away(kind.saes[i], differences(slice(None))[i], [wanted[n][1] for n in some])
                    logits = _without(model, kind.saes[i], batch, seen, away)
                    value = bound(logits, batch.example.repeat(len(some)), seen.logits.repeat(len(some), 1))
                    lost[:, some] = clean[:, None] - value.unflatten(0, (len(some), -1)).T
            outcome.add(batch, lost, clean, bound(corrupted, batch.example, seen.logits))
            bar.advance(len(batch))
    about = outcome.origin("exact", bound.name, ablation, {"plan": plan.to_dict()})
    made = model.provenance(prompts=pairs.clean.hash, seed=seed if replicates else None)
    mean, ends = outcome.numbers()
    lo, hi = ends if ends is not None else (None, None)
    sae, code = (np.array(column) for column in zip(*wanted, strict=True))
    return LatentScores(graph, about_saes(kind.saes), sae, code, mean, about, made, ranking, lo, hi)


def _wanted(kind: Latents, names: Sequence[str]) -> list[tuple[int, int]]:
    if not names:
        raise CircuitError("no latent is named; give names such as those of LatentScores.rows()")
    if len(set(names)) < len(names):
        raise CircuitError(f"latents are named twice: {sorted(n for n in set(names) if list(names).count(n) > 1)}")
    found = [parse_latent(name, about_saes(kind.saes)) for name in names]
    for name, (i, code) in zip(names, found, strict=True):
        if code == -1 - REST.index("skip") and not kind.saes[i].has_skip:
            raise CircuitError(f"{name!r}: only a skip transcoder has a skip")
    return found


def _away(sae: Sae, delta: Float[Tensor, "pair pos width"], codes: Sequence[int]) -> Float[Tensor, "latent pair pos d"]:
    """What each ablation takes away at the site."""
    n, decoder = sae.n_latents, sae.decoder.to(delta)
    rest = delta[..., n : slots(sae).stop].split(sae.width, -1)

    def of(code: int) -> Tensor:
        if code >= 0:
            return delta[..., code, None] * decoder[code]
        name = REST[-1 - code]
        if name in ("error", "skip"):
            return rest[REST.index(name)]
        together = delta[..., :n] @ decoder
        return together if name == "latents" else together + torch.stack(rest).sum(0)

    return torch.stack([of(code) for code in codes])


def _without(
    model: Model, sae: Sae, batch: PairBatch, seen: Observed, away: Float[Tensor, "latent pair pos d"]
) -> Float[Tensor, "row vocab"]:
    """Logits of the clean rows, once for every ablation, computed from the site's layer on."""
    layer, n = start_of(sae), len(away)
    flat = away.flatten(0, 1)
    writes = [(model.resolve(sae.site), lambda x: x - flat.to(x))]
    if layer:
        stream = seen.streams[f"pre.{layer}"].repeat(n, 1, 1)
        writes.append((model.resolve(Site("resid_pre", layer)), lambda x: stream.to(x)))
    with Tape(model, writes=writes, start=layer) as tape:
        return tape.play(batch.clean.times(n)).logits


def _chunks(items: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
