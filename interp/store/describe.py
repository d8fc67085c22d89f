"""``describe``: what a store is, from its manifest alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..provenance import Provenance
from .fs import OsFilesystem
from .lock import is_locked
from .manifest import read_header, read_lines, result_hash


@dataclass(frozen=True)
class StoreSummary:
    """What a store holds and how far it is; sizes in bytes."""

    path: str
    complete: bool
    being_written: bool
    shards: int
    shards_planned: int
    rows: int
    rows_planned: int
    examples: int
    sites: dict[str, int]
    dtype: str
    at: tuple[str, ...]
    bytes: int
    int8_error: dict[str, float] | None
    key: str
    result_hash: str | None
    provenance: Provenance

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def describe(path: str | Path) -> StoreSummary:
    """Summarise a store, complete or not, without reading any row.

    ``int8_error`` is the largest relative RMS error of any shard, by site.

    Raises:
        StoreError: there is no store, or its manifest is damaged.
    """
    path, fs = Path(path), OsFilesystem()
    header = read_header(fs, path)
    identity, lines = header.identity, read_lines(fs, path, header).lines
    errors: dict[str, float] = {}
    for line in lines:
        for site, error in (line.int8_error or {}).items():
            errors[site] = max(error, errors.get(site, 0.0))
    complete = len(lines) == len(identity.plan.rows)
    return StoreSummary(
        path=str(path),
        complete=complete,
        being_written=is_locked(path),
        shards=len(lines),
        shards_planned=len(identity.plan.rows),
        rows=sum(line.rows for line in lines),
        rows_planned=sum(identity.plan.rows),
        examples=identity.plan.bounds[-1],
        sites=identity.widths(),
        dtype=identity.dtype,
        at=identity.at,
        bytes=header.examples.bytes + sum(line.values.bytes + line.index.bytes for line in lines),
        int8_error=errors or None,
        key=header.key,
        result_hash=result_hash(header.key, lines) if complete else None,
        provenance=Provenance.from_dict(header.provenance),
    )
