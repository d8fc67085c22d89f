"""One writer per store: an advisory lock on the file ``lock``. Readers never lock."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import StoreError, StoreLockedError
from .process import is_running, this_process

LOCK_NAME = "lock"


class StoreLock:
    """Held from construction to `release`; a second one on the same store raises at once, from any process.

    The kernel frees the lock when its process dies, however it dies. The file is removed on release.

    Raises:
        StoreLockedError: another writer holds the store.
        StoreError: the file system has no locks.
        OSError: the lock file cannot be made.
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
    """Whether a writer of this machine holds the store now. Only looks: a reader must not get in a writer's way."""
    return is_running(_holder(directory / LOCK_NAME))


def _acquire(path: Path) -> int:
    import fcntl

    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            holder = _holder(path)
            by = f" (process {holder.split('-')[1]})" if is_running(holder) else ""
            raise StoreLockedError(
                f"store {path.parent} is being written by another process{by}; wait for it or stop it"
            ) from None
        except OSError as error:
            os.close(fd)
            raise StoreError(f"store {path.parent} is on a file system without locks: {error.strerror}") from error
        if _same_file(fd, path):
            try:
                os.ftruncate(fd, 0)
                os.pwrite(fd, this_process().encode(), 0)
            except OSError:
                # The number only makes the message better; a full disk must not stop a resume that may free space.
                pass
            return fd
        os.close(fd)


def _holder(path: Path) -> str:
    """What the holder of a lock wrote into it, if anything."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _same_file(fd: int, path: Path) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
