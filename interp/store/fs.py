"""The few file operations that the store writes with, as a protocol, so that tests can make any one of them fail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol, runtime_checkable

import xxhash

Bytes = bytes | memoryview
_CHUNK = 2**20


@runtime_checkable
class File(Protocol):
    """A file open for writing."""

    def write(self, data: Bytes) -> None:
        """Write all of ``data`` at the end."""

    def fsync(self) -> None:
        """Force what was written to the disk."""

    def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes."""

    def close(self) -> None:
        """Close it; never raises for a file that is closed already."""


@runtime_checkable
class Filesystem(Protocol):
    """What the store needs from a file system. Every method may raise `OSError`."""

    def mkdir(self, path: Path) -> None: ...
    def create(self, path: Path) -> File: ...
    def append(self, path: Path) -> File: ...
    def chmod(self, path: Path, mode: int) -> None: ...
    def rename(self, source: Path, target: Path) -> None: ...
    def unlink(self, path: Path) -> None: ...
    def fsync_dir(self, path: Path) -> None: ...
    def listdir(self, path: Path) -> list[str]: ...
    def read(self, path: Path) -> bytes: ...
    def size(self, path: Path) -> int: ...
    def checksum(self, path: Path) -> str: ...
    def free_bytes(self, path: Path) -> int: ...


class OsFile:
    """A real file descriptor; writes are unbuffered, so an error appears at the call that caused it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: Bytes) -> None:
        view = memoryview(data).cast("B")
        while len(view):
            view = view[os.write(self._fd, view) :]

    def fsync(self) -> None:
        _full_fsync(self._fd)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class OsFilesystem:
    """The real thing."""

    def mkdir(self, path: Path) -> None:
        path.mkdir()

    def create(self, path: Path) -> File:
        """A new file, private until it is published; an existing one raises."""
        return OsFile(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))

    def append(self, path: Path) -> File:
        """An existing file, for writing at its end."""
        return OsFile(os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)))

    def chmod(self, path: Path, mode: int) -> None:
        os.chmod(path, mode)

    def rename(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def fsync_dir(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def listdir(self, path: Path) -> list[str]:
        return sorted(os.listdir(path))

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def size(self, path: Path) -> int:
        return os.stat(path).st_size

    def checksum(self, path: Path) -> str:
        return file_checksum(path)

    def free_bytes(self, path: Path) -> int:
        stats = os.statvfs(path)
        return stats.f_bavail * stats.f_frsize


def file_checksum(path: Path) -> str:
    """xxh3_128 of a file's bytes, read piece by piece."""
    digest = xxhash.xxh3_128()
    with open(path, "rb", buffering=0) as file:
        buffer = memoryview(bytearray(_CHUNK))
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def default_mode() -> int:
    """The permissions that the user's umask gives a new file."""
    try:
        # Asking the kernel is safe with threads; os.umask can only be read by setting it.
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            line = next(line for line in status if line.startswith("Umask:"))
        return 0o666 & ~int(line.split()[1], 8)
    except (OSError, StopIteration):
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _full_fsync(fd: int) -> None:
    import fcntl

    # On macOS fsync stops at the drive's cache; F_FULLFSYNC does not.
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is None:
        os.fsync(fd)
    else:
        fcntl.fcntl(fd, full)
