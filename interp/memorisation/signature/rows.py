"""What the cells of a signature say, as rows and as plain values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...probes import CVResult
from ..features import depth_of
from .cells import Cell, Family
from .power import detectable, least_detectable


def cell_rows(cell: Cell, family: Family) -> list[dict[str, Any]]:
    """One row per depth; ``None`` stands for what was not measured."""
    trained = cell.trained
    able = detectable(trained.null, critical=family.critical, min_p=trained.permutations.min_p)
    paired = bool(np.any(cell.contrast.units != ""))
    rows = []
    for k, site in enumerate(trained.sites):
        row: dict[str, Any] = {
            "contrast": cell.contrast.name, "dose": _plain(cell.contrast.dose), "mark": cell.mark, "site": str(site),
            "depth": depth_of(site, k), **triple("auc", trained.auc, k), **triple("acc", trained.accuracy, k),
            "oriented": float(cell.oriented[k]), "pairs": _known(cell.concordance[k]) if paired else None,
        }  # fmt: skip
        if len(trained.null):
            row |= {
                "null_auc_lo": float(np.quantile(trained.null[:, k], 0.05)),
                "null_auc_hi": float(np.quantile(trained.null[:, k], 0.95)),
                "p": float(trained.p[k]), "p_max": float(trained.p_max[k]), "p_family": float(family.p[k]),
                "p_oriented": float(cell.p_oriented[k]),
            }  # fmt: skip
        for name, control in cell.controls.items():
            row |= triple(f"{name}_auc", control.auc, k)
            if len(control.null):
                row |= {f"{name}_p_max": float(control.p_max[k])}
        row |= {"n": len(cell.contrast.truth), "n_groups": trained.auc.groups}
        rows.append({**row, "detectable": _known(able[k])})
    return rows


def cell_summary(cell: Cell, family: Family) -> dict[str, Any]:
    """The cell as a whole: its peak, the depth chosen inside the folds, its controls and baselines."""
    trained, drawn = cell.trained, cell.trained.permutations
    best = trained.best
    out: dict[str, Any] = {
        "contrast": cell.contrast.name, "dose": _plain(cell.contrast.dose), "mark": cell.mark,
        "peak_site": str(trained.sites[best]), "peak_auc": float(trained.auc.estimate[best]),
        "null_max_auc_95": _known(trained.null_max()), "highest_auc_hi": float(trained.auc.high.max()),
        "p_max": _known(cell.p_nested), "p_family": _known(float(np.min(family.p))),
        "p_oriented": _known(float(np.min(cell.p_oriented))) if len(trained.null) else None,
        **quoted(trained),
        "permutations": len(drawn.labels), "arrangements": _size(drawn.attainable), "min_p": drawn.min_p,
        "permutation_scheme": drawn.scheme, "folds": trained.folds.count, "groups": trained.auc.groups,
        "units": cell.contrast.n_units, "unit": cell.contrast.unit, "n": len(cell.contrast.truth),
        "detectable": _known(least_detectable(trained.null, family.critical, drawn.min_p)),
    }  # fmt: skip
    for name, control in cell.controls.items():
        out |= {f"{name}_peak_auc": float(control.auc.estimate.max()), f"{name}_p_max": _known(cell.p_of(name))}
    for name, baseline in cell.baselines.items():
        out |= triple(f"{name}_auc", baseline.auc, 0)
    return out


def quoted(result: CVResult) -> dict[str, Any]:
    """The AUC with the depth chosen inside the folds; of the peak where there is no such choice, and why."""
    if result.nested is None:
        return {**triple("nested_auc", None, 0), "nested_missing": result.nested_missing}
    i = result.nested.auc
    chosen = [str(site) for site in result.nested.chosen]
    return {
        "nested_auc": float(i.estimate), "nested_auc_lo": float(i.low), "nested_auc_hi": float(i.high),
        "nested_sites": chosen,
    }  # fmt: skip


def triple(name: str, interval: Any, k: int) -> dict[str, Any]:
    """An estimate with its interval; ``None`` where there is none."""
    if interval is None:
        return {name: None, f"{name}_lo": None, f"{name}_hi": None}
    values = (interval.estimate[k], interval.low[k], interval.high[k])
    return dict(zip((name, f"{name}_lo", f"{name}_hi"), (_known(v) for v in values), strict=True))


def _known(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _size(count: int) -> int | str:
    power = math.floor(math.log10(count))
    return count if power < 12 else f"about 10^{power}"
