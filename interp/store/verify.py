"""``verify``: recompute every checksum of a store and name each file that is bad, missing, duplicated or foreign."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InterpError, StoreError
from .commit import TEMPORARY, writer_is_alive
from .fs import OsFilesystem, file_checksum
from .lock import LOCK_NAME, is_locked
from .manifest import (
    HEADER_NAME,
    LINES_NAME,
    SHARD_NAME,
    FileEntry,
    Header,
    Listing,
    ShardLine,
    read_header,
    read_lines,
    result_hash,
)
from .opening import read_examples, read_index
from .quantise import stored_dtype
from .shardfile import map_shard, tensor_layout


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    ``kind`` is ``missing``, ``corrupt``, ``duplicate``, ``foreign``, ``orphan``, ``torn`` or ``incomplete``.
    """

    kind: str
    file: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.file}: {self.detail}"


@dataclass(frozen=True)
class VerifyResult:
    """What `verify` found. ``ok`` means: complete, and every byte is what was written."""

    path: str
    problems: tuple[Problem, ...]
    shards_listed: int
    shards_planned: int
    rows: int
    bytes_checked: int
    result_hash: str | None

    @property
    def ok(self) -> bool:
        """Whether nothing at all is wrong."""
        return not self.problems


def verify(path: str | Path) -> VerifyResult:
    """Recompute everything in a store. Damage does not raise: it is listed, file by file.

    A store that is being written, or that was interrupted, has the problem ``incomplete`` and no other.

    Raises:
        StoreError: there is no such directory, or it cannot be read.
    """
    path = Path(path)
    names = _names(path)
    header, problems = _check_header(path)
    if header is None:
        return VerifyResult(str(path), tuple(problems), 0, 0, 0, 0, None)
    listing, found = _check_listing(path, header)
    problems += found
    listed = {header.examples.name: header.examples}
    problems += check_examples(path, header)
    for line in listing.lines:
        listed[line.values.name], listed[line.index.name] = line.values, line.index
        problems += check_shard(path, header, line)
    problems += _check_strangers(path, names, listed, {line.k for line in listing.lines})
    planned = len(header.identity.plan.rows)
    complete = len(listing.lines) == planned
    return VerifyResult(
        path=str(path),
        problems=tuple(problems),
        shards_listed=len(listing.lines),
        shards_planned=planned,
        rows=sum(line.rows for line in listing.lines),
        bytes_checked=sum(entry.bytes for entry in listed.values()),
        result_hash=result_hash(header.key, listing.lines) if complete and not problems else None,
    )


def _names(path: Path) -> list[str]:
    try:
        return OsFilesystem().listdir(path)
    except OSError as error:
        raise StoreError(f"cannot read store {path}: {error.strerror}") from error


def _check_header(path: Path) -> tuple[Header | None, list[Problem]]:
    try:
        return read_header(OsFilesystem(), path), []
    except InterpError as error:
        kind = "corrupt" if (path / HEADER_NAME).exists() else "missing"
        return None, [Problem(kind, HEADER_NAME, str(error))]


def _check_listing(path: Path, header: Header) -> tuple[Listing, list[Problem]]:
    """The good lines, with what is wrong with the file itself, and which shards it lacks."""
    problems = []
    try:
        listing = read_lines(OsFilesystem(), path, header)
    except InterpError as error:
        kind = "corrupt" if (path / LINES_NAME).exists() else "missing"
        return Listing((), 0, None), [Problem(kind, LINES_NAME, str(error))]
    if listing.torn is not None:
        problems.append(Problem("torn", LINES_NAME, f"{listing.torn}; running the same command again repairs it"))
    missing = sorted(set(range(len(header.identity.plan.rows))) - {line.k for line in listing.lines})
    if missing:
        more = ", ..." if len(missing) > 8 else ""
        what = "a writer is at work" if is_locked(path) else "running the same command again resumes"
        numbers = ", ".join(str(k) for k in missing[:8]) + more
        total = len(header.identity.plan.rows)
        problems.append(
            Problem("incomplete", LINES_NAME, f"{len(missing)} of {total} shards are not listed ({numbers}); {what}")
        )
    return listing, problems


def _check_bytes(path: Path, entry: FileEntry) -> Problem | None:
    file = path / entry.name
    try:
        size = file.stat().st_size
        if size != entry.bytes:
            return Problem("corrupt", entry.name, f"has {size:,} bytes, {entry.bytes:,} were written")
        checksum = file_checksum(file)
    except FileNotFoundError:
        return Problem("missing", entry.name, "is listed, but not there")
    except OSError as error:
        return Problem("corrupt", entry.name, f"cannot be read: {error.strerror}")
    if checksum != entry.xxh3_128:
        return Problem("corrupt", entry.name, f"has checksum {checksum}, {entry.xxh3_128} was written")
    return None


def check_examples(path: Path, header: Header) -> list[Problem]:
    """What is wrong with the table of examples."""
    problem = _check_bytes(path, header.examples)
    if problem is None:
        try:
            read_examples(path, header.identity, header.examples)
        except InterpError as error:
            problem = Problem("corrupt", header.examples.name, str(error))
    return [problem] if problem else []


def check_shard(path: Path, header: Header, line: ShardLine) -> list[Problem]:
    """Bytes of both files, then that they hold what the manifest says: tensors, shapes, rows."""
    identity, problems = header.identity, []
    problem = _check_bytes(path, line.values)
    if problem is None:
        try:
            map_shard(
                path / line.values.name,
                line.values.bytes,
                tensor_layout(identity.widths(), stored_dtype(identity.dtype), line.rows),
            )
        except InterpError as error:
            problem = Problem("corrupt", line.values.name, str(error))
    if problem is not None:
        problems.append(problem)
    problem = _check_bytes(path, line.index)
    if problem is None:
        try:
            read_index(path, identity, line)
        except InterpError as error:
            problem = Problem("corrupt", line.index.name, str(error))
    if problem is not None:
        problems.append(problem)
    return problems


def _check_strangers(path: Path, names: list[str], listed: dict[str, FileEntry], done: set[int]) -> Iterator[Problem]:
    """Files that the manifest does not list."""
    known = {entry.xxh3_128: entry.name for entry in listed.values()}
    known.update({_checksum(path / name) or "": name for name in (HEADER_NAME, LINES_NAME)})
    writing = is_locked(path)
    for name in names:
        if name in listed or name in (HEADER_NAME, LINES_NAME, LOCK_NAME):
            continue
        original = known.get(_checksum(path / name) or "unreadable")
        if TEMPORARY.fullmatch(name):
            if not writing and not writer_is_alive(name):
                yield Problem("orphan", name, "left by a writer that died; the next writer removes it")
        elif original is not None:
            yield Problem("duplicate", name, f"has the same bytes as {original}, and is not part of the store")
        elif re.fullmatch(SHARD_NAME, name) and int(name.split("-")[1]) not in done:
            if not writing:
                yield Problem("orphan", name, "belongs to a shard that was never listed; the next writer removes it")
        else:
            yield Problem("foreign", name, "is not part of the store")


def _checksum(file: Path) -> str | None:
    """The checksum of a regular file; ``None`` for anything else."""
    if file.is_symlink() or not file.is_file():
        return None
    try:
        return file_checksum(file)
    except OSError:
        return None
