"""``fit_condition``: the threshold of a conditional edit, from prompts of its own, and how well it does on others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from ..directions import Direction
from ..edits import Condition
from ..errors import SplitError, StatisticsError
from ..prompts import PromptSet
from ..report import Report
from ..run.gates import condition_rows
from ..sites import Site
from ..splits import require_classes
from ..stats import auc, cluster_bootstrap

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class FittedCondition:
    """A condition with its threshold, and the report on it: a row for the calibration prompts, and one for others.

    There is no report on a threshold that was given.
    """

    condition: Condition
    report: Report | None


def fit_condition(
    model: Model,
    calibration: PromptSet,
    direction: Direction,
    *,
    site: Site | str | None = None,
    mark: str | None = None,
    fpr: float = 0.05,
    centred: bool = True,
    test: PromptSet | None = None,
    level: float = 0.95,
    bootstrap: int = 2000,
    foreign: bool = False,
    seed: int = 0,
    command: str | None = None,
) -> FittedCondition:
    """A threshold that opens for at most a share ``fpr`` of new prompts labelled 0.

    ``calibration`` has labels 1 (the condition should be met) and 0. Of n prompts labelled 0, the cosine of rank
    ``ceil((1 - fpr) (n + 1))`` is exceeded by a new one of the same kind with probability at most ``fpr``, which needs
    ``n >= 1/fpr - 1``. Where all but a share ``fpr`` of the prompts labelled 1 lie above that, the threshold is half
    way to them, so that text of neither kind is not let in for being a little unlike the prompts labelled 0. What is
    measured on ``calibration`` itself is flattered; ``test`` says what it is worth.

    Args:
        centred: take the mean of the two classes' means off activations before the cosine. Without it, cosines of all
            prompts are nearly the same in most models.

    Raises:
        SplitError: calibration prompts without two classes, or those that the direction was fitted on.
        StatisticsError: too few prompts labelled 0 for this ``fpr``.
        ProvenanceError: the direction is of another model.

    Source: the threshold is that of split conformal prediction; the condition, Lee et al. (arXiv 2409.05907).

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> tokens = [[4, 9, 7, a] for a in (5, 6, 8)] + [[4, 9, 8, 5], [4, 9, 8, 6], [4, 9, 8, 7]]
    >>> prompts = interp.PromptSet.from_tokens(tokens, labels=[1, 1, 1, 0, 0, 0])
    >>> read = interp.capture(model, prompts, "resid_post.0", at="last")["resid_post.0"].tensor()
    >>> towards = read[:3].mean(0) - read[3:].mean(0)
    >>> made = interp.Direction.of(towards, "resid_post.0", "last", "by hand", model.provenance())
    >>> report = fit_condition(model, prompts, made, fpr=0.25).report
    >>> report is not None and report.column("prompts")
    ('calibration',)
    """
    if not 0 < fpr < 1:
        raise StatisticsError(f"fpr={fpr!r}: a share between 0 and 1")
    if not foreign:
        direction.provenance.require_model(model.fingerprint, "the direction of the condition")
    if direction.provenance.prompts == calibration.hash:
        raise SplitError(
            "the direction was fitted on these very prompts, so a threshold from them would be too high for others; "
            "calibrate on a split of its own"
        )
    where, which = Site.parse(site or direction.site), mark or direction.mark
    truth = _truth(calibration)
    rows = condition_rows(model, calibration, where, which)
    middle = (rows[truth].mean(0) + rows[~truth].mean(0)) / 2 if centred else None
    open_ended = Condition.on(direction, -math.inf, site=where, mark=which, offset=middle)
    cosine = open_ended.cosines(rows).numpy()
    low = np.sort(cosine[~truth])
    rank = math.ceil((1 - fpr) * (len(low) + 1) - 1e-9)
    if rank > len(low):
        raise StatisticsError(
            f"{len(low)} prompts labelled 0 cannot promise a share of {fpr:g} of false alarms; {math.ceil(1 / fpr) - 1}"
            " or more are needed"
        )
    bound, high = float(np.nextafter(low[rank - 1], 2)), float(np.quantile(cosine[truth], fpr))
    threshold = max(bound, (bound + high) / 2)
    condition = Condition.on(direction, threshold, site=where, mark=which, offset=middle)
    boot: dict[str, Any] = {"level": level, "replicates": bootstrap, "seed": seed}
    table = [{"prompts": "calibration", **_rates(cosine, truth, condition.threshold, calibration, boot)}]
    if test is not None:
        seen = condition.cosines(condition_rows(model, test, where, which)).numpy()
        table.append({"prompts": "test", **_rates(seen, _truth(test), condition.threshold, test, boot)})
    last = table[-1]
    headline = (
        f"The condition ({condition}) opens for {100 * last['tpr']:.0f} % of the prompts it is meant for and for "
        f"{100 * last['fpr']:.0f} % of the others ({last['prompts']} prompts)."
    )
    warnings = [] if test is not None else ["Measured on the prompts that gave the threshold; give test prompts."]
    provenance = model.provenance(
        prompts=calibration.hash, seed=seed, command=command, tokenizer=calibration.source.tokenizer,
        chat_template=calibration.source.chat_template,
    )  # fmt: skip
    meta = {
        "direction": str(direction), "site": str(where), "mark": which, "threshold": condition.threshold,
        "fpr_wanted": fpr, "centred": centred, "ci_level": level,
    }  # fmt: skip
    report = Report(
        kind="condition", title=f"A condition for edits of {model.id}", headline=headline, rows=table,
        provenance=provenance, warnings=warnings, meta=meta,
    )  # fmt: skip
    return FittedCondition(condition, report)


def _truth(prompts: PromptSet) -> Bool[np.ndarray, " prompt"]:
    if prompts.labels is None:
        raise SplitError("a condition is calibrated on labelled prompts: 1 where it should be met, else 0")
    require_classes(prompts.labels)
    return np.asarray(prompts.labels == np.unique(prompts.labels)[-1])


def _rates(cosine: Array, truth: Array, threshold: float, prompts: PromptSet, boot: dict[str, Any]) -> dict[str, Any]:
    opens = (cosine >= threshold).astype(float)
    groups = np.arange(len(truth)) if prompts.groups is None else np.asarray(prompts.groups)

    def rates(w: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = [(w[:, part] @ opens[part]) / w[:, part].sum(-1) for part in (truth, ~truth)]
        return np.stack([auc(cosine, truth, w), *shares], 1)

    found = cluster_bootstrap(rates, groups, method="logit", **boot)
    row: dict[str, Any] = {}
    for k, name in enumerate(("auc", "tpr", "fpr")):
        row |= {name: float(found.estimate[k]), f"{name}_lo": float(found.low[k]), f"{name}_hi": float(found.high[k])}
    return {**row, "n": len(truth), "n_groups": len(np.unique(groups))}
