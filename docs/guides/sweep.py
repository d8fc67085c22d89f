"""Probes over a sweep: sites x positions x C x seeds, from one store, with resume and an optional tracker.

    python docs/guides/sweep.py MODEL PROMPTS --label label --group group --at verb last --C 0.01 0.1 1 --out sweep

Activations are captured once. Every probe is one file under ``sweep/cells``, written when it is done; run the same
command again and what is there is not fitted again. A changed setting is another file. The summary judges the best
probe by the best of as many sweeps with shuffled labels, and by groups that the sweep never saw.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

import interp
from interp import plots
from interp.errors import InterpError, PromptError
from interp.probes import cross_validate
from interp.probes.result import intervals
from interp.report import Report, write_atomic
from interp.splits import grouped_folds
from interp.stats import permutation_p


@dataclass(frozen=True)
class Sweep:
    """What is swept over, and where it goes."""

    model: tyro.conf.Positional[str]
    """Hugging Face id, or a directory with a checkpoint."""
    prompts: tyro.conf.Positional[str]
    """File of prompts with a label of two classes."""
    out: Path
    """Directory of the store, the cells and the summary."""
    label: str = "label"
    """Field with the label."""
    group: str | None = None
    """Field whose values are never on both sides of a split."""
    sites: str = "resid_post"
    """Sites, as for `interp.capture`."""
    at: tuple[str, ...] = ("last",)
    """Marks to read at."""
    C: tuple[float, ...] = (0.01, 0.1, 1.0)
    """Strengths of the penalty (inverse)."""
    seeds: int = 3
    """Ways to deal groups into folds."""
    folds: int = 5
    """Folds of the cross-validation."""
    permutations: int = 100
    """Label permutations behind the null."""
    held: int = 5
    """One in so many groups is kept out of the sweep and judges its winner; 0 for none."""
    limit: int | None = None
    """Only the first so many prompts."""
    tracker: Literal["none", "wandb", "trackio"] = "none"
    """Log each probe as it is done, too."""
    project: str = "sweep"
    """Project of the tracker."""


@dataclass(frozen=True)
class Cell:
    """One probe of the sweep."""

    site: str
    mark: str
    C: float
    seed: int

    def file(self, folder: Path, about: dict[str, Any]) -> Path:
        """Its file, named by everything that its numbers depend on."""
        text = json.dumps([self.__dict__, about], sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:12]
        return folder / f"{self.site}_{self.mark}_C{self.C:g}_seed{self.seed}_{key}.json"


@dataclass(frozen=True)
class Data:
    """Activations of one store, and which prompts the sweep may see."""

    acts: interp.Activations
    labels: np.ndarray
    groups: np.ndarray
    seen: np.ndarray
    kept: np.ndarray

    def features(self, site: str, mark: str) -> torch.Tensor:
        """Rows of one site and mark, in the order of the prompts."""
        here = self.acts.at(mark)
        order = np.argsort(here.index.example, kind="stable")
        return here[site][order]


def run(sweep: Sweep, command: str | None = None) -> Report:
    """Capture, fit what is not there yet, and sum up."""
    log = make_tracker(sweep)
    data = load(sweep, command)
    about = settings(sweep, data)
    sites = [str(site) for site in data.acts.sites]
    cells = [Cell(*parts) for parts in itertools.product(sites, sweep.at, sweep.C, range(sweep.seeds))]
    done = {}
    for number, cell in enumerate(cells, 1):
        path = cell.file(sweep.out / "cells", about)
        found = read(path)
        if found is None:
            found = fit(cell, sweep, data)
            write_atomic(path, json.dumps(found).encode())
        log({"probe": number, **cell.__dict__, "auc": found["auc"]})
        print(f"{number}/{len(cells)}  {path.stem.rsplit('_', 1)[0]}  AUC {found['auc']:.3f}")  # noqa: T201
        done[cell] = found
    report = summary(sweep, data, done, command)
    report.save(sweep.out / "report.json")
    report.to_csv(sweep.out / "report.csv")
    figure = plots.figure(report, theme="paper")
    for suffix in ("svg", "pdf"):
        plots.export(figure, sweep.out / f"figure.{suffix}")
    plots.write_html(report, sweep.out / "report.html")
    log(None)
    return report


def load(sweep: Sweep, command: str | None) -> Data:
    """Prompts that have every mark, their activations (captured once, into a store), and the groups kept for later."""
    model = interp.load_model(sweep.model)
    prompts = interp.load_prompts(
        sweep.prompts, model.tokenizer, label=sweep.label, group=sweep.group, limit=sweep.limit
    )
    if missing := [mark for mark in sweep.at if mark not in prompts.marks]:
        raise PromptError(f"no prompt has the mark {missing[0]!r}; marks: {', '.join(prompts.marks)}")
    prompts = prompts.select(np.flatnonzero(np.all([prompts.marks[mark] >= 0 for mark in sweep.at], axis=0)))
    acts = interp.capture(
        model, prompts, sweep.sites, at=list(sweep.at), out=sweep.out / "activations", command=command
    )
    labels = np.asarray(prompts.labels)
    texts = [t.tobytes() for t in prompts.tokens]
    groups = np.unique(texts, return_inverse=True)[1] if prompts.groups is None else np.asarray(prompts.groups)
    kept = np.zeros(len(labels), bool)
    if sweep.held:
        kept = grouped_folds(labels, groups, sweep.held, seed=0).of == 0
    return Data(acts, labels, groups, np.flatnonzero(~kept), np.flatnonzero(kept))


def settings(sweep: Sweep, data: Data) -> dict[str, Any]:
    """What all cells have in common; a change of any of it makes other files."""
    made = data.acts.provenance
    truth = hashlib.sha256(repr([data.labels.tolist(), data.groups.tolist()]).encode()).hexdigest()
    return {
        "model": made.model, "prompts": made.prompts, "labels": truth, "folds": sweep.folds, "code": made.code,
        "permutations": sweep.permutations, "held": sweep.held,
    }  # fmt: skip


def read(path: Path) -> dict[str, Any] | None:
    """What an earlier run left, if it is whole."""
    try:
        found = json.loads(path.read_text())
        return found if {"auc", "null"} <= set(found) else None
    except (OSError, json.JSONDecodeError):
        return None


def fit(cell: Cell, sweep: Sweep, data: Data) -> dict[str, Any]:
    """One probe: its AUC on held-out folds, and those of probes of permuted labels.

    Cells of one seed have the same folds and the same permutations, which is what lets the null be of their best.
    """
    x = data.features(cell.site, cell.mark)[torch.from_numpy(data.seen)]
    labels, groups = data.labels[data.seen], data.groups[data.seen]
    found = cross_validate(
        {"cell": x}, labels, groups, C=cell.C, folds=sweep.folds, permutations=sweep.permutations, nested=False,
        bootstrap=200, tol=1e-4, null_tol=1e-4, seed=cell.seed, progress=False,
    )  # fmt: skip
    return {"auc": float(found.auc.estimate[0]), "null": found.null[:, 0].tolist()}


def summary(sweep: Sweep, data: Data, done: dict[Cell, dict[str, Any]], command: str | None) -> Report:
    """One row for each site and mark, at its best C, judged by the best of the whole sweep under shuffled labels.

    Probes of different seeds were shuffled apart, which can only raise the best of a shuffled sweep.
    """
    draws = min(len(found["null"]) for found in done.values())
    null = {cell: np.array(found["null"][:draws]) for cell, found in done.items()}
    largest = np.max(list(null.values()), axis=0) if draws else np.zeros(0)
    rows = list(rows_of(sweep, done, null, largest))
    best = max(rows, key=lambda row: row["auc"])
    meta = {
        "probes": len(done), "C": list(sweep.C), "seeds": sweep.seeds, "permutations": draws, "folds": sweep.folds,
        "null_max_auc_95": float(np.quantile(largest, 0.95)) if draws else None, "chance_auc": 0.5,
        "min_p": 1 / (1 + draws), "cells": [{**cell.__dict__, "auc": found["auc"]} for cell, found in done.items()],
        **judged(best, data),
    }  # fmt: skip
    warnings = [
        f"The sweep chose among {len(done)} probes. 'p, this cell' is for a cell that was chosen before looking; to "
        "quote the best one, quote 'p, best of the sweep' and its AUC on groups that were held out."
    ]
    if not sweep.held:
        warnings.append("No groups were held out, so nothing says what the winner is worth on new ones.")
    return Report(
        "sweep", f"{len(done)} probes of '{sweep.label}'", headline(best, meta), rows,
        data.acts.provenance.replace(command=command), warnings, meta,
    )  # fmt: skip


def rows_of(
    sweep: Sweep, done: dict[Cell, dict[str, Any]], null: dict[Cell, np.ndarray], largest: np.ndarray
) -> Iterator[dict[str, Any]]:
    """A row for each site and mark: the mean over seeds at the best C, and p-values that count what was tried."""
    for site, mark in dict.fromkeys((cell.site, cell.mark) for cell in done):
        tried = {C: [cell for cell in done if (cell.site, cell.mark, cell.C) == (site, mark, C)] for C in sweep.C}
        aucs = {C: [done[cell]["auc"] for cell in cells] for C, cells in tried.items()}
        best = max(aucs, key=lambda C: float(np.mean(aucs[C])))
        value = float(np.mean(aucs[best]))
        own = np.max([null[cell] for cells in tried.values() for cell in cells], axis=0)
        place = interp.Site.parse(site)
        row: dict[str, Any] = {"site": site, "mark": mark, "kind": place.kind, "layer": place.layer, "C": best}
        row |= {"auc": value, "auc_lowest": min(aucs[best]), "auc_highest": max(aucs[best]), "seeds": sweep.seeds}
        if len(largest):
            row |= {"null_auc_hi": float(np.quantile(own, 0.95))}
            row |= {"p": float(permutation_p([value], own[:, None])[0])}
            row |= {"p_max": float(permutation_p([value], largest[:, None])[0])}
        yield row


def judged(best: dict[str, Any], data: Data) -> dict[str, Any]:
    """The winner, fitted on all groups of the sweep, on those that were held out."""
    if not len(data.kept):
        return {}
    x = data.features(best["site"], best["mark"])
    high = np.unique(data.labels)[1]
    truth = data.labels == high
    rows = torch.from_numpy(data.seen)
    probe = interp.Probe.fit(
        x[rows], torch.from_numpy(truth)[rows], tuple(np.unique(data.labels).tolist()), best["site"], best["mark"],
        data.acts.provenance, C=best["C"],
    )  # fmt: skip
    scores = probe(x[torch.from_numpy(data.kept)].double()).numpy()
    found = intervals(scores[None], truth[data.kept], data.groups[data.kept], 2000, 0.95, 0)[0]
    ends = {"": found.estimate, "_lo": found.low, "_hi": found.high}
    return {f"held_out_auc{end}": float(value[0]) for end, value in ends.items()}


def headline(best: dict[str, Any], meta: dict[str, Any]) -> str:
    """One sentence: the winner and what it is worth, or that there is none."""
    where = f"{best['site']} at {best['mark']}, C = {best['C']:g}"
    if "p_max" not in best:
        return (
            f"The best of {meta['probes']} probes is {where} (AUC {best['auc']:.2f}); without a null this may be luck."
        )
    if best["p_max"] > 0.05:
        return (
            f"No probe of {meta['probes']} is beyond the best of a shuffled sweep (best: {where}, AUC "
            f"{best['auc']:.2f}, p = {best['p_max']:.2g} for the whole sweep)."
        )
    text = (
        f"The best of {meta['probes']} probes is {where}: AUC {best['auc']:.2f}, p = {best['p_max']:.2g} for the sweep"
    )
    if "held_out_auc" not in meta:
        return text + "."
    low, high = meta["held_out_auc_lo"], meta["held_out_auc_hi"]
    return f"{text}; {meta['held_out_auc']:.2f} [{low:.2f}, {high:.2f}] on groups that the sweep never saw."


def make_tracker(sweep: Sweep) -> Callable[[dict[str, Any] | None], None]:
    """What logs a probe; ``None`` ends the run. A missing package is told before any work is done."""
    if sweep.tracker == "none":
        return lambda row: None
    try:
        package = __import__(sweep.tracker)
    except ImportError:
        sys.exit(f"--tracker {sweep.tracker} needs the package: pip install {sweep.tracker}")
    config = {name: str(value) for name, value in sweep.__dict__.items()}
    handle = package.init(project=sweep.project, config=config)
    return lambda row: handle.finish() if row is None else handle.log(row)


if __name__ == "__main__":
    words = shlex.join(["python", "docs/guides/sweep.py", *sys.argv[1:]])
    try:
        report = run(tyro.cli(Sweep, description=__doc__), words)
    except InterpError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(f"\n{report}")  # noqa: T201
