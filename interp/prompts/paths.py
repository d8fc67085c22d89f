"""Files that are not there: say so, and which names are close."""

from __future__ import annotations

import difflib
from pathlib import Path

from ..errors import PromptError


def missing_file(path: Path, what: str) -> PromptError:
    """The error for a file that does not exist, with near names from the same folder."""
    if not path.parent.is_dir():
        return PromptError(f"there is no {what} {path}: the folder {path.parent} does not exist")
    try:
        names = sorted(p.name for p in path.parent.iterdir())
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return PromptError(f"there is no {what} {path}{hint}")
