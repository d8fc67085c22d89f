"""``interp bench``: what capturing costs on this machine, beside the peers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass
class BenchCapture:
    """Measure capture beside TransformerLens, Hugging Face and the forward pass alone, on this machine.

    Every peer answers the same question, and its rows are compared with ours before any timing is believed. Ratios are
    medians over rotated repeats in one process; the machine's load is part of the result.

    Example: interp bench capture --json bench.json
    """

    json: Path | None = None
    """Write every raw number, and the machine, to this file."""
    model: Literal["pythia-70m", "gpt2-small"] = "pythia-70m"
    """Shape of the model (random weights; nothing is fetched)."""
    n_prompts: int = 96
    """Prompts per workload; the full benchmark has 2000."""
    repeats: int = 3
    """How often each peer runs."""
    memory: bool = True
    """Also measure peak memory, each peer in a fresh process."""
    everywhere: bool = False
    """Run every peer in every part of the table."""
    peers_file: Path | None = None
    """A Python file with more PEERS, such as tests/bench/capture_peers.py (nnsight, sae-lens, plain hooks)."""

    def __call__(self) -> int:
        """Run the command; its exit code."""
        from ..bench import bench_capture

        costs, targets = bench_capture(
            self.model,
            n_prompts=self.n_prompts,
            repeats=self.repeats,
            memory=self.memory,
            everywhere=self.everywhere,
            peers_file=None if self.peers_file is None else str(self.peers_file),
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
        print(costs)
        print()
        print(targets)
        if self.json is not None:
            costs.save(self.json)
            print(f"\nraw numbers: {self.json}")
        return 0


@dataclass
class Bench:
    """Measure speed on this machine, beside the peers and the limit.

    Example: interp bench capture
    """

    command: Annotated[
        Annotated[BenchCapture, tyro.conf.subcommand("capture")] | Annotated[None, tyro.conf.Suppress],
        tyro.conf.arg(name=""),
    ]

    def __call__(self) -> int:
        """Run the command; its exit code."""
        # One job for now; the alternative that never occurs makes tyro ask for its name.
        assert self.command is not None
        return self.command()
