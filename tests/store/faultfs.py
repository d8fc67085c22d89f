"""A file system that fails, or loses power, at one chosen call.

It works on real files and keeps beside them what a disk would hold: bytes as of the last fsync, and names as of the
last fsync of their directory. `lose_power` puts the real directory into that state, or into one between it and the
present, since a real disk may have kept any part of what was not yet forced to it.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from interp.store.fs import Bytes, File, OsFilesystem


class PowerLoss(BaseException):
    """The machine is off; nothing after this call happens."""


class Inode:
    """A file: what the process sees lies on the real disk, what survives is ``durable``."""

    def __init__(self, durable: bytes = b"") -> None:
        self.durable = durable


class FaultFilesystem(OsFilesystem):
    """``fail_at``: number of the call (from 0) that fails; ``error``: an `OSError` to raise there, or a `PowerLoss`.

    With ``half`` a failing write first writes half of its bytes. After a power loss every further call raises.
    """

    def __init__(self, fail_at: int | None = None, error: BaseException | None = None, half: bool = False) -> None:
        self.calls: list[str] = []
        self.fail_at, self.error, self.half = fail_at, error, half
        self.dead = False
        self.inodes: dict[Path, Inode] = {}  # names as the process sees them
        self.durable_names: dict[Path, dict[Path, Inode]] = {}  # directory -> names as of its last fsync
        self.directories: dict[Path, bool] = {}  # directories made here -> whether their own name is durable

    # -- which call fails ------------------------------------------------------------------------------------------

    def step(self, name: str) -> bool:
        """Count a call; ``True`` if it is the one to fail."""
        if self.dead:
            raise PowerLoss
        self.calls.append(name)
        return self.fail_at == len(self.calls) - 1

    def fail(self) -> None:
        assert self.error is not None
        self.dead = isinstance(self.error, PowerLoss)
        raise self.error

    def check(self, name: str) -> None:
        if self.step(name):
            self.fail()

    # -- the file system -------------------------------------------------------------------------------------------

    def mkdir(self, path: Path) -> None:
        self.check("mkdir")
        super().mkdir(path)
        self.directories[path] = False
        self.durable_names[path] = {}

    def create(self, path: Path) -> File:
        self.check("create")
        file = super().create(path)
        self.inodes[path] = Inode()
        return FaultFile(self, path, file)

    def append(self, path: Path) -> File:
        self.check("append")
        self.inodes.setdefault(path, Inode(path.read_bytes()))
        return FaultFile(self, path, super().append(path))

    def chmod(self, path: Path, mode: int) -> None:
        self.check("chmod")
        super().chmod(path, mode)

    def rename(self, source: Path, target: Path) -> None:
        self.check("rename")
        super().rename(source, target)
        self.inodes[target] = self.inodes.pop(source)

    def unlink(self, path: Path) -> None:
        self.check("unlink")
        super().unlink(path)
        self.inodes.pop(path, None)

    def fsync_dir(self, path: Path) -> None:
        self.check("fsync_dir")
        self.durable_names[path] = {name: inode for name, inode in self.inodes.items() if name.parent == path}
        for directory in self.directories:
            if directory.parent == path:
                self.directories[directory] = True

    def listdir(self, path: Path) -> list[str]:
        self.check("listdir")
        return super().listdir(path)

    def read(self, path: Path) -> bytes:
        self.check("read")
        return super().read(path)

    def size(self, path: Path) -> int:
        self.check("size")
        return super().size(path)

    def checksum(self, path: Path) -> str:
        self.check("checksum")
        return super().checksum(path)

    def free_bytes(self, path: Path) -> int:
        self.check("free_bytes")
        return super().free_bytes(path)

    # -- what is left when the power comes back --------------------------------------------------------------------

    def adopt(self, directory: Path) -> None:
        """Take files that are there already as durable."""
        for file in directory.iterdir():
            self.inodes[file] = Inode(file.read_bytes())
        self.durable_names[directory] = dict(self.inodes)

    def lose_power(self, directory: Path, keep: random.Random | None = None, harsh: bool = False) -> None:
        """Leave in ``directory`` only what was durable; with ``keep``, also a random part of what was not.

        An append that was under way leaves earlier, forced bytes alone (as on disks that write whole sectors; SQLite
        calls it "powersafe overwrite"), unless ``harsh``.
        """
        if not directory.exists():
            return
        if not self.directories.get(directory, True) and not (keep and keep.random() < 0.5):
            shutil.rmtree(directory, ignore_errors=True)
            return
        seen = {file: inode for file, inode in self.inodes.items() if file.parent == directory}
        current = {file: file.read_bytes() for file in seen if file.exists()}
        durable = dict(self.durable_names.get(directory, {}))
        survivors = {name: inode.durable for name, inode in durable.items()}
        if keep is not None:
            self._keep_some(survivors, seen, durable, current, keep, harsh)
        for file in list(directory.iterdir()):
            if file.name != "lock":
                file.unlink()
        for file, data in survivors.items():
            file.write_bytes(data)

    def _keep_some(self, survivors, seen, durable, current, keep: random.Random, harsh: bool) -> None:
        """Any un-forced change of a name or of bytes may have reached the disk, in any order, torn anywhere."""
        for name in set(durable) - set(seen):
            if keep.random() < 0.5:
                del survivors[name]
        for name, inode in seen.items():
            if name in durable or keep.random() < 0.5:
                survivors[name] = self._torn(inode.durable, current.get(name, b""), keep, harsh)

    @staticmethod
    def _torn(durable: bytes, current: bytes, keep: random.Random, harsh: bool) -> bytes:
        choice = keep.random()
        if choice < 0.4 or durable == current:
            return durable
        if choice < 0.7:
            return current
        safe = len(durable) if current.startswith(durable) and not harsh else 0
        cut = keep.randint(safe, len(current))
        # A grown file whose data never arrived reads as zeros.
        return current[:cut] + bytes(len(current) - cut if choice < 0.85 else 0)


class FaultFile:
    """A file of a `FaultFilesystem`."""

    def __init__(self, fs: FaultFilesystem, path: Path, file: File) -> None:
        self._fs, self._path, self._file = fs, path, file
        self._inode = fs.inodes[path]

    def _bytes(self) -> bytes:
        fd = self._readable()
        return os.pread(fd, os.fstat(fd).st_size, 0)

    def _readable(self) -> int:
        name = next(path for path, inode in self._fs.inodes.items() if inode is self._inode)
        self._fd = getattr(self, "_fd", None) or os.open(name, os.O_RDONLY)
        return self._fd

    def write(self, data: Bytes) -> None:
        if self._fs.step("write"):
            if self._fs.half:
                self._file.write(memoryview(data).cast("B")[: len(data) // 2])
            self._fs.fail()
        self._file.write(data)

    def fsync(self) -> None:
        self._fs.check("fsync")
        self._inode.durable = self._bytes()

    def truncate(self, size: int) -> None:
        self._fs.check("truncate")
        self._file.truncate(size)

    def close(self) -> None:
        fd = self.__dict__.pop("_fd", None)
        if fd is not None:
            os.close(fd)
        self._file.close()
