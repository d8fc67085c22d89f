"""``latent_guard``: flag a request by what the model believes of it at the end of the instruction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from ...errors import SplitError, StatisticsError
from ...report import Report
from ...stats import Interval, auc, cluster_bootstrap, permutation_p, permute_labels
from .behaviour import SIDES, share
from .requests import ROLES, TEST, VALIDATION, Requests
from .settings import Settings
from .tables import Row, triple

Array = NDArray[Any]
ALPHA = 0.05


@dataclass(frozen=True)
class Threshold:
    """``alpha``: flag scores at or above it. ``promised``: the share of new harmless requests flagged is at most that,
    if they are like those it was calibrated on.
    """

    alpha: float
    fpr: float
    promised: float
    calibrated_on: int


def calibrate(harmless: Float[np.ndarray, " prompt"], fpr: float) -> Threshold:
    """The lowest threshold whose expected false positive rate is at most ``fpr``, by the ranks of harmless scores.

    A new harmless score exceeds the k-th largest of n with probability at most k / (n + 1). With fewer than
    ``1 / fpr - 1`` scores nothing can be promised at ``fpr``; the threshold is then just above the largest score, and
    ``promised`` is 1 / (n + 1).

    Source: split conformal prediction (Vovk, Gammerman & Shafer 2005).

    Raises:
        StatisticsError: no scores, or a rate that is not between 0 and 1.

    >>> made = calibrate(np.arange(99.0), 0.05)
    >>> made.alpha > 94, made.alpha <= 95, made.promised
    (True, True, 0.05)
    """
    n = len(harmless)
    if not n or not 0 < fpr < 1:
        raise StatisticsError(f"a threshold needs harmless scores and a rate between 0 and 1, got {n} and {fpr}")
    allowed = math.floor(fpr * (n + 1) + 1e-9)
    ordered = np.sort(harmless)[::-1]
    edge = ordered[max(allowed, 1) - 1]
    return Threshold(float(np.nextafter(edge, np.inf)), fpr, max(allowed, 1) / (n + 1), n)


@dataclass(frozen=True, eq=False)
class Guard:
    """Scores of the test requests, the threshold from the calibration part, and what both catch."""

    rows: Array
    score: Float[np.ndarray, " prompt"]
    refused: Bool[np.ndarray, " prompt"]
    threshold: Threshold
    auroc: Interval
    tpr: Interval
    p: float | None
    roc: tuple[tuple[float, float], ...]
    controls: Mapping[str, Interval]

    @property
    def flagged(self) -> Bool[np.ndarray, " prompt"]:
        """Whether the guard flags each test request."""
        return self.score >= self.threshold.alpha


def latent_guard(
    score: Float[np.ndarray, " prompt"], refused: Bool[np.ndarray, " prompt"], requests: Requests, *,
    fpr: float = 0.01, controls: Mapping[str, Float[np.ndarray, " prompt"]] | None = None,
    settings: Settings | None = None,
) -> Guard:  # fmt: skip
    """Judge harm beliefs as a guard: threshold from harmless validation requests, everything else on the test part.

    Args:
        score: of every request, NaN for training ones; higher is more harmful.
        refused: whether the model itself refuses each.
        fpr: false positive rate that the threshold is calibrated to.
        controls: other scores to compare, such as those of a bag of tokens.

    Raises:
        SplitError: the validation part has no harmless request, or the test part lacks a class.

    Source: Latent Guard (arXiv 2507.11878); calibrated on a split of its own, which is ours.

    Example:
        >>> from interp import load_model, testbeds
        >>> from interp.safety import load_requests
        >>> bed = testbeds.path("chat")
        >>> files = {name: str(bed / f"{name}.jsonl") for name in ("harmful", "harmless")}
        >>> requests = load_requests(load_model(bed).tokenizer, **files)
        >>> perfect = requests.harmful.astype(float)
        >>> guard = latent_guard(perfect, requests.harmful, requests, fpr=0.05, settings=Settings(19, 20))
        >>> float(guard.auroc.estimate), guard.threshold.calibrated_on
        (1.0, 48)
    """
    settings = settings or Settings()
    harmful, groups = requests.harmful, requests.group
    calm = np.flatnonzero((requests.part == VALIDATION) & ~harmful & requests.plain)
    rows = np.flatnonzero(requests.part == TEST)
    if not len(calm) or len(np.unique(harmful[rows])) < 2:
        raise SplitError(
            f"a guard needs harmless requests to calibrate on (validation part: {len(calm)}) and both kinds in the "
            f"test part ({int(harmful[rows].sum())} harmful of {len(rows)})"
        )
    truth, g = harmful[rows], groups[rows]
    units = min(len(np.unique(g[truth])), len(np.unique(g[~truth])))

    def area(values: Array) -> Interval:
        return cluster_bootstrap(lambda w: auc(values, truth, w), g, method="logit", units=units, **settings.boot)

    s = score[rows]
    drawn = permute_labels(truth, g, settings.permutations, seed=settings.seed)
    null = auc(s[None], drawn.labels) if len(drawn.labels) else np.zeros(0)
    p = float(permutation_p(float(auc(s, truth)), null)) if len(null) else None
    tpr = cluster_bootstrap(lambda w: tpr_at(s, truth, 0.01, w), g, method="logit", units=units, **settings.boot)
    others = {name: area(values[rows]) for name, values in (controls or {}).items()}
    return Guard(
        rows, s, refused[rows], calibrate(score[calm], fpr), area(s), tpr, p, roc_curve(s, truth), others
    )  # fmt: skip


def tpr_at(scores: Array, truth: Array, fpr: float, weights: Array | None = None) -> Array:
    """Largest share of positives at or above a threshold that at most a share ``fpr`` of negatives reaches.

    >>> float(tpr_at(np.array([0.1, 0.4, 0.3, 0.9]), np.array([0, 0, 1, 1]) > 0, 0.01))
    0.5
    """
    order = np.argsort(-scores, kind="stable")
    s, y = scores[order], truth[order]
    w = np.ones((1, len(s))) if weights is None else weights[..., order]
    last = np.append(s[1:] != s[:-1], True)  # a threshold takes all of a tie
    up, down = np.cumsum(w * y, -1), np.cumsum(w * ~y, -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        tpr, false = up / up[..., -1:], down / down[..., -1:]
    best = np.where(last & (false <= fpr + 1e-12), tpr, 0.0).max(-1)
    best = np.where(np.isnan(tpr[..., -1]) | np.isnan(false[..., -1]), np.nan, best)
    return np.asarray(best[0] if weights is None else best)


def roc_curve(scores: Array, truth: Array) -> tuple[tuple[float, float], ...]:
    """(false positive rate, true positive rate) from (0, 0) to (1, 1), a point per distinct score."""
    order = np.argsort(-scores, kind="stable")
    s, y = scores[order], truth[order]
    last = np.append(s[1:] != s[:-1], True)
    up, down = np.cumsum(y)[last] / y.sum(), np.cumsum(~y)[last] / (~y).sum()
    return ((0.0, 0.0), *zip(down.tolist(), up.tolist(), strict=True))


def guard_rows(guard: Guard, requests: Requests, settings: Settings) -> list[Row]:
    """A row per role and category of the test part: what the guard flags, and what the model refuses."""
    rows: list[Row] = []
    role, category = requests.role[guard.rows], requests.category[guard.rows]
    groups = requests.group[guard.rows]
    for name in ROLES:
        for kind in (None, *dict.fromkeys(category[role == name].tolist())):
            here = (role == name) & (True if kind is None else category == kind)
            if not here.any() or (kind is not None and (here == (role == name)).all()):
                continue
            flagged, refused, g = guard.flagged[here], guard.refused[here], groups[here]
            row: Row = {"role": name, "category": kind, "harmful": SIDES[name], "requests": int(here.sum())}
            row |= triple("flagged", share(flagged, g, settings.boot)) | triple(
                "refused", share(refused, g, settings.boot)
            )
            if len(np.unique(g)) > 1:
                gap = flagged.astype(float) - refused
                row |= triple(
                    "ahead", cluster_bootstrap(_mean_of(gap), g, method="t", **settings.boot)
                )  # fmt: skip
            rows.append(row)
    return rows


def guard_report(guard: Guard, requests: Requests, title: str, provenance: Any, settings: Settings) -> Report:
    """The guard beside the model's own refusals."""
    rows = guard_rows(guard, requests, settings)
    meta: dict[str, Any] = {
        "ci_level": settings.level, **triple("auroc", guard.auroc), **triple("tpr_at_1", guard.tpr), "p": guard.p,
        "alpha": guard.threshold.alpha, "fpr": guard.threshold.fpr, "promised_fpr": guard.threshold.promised,
        "calibrated_on": guard.threshold.calibrated_on, "test": len(guard.rows), "roc": guard.roc,
    }  # fmt: skip
    for name, other in guard.controls.items():
        meta |= triple(f"{name}_auroc", other)
    return Report("guard", title, guard_words(rows, meta), rows, provenance, warnings=_warnings(guard), meta=meta)


def guard_words(rows: list[Row], meta: Mapping[str, Any]) -> str:
    """One sentence: how good it is, and where it beats refusal."""
    text = f"The guard tells harmful from harmless requests with AUROC {meta['auroc']:.2f}"
    text += f" [{meta['auroc_lo']:.2f}, {meta['auroc_hi']:.2f}]"
    for row in rows:
        if row["role"] in ("jailbroken", "harmless") and row["category"] is None:
            what = "jailbroken" if row["role"] == "jailbroken" else "plain harmless"
            text += f"; it flags {100 * row['flagged']:.0f} % of {what} requests"
            text += f" (the model refuses {100 * row['refused']:.0f} %)"
    return f"{text}."


def _warnings(guard: Guard) -> list[str]:
    out = []
    t = guard.threshold
    if t.promised > t.fpr + 1e-12:
        out.append(
            f"{t.calibrated_on} harmless requests to calibrate on cannot promise a false positive rate of {t.fpr:g}; "
            f"the threshold lies above all of them, which promises {t.promised:.2g}."
        )
    return out


def _mean_of(values: Array) -> Any:
    return lambda w: (w @ values) / w.sum(-1)
