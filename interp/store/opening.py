"""``open_store``: an activation store as `Activations`, memory-mapped and read-only, also while it is being written."""

from __future__ import annotations

from pathlib import Path

import xxhash

from ..errors import StoreCorruptError, StoreError
from ..provenance import Provenance
from ..sites import Site
from .activations import Activations, Rows
from .examples import Examples
from .fs import OsFilesystem
from .manifest import FileEntry, Identity, ShardLine, read_header, read_lines
from .rows import RowIndex
from .sources import ShardMaps, ShardSource


def open_store(path: str | Path, allow_partial: bool = False) -> Activations:
    """Open a store for reading. Takes no lock; sees the shards that are committed now, and no others.

    Values are mapped, not loaded; their checksums are the business of `verify`. Row metadata are checked when read.

    Raises:
        StoreError: there is no store, or it is not complete and ``allow_partial`` is not set.
        StoreCorruptError: the manifest or a file it lists is damaged; names the file.
    """
    path = Path(path)
    fs = OsFilesystem()
    header = read_header(fs, path)
    identity = header.identity
    lines = tuple(sorted(read_lines(fs, path, header).lines, key=lambda line: line.k))
    planned = len(identity.plan.rows)
    if len(lines) < planned and not allow_partial:
        raise StoreError(
            f"store {path} is not complete: {planned - len(lines)} of {planned} shards are missing. "
            "Run the command that made it again: it resumes; or open it with allow_partial=True"
        )
    maps = ShardMaps(path, identity, lines)
    rows = {Site.parse(site): Rows(ShardSource(maps, site)) for site in identity.widths()}
    return Activations(
        rows,
        Provenance.from_dict(header.provenance),
        lambda: RowIndex.concat([read_index(path, identity, line) for line in lines]),
        lambda: read_examples(path, identity, header.examples),
    )


def read_index(path: Path, identity: Identity, line: ShardLine) -> RowIndex:
    """The row metadata of one shard, checked against checksum and plan."""
    index = RowIndex.from_parquet(_checked_bytes(path, line.index), line.index.name)
    start, stop = identity.plan.bounds[line.k], identity.plan.bounds[line.k + 1]
    inside = not len(index) or (index.example.min() >= start and index.example.max() < stop)
    if len(index) != line.rows or not inside or index.hash != line.index_hash:
        raise StoreCorruptError(f"{path / line.index.name} does not hold the rows of shard {line.k}")
    return index


def read_examples(path: Path, identity: Identity, entry: FileEntry) -> Examples:
    """The table of examples, checked against checksum and identity."""
    examples = Examples.from_parquet(_checked_bytes(path, entry), entry.name)
    if len(examples) != identity.plan.bounds[-1] or examples.hash != identity.examples:
        raise StoreCorruptError(f"{path / entry.name} does not hold the examples of this store")
    return examples


def _checked_bytes(path: Path, entry: FileEntry) -> bytes:
    """A small file, whole, if its checksum is right."""
    file = path / entry.name
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise StoreCorruptError(f"{file} is missing, but listed; run `interp verify {path}`") from None
    except OSError as error:
        raise StoreError(f"cannot read {file}: {error.strerror}") from error
    if len(data) != entry.bytes or xxhash.xxh3_128_hexdigest(data) != entry.xxh3_128:
        raise StoreCorruptError(f"{file} does not match its checksum; run `interp verify {path}`")
    return data
