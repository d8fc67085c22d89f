"""Every command by name, in the order in which a newcomer meets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .ablate import Ablate
from .bench import Bench
from .checks import Doctor
from .circuit import Circuit
from .cliff import Cliff
from .demo import Demo
from .direction import Direction
from .erase import Erase
from .heads import Heads
from .inject import Inject
from .lens import Lens
from .memorisation import Memorisation
from .probes import Probe
from .refusal import Refusal
from .reports import Diff, Merge
from .reproduce import Reproduce
from .sae import Sae
from .spread import Spread
from .steer import Steer
from .stores import Capture, Show, Verify
from .testbeds import Testbed

COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": Demo,
    "doctor": Doctor,
    "probe": Probe,
    "memorisation": Memorisation,
    "erase": Erase,
    "inject": Inject,
    "direction": Direction,
    "refusal": Refusal,
    "steer": Steer,
    "ablate": Ablate,
    "circuit": Circuit,
    "cliff": Cliff,
    "lens": Lens,
    "heads": Heads,
    "sae": Sae,
    "spread": Spread,
    "report": Merge,
    "diff": Diff,
    "reproduce": Reproduce,
    "capture": Capture,
    "verify": Verify,
    "show": Show,
    "testbed": Testbed,
    "bench": Bench,
}
