"""``repair``: take damaged shards out of a store, so that the command that made it writes them again."""

from __future__ import annotations

from pathlib import Path

from ..errors import StoreCorruptError
from .commit import disk_errors, publish, stage
from .fs import Filesystem, OsFilesystem
from .lock import StoreLock
from .manifest import LINES_NAME, ShardLine, encode_line, read_header, salvage_lines
from .startup import remove_orphans
from .verify import check_examples, check_shard


def repair(path: str | Path, fs: Filesystem | None = None) -> tuple[int, ...]:
    """Check every listed shard, drop those with any damage, and return their numbers. Good shards are not touched.

    The store is then incomplete but sound: the command that made it resumes and writes what was dropped. Files that
    are not part of the store stay where they are; `verify` names them. The header cannot be repaired.

    Raises:
        StoreLockedError: a writer holds the store.
        StoreError: the header or the table of examples is missing or damaged.
    """
    path, fs = Path(path), fs or OsFilesystem()
    header = read_header(fs, path)
    with disk_errors(f"repairing store {path}", lambda: "no good shard was touched"):
        lock = StoreLock(path)
        try:
            damage = check_examples(path, header)
            if damage:
                raise StoreCorruptError(f"{path} cannot be repaired ({damage[0]}); make the store again elsewhere")
            listed = salvage_lines(fs, path, header)
            good = tuple(line for line in listed if not check_shard(path, header, line))
            data = b"".join(encode_line(line, header.key) for line in good)
            publish(fs, path, {LINES_NAME: stage(fs, path, [data])}, replace=True)
            for line in [line for line in listed if line not in good]:
                _remove(fs, path, line)
            remove_orphans(fs, path, {line.k for line in good})
        finally:
            lock.release()
    kept = {line.k for line in good}
    return tuple(k for k in range(len(header.identity.plan.rows)) if k not in kept)


def _remove(fs: Filesystem, path: Path, line: ShardLine) -> None:
    for entry in (line.values, line.index):
        if (path / entry.name).exists():
            fs.unlink(path / entry.name)
