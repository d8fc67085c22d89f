"""One writer per store: an advisory lock on the file ``lock``. Readers never lock."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import StoreError, StoreLockedError

LOCK_NAME = "lock"


class StoreLock:
    """Held from construction to `release`; a second one on the same store raises at once, from any process.

    The kernel frees the lock when its process dies, however it dies. The file is removed on release.

    Raises:
        StoreLockedError: another writer holds the store.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_NAME
        self._fd = _acquire(self._path)

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            # Removed while held: whoever opened it before this sees that its inode has gone, and tries again.
            self._path.unlink(missing_ok=True)
        finally:
            import fcntl

            # Unlocked before it is closed: a forked child may share this descriptor and outlive us.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)


def is_locked(directory: Path) -> bool:
    """Whether a writer holds the store now (without disturbing it)."""
    import fcntl

    try:
        fd = os.open(directory / LOCK_NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def _acquire(path: Path) -> int:
    import fcntl

    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            raise StoreError(f"cannot open the lock of store {path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            by = f" (process {holder})" if holder.isdigit() else ""
            raise StoreLockedError(
                f"store {path.parent} is being written by another process{by}; wait for it or stop it"
            ) from None
        except OSError as error:
            os.close(fd)
            raise StoreError(f"store {path.parent} is on a file system without locks: {error.strerror}") from error
        if _same_file(fd, path):
            try:
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            except OSError:
                # The number only makes the message better; a full disk must not stop a resume that may free space.
                pass
            return fd
        os.close(fd)


def _same_file(fd: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
