"""What one exposure adds, and how much of it is left later: effectivity and retainability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from ...errors import StatisticsError


def peaks(
    log_p: Float[np.ndarray, "record step"], steps: Int[np.ndarray, " step"], exposed: Sequence[int], window: int
) -> Int[np.ndarray, "record exposure"]:
    """Column of the highest log p within ``window`` steps after each exposure: the local acquisition maximum.

    With an optimiser that has momentum, an update acts over several steps; 1/(1 - beta1) says how many.

    Args:
        log_p: of each record, measured at ``steps``.
        steps: updates done before each measurement, rising.
        exposed: the updates, counted from 0, whose batch held the records; the state before update t is step t.
        window: at least 1.

    Raises:
        StatisticsError: steps that do not rise, no exposure, or an exposure that was not measured before and after.

    Source: Chang et al. (2024), "How do large language models acquire factual knowledge during pretraining?",
    Definition 1; argmax over t_i < t <= t_i + window, of the steps that were measured.

    >>> peaks(np.array([[-5.0, -4.0, -3.0, -3.5]]), np.arange(4), [0], 3).tolist()
    [[2]]
    """
    if log_p.shape[1] != len(steps) or len(steps) < 2 or (np.diff(steps) <= 0).any():
        raise StatisticsError(f"log_p has {log_p.shape[1]} columns for {len(steps)} steps, which must rise")
    if not len(exposed) or list(exposed) != sorted(set(exposed)) or window < 1:
        raise StatisticsError(f"exposures must rise, and the window be 1 or more; got {list(exposed)} and {window}")
    columns = []
    for t in exposed:
        inside = np.flatnonzero((steps > t) & (steps <= t + window))
        if t not in steps or not len(inside):
            raise StatisticsError(
                f"the exposure at update {t} needs a measurement at step {t} and one by step {t + window}; measured "
                f"steps: {', '.join(map(str, steps[:8].tolist()))}{', ...' if len(steps) > 8 else ''}"
            )
        columns.append(inside[log_p[:, inside].argmax(1)])
    return np.stack(columns, 1)


def effectivity(
    log_p: Float[np.ndarray, "record step"], steps: Int[np.ndarray, " step"], exposed: Sequence[int], window: int
) -> Float[np.ndarray, "record exposure"]:
    """What each exposure adds at once: log p at the peak behind it, minus log p right before it, in nats.

    Raises:
        StatisticsError: as `peaks`.

    Source: Chang et al. (2024), Definition 2.

    >>> effectivity(np.array([[-5.0, -4.0, -3.0, -3.5]]), np.arange(4), [0], 3).tolist()
    [[2.0]]
    """
    at = peaks(log_p, steps, exposed, window)
    before = np.searchsorted(steps, exposed)
    return np.take_along_axis(log_p, at, 1) - log_p[:, before]


def retained(
    log_p: Float[np.ndarray, "record step"],
    steps: Int[np.ndarray, " step"],
    exposed: Sequence[int],
    window: int,
    lags: Sequence[int],
) -> tuple[Float[np.ndarray, "record lag"], Float[np.ndarray, " record"]]:
    """The gain in log p that is left at each lag behind the last peak, and the gain at that peak, in nats.

    Gains are over what log p was before the first exposure. NaN where that step was not measured.

    Raises:
        StatisticsError: as `peaks`, or a negative lag.

    >>> left, gain = retained(np.array([[-5.0, -3.0, -4.0]]), np.arange(3), [0], 1, [0, 1])
    >>> left.tolist(), gain.tolist()
    ([[2.0, 1.0]], [2.0])
    """
    if any(lag < 0 for lag in lags):
        raise StatisticsError(f"lags are steps after the peak, 0 or more; got {list(lags)}")
    last = peaks(log_p, steps, exposed, window)[:, -1]
    rows = np.arange(len(log_p))
    before = log_p[:, np.searchsorted(steps, exposed[0])]
    wanted = steps[last][:, None] + np.asarray(lags)
    column = np.minimum(np.searchsorted(steps, wanted), len(steps) - 1)
    left = np.where(steps[column] == wanted, np.take_along_axis(log_p, column, 1) - before[:, None], np.nan)
    return left, log_p[rows, last] - before


def retainability(
    log_p: Float[np.ndarray, "record step"],
    steps: Int[np.ndarray, " step"],
    exposed: Sequence[int],
    window: int,
    lags: Sequence[int],
) -> Float[np.ndarray, "record lag"]:
    """The share of its gain that each record has kept: 1 at the last peak, 0 when it is back where it began.

    NaN where the step was not measured, and for a record that gained nothing, whose share means nothing. A record that
    gained little has a wild share: over many records, divide the mean of `retained` by the mean gain.

    Source: Chang et al. (2024), Definition 3, where such records are dropped as outliers instead.

    >>> retainability(np.array([[-5.0, -3.0, -4.0]]), np.arange(3), [0], 1, [0, 1]).tolist()
    [[1.0, 0.5]]
    """
    left, gain = retained(log_p, steps, exposed, window, lags)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(gain[:, None] > 0, left / gain[:, None], np.nan)
