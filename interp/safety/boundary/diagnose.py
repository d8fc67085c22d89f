"""``boundary``: harmful requests against harmless ones at the boundary, by depth, before and after a change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...edits import Edit
from ...errors import PromptError
from ...prompts import PromptSet
from ...prompts.join import join
from ...report import Report
from ...run import capture
from ...sites import Site
from ...stats import cluster_bootstrap, max_null_p, permute_labels
from .measures import NAMES, Space, measure, silhouette

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]
TITLE = "Where the boundary runs"


@dataclass(frozen=True, eq=False)
class Treatment:
    """What was done to a model: another model, edits of the same one, or both."""

    model: Model
    edits: tuple[Edit, ...] = ()


def boundary(
    model: Model,
    harmful: PromptSet,
    safe: PromptSet,
    sites: str | Sequence[str | Site] = "resid_post",
    *,
    at: str = "last",
    after: Treatment | None = None,
    controls: Sequence[Treatment] = (),
    k: int = 5,
    permutations: int = 199,
    bootstrap: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    batch_tokens: int | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> Report:
    """How far harmful requests are from boundary-safe ones (harmless, but much like them), at every site.

    Three measures, each a mean over requests with its interval over groups: the margin to the nearest centroid, the
    overlap of nearest neighbours, the silhouette. Label permutations give the null of the silhouette, and of the
    largest over all sites. With ``after`` each is measured again; ``controls`` are changes that should do nothing of
    the kind (random edits of the same size), beside which the change stands.

    Args:
        at: mark of the token that is read.
        k: nearest neighbours.

    Raises:
        PromptError: no mark, or too few requests.

    Source: arXiv 2502.09990, figure 2: the separation of harmful and boundary-safe representations.

    Example:
        >>> import interp
        >>> model = interp.load_model(interp.testbeds.path("induction"))
        >>> words = [interp.PromptSet.from_tokens([[a + i, b] for i in range(6)]) for a, b in ((5, 9), (11, 20))]
        >>> found = boundary(model, *words, "resid_post.1", permutations=19, bootstrap=50)
        >>> found.rows[0]["silhouette"] > 0
        True
    """
    if min(len(harmful), len(safe)) <= k:
        raise PromptError(f"{len(harmful)} harmful and {len(safe)} safe requests: more than {k} of each are needed")
    both = join([harmful, safe])
    positive = np.arange(len(both)) < len(harmful)
    groups = np.arange(len(both)) if both.groups is None else np.unique(both.groups, return_inverse=True)[1]
    chosen = model.expand(sites)
    options = {"at": at, "batch_tokens": batch_tokens, "progress": progress}

    def spaces(one: Treatment) -> dict[Site, Space]:
        acts = capture(one.model, both, chosen, edits=one.edits, **options)
        return {s: Space.of(acts[s].tensor().double().cpu().numpy(), groups) for s in chosen}

    first = spaces(Treatment(model))
    before = {s: measure(space, positive, k) for s, space in first.items()}
    p, p_max = _null(first, positive, groups, permutations, seed)
    changed = None if after is None else {s: measure(space, positive, k) for s, space in spaces(after).items()}
    others = [{s: measure(space, positive, k) for s, space in spaces(one).items()} for one in controls]
    boot = {"replicates": bootstrap, "level": level, "method": "t", "seed": seed}
    rows = []
    for i, site in enumerate(chosen):
        row: dict[str, Any] = {"site": str(site), "mark": at, **_means(before[site], groups, "", boot)}
        row |= {"p": p[i], "p_max": p_max[i]}
        if changed is not None:
            row |= _means(changed[site], groups, "_after", boot)
            row |= _means(changed[site] - before[site], groups, "_change", boot)
        if others:
            mean = np.mean([one[site] - before[site] for one in others], axis=0).mean(0)
            row |= {f"{name}_control": value for name, value in zip(NAMES, mean, strict=True)}
        rows.append(row | {"n": len(both), "n_groups": len(np.unique(groups))})
    about = model.provenance(
        prompts=both.hash, seed=seed, command=command, bos=both.source.bos_summary, tokenizer=both.source.tokenizer,
        chat_template=both.source.chat_template,
    )  # fmt: skip
    meta = {"ci_level": level, "k": k, "harmful": len(harmful), "safe": len(safe), "controls": len(others)}
    return Report("boundary", TITLE, _headline(rows, changed is not None), rows, about, (), meta)


def _null(spaces: dict[Site, Space], positive: Array, groups: Array, count: int, seed: int) -> tuple[Array, Array]:
    """How often exchanged labels have as large a mean silhouette at a site, and at the best of all."""
    drawn = permute_labels(positive, groups, count, seed=seed).labels
    observed = np.array([silhouette(space, positive).mean() for space in spaces.values()])
    null = np.array([[silhouette(space, labels).mean() for space in spaces.values()] for labels in drawn])
    return max_null_p(observed, null.reshape(len(drawn), len(spaces)))


def _means(values: Array, groups: Array, end: str, boot: dict[str, Any]) -> dict[str, float]:
    def mean(w: Array) -> Array:
        return (w @ values) / w.sum(-1, keepdims=True)

    ci = cluster_bootstrap(mean, groups, **boot)
    return {
        f"{name}{end}{side}": float(part[i])
        for i, name in enumerate(NAMES)
        for side, part in (("", ci.estimate), ("_lo", ci.low), ("_hi", ci.high))
    }


def _headline(rows: Sequence[dict[str, Any]], changed: bool) -> str:
    best = max(rows, key=lambda row: row["silhouette"])
    apart = best["p_max"] < 0.05
    text = (
        f"Harmful and boundary-safe requests are {'apart' if apart else 'not apart beyond luck'} at {best['site']}: "
        f"silhouette {best['silhouette']:.2f} [{best['silhouette_lo']:.2f}, {best['silhouette_hi']:.2f}], p = "
        f"{best['p_max']:.2g} over all sites; {best['overlap']:.0%} of neighbours are of the other kind"
    )
    if not changed:
        return f"{text}."
    moved = (
        f"{best['silhouette_change']:+.2f} [{best['silhouette_change_lo']:+.2f}, {best['silhouette_change_hi']:+.2f}]"
    )
    beside = f" ({best['silhouette_control']:+.2f} under controls)" if "silhouette_control" in best else ""
    return f"{text}. After the change it is {moved}{beside}."
