"""``circuit_study``: the whole job, from pairs to a circuit with everything that speaks for and against it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import CircuitError
from ..report import Report
from ..run import capture
from ..run.progress import Progress
from .attribution import Level
from .circuit import Circuit
from .complete import completeness
from .edgerows import edge_report
from .evaluation import SHARES
from .export import save_graphml, save_mib, save_mib_nodes
from .graph import Graph
from .latents import rests
from .metrics import Metric
from .minimal import minimality
from .noderows import node_report
from .nodeset import Kept, NodeSet
from .nulls import Search, null_report
from .pairs import Pairs
from .scores import EdgeScores, NodeScores, Ranking
from .studywords import claims, headline
from .task import do_task
from .verification import verify

if TYPE_CHECKING:
    from ..models import Model
    from ..sae.latents import Sae

DEFAULT = {"edge": 50, "node": 10, "neuron": 50, "latent": 50}  # how many are chosen, if nothing else is said
FEW = 10  # kept pairs; with fewer, a warning
SPLIT_FROM = 8  # groups; with fewer, nothing is held out


@dataclass(frozen=True, eq=False, repr=False)
class CircuitStudy:
    """Every report of a study by name, the summary (one row per claim, with its null and verdict), and the circuit.

    A circuit of nodes or neurons is the set that is left when all others are ablated.
    ``found_on`` and ``judged_on`` are the pairs that the circuit was chosen on, and those that it was judged on.
    """

    summary: Report
    reports: Mapping[str, Report]
    scores: EdgeScores | NodeScores
    circuit: Kept
    found_on: Pairs
    judged_on: Pairs
    d_model: int

    def __repr__(self) -> str:
        return repr(self.summary)

    def save(self, out: str | os.PathLike[str]) -> Path:
        """Write ``report.json`` (the summary), each report as ``NAME.json`` and ``NAME.csv``, and the circuit.

        All scores, their intervals and replicates are in ``scores.safetensors``; a circuit of edges also in
        ``circuit.mib.json`` (the schema of the MIB benchmark) and ``circuit.graphml``, one of nodes in the former.

        Raises:
            ReportError: a file cannot be written.
        """
        folder = Path(out)
        self.summary.save(folder / "report.json")
        self.summary.to_csv(folder / "report.csv")
        for name, report in self.reports.items():
            report.save(folder / f"{name}.json")
            report.to_csv(folder / f"{name}.csv")
        self.scores.save(folder / "scores.safetensors")
        mib = folder / "circuit.mib.json"
        if isinstance(self.scores, EdgeScores) and isinstance(self.circuit, Circuit):
            save_mib(self.scores, self.circuit, mib, d_model=self.d_model)
            save_graphml(self.scores, self.circuit, folder / "circuit.graphml")
        elif isinstance(self.scores, NodeScores) and isinstance(self.circuit, NodeSet) and self.circuit.level == "node":
            save_mib_nodes(self.scores, self.circuit, mib, d_model=self.d_model)
        return folder


def circuit_study(
    model: Model,
    pairs: Pairs,
    *,
    level: Level = "edge",
    saes: Sequence[Sae] = (),
    metric: Metric = "logit_diff",
    method: str = "eap-ig",
    ablation: str = "resample",
    steps: int = 5,
    ranking: Ranking = "absolute",
    select: Literal["top", "greedy"] = "top",
    top: int | None = None,
    keep: Literal["solved", "all"] = "solved",
    held_out: bool = True,
    check: int = 20,
    sample: int = 40,
    random: int = 3,
    shuffles: int = 3,
    untrained: bool = True,
    replicates: int = 200,
    seed: int = 0,
    expand_kv: bool = False,
    max_bytes: int | None = None,
    title: str | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> CircuitStudy:
    """Find the circuit of a behaviour on one half of the pairs and judge it on the other, beside every null.

    Reports: ``task`` (on which pairs the model gives the right answer), ``circuit-edges`` (the circuit; or
    ``circuit-nodes``, ``circuit-neurons``), ``circuit`` (faithfulness, CPR and CMD by size), ``verification``
    (estimates against exact patching), ``circuit-null`` (the same search with shuffled corrupted partners and in an
    untrained copy); for edges also ``minimality`` and ``completeness``.

    Args:
        level: ``edge``, ``node`` (input, heads, MLPs), ``neuron`` (of MLPs), or ``latent`` (of ``saes``, with the
            error of each as a node of its own).
        metric, method, ablation, steps, ranking, replicates, expand_kv, max_bytes: see `attribute`.
        select, top: how the circuit is chosen, and of how many edges it is (see ``DEFAULT``).
        keep: ``solved`` leaves out the pairs that the model gets wrong; ``all`` keeps every pair.
        held_out: judge on the groups of pairs that the circuit was not found on (from eight groups on).
        check, sample: edges patched exactly: the strongest, and random ones below them.
        random: random circuits of each size.
        shuffles: draws of shuffled partners; 0 for none.
        untrained: also search a copy with fresh weights.

    Raises:
        CircuitError: the model solves fewer than two pairs, a circuit larger than the graph, or corrupted prompts that
            are the clean ones where an ablation takes its values from them.
        NonFiniteError: the model's last stream is NaN or infinite.

    Source: the measures are those of Wang et al. (arXiv 2211.00593) and MIB (arXiv 2504.13151).

    >>> import interp
    >>> model = interp.load_model(interp.testbeds.path("induction"))
    >>> clean, corrupted = [[5, 9, 7, 8, 5], [6, 3, 7, 8, 6]], [[5, 8, 7, 9, 5], [6, 8, 7, 3, 6]]
    >>> pairs = Pairs.from_tokens(clean, corrupted, answers=[9, 3], wrong=[8, 8])
    >>> study = circuit_study(
    ...     model, pairs, top=2, check=2, sample=2, untrained=False, shuffles=0, replicates=0, keep="all",
    ...     held_out=False,
    ... )
    >>> study.circuit.names
    ('input->a1.h0<v>', 'a1.h0->logits')
    """
    if keep not in ("solved", "all"):
        raise CircuitError(f"keep={keep!r}: 'solved' or 'all'")
    capture(model, pairs.clean.select([0]), f"resid_post.{model.n_layers - 1}", at="last", progress=False)
    n_all = _how_many(model, level, expand_kv, saes)
    top = min(DEFAULT[level], n_all) if top is None else top
    if not 1 <= top <= n_all:
        raise CircuitError(f"a circuit of {top} {level}s in a graph of {n_all}")
    if select not in ("top", "greedy") or (select == "greedy" and level != "edge"):
        raise CircuitError(f"select={select!r}: 'top', or 'greedy' for edges")
    check_corrupted(pairs, ablation)
    task = do_task(model, pairs, metric, ablation=ablation, seed=seed, max_bytes=max_bytes)
    which = np.flatnonzero(task.solved) if keep == "solved" else np.arange(len(pairs))
    if len(which) < 2:
        raise CircuitError(
            f"{task.report.headline} A circuit needs two solved pairs or more; {len(which)} of {len(pairs)} are there"
            + " (keep='all' takes every pair)." * (len(pairs) > 1)
        )
    kept = pairs.select(which)
    on, judged = _halves(kept, seed) if held_out else (kept, kept)
    sizes = tuple(sorted({top, *(max(1, int(share * n_all)) for share in SHARES)}))
    search = Search(
        level, tuple(saes), metric, method, ablation, steps, ranking, select, top, sizes, replicates, seed, expand_kv,
        max_bytes, progress,
    )  # fmt: skip
    reports: dict[str, Report] = {"task": task.report}
    scores = search.scores(model, on, by_span=bool(on.spans) and level == "edge")
    circuit = search.circuit(scores)
    measures = _steps(model, search, (on, judged), pairs, scores, circuit, reports,
                        (check, sample, random, shuffles, untrained))  # fmt: skip
    with Progress(len(measures), "parts", "circuit", progress) as bar:
        for name, step in measures.items():
            bar.advance(0, name)
            reports[name] = step()
            bar.advance(1)
    reports = {k: _told(r, seed, command) for k, r in reports.items()}
    summary = Report(
        kind="circuit-study",
        title=title or f"A circuit in {model.id}",
        headline=headline(reports, model.id, top),
        rows=claims(reports, top),
        provenance=model.provenance(
            prompts=pairs.clean.hash, seed=seed, command=command, bos=pairs.clean.source.bos_summary,
            tokenizer=pairs.clean.source.tokenizer,
        ),
        warnings=_warnings(pairs, kept, (on, judged), task.done, keep),
        meta={
            "pairs": len(pairs), "kept": len(kept), "keep": keep, "found_on": len(on), "judged_on": len(judged),
            "held_out": on is not judged, "level": level, "method": method, "ablation": ablation, "ranking": ranking,
            "select": select, "top": top, "notes": list(pairs.notes), "reports": list(reports),
        },
    )  # fmt: skip
    return CircuitStudy(summary, reports, scores, circuit, on, judged, model.d_model)


def _how_many(model: Model, level: Level, expand_kv: bool, saes: Sequence[Sae]) -> int:
    graph = Graph.of(model, expand_kv=expand_kv)
    sizes = {
        "edge": graph.n_edges, "node": len(graph.sources), "neuron": graph.n_layers * model.sizes.d_mlp,
        "latent": sum(sae.n_latents + len(rests(sae)) for sae in saes),
    }  # fmt: skip
    if level not in sizes:
        raise CircuitError(f"level={level!r}: one of {', '.join(sizes)}")
    if level == "latent" and not saes:
        raise CircuitError("level='latent' needs saes=[...]: which SAEs' latents?")
    return sizes[level]


def check_corrupted(pairs: Pairs, ablation: str) -> None:
    """Raise where ablation takes values from corrupted prompts that are the clean ones, so that it changes nothing.

    Raises:
        CircuitError: every pair is of two equal prompts, and ``ablation`` is ``resample``.
    """
    same = all(np.array_equal(a, b) for a, b in zip(pairs.clean.tokens, pairs.corrupted.tokens, strict=True))
    if ablation == "resample" and same:
        raise CircuitError(
            "the corrupted prompts are the clean ones, so that ablation 'resample' changes nothing; use 'mean', "
            "'mean-position' or 'zero'"
        )


def _chosen(scores: EdgeScores | NodeScores, circuit: Kept) -> Report:
    if isinstance(scores, NodeScores):
        assert isinstance(circuit, NodeSet)
        return node_report(scores, circuit)
    assert isinstance(circuit, Circuit)
    return edge_report(scores, circuit)


def _halves(pairs: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """Half of the groups of pairs, and the others; all of them twice where there are few."""
    groups = np.unique(pairs.groups)
    if len(groups) < SPLIT_FROM:
        return pairs, pairs
    first = np.random.default_rng(seed).permutation(groups)[: len(groups) // 2]
    inside = np.isin(pairs.groups, first)
    return pairs.select(np.flatnonzero(inside)), pairs.select(np.flatnonzero(~inside))


def _steps(
    model: Model, search: Search, found: tuple[Pairs, Pairs], all_pairs: Pairs, scores: EdgeScores | NodeScores,
    circuit: Kept, reports: dict[str, Report], counts: tuple[int, int, int, int, bool],
) -> dict[str, Callable[[], Report]]:  # fmt: skip
    """What is measured of the circuit, in order."""
    on, judged = found
    check, sample, random, shuffles, untrained = counts
    shared: dict[str, Any] = {"seed": search.seed, "max_bytes": search.max_bytes}
    own: dict[str, Any] = {**shared, "ablation": search.ablation}
    steps: dict[str, Callable[[], Report]] = {
        f"circuit-{search.level}s": lambda: _chosen(scores, circuit),
        "circuit": lambda: search.curve(model, judged, scores, random),
    }
    if isinstance(circuit, Circuit):
        steps["minimality"] = lambda: minimality(model, judged, circuit, search.metric, **own)
        steps["completeness"] = lambda: completeness(model, judged, circuit, search.metric, **own)
    if check:
        steps["verification"] = lambda: verify(
            model, on, scores, search.metric, top=check, sample=sample, **shared
        )  # fmt: skip
    if shuffles or untrained:
        steps["circuit-null"] = lambda: null_report(
            model, search, found, all_pairs, scores, reports["circuit"], shuffles=shuffles, untrained=untrained,
            accuracy=reports["task"].meta["accuracy"],
        )  # fmt: skip
    return steps


def _told(report: Report, seed: int, command: str | None) -> Report:
    return replace(report, provenance=report.provenance.replace(seed=seed, command=command))


def _warnings(pairs: Pairs, kept: Pairs, halves: tuple[Pairs, Pairs], done: bool, keep: str) -> list[str]:
    """What the pairs lack, and what follows for the whole study."""
    found = []
    if not done:
        found.append(
            "The model is not shown to do this task, so that a circuit of the pairs it gets right may be one of luck; "
            "compare it with the untrained copy."
        )
    if len(kept) < len(pairs):
        found.append(
            f"{len(pairs) - len(kept)} of {len(pairs)} pairs that the model gets wrong were left out (--keep all takes "
            "them in)."
        )
    if len(kept) < FEW:
        found.append(f"Only {len(kept)} pairs are left, too few for intervals that mean much.")
    if halves[0] is halves[1]:
        found.append("The circuit is judged on the pairs that it was found on.")
    notes = [f"Pairs {note}." for note in pairs.notes if note.startswith("left out")]
    return found + notes
