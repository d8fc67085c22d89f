"""Edits: pure changes of activations at a site, the ways to make one, and conditions under which they act.

An edit says *what* (a pure function of the selected rows), *where* (a site), *at which tokens* (``at``) and *when*
(``prompt``, ``generated`` or ``both``). Positions are those of the unpadded prompt, so they mean the same under left
or right padding, in any batch, and with a KV cache. Every run counts how often each edit fired; one that never fired
raises, unless a condition kept it from firing.
"""

from __future__ import annotations

from .condition import Condition, gate
from .edit import At, Edit, EditRows, RowFn, When
from .heads import ablate_heads, read_heads
from .remove import ablate, patch, project
from .steer import add, clamp, scale

__all__ = [
    "At",
    "Condition",
    "Edit",
    "EditRows",
    "RowFn",
    "When",
    "ablate",
    "ablate_heads",
    "add",
    "clamp",
    "gate",
    "patch",
    "project",
    "read_heads",
    "scale",
]
