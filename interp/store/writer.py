"""``StoreWriter``: creates a store or resumes one, shard by shard, so that a stop at any moment loses no commit."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..errors import StoreError, StoreMismatchError
from ..provenance import Provenance
from ..sites import Site
from .commit import disk_errors, publish, removed_on_error, stage
from .examples import Examples
from .fs import File, Filesystem, OsFilesystem
from .lock import StoreLock
from .manifest import (
    HEADER_NAME,
    LINES_NAME,
    Header,
    Identity,
    ShardLine,
    encode_line,
    file_entry,
    read_header,
    read_lines,
    result_hash,
)
from .plan import ShardPlan
from .rows import RowIndex
from .shardfile import shard_pieces
from .startup import (
    identity_of,
    initialise,
    make_directories,
    planned_bytes,
    remove_orphans,
    require_room,
    require_size,
    size_text,
)
from .stored import SiteRows, StoredTensors, check_index, stored_tensors


class StoreWriter:
    """The one writer of a store. Use `StoreWriter.open`, then `commit` each of `missing`, then `finish`.

    A context manager: leaving it gives the lock back and leaves a store that resumes. Not for two threads at once.
    """

    def __init__(
        self, path: Path, header: Header, lines: Sequence[ShardLine], lock: StoreLock, log: File, fs: Filesystem
    ) -> None:
        self.path = path
        self.header = header
        self.plan: tuple[ShardPlan, ...] = header.identity.plan.shards()
        self._lines = {line.k: line for line in lines}
        self._lock = lock
        self._log: File | None = log
        self._log_bytes = sum(len(encode_line(line, header.key)) for line in lines)
        self._fs = fs

    @classmethod
    def open(
        cls,
        path: str | Path,
        plan: Sequence[ShardPlan],
        provenance: Provenance,
        *,
        sites: Mapping[Site, int] | Mapping[str, int] | Mapping[Site | str, int],
        dtype: str | torch.dtype,
        at: str | Sequence[str],
        examples: Examples,
        required_bytes: int | None = None,
        fs: Filesystem | None = None,
    ) -> StoreWriter:
        """Create the store, or resume it if model, prompts, examples, sites, dtype, ``at`` and plan are the same.

        ``sites`` gives each site's row length; ``at`` is ``"all"`` or the marks; ``required_bytes`` is what the whole
        run will write (default: computed from the plan).

        Raises:
            StoreMismatchError: the directory holds another store; says which fields differ.
            StoreLockedError: another writer holds it.
            StoreCorruptError: what is there is damaged; names the file.
            StoreFullError: the disk filled up.
            TooLargeError: the disk has less room than the run needs.
        """
        fs, path = fs or OsFilesystem(), Path(path)
        identity = identity_of(plan, provenance, sites, dtype, at, examples)
        needed = planned_bytes(identity) if required_bytes is None else required_bytes
        with disk_errors(f"opening store {path}", lambda: "no shard was lost"):
            if not path.is_dir():
                require_room(fs, path, needed)
                make_directories(fs, path)
            lock = StoreLock(path)
            try:
                if HEADER_NAME not in fs.listdir(path):
                    require_room(fs, path, needed)
                    initialise(fs, path, identity, provenance, examples)
                return cls._resume(path, identity, needed, lock, fs)
            except BaseException:
                lock.release()
                raise

    @classmethod
    def _resume(cls, path: Path, identity: Identity, needed: int, lock: StoreLock, fs: Filesystem) -> StoreWriter:
        """Take up a store whose header exists: check it, remove what dead writers left, cut a torn line off."""
        header = read_header(fs, path)
        differences = header.identity.differences(identity)
        if differences:
            raise StoreMismatchError(
                f"store {path} holds something else: {'; '.join(differences)}. "
                "Give another directory, or remove this one if it is not needed"
            )
        listing = read_lines(fs, path, header)
        files = [header.examples, *(entry for line in listing.lines for entry in (line.values, line.index))]
        for entry in files:
            require_size(fs, path, entry)
        remove_orphans(fs, path, {line.k for line in listing.lines})
        if len(listing.lines) < len(header.identity.plan.rows):
            require_room(fs, path, needed - sum(entry.bytes for entry in files))
        log = fs.append(path / LINES_NAME)
        try:
            if listing.torn is not None:
                log.truncate(listing.good_bytes)
                log.fsync()
        except BaseException:
            log.close()
            raise
        return cls(path, header, listing.lines, lock, log, fs)

    @property
    def key(self) -> str:
        """xxh3_128 of everything that decides the store's content."""
        return self.header.key

    @property
    def rows_committed(self) -> int:
        """Rows that are safe on disk."""
        return sum(line.rows for line in self._lines.values())

    def missing(self) -> tuple[int, ...]:
        """Numbers of the shards still to be committed, in order; empty when the store is complete."""
        return tuple(shard.k for shard in self.plan if shard.k not in self._lines)

    def commit(self, k: int, tensors: SiteRows, index: RowIndex) -> None:
        """Write shard ``k`` and make it durable: ``{site: [rows, width]}``, and what each row is.

        Floating tensors of another dtype are cast; for an int8 store they are quantised, unless given as `Quantised`.
        After any exception the shard is either committed or absent, and the same command resumes.

        Raises:
            StoreMismatchError: shapes, sites or rows are not what the plan says.
            ActivationError: a finite number does not fit the stored dtype.
            StoreFullError: the disk is full; says what is safe.
        """
        if self._log is None:
            raise StoreError(f"the writer of store {self.path} is closed; open it again")
        if not 0 <= k < len(self.plan):
            raise StoreMismatchError(f"store {self.path} has shards 0..{len(self.plan) - 1}, there is no shard {k}")
        if k in self._lines:
            raise StoreMismatchError(f"shard {k} of store {self.path} is there already; commit only `missing()` ones")
        shard = self.plan[k]
        check_index(shard, index)
        stored = stored_tensors(self.header.identity, shard, tensors)
        with disk_errors(f"writing shard {k} of store {self.path}", self._what_is_safe):
            self._list(self._write(shard, stored, index))

    def finish(self) -> str:
        """Close a complete store and return its result hash; raises `StoreError` while shards are missing."""
        missing = self.missing()
        if missing:
            raise StoreError(
                f"store {self.path} is not complete: {len(missing)} of {len(self.plan)} shards are missing"
            )
        self.close()
        return result_hash(self.key, tuple(self._lines.values()))

    def close(self) -> None:
        """Give the lock back; what is committed stays. A second call does nothing."""
        log, self._log = self._log, None
        try:
            if log is not None:
                log.close()
        finally:
            self._lock.release()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _write(self, shard: ShardPlan, stored: StoredTensors, index: RowIndex) -> ShardLine:
        """Both files of a shard, durable under their final names; nobody reads them before they are listed."""
        fs, path, stem = self._fs, self.path, f"shard-{shard.k:05d}"
        values = stage(fs, path, shard_pieces(stored.tensors, {"store": self.key, "shard": str(shard.k)}))
        with removed_on_error(fs, [values.temporary]):
            rows = stage(fs, path, [index.to_parquet()])
        line = ShardLine(
            k=shard.k,
            rows=shard.rows,
            values=file_entry(stem, values.xxh3_128, values.bytes, "safetensors"),
            index=file_entry(stem, rows.xxh3_128, rows.bytes, "parquet"),
            index_hash=index.hash,
            int8_error=stored.int8_error,
        )
        publish(fs, path, {line.values.name: values, line.index.name: rows})
        return line

    def _list(self, line: ShardLine) -> None:
        """Append the shard's line: from here on it counts. If that fails, line and files are taken back."""
        assert self._log is not None
        data = encode_line(line, self.key)
        try:
            self._log.write(data)
            self._log.fsync()
        except BaseException:
            # Closed unless the line is surely gone: a second line after a torn one would damage the manifest.
            log, self._log = self._log, None
            try:
                log.truncate(self._log_bytes)
                log.fsync()
            except OSError:
                log.close()
            else:
                self._log = log
                for entry in (line.values, line.index):
                    with contextlib.suppress(OSError):
                        self._fs.unlink(self.path / entry.name)
            raise
        self._log_bytes += len(data)
        self._lines[line.k] = line

    def _what_is_safe(self) -> str:
        size = size_text(sum(line.values.bytes + line.index.bytes for line in self._lines.values()))
        rows = f"{self.rows_committed:,} rows, {size}"
        return f"{len(self._lines)} of {len(self.plan)} shards ({rows}) are committed and safe"
