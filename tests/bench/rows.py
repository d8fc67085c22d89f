"""Shuffled rows: our store against per-batch ``.pt`` files, as they are often written and read.

    python -m tests.bench.rows                 # about a minute and 1 GB of disk; --json FILE to keep the numbers

Both hold the same rows, batch by batch. A query is 1,024 random rows. The peer loads each ``.pt`` file that holds a
wanted row once per query and takes its rows; a second peer keeps the files memory-mapped (``torch.load(mmap=True)``).
Ratios are paired: both readers answer the same query, one after the other, in an order that alternates.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interp.provenance import Provenance
from interp.store import Examples, RowIndex, StoreWriter, open_store, plan_shards

WIDTH, BATCH_ROWS, BATCHES, QUERY = 768, 16 * 40, 200, 1024
SITES = ("resid_post.5", "resid_post.10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dir", help="where to write (default: a temporary directory)")
    parser.add_argument("--queries", type=int, default=15)
    parser.add_argument("--json", help="write the numbers here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        numbers = measure(Path(directory), options.queries)
    for name, value in numbers.items():
        print(f"{name:<52} {value}")
    if options.json:
        Path(options.json).write_text(json.dumps(numbers, indent=1) + "\n")


def measure(directory: Path, queries: int) -> dict[str, float | str]:
    """Medians over ``queries`` queries, with the load of the machine beside them."""
    started = os.getloadavg()[0]
    write_both(directory)
    acts = open_store(directory / "store")
    readers: dict[str, Callable[[np.ndarray], Tensor]] = {
        "store": lambda rows: acts[SITES[0]][rows],
        "pt": lambda rows: read_pt(directory, rows, mmap=False),
        "pt mmap": lambda rows: read_pt(directory, rows, mmap=True),
    }
    random = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in readers}
    cpu: dict[str, list[float]] = {name: [] for name in readers}
    for query in range(queries + 1):
        rows = random.integers(0, BATCHES * BATCH_ROWS, QUERY)
        answers = {}
        for name in list(readers)[:: 1 if query % 2 else -1]:
            wall, process = time.perf_counter(), time.process_time()
            answers[name] = readers[name](rows)
            if query:  # the first one fills the page cache
                times[name].append(time.perf_counter() - wall)
                cpu[name].append(time.process_time() - process)
        assert torch.equal(answers["store"], answers["pt"])
        assert torch.equal(answers["store"], answers["pt mmap"])
    medians = {f"{name}: ms per {QUERY} rows": round(1e3 * statistics.median(t), 3) for name, t in times.items()}
    ratios = {
        f"{name} / store, median of paired ratios ({what})": round(
            statistics.median(a / b for a, b in zip(table[name], table["store"], strict=True)), 1
        )
        for what, table in (("wall", times), ("cpu", cpu))
        for name in ("pt", "pt mmap")
    }
    load = f"{started:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores"
    return {
        **medians,
        **ratios,
        "rows": f"{BATCHES * BATCH_ROWS:,} x {WIDTH} float16, {len(SITES)} sites",
        "load": load,
    }


def write_both(directory: Path) -> None:
    """The same rows as a store and as one ``.pt`` file (a dict of sites) per batch."""
    generator = torch.Generator().manual_seed(0)
    plan = plan_shards([BATCH_ROWS] * BATCHES, 2 * WIDTH * len(SITES), 64 * 2**20)
    examples = Examples(ids=tuple(str(i) for i in range(BATCHES)))
    with StoreWriter.open(
        directory / "store",
        plan,
        Provenance(model="bench", model_id="random numbers", prompts="bench"),
        sites=dict.fromkeys(SITES, WIDTH),
        dtype="float16",
        at="all",
        examples=examples,
    ) as writer:
        for shard in plan:
            batches = range(shard.example_start, shard.example_stop)
            made = [{s: torch.randn(BATCH_ROWS, WIDTH, generator=generator).half() for s in SITES} for _ in batches]
            for number, batch in zip(batches, made, strict=True):
                torch.save(batch, directory / f"batch{number:05d}.pt")
            example = np.repeat(np.arange(batches.start, batches.stop), BATCH_ROWS)
            position = np.tile(np.arange(BATCH_ROWS), len(batches))
            index = RowIndex.build(example, position, position)
            writer.commit(shard.k, {s: torch.cat([batch[s] for batch in made]) for s in SITES}, index)
        writer.finish()


def read_pt(directory: Path, rows: np.ndarray, mmap: bool) -> Tensor:
    """The wanted rows from the per-batch files, each loaded once."""
    out = torch.empty(len(rows), WIDTH, dtype=torch.float16)
    batch = rows // BATCH_ROWS
    for number in np.unique(batch).tolist():
        loaded = torch.load(directory / f"batch{number:05d}.pt", weights_only=True, mmap=mmap)
        places = torch.from_numpy(np.flatnonzero(batch == number))
        out[places] = loaded[SITES[0]][torch.from_numpy(rows[batch == number] % BATCH_ROWS)]
    return out


if __name__ == "__main__":
    main()
