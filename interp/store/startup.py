"""What happens before the first shard is written: identity, free space, the header, what dead writers left."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..errors import ProvenanceError, StoreCorruptError, StoreError, StoreMismatchError, TooLargeError
from ..provenance import Provenance
from ..sites import Site
from .commit import TEMPORARY, publish, stage, writer_is_alive
from .examples import Examples
from .fs import Filesystem
from .lock import LOCK_NAME
from .manifest import (
    EXAMPLES_NAME,
    HEADER_NAME,
    LINES_NAME,
    SHARD_NAME,
    FileEntry,
    Header,
    Identity,
    PlanEntry,
    SiteEntry,
    encode_header,
    file_entry,
)
from .plan import ShardPlan
from .quantise import stored_dtype

# Row metadata take at most this many bytes per row, and a shard's two headers this many, before any compression.
_INDEX_BYTES = 24
_SHARD_BYTES = 8192


def identity_of(
    plan: Sequence[ShardPlan],
    provenance: Provenance,
    sites: Mapping[Site, int] | Mapping[str, int] | Mapping[Site | str, int],
    dtype: str | torch.dtype,
    at: str | Sequence[str],
    examples: Examples,
) -> Identity:
    """Everything that decides the store's content, checked.

    Raises:
        ProvenanceError: no model fingerprint or no prompt hash.
        StoreMismatchError: the plan does not cover the examples.
    """
    if not provenance.model or not provenance.prompts:
        raise ProvenanceError("a store needs a provenance with a model fingerprint and a prompt hash")
    widths = {str(Site.parse(site)): int(width) for site, width in sites.items()}
    if not widths or len(widths) < len(sites) or min(widths.values()) < 1:
        raise StoreError(f"a store needs at least one site, each once and with a positive width; got {widths}")
    entry = PlanEntry.of(plan)
    if entry.bounds[-1] != len(examples):
        raise StoreMismatchError(f"the shard plan covers {entry.bounds[-1]} examples, there are {len(examples)}")
    return Identity(
        model=provenance.model,
        prompts=provenance.prompts,
        examples=examples.hash,
        sites=tuple(SiteEntry(site=site, width=width) for site, width in widths.items()),
        dtype=stored_dtype(dtype).name,
        at=(at,) if isinstance(at, str) else tuple(at),
        plan=entry,
    )


def planned_bytes(identity: Identity) -> int:
    """An upper estimate of the whole store's size."""
    rows = sum(identity.plan.rows)
    return rows * (identity.row_bytes() + _INDEX_BYTES) + _SHARD_BYTES * len(identity.plan.rows)


def require_room(fs: Filesystem, path: Path, needed: int) -> None:
    """Raise `TooLargeError` with both sizes if the disk of ``path`` has fewer than ``needed`` free bytes."""
    there = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    free = fs.free_bytes(there)
    if needed > free:
        raise TooLargeError(
            f"store {path} still needs {size_text(needed)}, but its disk has {size_text(free)} free; "
            "free some space, or capture fewer sites, fewer positions or a smaller dtype"
        )


def make_directories(fs: Filesystem, path: Path) -> None:
    """Make ``path`` and its absent parents, durably."""
    absent = [p for p in (path.absolute(), *path.absolute().parents) if not p.exists()]
    for directory in reversed(absent):
        fs.mkdir(directory)
        fs.fsync_dir(directory.parent)


def initialise(fs: Filesystem, path: Path, identity: Identity, provenance: Provenance, examples: Examples) -> None:
    """Write what a store has before its first shard. The header comes last: it makes the directory a store.

    Raises:
        StoreError: the directory holds something else.
    """
    for name in _leftovers(fs, path):
        fs.unlink(path / name)
    table = stage(fs, path, [examples.to_parquet()])
    entry = file_entry("examples", table.xxh3_128, table.bytes, "parquet")
    publish(fs, path, {entry.name: table})
    publish(fs, path, {LINES_NAME: stage(fs, path, [])})
    header = Header(format=1, key=identity.key, identity=identity, provenance=provenance.to_dict(), examples=entry)
    publish(fs, path, {HEADER_NAME: stage(fs, path, [encode_header(header)])})


def require_size(fs: Filesystem, path: Path, entry: FileEntry) -> None:
    """Raise `StoreCorruptError` if a listed file is missing or has another size; its content is `verify`'s business."""
    try:
        size = fs.size(path / entry.name)
    except FileNotFoundError:
        raise StoreCorruptError(f"{path / entry.name} is missing, but listed; run `interp verify {path}`") from None
    if size != entry.bytes:
        raise StoreCorruptError(
            f"{path / entry.name} has {size:,} bytes, the manifest says {entry.bytes:,}; run `interp verify {path}`"
        )


def remove_orphans(fs: Filesystem, path: Path, listed: set[int]) -> None:
    """Remove temporary files of dead writers, and published files of shards that never got their line."""
    for name in fs.listdir(path):
        unlisted = re.fullmatch(SHARD_NAME, name) and int(name.split("-")[1]) not in listed
        if unlisted or _is_dead(name):
            fs.unlink(path / name)


def size_text(size: int) -> str:
    """Bytes for people.

    >>> size_text(3_400_000), size_text(17)
    ('3.4 MB', '17 bytes')
    """
    for unit, scale in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"


def _leftovers(fs: Filesystem, path: Path) -> list[str]:
    """What a writer that died before it wrote the header left in a directory; anything else there raises."""
    names = fs.listdir(path)
    for name in names:
        if re.fullmatch(SHARD_NAME, name):
            raise StoreCorruptError(f"{path / HEADER_NAME} is missing, but there are shards such as {name}")
    leftovers = []
    for name in names:
        empty_lines = name == LINES_NAME and fs.size(path / name) == 0
        if empty_lines or re.fullmatch(EXAMPLES_NAME, name) or _is_dead(name):
            leftovers.append(name)
        elif name != LOCK_NAME and not TEMPORARY.fullmatch(name):
            raise StoreError(f"{path} is not empty and not a store: it holds {name}; give a new or an empty directory")
    return leftovers


def _is_dead(name: str) -> bool:
    return TEMPORARY.fullmatch(name) is not None and not writer_is_alive(name)
