"""Which process is writing, in a form that no other process shares: boot, number and start time."""

from __future__ import annotations

import os
import re
from pathlib import Path

import xxhash

PROCESS = r"[0-9a-f]{8}-\d+-\d+"


def this_process() -> str:
    """``BOOT-PID-START`` of this process."""
    return process(os.getpid())


def process(pid: int) -> str:
    """``BOOT-PID-START`` of a process of this machine; the start time is 0 where the system does not say."""
    return f"{boot_id()}-{pid}-{_start_time(pid)}"


def is_running(name: str) -> bool:
    """Whether the process still runs. A number given to a new process does not count, nor does another boot."""
    if re.fullmatch(PROCESS, name) is None:
        return False
    pid = int(name.split("-")[1])
    return name == process(pid) and _exists(pid)


def boot_id() -> str:
    """Eight hex digits that change with every boot and every machine."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        text = "-".join(os.uname())
    return xxhash.xxh32_hexdigest(text.encode())


def _start_time(pid: int) -> int:
    """In clock ticks since boot."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
