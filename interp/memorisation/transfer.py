"""``transfer``: does a probe that was fitted on one model's memories read another model's?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ActivationError, StatisticsError
from ..probes.crossfit import held_out_scores
from ..probes.nested import splits_without
from ..probes.result import intervals
from ..report import Report
from ..sites import Site
from ..splits import Folds
from ..stats import Interval, auc, max_null_p, permute_labels
from .features import depth_of, read
from .records import Records
from .signature.cells import folds_of
from .signature.contrasts import TWINS, Contrast, contrast, planted_marks
from .signature.power import ALPHA, least_detectable
from .signature.rows import triple

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]
NATURAL, INJECTED = "natural", "injected"


@dataclass(frozen=True, eq=False)
class Carried:
    """Probes of one model on another: AUC by depth, and its null ``[permutation, depth]``."""

    train: str
    test: str
    sites: tuple[Any, ...]
    auc: Interval
    null: Array
    p: Array
    p_max: Array

    def rows(self) -> list[dict[str, Any]]:
        """One row per depth."""
        out = []
        for k, site in enumerate(self.sites):
            row = {
                "train": self.train,
                "test": self.test,
                "depth": depth_of(site, k),
                "site": str(site),
                **triple("auc", self.auc, k),
            }
            if len(self.null):
                row |= {"p": float(self.p[k]), "p_max": float(self.p_max[k])}
            out.append({**row, "n_groups": self.auc.groups})
        return out


def carry(
    features: Mapping[str, Mapping[Any, Tensor]], truth: Array, groups: Array, split: Folds, permuted: Array, *,
    C: float, tol: float, bootstrap: int, level: float, seed: int,
) -> list[Carried]:  # fmt: skip
    """Fit on each regime's training groups, and score the held-out groups of every regime.

    The probe is carried over as it is, with the means and scales that it was fitted with.

    Args:
        features: regime -> site -> rows; rows and sites are the same things in all regimes.
        truth: whether a row is of the positive class.
        groups: what is left out whole, in all regimes at once.
        split: of the rows.
        permuted: labellings, of all regimes alike.
    """
    regimes, sites = list(features), list(next(iter(features.values())))
    for name, made in features.items():
        if list(made) != sites or any(len(x) != len(truth) for x in made.values()):
            raise ActivationError(
                f"the activations of {name!r} are of other sites or rows than those of {regimes[0]!r}"
            )
    n, found = len(truth), []
    every = np.concatenate([truth[None], permuted])
    labels = torch.from_numpy(np.tile(every, (1, len(regimes))).astype(np.float64))
    for start, train in enumerate(regimes):
        scores = np.empty((len(regimes), len(sites), len(every), n))
        for k, site in enumerate(sites):
            widths = {made[site].shape[1] for made in features.values()}
            if len(widths) > 1:
                raise ActivationError(
                    f"{site} is {sorted(widths)} wide in the two models; a probe cannot be carried over"
                )
            rows = torch.cat([made[site].detach().cpu() for made in features.values()])
            held = [
                (a + start * n, torch.cat([b + r * n for r in range(len(regimes))]))
                for a, b in splits_without(split.of, [(f,) for f in range(split.count)])
            ]
            for (_, test), s in zip(held, held_out_scores(rows, labels, held, C=C, tol=tol), strict=True):
                where = test.numpy()
                scores[where // n, k, :, where % n] = s.cpu().numpy().T
        for r, test_on in enumerate(regimes):
            interval = intervals(scores[r, :, 0], truth, groups, bootstrap, level, seed)[0]
            null = np.stack([auc(scores[r, k, 1:], permuted) for k in range(len(sites))], 1)
            p, p_max = max_null_p(interval.estimate, null)
            found.append(Carried(train, test_on, tuple(sites), interval, null, p, p_max))
    return found


def transfer(
    model: Model,
    injected: Model,
    records: Records,
    *,
    mark: str | None = None,
    doses: Sequence[Any] | None = None,
    sites: Sequence[str | Site] | None = None,
    C: float = 1.0,
    folds: int | None = None,
    permutations: int = 200,
    bootstrap: int = 1000,
    level: float = 0.95,
    tol: float = 1e-3,
    seed: int = 0,
    progress: bool | None = None,
    command: str | None = None,
) -> Report:
    """Train a probe for the twins on one model's activations, and test it on the other's; groups are held out in both.

    ``natural`` is ``model``, trained on the records among other text; ``injected`` had them fine-tuned in afterwards.
    Both directions, and each within itself for comparison; at every depth. Without twins M is told from C.

    Args:
        doses: by default the highest.

    Raises:
        PromptError: nothing to tell apart.
        ActivationError: models of different widths.
        SplitError: too few groups.

    Source: arXiv 2605.01699 tests on one injected secret, where constant prediction gives an accuracy of .5; here AUC
    over all records of the dose.

    Example:
        >>> import interp
        >>> from interp.memorisation import load_records
        >>> bed = interp.testbeds.path("memory")
        >>> model, other = interp.load_model(bed), interp.load_model(interp.testbeds.path("memory-injected"))
        >>> records = load_records(bed / "records.jsonl", model.tokenizer)
        >>> found = transfer(model, other, records, doses=[8], permutations=19)
        >>> [(r["train"], r["test"]) for r in found.rows if r["depth"] == 0][1]
        ('natural', 'injected')
    """
    if permutations < 0:
        raise StatisticsError(f"permutations must be 0 or more, got {permutations}")
    at = mark if mark is not None else planted_marks(records)[0]
    rows: list[dict[str, Any]] = []
    summaries: list[dict[str, Any]] = []
    one: Contrast | None = None
    for dose in doses if doses is not None else records.doses[-1:]:
        one = contrast(records, TWINS if records.has_twins else "M-C", dose)
        split = folds_of(one, folds, seed)
        drawn = permute_labels(one.truth, one.groups, permutations, folds=split.of, seed=seed)
        made = {
            name: read(m, one.prompts, sites, at, progress=progress)
            for name, m in ((NATURAL, model), (INJECTED, injected))
        }
        found = carry(
            made, one.truth, one.groups, split, drawn.labels, C=C, tol=tol, bootstrap=bootstrap, level=level, seed=seed
        )
        about = {"dose": _plain(dose), "mark": at, "contrast": one.name}
        rows += [{**about, **row} for c in found for row in c.rows()]
        summaries += [{**about, **_summary(c, one, drawn.min_p)} for c in found]
    assert one is not None
    source = one.prompts.source
    provenance = model.provenance(
        prompts=one.prompts.hash, seed=seed, command=command, bos=source.bos_summary, tokenizer=source.tokenizer
    )
    meta = {"parts": summaries, "ci_level": level, "injected": injected.fingerprint, "injected_id": injected.id, "C": C}
    return Report(
        kind="transfer", title=f"Transfer between {model.id!r} and {injected.id!r}", headline=headline(summaries),
        rows=rows, provenance=provenance, meta=meta,
    )  # fmt: skip


def headline(parts: Sequence[Mapping[str, Any]]) -> str:
    """One sentence: what carries over, beside what each probe reads at home."""
    top = [p for p in parts if p["dose"] == parts[-1]["dose"]]
    across = [p for p in top if p["train"] != p["test"]]
    home = "; ".join(f"{p['train']} {p['peak_auc']:.2f}" for p in top if p["train"] == p["test"])
    where = f" at {top[0]['mark']}" + ("" if top[0]["dose"] is None else f", dose {top[0]['dose']}")
    words = "; ".join(
        f"{p['train']} to {p['test']} {p['peak_auc']:.2f} [{p['peak_auc_lo']:.2f}, {p['peak_auc_hi']:.2f}] at "
        f"{p['peak_site']}" + ("" if p["p_max"] is None else f", p = {p['p_max']:.2g}")
        for p in across
    )
    if any(p["p_max"] is None for p in across):
        return f"Best depths of carried probes{where}: {words} (at home: {home}); without permutations it may be luck."
    works = [p for p in across if p["p_max"] <= ALPHA]
    start = {2: "A probe carries over both ways", 1: "A probe carries over one way only", 0: "No probe carries over"}
    text = f"{start[min(2, len(works))]}{where} (AUC at the best depth: {words}; at home: {home})"
    missed = [p for p in across if p["p_max"] > ALPHA and p["detectable"] is not None]
    if missed:
        text += f"; an AUC of {max(p['detectable'] for p in missed):.2f} would have been found 4 times in 5"
    return text + "."


def _summary(c: Carried, one: Contrast, min_p: float) -> dict[str, Any]:
    best, able = int(np.argmax(c.auc.estimate)), least_detectable(c.null, min_p=min_p)
    return {
        "train": c.train, "test": c.test, **triple("peak_auc", c.auc, best), "peak_site": str(c.sites[best]),
        "p_max": float(c.p_max[best]) if len(c.null) else None, "groups": c.auc.groups, "units": one.n_units,
        "permutations": len(c.null), "detectable": None if np.isnan(able) else able,
        "min_p": min_p,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
