"""Every command by name, in the order in which a newcomer meets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .bench import Bench
from .checks import Doctor
from .probes import Demo, Probe
from .stores import Capture, Show, Verify
from .testbeds import Testbed

COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": Demo,
    "doctor": Doctor,
    "probe": Probe,
    "capture": Capture,
    "verify": Verify,
    "show": Show,
    "testbed": Testbed,
    "bench": Bench,
}
