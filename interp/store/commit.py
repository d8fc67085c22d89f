"""How a file becomes part of a store: written under a temporary name, made durable, checked, then renamed.

The order of calls is the protocol: create -> write -> fsync -> checksum -> chmod -> rename -> fsync of the directory.
Only after that does the manifest get its line (`interp.store.writer`).
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import xxhash

from ..errors import StoreCorruptError, StoreError, StoreFullError
from .fs import Bytes, Filesystem, default_mode

TEMPORARY = re.compile(r"\.tmp-(?P<boot>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)-(?P<n>\d+)")
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
    pid = os.getpid()
    return f".tmp-{boot_id()}-{pid}-{_start_time(pid) or 0}-{next(_counter)}"


def writer_is_alive(name: str) -> bool:
    """Whether the process that made a temporary name still runs (and is not this one, which holds the lock)."""
    match = TEMPORARY.fullmatch(name)
    if match is None or match["boot"] != boot_id() or int(match["pid"]) == os.getpid():
        return False
    return (_start_time(int(match["pid"])) or 0) == int(match["start"]) and _exists(int(match["pid"]))


def boot_id() -> str:
    """Eight hex digits that change with every boot and every machine."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        text = "-".join(os.uname())
    return xxhash.xxh32_hexdigest(text.encode())


def _start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; ``None`` where the system does not say."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
