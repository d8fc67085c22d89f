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

    def mkdir(self, path: Path) -> None:
        """Make one directory."""

    def create(self, path: Path) -> File:
        """Open a new file, private until it is published; an existing one raises."""

    def append(self, path: Path) -> File:
        """Open an existing file for writing at its end."""

    def chmod(self, path: Path, mode: int) -> None:
        """Set a file's permissions."""

    def rename(self, source: Path, target: Path) -> None:
        """Rename at once, replacing ``target``."""

    def unlink(self, path: Path) -> None:
        """Remove a file."""

    def fsync_dir(self, path: Path) -> None:
        """Force the names in a directory to the disk."""

    def listdir(self, path: Path) -> list[str]:
        """Names in a directory, sorted."""

    def read(self, path: Path) -> bytes:
        """A small file, whole."""

    def size(self, path: Path) -> int:
        """A file's size in bytes."""

    def checksum(self, path: Path) -> str:
        """xxh3_128 of a file's bytes."""

    def free_bytes(self, path: Path) -> int:
        """Bytes that this user may still write on the disk of ``path``."""


class OsFile:
    """A real file descriptor; writes are unbuffered, so an error appears at the call that caused it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: Bytes) -> None:
        """Write all of it, however many calls that takes."""
        view = memoryview(data).cast("B")
        while len(view):
            view = view[os.write(self._fd, view) :]

    def fsync(self) -> None:
        """Force it to the disk, past the drive's cache."""
        _full_fsync(self._fd)

    def truncate(self, size: int) -> None:
        """Cut it."""
        os.ftruncate(self._fd, size)

    def close(self) -> None:
        """Close it once."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class OsFilesystem:
    """The real thing."""

    def mkdir(self, path: Path) -> None:
        """Make one directory."""
        path.mkdir()

    def create(self, path: Path) -> File:
        """Exclusive, mode 0600."""
        return OsFile(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))

    def append(self, path: Path) -> File:
        """For writing at the end."""
        return OsFile(os.open(path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)))

    def chmod(self, path: Path, mode: int) -> None:
        """Set permissions."""
        os.chmod(path, mode)

    def rename(self, source: Path, target: Path) -> None:
        """Atomic on one file system."""
        os.replace(source, target)

    def unlink(self, path: Path) -> None:
        """Remove."""
        os.unlink(path)

    def fsync_dir(self, path: Path) -> None:
        """Force the directory's names to the disk."""
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def listdir(self, path: Path) -> list[str]:
        """Sorted names."""
        return sorted(os.listdir(path))

    def read(self, path: Path) -> bytes:
        """All bytes."""
        return path.read_bytes()

    def size(self, path: Path) -> int:
        """Size in bytes."""
        return os.stat(path).st_size

    def checksum(self, path: Path) -> str:
        """See `file_checksum`."""
        return file_checksum(path)

    def free_bytes(self, path: Path) -> int:
        """What this user may use, without root's reserve."""
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
