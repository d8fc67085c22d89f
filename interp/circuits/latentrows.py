"""``latent_report``: the strongest latents with exact checks, a random sample beside them, and each site's error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CircuitError
from ..report import Report
from ..sae.latents import Sae
from .latentexact import exact_latents
from .latentscores import LatentScores
from .metrics import METRICS, Metric
from .pairs import Pairs

if TYPE_CHECKING:
    from ..models import Model


def latent_report(
    model: Model,
    pairs: Pairs,
    scores: LatentScores,
    saes: Sequence[Sae],
    metric: Metric | None = None,
    *,
    top: int = 10,
    sample: int = 10,
    seed: int = 0,
    max_bytes: int | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> Report:
    """Measure the strongest latents, a random sample of the others, and every error exactly, beside their scores.

    Args:
        metric: the one that scores were made with; needed only if that was a function.
        top, sample: how many latents; the sample is drawn among latents that have a score.

    Returns:
        A report of kind ``latents``: a row per latent with ``group`` (``top``, ``sample``, ``error``, ``skip``,
        ``latents``, ``whole``), ``score`` and ``exact``, each with its interval. The sample says what a latent does
        that was not picked for its score. ``meta`` has ``pearson`` and ``sign_agreement`` over top and sample, and of
        each site ``error_share``: what of the exact loss, error alone plus latents together, is the error's.

    Raises:
        CircuitError: SAEs other than those of the scores, or a metric that is missing.
    """
    if [s.fingerprint for s in saes] != [about["fingerprint"] for about in scores.saes]:
        raise CircuitError("these SAEs are not those that the scores were made with")
    if metric is None and scores.origin.metric not in METRICS:
        raise CircuitError(f"the scores are of a function, {scores.origin.metric!r}: give metric= once more")
    order = scores.order(errors=False)
    below = np.random.default_rng(seed).permutation(np.array(order[top:], dtype=int))[:sample].tolist()
    rest = np.flatnonzero(scores.latent < 0).tolist()
    groups = [*[("top", i) for i in order[:top]], *[("sample", i) for i in below]]
    groups += [(scores.name(i).rpartition(".")[2], i) for i in rest]
    exact = exact_latents(
        model, pairs, saes, [scores.name(i) for _, i in groups], metric or scores.origin.metric,
        ablation=scores.origin.ablation, seed=seed, max_bytes=max_bytes, progress=progress,
    )  # fmt: skip
    rows = []
    for n, (group, i) in enumerate(groups):
        row = {"latent": scores.name(i), "site": scores.sites[scores.sae[i]], "group": group}
        for field, found, at in (("score", scores, i), ("exact", exact, n)):
            row[field] = float(found.values[at])
            if found.lo is not None and found.hi is not None:
                row |= {f"{field}_lo": float(found.lo[at]), f"{field}_hi": float(found.hi[at])}
        rows.append(row)
    meta = _meta(scores, rows, top, sample)
    return Report(
        kind="latents",
        title=f"Latents: {model.id}",
        headline=_headline(rows, meta),
        rows=rows,
        provenance=model.provenance(prompts=pairs.clean.hash, seed=seed, command=command),
        warnings=_warnings(meta),
        meta=meta,
    )


def _meta(scores: LatentScores, rows: list[dict[str, Any]], top: int, sample: int) -> dict[str, Any]:
    single = [row for row in rows if row["group"] in ("top", "sample")]
    estimated, exact = (np.array([row[field] for row in single]) for field in ("score", "exact"))
    varied = len(single) > 1 and estimated.std() > 0 and exact.std() > 0
    top_sizes, below = ([abs(r["exact"]) for r in single if r["group"] == g] for g in ("top", "sample"))
    shares = {}
    for site in scores.sites:
        own = {row["group"]: row["exact"] for row in rows if row["site"] == site}
        both = abs(own["error"]) + abs(own["latents"])
        shares[site] = abs(own["error"]) / both if both else float("nan")
    origin = scores.origin
    return {
        "unit": "latent", "saes": list(scores.saes), "n_listed": int((scores.latent >= 0).sum()),
        "n_latents": sum(about["n_latents"] for about in scores.saes), "error_share": shares,
        "pearson": float(np.corrcoef(estimated, exact)[0, 1]) if varied else float("nan"),
        "sign_agreement": float((np.sign(estimated) == np.sign(exact)).mean()) if single else float("nan"),
        "top_mean": float(np.mean(top_sizes)) if top_sizes else float("nan"),
        "sample_mean": float(np.mean(below)) if below else float("nan"), "top": top, "sample": sample,
        "method": origin.method, "metric": origin.metric, "ablation": origin.ablation, "ranking": scores.ranking,
        "clean": origin.clean, "ablated": origin.ablated, "n_pairs": origin.n_pairs,
    }  # fmt: skip


def _headline(rows: list[dict[str, Any]], meta: dict[str, Any]) -> str:
    if not rows or rows[0]["group"] != "top":
        return f"None of {meta['n_latents']} latents differs between the clean and the ablated runs."
    best, clean = rows[0], f"{meta['clean']:.3g} with nothing ablated"
    text = f"{best['latent']} alone takes {best['exact']:.3g} of the metric ({clean})"
    if not np.isnan(meta["sample_mean"]):
        n, own, other = (meta[k] for k in ("top", "top_mean", "sample_mean"))
        text += f"; the top {n} latents take {own:.2g} each on average, random ones {other:.2g}"
    shares = ", ".join(f"{100 * share:.0f} % at {site}" for site, share in meta["error_share"].items())
    return f"{text}; what the SAEs leave out carries {shares}."


def _warnings(meta: dict[str, Any]) -> list[str]:
    found = []
    heavy = {site: share for site, share in meta["error_share"].items() if share > 0.5}
    if heavy:
        where = ", ".join(f"{site} ({100 * share:.0f} %)" for site, share in heavy.items())
        found.append(f"The error carries more of the effect than all latents together at {where}.")
    if meta["pearson"] < 0.8:
        found.append(
            f"Scores correlate {meta['pearson']:.2f} with exact ablation: read the exact column, or take more steps."
        )
    return found
