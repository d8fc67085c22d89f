"""What a measurement ran on, and how busy that was; and what starting interp takes."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ..errors import BenchError

_PACKAGES = ("torch", "transformers", "transformer-lens", "nnsight", "sae-lens", "numpy")


def machine() -> dict[str, Any]:
    """Cores, threads, load, memory and versions, as plain JSON; no name and no path."""
    import psutil
    import torch

    memory = psutil.virtual_memory()
    return {
        "load": [round(x, 2) for x in os.getloadavg()],
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "memory_gb": round(memory.total / 2**30, 1),
        "memory_free_gb": round(memory.available / 2**30, 1),
        "cpu": _cpu(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "system": platform.system(),
        **{name: _version(name) for name in _PACKAGES},
    }


def machine_line(found: dict[str, Any]) -> str:
    """One line for people."""
    load = ", ".join(f"{x:.2f}" for x in found["load"])
    return (
        f"{found['cores']} cores ({found['cpu']}, {found['isa']}), {found['torch_threads']} torch threads, "
        f"load {load}, {found['memory_free_gb']} of {found['memory_gb']} GB free, Python {found['python']}, "
        f"torch {found['torch']}, transformers {found['transformers']}, transformer-lens {found['transformer-lens']}"
    )


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def startup(runs: int = 7) -> dict[str, float]:
    """Median seconds, interpreter included, of ``import interp``, ``interp --help`` and an empty Python.

    Raises:
        BenchError: one of them fails.
    """
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "import interp": [sys.executable, "-c", "import interp"],
        "interp --help": [sys.executable, "-m", "interp", "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            start = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            seconds[name].append(time.perf_counter() - start)
            if done.returncode:
                raise BenchError(f"{name!r} fails: {done.stderr.strip()[-300:]}")
    return {name: statistics.median(times) for name, times in seconds.items()}
