"""What a page says about the summary of a memorisation job."""

from __future__ import annotations

from ...report import Report
from .common import Note

CAPTIONS: dict[str, str] = {}
READING: list[str] = []


def notes(report: Report) -> list[Note]:
    """Nothing: every claim is explained where it is shown in full."""
    return []
