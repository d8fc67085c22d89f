"""Files that a command reads and the folder that it writes to, looked at before minutes of work depend on them."""

from __future__ import annotations

import os
from pathlib import Path


def check_files(*paths: str | Path | None) -> None:
    """Raise `PromptError` for the first path at which there is nothing; ``None`` is an option that was not given."""
    from ..prompts.datasets import directory_or_missing

    for path in paths:
        if path is not None:
            directory_or_missing(Path(path))


def made_folder(out: Path) -> None:
    """Make a directory now, so that a job of minutes does not end at a name that cannot be written.

    Raises:
        ReportError: it cannot be made or written to.
    """
    from ..errors import ReportError

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"cannot write to {str(out)!r}: {error.strerror}") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise ReportError(f"cannot write to {str(out)!r}: permission denied")
