"""``Inputs``: which files a command read, and their hashes, so that it can be run again on the same ones."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import ReportError
from .report import write_atomic

FILE = "inputs.json"
_FORMAT, _VERSION = "interp.inputs", 1
LARGEST = 1 << 30  # bytes; of larger files only the size is kept
# What makes a checkpoint in a directory what it is.
_CHECKPOINT = (
    "config.json", "generation_config.json", "tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt",
    "*.model", "*.jinja", "*.safetensors", "*.safetensors.index.json", "*.bin",
)  # fmt: skip


@dataclass(frozen=True)
class Input:
    """One file that a command read: its path as typed, its size, and its SHA-256 (None for more than a GiB)."""

    path: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class Inputs:
    """The files that a command read. ``base``: the way from its results back to the folder that it ran in, if below."""

    files: tuple[Input, ...]
    base: str | None = None

    def changed(self, base: Path) -> list[str]:
        """What is missing or other than it was, one sentence for each file; paths are looked up from ``base``."""
        found = []
        for one in self.files:
            path = base / one.path
            if not path.is_file():
                found.append(f"{one.path} is not there")
            elif path.stat().st_size != one.size or (one.sha256 is not None and sha256(path) != one.sha256):
                found.append(f"{one.path} has changed")
        return found

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``inputs.json`` into a folder."""
        data = {"format": _FORMAT, "version": _VERSION, "base": self.base, "files": [asdict(f) for f in self.files]}
        return write_atomic(Path(folder) / FILE, (json.dumps(data, indent=1) + "\n").encode("ascii"))

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Inputs | None:
        """Those of a folder, None where none were kept.

        Raises:
            ReportError: the file is there and cannot be read.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            return None
        try:
            data: Any = json.loads(path.read_bytes())
            if data["format"] != _FORMAT or data["version"] != _VERSION:
                raise ValueError(f"it says {data['format']!r}, version {data['version']!r}")
            if data["base"] is not None and not set(Path(data["base"]).parts) <= {".."}:
                raise ValueError(f"base leads elsewhere than up: {data['base']!r}")
            files = tuple(Input(str(f["path"]), int(f["size"]), f["sha256"]) for f in data["files"])
            return cls(files, data["base"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReportError(f"cannot read {os.fspath(path)!r}: {error}") from error


def look_at(paths: Iterable[str], out: str | os.PathLike[str]) -> Inputs:
    """The files among ``paths`` as they are now: files, and of a directory the files of a checkpoint in it.

    ``out`` is where the results go. The folder that the command runs in is kept as ``../..`` and the like, and only
    if the results lie below it, so that nothing is said about the machine.
    """
    found: dict[str, Input] = {}
    for text in paths:
        path = Path(text)
        if os.path.isdir(text):  # unlike Path, no error for a text that is too long for a name
            if (path / "config.json").is_file():
                for file in sorted(file for pattern in _CHECKPOINT for file in path.glob(pattern) if file.is_file()):
                    found.setdefault(str(file), _input(file))
        elif os.path.isfile(text):
            found.setdefault(text, _input(path))
    up = os.path.relpath(Path.cwd(), Path(out).absolute())
    below = set(Path(up).parts) <= {".."}
    return Inputs(tuple(found.values()), Path(up).as_posix() if below else None)


def _input(path: Path) -> Input:
    size = path.stat().st_size
    return Input(str(path), size, sha256(path) if size <= LARGEST else None)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as ``sha256sum`` prints it.

    Raises:
        ReportError: the file cannot be read.
    """
    try:
        state = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                state.update(block)
        return state.hexdigest()
    except OSError as error:
        raise ReportError(f"cannot read {os.fspath(path)!r}: {error.strerror or error}") from error
