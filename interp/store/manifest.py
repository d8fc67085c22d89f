"""What a store says about itself: ``manifest.json``, written once, and ``shards.jsonl``, one checked line per shard.

Both are canonical JSON under a checksum: bytes that differ in any way from what the store wrote are not accepted.
The checksum of a shard's line is salted with the store's key, so a line of another store is not accepted either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import xxhash
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ..errors import InterpError, StoreCorruptError, StoreError
from ..provenance import Provenance
from ..sites import Site
from .fs import Filesystem
from .plan import ShardPlan, check_plan
from .quantise import STORED, stored_dtype

FORMAT = 1
HEADER_NAME = "manifest.json"
LINES_NAME = "shards.jsonl"
VALUES_NAME = r"shard-\d{5,}-[0-9a-f]{32}\.safetensors"
INDEX_NAME = r"shard-\d{5,}-[0-9a-f]{32}\.parquet"
SHARD_NAME = f"({VALUES_NAME}|{INDEX_NAME})"
EXAMPLES_NAME = r"examples-[0-9a-f]{32}\.parquet"

_PROVENANCE = TypeAdapter(Provenance)
Count = Annotated[int, Field(ge=0)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _known_dtype(name: str) -> str:
    if name not in STORED:
        raise ValueError(f"unknown stored dtype {name!r}")
    return name


class FileEntry(_Model):
    """One file of the store; its name ends in its own checksum, so it never changes."""

    name: Annotated[str, Field(pattern=f"^({SHARD_NAME}|{EXAMPLES_NAME})$")]
    xxh3_128: Hash
    bytes: Count

    @model_validator(mode="after")
    def _named_by_content(self) -> FileEntry:
        if self.xxh3_128 not in self.name:
            raise ValueError(f"file name {self.name} does not hold its checksum {self.xxh3_128}")
        return self


class SiteEntry(_Model):
    """A site and the length of its rows."""

    site: str
    width: Annotated[int, Field(gt=0)]

    @model_validator(mode="after")
    def _parses(self) -> SiteEntry:
        try:
            Site.parse(self.site)
        except InterpError as error:
            raise ValueError(str(error)) from error
        return self


class PlanEntry(_Model):
    """The shard plan as columns: shard k holds ``rows[k]`` rows of examples ``bounds[k]`` .. ``bounds[k + 1] - 1``."""

    bounds: tuple[Count, ...]
    rows: tuple[Count, ...]

    @model_validator(mode="after")
    def _consistent(self) -> PlanEntry:
        if not self.rows or len(self.bounds) != len(self.rows) + 1 or self.bounds[0] != 0:
            raise ValueError("a plan needs one more bound than shards, starting at 0")
        if any(a > b for a, b in pairwise(self.bounds)):
            raise ValueError("the bounds of a plan must not decrease")
        return self

    @classmethod
    def of(cls, plan: Sequence[ShardPlan]) -> PlanEntry:
        """From a plan, checked."""
        check_plan(plan)
        return cls(bounds=(0, *(s.example_stop for s in plan)), rows=tuple(s.rows for s in plan))

    def shards(self) -> tuple[ShardPlan, ...]:
        """As the values that the writer works with."""
        spans = zip(pairwise(self.bounds), self.rows, strict=True)
        return tuple(ShardPlan(k, a, b, rows) for k, ((a, b), rows) in enumerate(spans))

    def __str__(self) -> str:
        sizes = xxhash.xxh32_hexdigest(repr((self.bounds, self.rows)).encode())
        return f"{len(self.rows)} shards of {self.bounds[-1]} examples, {sum(self.rows)} rows (layout {sizes})"


class Identity(_Model):
    """Everything that decides the content of a store. Two runs may share a store only if all of it is equal."""

    model: str
    prompts: str
    examples: Hash
    sites: Annotated[tuple[SiteEntry, ...], Field(min_length=1)]
    dtype: Annotated[str, AfterValidator(_known_dtype)]
    at: Annotated[tuple[str, ...], Field(min_length=1)]
    plan: PlanEntry

    @property
    def key(self) -> str:
        """xxh3_128 of all fields."""
        return xxhash.xxh3_128_hexdigest(_canonical(self.model_dump(mode="json")))

    def differences(self, wanted: Identity) -> list[str]:
        """One text per field that differs: what is stored, and what is wanted."""
        texts = []
        for name in type(self).model_fields:
            have, want = (_field_text(identity, name) for identity in (self, wanted))
            if getattr(self, name) != getattr(wanted, name):
                texts.append(f"{name}: the store has {have}, this run has {want}")
        return texts

    def widths(self) -> dict[str, int]:
        """Site text -> row length, in stored order."""
        return {entry.site: entry.width for entry in self.sites}

    def row_bytes(self) -> int:
        """Bytes of one row over all sites."""
        return row_bytes(self.widths(), self.dtype)


class Header(_Model):
    """The content of ``manifest.json``."""

    format: Literal[1]
    key: Hash
    identity: Identity
    provenance: dict[str, Any]
    examples: FileEntry

    @model_validator(mode="after")
    def _key_fits(self) -> Header:
        if self.key != self.identity.key:
            raise ValueError(f"key {self.key} does not belong to this identity ({self.identity.key})")
        if len({entry.site for entry in self.identity.sites}) != len(self.identity.sites):
            raise ValueError("a site is listed twice")
        try:
            _PROVENANCE.validate_json(_canonical(self.provenance), strict=True)
            Provenance.from_dict(self.provenance)
        except InterpError as error:
            raise ValueError(str(error)) from error
        return self


class ShardLine(_Model):
    """One committed shard."""

    k: Count
    rows: Count
    values: FileEntry
    index: FileEntry
    index_hash: Hash
    int8_error: dict[str, float] | None = None


@dataclass(frozen=True)
class Listing:
    """What ``shards.jsonl`` holds: its good lines, where they end, and what is wrong with the rest, if anything."""

    lines: tuple[ShardLine, ...]
    good_bytes: int
    torn: str | None


def file_entry(stem: str, xxh3_128: str, size: int, suffix: str) -> FileEntry:
    """The entry of a file that is named after its own checksum."""
    return FileEntry(name=f"{stem}-{xxh3_128}.{suffix}", xxh3_128=xxh3_128, bytes=size)


def row_bytes(sites: Mapping[Any, int], dtype: str) -> int:
    """Bytes that one row takes over all ``sites`` (site -> width), int8 scales included."""
    kind = stored_dtype(dtype)
    extra = 4 if kind.name == "int8" else 0
    return sum(width * kind.itemsize + extra for width in sites.values())


def encode_header(header: Header) -> bytes:
    """The exact bytes of ``manifest.json``."""
    return _encode_header(header.model_dump(mode="json"))


def decode_header(data: bytes, path: Path) -> Header:
    """Back from `encode_header`.

    Raises:
        StoreCorruptError: the bytes are not exactly what a store wrote.
        StoreError: the store was written by a later version of the format.
    """
    try:
        outer = json.loads(data)
        if not isinstance(outer, dict) or not isinstance(outer.get("header"), dict):
            raise ValueError("it has no 'header'")
        if type(outer["header"].get("format")) is int and outer["header"]["format"] > FORMAT:
            version = outer["header"]["format"]
            raise StoreError(f"{path} has format {version}; this version reads up to {FORMAT}: update interp")
        if data != _encode_header(outer["header"]):
            raise ValueError("its bytes do not match its checksum")
        return Header.model_validate_json(_canonical(outer["header"]))
    except (ValueError, RecursionError) as error:
        raise StoreCorruptError(f"{path} is damaged: {_short(error)}") from error


def encode_line(line: ShardLine, key: str) -> bytes:
    """The exact bytes of one line of ``shards.jsonl``, with its newline."""
    return _encode_line(line.model_dump(mode="json"), key)


def decode_lines(data: bytes, header: Header, path: Path) -> Listing:
    """Read ``shards.jsonl``; a damaged last line is a torn write and is left out, damage before it raises.

    Raises:
        StoreCorruptError: a line that is not the last is damaged, or a shard is listed twice or was never planned.
    """
    pieces = data.split(b"\n")
    lines: list[ShardLine] = []
    good, torn = 0, None
    for number, piece in enumerate(pieces):
        if number == len(pieces) - 1 and not piece:
            break
        ended = number < len(pieces) - 1
        is_last = not ended or not any(pieces[number + 1 :])
        try:
            if not ended:
                raise ValueError("it has no end")
            lines.append(_decode_line(piece, header.key))
        except (ValueError, RecursionError) as error:
            if not is_last:
                raise StoreCorruptError(f"{path} line {number + 1} is damaged: {_short(error)}") from error
            torn = f"line {number + 1} is torn: {_short(error)}"
            break
        good += len(piece) + 1
    _check_lines(lines, header, path)
    return Listing(tuple(lines), good, torn)


def read_header(fs: Filesystem, directory: Path) -> Header:
    """Read and check ``manifest.json``."""
    path = directory / HEADER_NAME
    try:
        return decode_header(fs.read(path), path)
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{directory} is not an activation store: it has no {HEADER_NAME}") from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error


def read_lines(fs: Filesystem, directory: Path, header: Header) -> Listing:
    """Read and check ``shards.jsonl``."""
    path = directory / LINES_NAME
    try:
        return decode_lines(fs.read(path), header, path)
    except FileNotFoundError:
        raise StoreCorruptError(f"{path} is missing; run `interp verify {directory}`") from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error


def salvage_lines(fs: Filesystem, directory: Path, header: Header) -> tuple[ShardLine, ...]:
    """Every line of ``shards.jsonl`` that is whole, planned and listed once, whatever lies between them."""
    path = directory / LINES_NAME
    pieces = fs.read(path).split(b"\n") if path.exists() else []
    lines: dict[int, ShardLine] = {}
    repeated = set()
    for piece in pieces:
        try:
            line = _decode_line(piece, header.key)
            _check_lines([line], header, path)
        except (ValueError, RecursionError, StoreCorruptError):
            continue
        if line.k in lines and lines[line.k] != line:
            repeated.add(line.k)
        lines[line.k] = line
    return tuple(line for k, line in lines.items() if k not in repeated)


def result_hash(key: str, lines: Sequence[ShardLine]) -> str:
    """xxh3_128 over the key and, in shard order, the checksums of values and row metadata; no time, no path."""
    ordered = sorted(lines, key=lambda line: line.k)
    return xxhash.xxh3_128_hexdigest(_canonical([key, *([ln.k, ln.values.xxh3_128, ln.index_hash] for ln in ordered)]))


def _check_lines(lines: Sequence[ShardLine], header: Header, path: Path) -> None:
    planned = header.identity.plan.rows
    seen: set[int] = set()
    for line in lines:
        if line.k in seen:
            raise StoreCorruptError(f"{path} lists shard {line.k} twice")
        seen.add(line.k)
        if line.k >= len(planned) or line.rows != planned[line.k]:
            raise StoreCorruptError(f"{path} lists shard {line.k} with {line.rows} rows, which was never planned")


def _encode_header(header: dict[str, Any]) -> bytes:
    check = xxhash.xxh3_128_hexdigest(_canonical(header))
    return (json.dumps({"check": check, "header": header}, indent=1, sort_keys=True) + "\n").encode()


def _encode_line(line: dict[str, Any], key: str) -> bytes:
    check = xxhash.xxh3_128_hexdigest(key.encode() + _canonical(line))
    return _canonical({"check": check, "shard": line}) + b"\n"


def _decode_line(piece: bytes, key: str) -> ShardLine:
    outer = json.loads(piece)
    if not isinstance(outer, dict) or not isinstance(outer.get("shard"), dict):
        raise ValueError("it is not a shard's line")
    if piece + b"\n" != _encode_line(outer["shard"], key):
        raise ValueError("its bytes do not match its checksum, or it belongs to another store")
    return ShardLine.model_validate_json(_canonical(outer["shard"]))


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _field_text(identity: Identity, name: str) -> str:
    value = getattr(identity, name)
    if name == "sites":
        return ", ".join(f"{entry.site} ({entry.width})" for entry in value)
    return ", ".join(value) if name == "at" else str(value)


def _short(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'it'}: {first['msg']}"
    return str(error) or type(error).__name__
