"""Curves over a training run: when records are recognised and recalled, how long they last, what an exposure adds."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ReportError, StatisticsError
from ..metrics import token_scores
from ..prompts import PromptSet
from ..provenance import Provenance
from ..report import Report
from ..stats import cluster_bootstrap
from .metrics.extract import extract
from .metrics.extraction import Extraction
from .metrics.injection import effectivity, peaks, retained
from .recall import cells, means, twin_gaps
from .records import TRAINED, UNTRAINED, Records

if TYPE_CHECKING:
    from ..models import Model

Array = NDArray[Any]
_FOLDER = re.compile(r"(?:checkpoint|step|global_step)[-_]?(\d+)")
CURVE_METRICS = ("exact", "targets_right", "similarity", "log_p", "log_p_text")


def checkpoint_folders(run: str | os.PathLike[str]) -> dict[int, Path]:
    """Step -> folder of every checkpoint below a training run's folder: ``checkpoint-500``, ``step500``, rising.

    Raises:
        ReportError: there is none, or two for one step.

    >>> import tempfile
    >>> run = Path(tempfile.mkdtemp())
    >>> for name in ("checkpoint-1000", "checkpoint-500", "logs"):
    ...     (run / name).mkdir()
    >>> list(checkpoint_folders(run))
    [500, 1000]
    """
    found: dict[int, Path] = {}
    for folder in sorted(Path(run).iterdir()) if Path(run).is_dir() else []:
        match = _FOLDER.fullmatch(folder.name)
        if match is None or not folder.is_dir():
            continue
        step = int(match.group(1))
        if step in found:
            raise ReportError(f"{found[step].name} and {folder.name} in {os.fspath(run)!r} are both of step {step}")
        found[step] = folder
    if not found:
        raise ReportError(f"{os.fspath(run)!r} holds no folders named like checkpoint-500 or step500")
    return dict(sorted(found.items()))


def training_curve(
    checkpoints: Mapping[int, Model | Callable[[], Model]],
    records: Records,
    *,
    metrics: Sequence[str] | None = None,
    neutral: PromptSet | None = None,
    prefix_tokens: int | str | None = None,
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Report:
    """Recall, recognition and neutral loss at each checkpoint, as a report of kind ``"curve"``.

    Rows: ``step``, ``dose``, ``label``, ``records``, ``groups``, and metrics with ``_lo`` and ``_hi`` over groups. Rows
    of trained records that have twins also have ``recognition``: the share of pairs in which the trained record has the
    lower loss per token of the whole text, ties half (two-alternative forced choice; chance is 0.5). With ``neutral``
    there is one more row per step, without dose and label, with ``loss`` in nats per token.

    Args:
        checkpoints: step -> model, or a function that loads it: ``{500: partial(interp.load_model, folder)}``. One
            model is held at a time then.
        metrics: of `extract`; by default exact, targets_right, similarity, log_p and log_p_text, as far as they apply.
        neutral: texts that have nothing to do with the records.

    Raises:
        ReportError: no checkpoints; and what `extract` raises.

    Source: recognition and retention after Orhan (2023), "Recognition, recall, and retention of few-shot memories in
    large language models".

    >>> import interp
    >>> from interp.memorisation import load_records
    >>> bed = interp.testbeds.path("memory")
    >>> model = interp.load_model(bed)
    >>> records = load_records(bed / "records.jsonl", model.tokenizer).at_dose(512)
    >>> run = {0: lambda: interp.load_model(interp.testbeds.path("memory-never")), 2620: model}
    >>> curve = training_curve(run, records, metrics=["exact"])
    >>> [(row["step"], row["exact"] > 0.9, row["recognition"] > 0.9) for row in curve.rows if row["label"] == "trained"]
    [(0, False, False), (2620, True, True)]
    """
    if not checkpoints:
        raise ReportError("there are no checkpoints to draw a curve through")
    chosen = list(metrics or (m for m in CURVE_METRICS if m != "targets_right" or records.recall_marks))
    rows: list[dict[str, Any]] = []
    models, warnings, provenance = {}, [], None
    resample = {"level": level, "replicates": replicates, "seed": seed}
    for step in sorted(checkpoints):
        source: Any = checkpoints[step]
        model = source() if callable(source) else source
        found = extract(
            model, records, metrics=[*dict.fromkeys([*chosen, "log_p_text"])], prefix_tokens=prefix_tokens,
            batch_tokens=batch_tokens, progress=progress,
        )  # fmt: skip
        rows += [{"step": int(step), **row} for row in _rows_of(found, chosen, resample)]
        if neutral is not None:
            scores = token_scores(model, neutral, batch_tokens=batch_tokens, progress=progress)
            loss = {"loss": -np.nanmean(scores.log_p, 1)}
            few = {"records": len(neutral), "groups": len(neutral)}
            own = means(loss, np.array(neutral.ids), **resample)
            rows.append({"step": int(step), "dose": None, "label": None, **few, **own})
        models[str(step)] = model.fingerprint
        provenance, warnings = found.provenance, list(found.notes)
        del model
    assert provenance is not None
    if not records.has_twins:
        warnings.append("There are no untrained twins, so there is no recognition, and nothing to compare recall with.")
    has = [*chosen, *(["recognition"] if any("recognition" in row for row in rows) else [])]
    meta = {"metrics": has, "ci_level": level, "unit": "log_p, loss: nats per token", "models": models}
    return Report("curve", "Recall over training", _headline(rows), rows, provenance, warnings, meta)


def _rows_of(found: Extraction, metrics: Sequence[str], resample: dict[str, Any]) -> list[dict[str, Any]]:
    groups = found.records.astype(str) if found.prompts.groups is None else found.prompts.groups
    seen = recognised(found) if found.prompts.labels is not None else None
    rows = []
    for dose, label, members in cells(found):
        values = {name: found[name][members].astype(float) for name in metrics}
        row = {"dose": dose, "label": label, "records": len(members), "groups": len(np.unique(groups[members]))}
        row |= means(values, groups[members], **resample)
        if seen is not None and label == TRAINED:
            own = seen[1] == dose if dose is not None else np.ones(len(seen[0]), bool)
            row |= means({"recognition": seen[0][own]}, seen[2][own], **resample)
        rows.append(row)
    return rows


def recognised(found: Extraction) -> tuple[Array, Array, Array] | None:
    """Two-alternative forced choice for each pair: 1 if the trained record has the lower loss per token of its whole
    text, 0 if its twin has, one half for a tie; with the pair's dose and group. ``None`` without pairs.

    Raises:
        PromptError: ``log_p_text`` was not measured.
    """
    gaps, _ = twin_gaps(found, "log_p_text")
    if gaps.of == "records":
        return None
    return np.where(gaps.values > 0, 1.0, np.where(gaps.values < 0, 0.0, 0.5)), gaps.dose, gaps.groups


def logged_curve(points: str | os.PathLike[str] | Sequence[Mapping[str, Any]], provenance: Provenance) -> Report:
    """A curve from metrics that a training run has logged by dose and label; kind ``"curve"``, without intervals.

    Args:
        points: a JSON file, or its value: a list of ``{"step": ..., "records": [{"dose", "label", metrics}, ...]}``.
            Numbers beside ``step`` and ``records`` (a story loss) make a row without dose and label.
        provenance: of the model that the training ended in.

    Raises:
        ReportError: the file cannot be read, or is not of this form.

    >>> import interp
    >>> bed = interp.testbeds.path("memory")
    >>> curve = logged_curve(bed / "curves.json", interp.load_model(bed).provenance())
    >>> len({row["step"] for row in curve.rows}), "exact" in curve.columns
    (10, True)
    """
    where = "the logged points" if not isinstance(points, (str, os.PathLike)) else os.fspath(points)
    try:
        value: Any = json.loads(Path(points).read_text("utf-8")) if isinstance(points, (str, os.PathLike)) else points
        rows = [row for point in value for row in _logged_rows(point)]
    except OSError as error:
        raise ReportError(f"cannot read {where!r}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ReportError(f"{where} is no list of points with 'step' and 'records': {error!r}") from error
    if not rows:
        raise ReportError(f"{where} holds no points")
    rows.sort(key=lambda row: row["step"])
    note = "Logged means only: without the single records there are no intervals, and no recognition."
    measured = dict.fromkeys(k for row in rows for k in row if k not in ("step", "dose", "label", "records"))
    return Report(
        "curve", "Recall over training", _headline(rows), rows, provenance, [note], {"metrics": list(measured)}
    )


def _logged_rows(point: Mapping[str, Any]) -> list[dict[str, Any]]:
    step = int(point["step"])
    rows = [{"step": step, "dose": None, "label": None, **row} for row in point["records"]]
    beside = {
        name: value
        for name, value in point.items()
        if name not in ("step", "of", "records") and isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    return rows + ([{"step": step, "dose": None, "label": None, **beside}] if beside else [])


def retention_curve(curve: Report, shown_until: int, metric: str = "exact") -> Report:
    """How much of what was recalled when the records were last shown is left later; kind ``"curve"``.

    Rows: ``step`` is the number of steps since the first checkpoint at or after ``shown_until``; ``retained`` is the
    gap between trained and untrained records in ``metric`` there, as a share of the gap at that checkpoint. A dose with
    no gap to begin with has no row.

    Raises:
        ReportError: another kind of report, no checkpoint that late, or rows without labels or the metric.

    Source: after Orhan (2023), who probes for the original examples while training goes on with others.

    >>> rows = [{"step": s, "dose": 8, "label": label, "exact": x * (label == "trained")}
    ...         for s, x in ((100, 0.8), (200, 0.4)) for label in ("trained", "untrained")]
    >>> made = Report("curve", "Training", "Something is left.", rows, Provenance("a1", "tiny"))
    >>> retention_curve(made, 100).column("retained")
    (1.0, 0.5)
    """
    if curve.kind != "curve":
        raise ReportError(f"retention_curve reads reports of kind 'curve', not {curve.kind!r}")
    found = {
        (row["dose"], row["step"], row["label"]): row[metric]
        for row in curve.rows
        if row.get(metric) is not None and row["label"] in (TRAINED, UNTRAINED)
    }
    steps = sorted({step for _, step, _ in found if step >= shown_until})
    if not steps:
        raise ReportError(
            f"no checkpoint at step {shown_until} or later has {metric!r} for trained and untrained records"
        )
    rows = []
    for dose in dict.fromkeys(dose for dose, _, _ in found):
        gaps = {
            step: found[dose, step, TRAINED] - found[dose, step, UNTRAINED]
            for step in steps
            if (dose, step, TRAINED) in found and (dose, step, UNTRAINED) in found
        }
        first = gaps.get(steps[0], 0.0)
        if first <= 0:
            continue
        for step, gap in gaps.items():
            rows.append({"step": step - steps[0], "dose": dose, "label": TRAINED, "gap": gap, "retained": gap / first})
    if not rows:
        raise ReportError(f"no dose has a gap in {metric!r} at step {steps[0]}, so there is nothing to retain")
    last = max(rows, key=lambda row: (row["step"], row["dose"] or 0))
    at = "" if last["dose"] is None else f" at dose {last['dose']}"
    words = f"{last['step']} steps after records were last shown, {100 * last['retained']:.0f} % of the gap in {metric}"
    meta = {"metrics": ["retained"], "shown_until": shown_until, "first_step": steps[0], "of": metric}
    return Report("curve", "Retention", f"{words} is left{at}.", rows, curve.provenance, curve.warnings, meta)


def injection_curve(
    log_p: Array,
    steps: Sequence[int] | Array,
    exposed: Sequence[int],
    provenance: Provenance,
    *,
    window: int = 50,
    lags: Sequence[int] | None = None,
    groups: Sequence[str] | Array | None = None,
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
) -> Report:
    """What exposures add and how it fades, from log p measured along the steps of a run; kind ``"curve"``.

    Rows: ``step`` is the lag behind the last peak, ``retainability`` the mean gain left there over the mean gain at the
    peak, with an interval over groups; ``records`` how many were measured there. Meta: ``effectivity``, for each
    exposure its mean in nats with interval.

    Args:
        log_p: ``[record, step]``, nats per token or per target.
        steps: updates done before each measurement.
        exposed: updates, counted from 0, whose batch held the records; the same for all of them.
        window: in which the peak behind an exposure is sought; 1 without momentum.
        lags: by default the distances at which those records were measured whose last peak is the commonest.
        groups: of the records; each its own by default.

    Raises:
        StatisticsError: as `metrics.injection.peaks`, or fewer than two groups.

    Source: Chang et al. (2024), Definitions 1 to 3; the ratio of means in place of a mean of ratios.

    >>> log_p = np.array([[-5.0, -3.0, -4.0], [-6.0, -2.0, -4.0]])
    >>> curve = injection_curve(log_p, [0, 1, 2], [0], Provenance("a1", "tiny"), window=1)
    >>> curve.column("retainability"), curve.meta["effectivity"][0]["effectivity"]
    ((1.0, 0.5), 3.0)
    """
    values, at = np.asarray(log_p, float), np.asarray(steps, np.int64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise StatisticsError(f"log_p must be finite, [record, step]; got shape {values.shape}")
    names = np.arange(len(values)).astype(str) if groups is None else np.asarray(groups)
    resample: dict[str, Any] = {"level": level, "replicates": replicates, "seed": seed}
    added = effectivity(values, at, list(exposed), window)
    by_exposure = [
        {"exposure": i + 1, "step": int(t), **means({"effectivity": added[:, i]}, names, **resample)}
        for i, t in enumerate(exposed)
    ]
    peak = at[np.bincount(peaks(values, at, list(exposed), window)[:, -1]).argmax()]
    wanted = [int(t - peak) for t in at if t >= peak] if lags is None else list(lags)
    left, gain = retained(values, at, list(exposed), window, wanted)
    if gain.mean() <= 0:
        raise StatisticsError(f"the records gained {gain.mean():.3g} nats on average, so there is nothing to retain")
    rows = []
    for i, lag in enumerate(wanted):
        there = ~np.isnan(left[:, i])
        if len(np.unique(names[there])) < 2:
            continue
        share = cluster_bootstrap(
            lambda w, i=i, there=there: (w @ left[there, i]) / (w @ gain[there]), names[there], method="percentile",
            **resample,
        )  # fmt: skip
        row = {"step": lag, "dose": len(exposed), "label": TRAINED, "records": int(there.sum())}
        rows.append(
            row
            | {
                "retainability": float(share.estimate),
                "retainability_lo": float(share.low),
                "retainability_hi": float(share.high),
            }
        )
    last, first = rows[-1], by_exposure[0]
    headline = (
        f"The first exposure adds {first['effectivity']:.2f} nats; {last['step']} steps after the last peak "
        f"{100 * last['retainability']:.0f} % of what {len(exposed)} exposures added is left."
    )
    meta = {"metrics": ["retainability"], "ci_level": level, "effectivity": by_exposure, "window": window}
    return Report("curve", "Injection", headline, rows, provenance, (), meta)


def _headline(rows: Sequence[Mapping[str, Any]]) -> str:
    """When exact recall at the top dose passes one half, and where it ends."""
    own = [row for row in rows if row.get("exact") is not None and row["label"] != UNTRAINED]
    steps = len({row["step"] for row in rows})
    if not own:
        return f"{steps} checkpoints measured."
    top = max((row["dose"] for row in own if row["dose"] is not None), default=None)
    own = sorted((row for row in own if row["dose"] == top), key=lambda row: row["step"])
    what = "Exact recall" if top is None else f"Exact recall of records shown {top} times"
    half = next((row["step"] for row in own if row["exact"] >= 0.5), None)
    passes = "never passes one half" if half is None else f"passes one half by step {half}"
    return f"{what} {passes} and ends at {100 * own[-1]['exact']:.0f} % ({steps} checkpoints)."
