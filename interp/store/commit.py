"""How a file becomes part of a store: written under a temporary name, made durable, checked, then renamed.

The order of calls is the protocol: create -> write -> fsync -> checksum -> chmod -> rename -> fsync of the directory.
Only after that does the manifest get its line (`interp.store.writer`).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import xxhash

from ..errors import StoreCorruptError, StoreError, StoreFullError
from .fs import Bytes, Filesystem, default_mode
from .process import PROCESS, is_running, this_process

TEMPORARY = re.compile(rf"\.tmp-(?P<process>{PROCESS})-(?P<n>\d+)")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CHUNK = 4 * 2**20
_counter = itertools.count()


@dataclass(frozen=True)
class Staged:
    """A finished, durable, checked file that still has its temporary name."""

    temporary: Path
    xxh3_128: str
    bytes: int


def stage(fs: Filesystem, directory: Path, pieces: Iterable[Bytes]) -> Staged:
    """Write ``pieces`` to a new temporary file, force it to disk and check what arrived there.

    On any exception the temporary file is removed again.

    Raises:
        OSError: from the file system.
        StoreCorruptError: the file does not read back as it was written.
    """
    path = directory / temporary_name()
    with removed_on_error(fs, [path]):
        digest, size = xxhash.xxh3_128(), 0
        file = fs.create(path)
        try:
            for piece in pieces:
                view = memoryview(piece).cast("B")
                for start in range(0, len(view), _CHUNK):
                    part = view[start : start + _CHUNK]
                    file.write(part)
                    digest.update(part)
                size += len(view)
            file.fsync()
        finally:
            file.close()
        found = fs.checksum(path)
        if found != digest.hexdigest():
            raise StoreCorruptError(
                f"{path} reads back as {found}, but {digest.hexdigest()} was written; is the disk failing?"
            )
        fs.chmod(path, default_mode())
        return Staged(path, found, size)


def publish(fs: Filesystem, directory: Path, files: dict[str, Staged], replace: bool = False) -> None:
    """Give staged files their final names and make the names durable.

    On any exception the files are removed again, unless they ``replace`` others.
    """
    removed = [staged.temporary for staged in files.values()]
    with removed_on_error(fs, removed):
        for name, staged in files.items():
            if not replace:
                removed.append(directory / name)
            fs.rename(staged.temporary, directory / name)
        fs.fsync_dir(directory)


@contextlib.contextmanager
def removed_on_error(fs: Filesystem, paths: Iterable[Path]) -> Iterator[None]:
    """Remove ``paths`` (those that exist) if the block raises, whatever it raises."""
    try:
        yield
    except BaseException:
        for path in paths:
            with contextlib.suppress(OSError):
                fs.unlink(path)
        raise


def temporary_name() -> str:
    """A name that says which process, of which boot, is writing it."""
    return f".tmp-{this_process()}-{next(_counter)}"


def writer_is_alive(name: str) -> bool:
    """Whether another process, still running, made a temporary name (this one holds the lock, so it knows its own)."""
    match = TEMPORARY.fullmatch(name)
    return match is not None and match["process"] != this_process() and is_running(match["process"])


@contextlib.contextmanager
def disk_errors(doing: str, safe: Callable[[], str]) -> Iterator[None]:
    """Turn an `OSError` into a `StoreError` that says what was being done, and for a full disk what is ``safe``."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFullError(
                f"the disk is full ({error.strerror}) while {doing}: {safe()}. "
                "Free some space and run the same command again: it resumes"
            ) from error
        raise StoreError(f"{error.strerror or error} ({error.filename or 'no file named'}) while {doing}") from error
