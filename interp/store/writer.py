"""``StoreWriter``: creates an activation store or resumes one, shard by shard, so that a stop at any moment loses no commit."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import (
    ProvenanceError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreMismatchError,
    TooLargeError,
)
from ..provenance import Provenance
from ..sites import Site
from .commit import FULL, TEMPORARY, Staged, file_errors, publish, removed_on_error, stage, writer_is_alive
from .examples import Examples
from .fs import File, Filesystem, OsFilesystem
from .lock import LOCK_NAME, StoreLock
from .manifest import (
    EXAMPLES_NAME,
    HEADER_NAME,
    INDEX_NAME,
    LINES_NAME,
    VALUES_NAME,
    FileEntry,
    Header,
    Identity,
    PlanEntry,
    ShardLine,
    SiteEntry,
    encode_header,
    encode_line,
    read_header,
    read_lines,
    result_hash,
)
from .plan import ShardPlan
from .quantise import Quantised, cast_for_storage, quantisation_error, quantise, stored_dtype
from .rows import RowIndex
from .shardfile import scale_name, shard_pieces

# Row metadata take at most this many bytes per row (before Parquet's compression).
_INDEX_BYTES = 24


class StoreWriter:
    """The one writer of a store. Use `StoreWriter.open`, then `commit` each of `missing`, then `finish`.

    A context manager: leaving it gives the lock back and leaves a store that resumes. Not for use from two threads at once.
    """

    def __init__(self, path: Path, header: Header, lines: Sequence[ShardLine], lock: StoreLock, log: File, fs: Filesystem):
        self.path = path
        self.header = header
        self._lines = {line.k: line for line in lines}
        self._plan = header.identity.plan.shards()
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
        sites: Mapping[Site | str, int],
        dtype: str | torch.dtype,
        at: str | Sequence[str],
        examples: Examples,
        required_bytes: int | None = None,
        fs: Filesystem | None = None,
    ) -> StoreWriter:
        """Create the store, or resume it if it holds the same thing: same model, prompts, examples, sites, dtype, `at`, plan.

        ``sites`` gives each site's row length; ``at`` is ``"all"`` or the marks; ``required_bytes`` is what the whole run
        will write (default: computed from the plan).

        Raises:
            StoreMismatchError: the directory holds another store; says which fields differ.
            StoreLockedError: another writer holds it.
            StoreCorruptError: what is there is damaged; names the file.
            StoreFullError: the disk filled up.
            TooLargeError: the disk has less room than the run needs.
        """
        fs, path = fs or OsFilesystem(), Path(path)
        identity = _identity(plan, provenance, sites, dtype, at, examples)
        needed = _planned_bytes(identity) if required_bytes is None else required_bytes
        with _space_errors(path, "creating the store"), file_errors(f"open store {path}"):
            if not path.is_dir():
                _require_room(fs, path, needed)
                _make_directories(fs, path)
            lock = StoreLock(path)
            try:
                if HEADER_NAME not in fs.listdir(path):
                    _require_room(fs, path, needed)
                    _initialise(fs, path, identity, provenance, examples)
                return cls._resume(path, identity, needed, lock, fs)
            except BaseException:
                lock.release()
                raise

    @classmethod
    def _resume(cls, path: Path, identity: Identity, needed: int, lock: StoreLock, fs: Filesystem) -> StoreWriter:
        """Take up a store whose header exists: check it, cut a torn line off, remove what dead writers left."""
        header = read_header(fs, path)
        differences = header.identity.differences(identity)
        if differences:
            raise StoreMismatchError(
                f"store {path} holds something else: {'; '.join(differences)}. "
                "Give another directory, or remove this one if it is not needed"
            )
        listing = read_lines(fs, path, header)
        for line in listing.lines:
            for entry in (line.values, line.index):
                _require_size(fs, path, entry)
        _require_size(fs, path, header.examples)
        _remove_orphans(fs, path, {line.k for line in listing.lines})
        if len(listing.lines) < len(header.identity.plan.rows):
            _require_room(fs, path, needed - sum(line.values.bytes + line.index.bytes for line in listing.lines))
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
    def plan(self) -> tuple[ShardPlan, ...]:
        """All planned shards."""
        return self._plan

    @property
    def rows_committed(self) -> int:
        """Rows that are safe on disk."""
        return sum(line.rows for line in self._lines.values())

    def missing(self) -> tuple[int, ...]:
        """Numbers of the shards still to be committed, in order; empty when the store is complete."""
        return tuple(shard.k for shard in self._plan if shard.k not in self._lines)

    def commit(self, k: int, tensors: Mapping[Site | str, Tensor | Quantised], index: RowIndex) -> None:
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
        shard = self._planned(k)
        self._check_index(shard, index)
        stored, error = self._to_stored(shard, tensors)
        with _space_errors(self.path, f"writing shard {k}", self), file_errors(f"write shard {k} of store {self.path}"):
            self._commit_files(shard, stored, index, error)

    def finish(self) -> str:
        """Close a complete store and return its result hash; raises `StoreError` while shards are missing."""
        missing = self.missing()
        if missing:
            raise StoreError(f"store {self.path} is not complete: {len(missing)} of {len(self._plan)} shards are missing")
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

    def _planned(self, k: int) -> ShardPlan:
        if not 0 <= k < len(self._plan):
            raise StoreMismatchError(f"store {self.path} has shards 0..{len(self._plan) - 1}, there is no shard {k}")
        if k in self._lines:
            raise StoreMismatchError(f"shard {k} of store {self.path} is committed already; commit only `missing()` shards")
        return self._plan[k]

    def _check_index(self, shard: ShardPlan, index: RowIndex) -> None:
        if len(index) != shard.rows:
            raise StoreMismatchError(f"shard {shard.k} is planned with {shard.rows} rows, its index has {len(index)}")
        example = index.example
        if len(example) and (example.min() < shard.example_start or example.max() >= shard.example_stop):
            raise StoreMismatchError(
                f"shard {shard.k} holds examples {shard.example_start}..{shard.example_stop - 1}, "
                f"its index has {example.min()}..{example.max()}"
            )
        if (example[1:] < example[:-1]).any():
            raise StoreMismatchError(f"the rows of shard {shard.k} are not in the order of the examples")

    def _to_stored(
        self, shard: ShardPlan, tensors: Mapping[Site | str, Tensor | Quantised]
    ) -> tuple[dict[str, Tensor], dict[str, float] | None]:
        """The tensors of the shard file in stored order, and the int8 error by site."""
        given = {str(Site.parse(site)): tensor for site, tensor in tensors.items()}
        widths, dtype = self.header.identity.widths(), stored_dtype(self.header.identity.dtype)
        if given.keys() != widths.keys():
            raise StoreMismatchError(f"shard {shard.k} needs the sites {', '.join(widths)}; got {', '.join(given) or 'none'}")
        scales, values, error = {}, {}, {}
        for site, width in widths.items():
            tensor, what = given[site], f"shard {shard.k}, site {site}"
            shape = tuple(tensor.values.shape if isinstance(tensor, Quantised) else tensor.shape)
            if shape != (shard.rows, width):
                raise StoreMismatchError(f"{what} has shape {list(shape)}, the plan says {[shard.rows, width]}")
            if dtype.name != "int8":
                if isinstance(tensor, Quantised):
                    raise StoreMismatchError(f"{what} is int8, but the store holds {dtype.name}")
                values[site] = cast_for_storage(tensor, dtype, what)
                continue
            if isinstance(tensor, Quantised):
                quantised = tensor
            else:
                quantised = quantise(tensor)
                error[site] = quantisation_error(tensor, quantised)
            scales[scale_name(site)], values[site] = quantised.scale, quantised.values
        return {**scales, **values}, error or None

    def _commit_files(
        self, shard: ShardPlan, stored: Mapping[str, Tensor], index: RowIndex, error: dict[str, float] | None
    ) -> None:
        fs, path = self._fs, self.path
        pieces = shard_pieces(stored, {"store": self.key, "shard": str(shard.k)})
        values = stage(fs, path, pieces)
        with removed_on_error(fs, [values.temporary]):
            rows = stage(fs, path, [index.to_parquet()])
        values_entry = _entry(f"shard-{shard.k:05d}", values, "safetensors")
        rows_entry = _entry(f"shard-{shard.k:05d}", rows, "parquet")
        publish(fs, path, {values_entry.name: values, rows_entry.name: rows})
        self._list(
            ShardLine(
                k=shard.k, rows=shard.rows, values=values_entry, index=rows_entry, index_hash=index.hash, int8_error=error
            )
        )

    def _list(self, line: ShardLine) -> None:
        """Append the shard's line; from here on it counts. If that fails, the line and then the files are taken back."""
        assert self._log is not None
        data = encode_line(line, self.key)
        try:
            self._log.write(data)
            self._log.fsync()
        except BaseException:
            log, self._log = self._log, None
            with contextlib.suppress(OSError):
                log.truncate(self._log_bytes)
                log.fsync()
                self._log = log
                for entry in (line.values, line.index):
                    self._fs.unlink(self.path / entry.name)
            if self._log is None:
                log.close()
            raise
        self._log_bytes += len(data)
        self._lines[line.k] = line


def _identity(
    plan: Sequence[ShardPlan],
    provenance: Provenance,
    sites: Mapping[Site | str, int],
    dtype: str | torch.dtype,
    at: str | Sequence[str],
    examples: Examples,
) -> Identity:
    if not provenance.model or not provenance.prompts:
        raise ProvenanceError("a store needs a provenance with a model fingerprint and a prompt hash")
    if not sites:
        raise StoreError("a store needs at least one site")
    entry = PlanEntry.of(plan)
    if entry.bounds[-1] != len(examples):
        raise StoreMismatchError(f"the shard plan covers {entry.bounds[-1]} examples, there are {len(examples)}")
    return Identity(
        model=provenance.model,
        prompts=provenance.prompts,
        examples=examples.hash,
        sites=tuple(SiteEntry(site=str(Site.parse(site)), width=int(width)) for site, width in sites.items()),
        dtype=stored_dtype(dtype).name,
        at=(at,) if isinstance(at, str) else tuple(at),
        plan=entry,
    )


def _planned_bytes(identity: Identity) -> int:
    rows = sum(identity.plan.rows)
    return rows * (identity.row_bytes() + _INDEX_BYTES) + 8192 * len(identity.plan.rows)


def _require_room(fs: Filesystem, path: Path, needed: int) -> None:
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    free = fs.free_bytes(there)
    if needed > free:
        raise TooLargeError(
            f"the store {path} still needs {size_text(needed)}, but its disk has {size_text(free)} free; "
            "free some space, or capture fewer sites, fewer positions or a smaller dtype"
        )


def _make_directories(fs: Filesystem, path: Path) -> None:
    absent = [p for p in (path, *path.parents) if not p.exists()]
    for directory in reversed(absent):
        fs.mkdir(directory)
        fs.fsync_dir(directory.parent)


def _initialise(fs: Filesystem, path: Path, identity: Identity, provenance: Provenance, examples: Examples) -> None:
    """Write what a store has before its first shard; the header comes last, and makes it a store."""
    for name in fs.listdir(path):
        if re.fullmatch(f"{VALUES_NAME}|{INDEX_NAME}", name):
            raise StoreCorruptError(f"{path} holds shards such as {name}, but {HEADER_NAME} is missing")
        if name == LINES_NAME and fs.size(path / name) == 0:
            fs.unlink(path / name)
        elif re.fullmatch(EXAMPLES_NAME, name) or (TEMPORARY.fullmatch(name) and not writer_is_alive(name)):
            fs.unlink(path / name)
        elif name != LOCK_NAME and not TEMPORARY.fullmatch(name):
            raise StoreError(f"{path} is not empty and not a store: it holds {name}; give a new or empty directory")
    table = stage(fs, path, [examples.to_parquet()])
    entry = _entry("examples", table, "parquet")
    publish(fs, path, {entry.name: table, LINES_NAME: stage(fs, path, [])})
    header = Header(format=1, key=identity.key, identity=identity, provenance=provenance.to_dict(), examples=entry)
    publish(fs, path, {HEADER_NAME: stage(fs, path, [encode_header(header)])})


def _entry(stem: str, staged: Staged, suffix: str) -> FileEntry:
    return FileEntry(name=f"{stem}-{staged.xxh3_128}.{suffix}", xxh3_128=staged.xxh3_128, bytes=staged.bytes)


def _require_size(fs: Filesystem, path: Path, entry: FileEntry) -> None:
    try:
        size = fs.size(path / entry.name)
    except FileNotFoundError:
        raise StoreCorruptError(f"{path / entry.name} is missing, but the manifest lists it; run `interp verify {path}`") from None
    if size != entry.bytes:
        raise StoreCorruptError(
            f"{path / entry.name} has {size:,} bytes, the manifest says {entry.bytes:,}; run `interp verify {path}`"
        )


def _remove_orphans(fs: Filesystem, path: Path, listed: set[int]) -> None:
    """Remove temporary files of dead writers, and published files of shards that never got their line."""
    for name in fs.listdir(path):
        unlisted = re.fullmatch(f"{VALUES_NAME}|{INDEX_NAME}", name) and int(name.split("-")[1]) not in listed
        if unlisted or (TEMPORARY.fullmatch(name) and not writer_is_alive(name)):
            fs.unlink(path / name)


@contextlib.contextmanager
def _space_errors(path: Path, doing: str, writer: StoreWriter | None = None) -> Iterator[None]:
    """Turn "no space left" into a `StoreFullError` that says what is safe."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        safe = "nothing was committed yet"
        if writer is not None:
            done, total = len(writer.plan) - len(writer.missing()), len(writer.plan)
            safe = f"{done} of {total} shards ({writer.rows_committed:,} rows) are committed and safe"
        raise StoreFullError(
            f"the disk is full ({error.strerror}) while {doing} in {path}: {safe}. "
            "Free some space and run the same command again: it resumes"
        ) from error


def size_text(size: int) -> str:
    """Bytes for people: ``size_text(3_400_000)`` is ``'3.4 MB'``."""
    for unit, scale in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"
