"""``bench_capture``: the capture benchmark as a report. Every peer's rows are compared with ours before it is timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import BenchError
from ..provenance import Provenance
from ..report import Report
from .machine import machine, machine_line, startup
from .memory import find_peers, in_own_process
from .question import Peer, Question
from .targets import target_rows
from .timing import Cost, median, paired_ratio, rotated
from .workloads import MODELS, WORKLOADS, workload_prompts

OURS = "interp"


@dataclass(eq=False)
class _Cell:
    """One part of the table: a question, the peers that answer it, and what that took."""

    question: Question
    peers: list[Peer]
    gaps: dict[str, float] = field(default_factory=dict)
    costs: dict[str, list[Cost]] = field(default_factory=dict)


def bench_capture(
    model: str = "pythia-70m",
    *,
    n_prompts: int = 40,
    workloads: Sequence[str] = ("A", "B"),
    ats: Sequence[str] = ("all", "last"),
    repeats: int = 3,
    everywhere: bool = False,
    memory: bool = True,
    peers_file: str | None = None,
    only: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Report, Report]:
    """Measure what capturing two `resid_post` sites costs: ours, the peers', and the limit.

    The default takes about three minutes on two cores. The full benchmark has 2,000 prompts and both models.

    Args:
        model: ``pythia-70m`` or ``gpt2-small``: shapes with random weights, so that nothing is fetched.
        n_prompts: of each workload.
        workloads: ``A`` (ragged) and ``B`` (the same behind a shared prefix of 64 tokens).
        ats: ``all`` tokens, the ``last`` token.
        repeats: in rotated order; ratios are medians over them.
        everywhere: run every peer in every part of the table, not only in workload A at all tokens, and measure the
            memory of every peer.
        memory: also measure peak memory on workload A (one fresh process per peer).
        peers_file: a Python file with its own ``PEERS`` instead of the built-in ones.
        only: names of peers to run, besides interp itself.
        say: told what is going on, line by line.

    Returns:
        The costs (``cpu_ratio`` and ``wall_ratio`` are ours / theirs; ``peak_mib`` is growth, ``rows_mib`` of it the
        answer itself; ``differs`` the largest difference from our rows), and the targets with what was measured. The
        first one's ``meta`` has every raw number.

    Raises:
        BenchError: an unknown name, or a peer whose rows differ from ours.
    """
    if model not in MODELS:
        raise BenchError(f"no benchmark model {model!r}; there are: {', '.join(MODELS)}")
    if repeats < 1:
        raise BenchError(f"repeats must be at least 1, got {repeats}")
    peers = _chosen(find_peers(peers_file), only)
    before = machine()
    say(machine_line(before))
    cells = []
    first = Question.make(model, "A", 2, "all")
    for workload in workloads:
        prompts = workload_prompts(workload, n_prompts, first.model.sizes.d_vocab)
        for at in ats:
            question = Question(first.model, prompts, first.sites, at, workload)
            cells.append(_measure(question, [p for p in peers if p.fits(question, everywhere)], repeats, say))
    peaks: dict[str, dict[str, float]] = {}
    flat = None
    if memory:
        job = {"model": model, "n_prompts": n_prompts, "peers_file": peers_file, "workload": "A"}
        for at in ats:
            peaks[f"A, {at}"] = _peaks(
                [p for p in peers if at in p.ats and (p.memory or everywhere)], {**job, "at": at}
            )
            say(f"A, {at}: memory of {len(peaks[f'A, {at}'])} peers")
        flat = in_own_process({**job, "at": "last", "peer": "flat"})
    start = startup()
    rows = tuple(row for cell in cells for row in _rows(cell, peaks))
    meta = {
        "model": model, "n_prompts": n_prompts, "repeats": repeats, "machine": before, "load_after": machine()["load"],
        "workloads": {w: WORKLOADS[w] for w in workloads}, "sites": [str(s) for s in first.sites],
        "peak_mib": peaks, "flat_mib": flat, "startup_s": start, "raw": [_raw(cell) for cell in cells],
    }  # fmt: skip
    found = target_rows(rows, meta)
    provenance = first.model.provenance(seed=0)
    return _costs(rows, meta | {"targets": found}, provenance), _targets(found, provenance)


def _chosen(peers: Sequence[Peer], only: Sequence[str]) -> list[Peer]:
    known = [p.name for p in peers]
    unknown = [name for name in only if name not in known]
    if unknown or OURS not in known:
        raise BenchError(f"no peer {(unknown or [OURS])[0]!r}; there are: {', '.join(known)}")
    return [p for p in peers if not only or p.name in only or p.name == OURS]


def _measure(question: Question, peers: list[Peer], repeats: int, say: Callable[[str], None]) -> _Cell:
    cell = _Cell(question, peers)
    where = f"{question.workload}, {question.at}"
    ours = next(p for p in peers if p.name == OURS).run(question)
    if ours is None:
        raise BenchError(f"the peer {OURS!r} gave no rows")
    for peer in peers:
        theirs = peer.run(question)  # also the warm-up
        if theirs is not None and peer.compare:
            cell.gaps[peer.name] = question.difference(ours, theirs, peer.name)
        del theirs
    del ours
    say(f"{where}: {len(peers)} peers; rows of {len(cell.gaps)} agree")
    count = 0

    def done(name: str) -> None:
        nonlocal count
        count += 1
        if count % len(peers) == 0:
            say(f"{where}: repeat {count // len(peers)} of {repeats}")

    cell.costs = rotated({p.name: (lambda p=p: p.run(question)) for p in peers}, repeats, done)
    return cell


def _peaks(peers: list[Peer], job: dict[str, Any]) -> dict[str, float]:
    """MiB that each peer grows by, each in a process of its own."""
    return {p.name: in_own_process({**job, "peer": p.name}) for p in peers if "A" in p.workloads}


def _rows(cell: _Cell, peaks: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    ours = cell.costs[OURS]
    here = peaks.get(f"{cell.question.workload}, {cell.question.at}", {})
    return [
        {
            "workload": cell.question.workload,
            "at": cell.question.at,
            "peer": peer.name,
            "batches": peer.batches,
            "attention": peer.attention,
            "cpu_s": median(cell.costs[peer.name], "cpu"),
            "wall_s": median(cell.costs[peer.name], "wall"),
            "cpu_ratio": paired_ratio(ours, cell.costs[peer.name], "cpu"),
            "wall_ratio": paired_ratio(ours, cell.costs[peer.name], "wall"),
            "peak_mib": here.get(peer.name),
            "rows_mib": cell.question.row_bytes / 2**20,
            "differs": cell.gaps.get(peer.name),
            "note": peer.note,
        }
        for peer in cell.peers
    ]


def _raw(cell: _Cell) -> dict[str, Any]:
    question = cell.question
    return {
        "workload": question.workload,
        "at": question.at,
        "prompts": len(question.prompts),
        "tokens": question.prompts.n_tokens,
        "seconds": {
            name: {"wall": [c.wall for c in costs], "cpu": [c.cpu for c in costs]} for name, costs in cell.costs.items()
        },
    }


def _costs(rows: Sequence[dict[str, Any]], meta: dict[str, Any], provenance: Provenance) -> Report:
    tokens = {raw["workload"]: raw["tokens"] for raw in meta["raw"]}
    amount = ", ".join(f"{n:,} tokens in {w}" for w, n in tokens.items())
    headline = f"Capture of {', '.join(meta['sites'])}, {meta['model']} shape, {meta['n_prompts']:,} prompts: {amount}."
    busy = max(meta["machine"]["load"][0], meta["load_after"][0]) > 1.5 * (meta["machine"]["cores"] or 1)
    warnings = ("other work kept this machine busy: trust the ratios of cpu_s, not the wall times",) if busy else ()
    return Report("bench", "Capture", headline, rows, provenance, warnings, meta)


def _targets(found: list[dict[str, Any]], provenance: Provenance) -> Report:
    met = sum(row["met"] is True for row in found)
    known = sum(row["met"] is not None for row in found)
    return Report("bench-targets", "Targets", f"{met} of {known} targets met.", found, provenance)
