"""A progress bar with tokens per second, time left and bytes; on a terminal only, unless asked for."""

from __future__ import annotations

import sys
from typing import Any


class Progress:
    """Counts units of work; draws with tqdm when ``show`` is true, or unset and standard error is a terminal."""

    def __init__(self, total: int, unit: str, label: str, show: bool | None = None) -> None:
        self._args = {"total": total, "unit": f" {unit}", "desc": label, "unit_scale": True}
        self._show = sys.stderr.isatty() if show is None else show
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self._show:
            from tqdm import tqdm

            self._bar = tqdm(**self._args, dynamic_ncols=True, leave=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, n: int, note: str = "") -> None:
        """Count ``n`` more units, with a note such as the bytes written so far."""
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(n)
