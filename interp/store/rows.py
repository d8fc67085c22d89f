"""``RowIndex``: what each stored row is - which example, position, mark and token - as columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from ..errors import ActivationError, StoreCorruptError
from .picking import Picker, row_numbers

_COLUMNS = (
    ("example", np.int64),
    ("position", np.int32),
    ("mark", np.int16),
    ("token", np.int32),
    ("special", np.bool_),
)


@dataclass(frozen=True, eq=False)
class RowIndex:
    """One line per stored row: example number, position in the unpadded sequence, mark, token id, special-token flag.

    ``mark`` holds codes into ``mark_names``; the name is ``""`` for rows captured at every token.
    Row order is that of the examples, then positions, then marks. The columns are read-only.

    Raises:
        ActivationError: columns of different lengths, or codes without a name.

    >>> index = RowIndex.build(example=[0, 0, 1], position=[0, 1, 0], token=[5, 6, 5])
    >>> len(index), index.select(index.position == 0).example.tolist()
    (3, [0, 1])
    """

    example: np.ndarray
    position: np.ndarray
    mark: np.ndarray
    token: np.ndarray
    special: np.ndarray
    mark_names: tuple[str, ...] = ("",)

    def __post_init__(self) -> None:
        names = tuple(str(name) for name in self.mark_names)
        if len(set(names)) != len(names):
            raise ActivationError(f"mark names repeat: {names}")
        object.__setattr__(self, "mark_names", names)
        for name, dtype in _COLUMNS:
            object.__setattr__(self, name, _column(name, getattr(self, name), dtype))
        lengths = {name: len(getattr(self, name)) for name, _ in _COLUMNS}
        if len(set(lengths.values())) != 1:
            raise ActivationError(f"the columns of a row index must have one length, got {lengths}")
        if len(self) and (self.mark.min() < 0 or self.mark.max() >= len(names)):
            raise ActivationError(f"mark codes must lie in 0..{len(names) - 1} (names: {names})")

    @classmethod
    def build(
        cls,
        example: Sequence[int] | np.ndarray,
        position: Sequence[int] | np.ndarray,
        token: Sequence[int] | np.ndarray,
        special: Sequence[bool] | np.ndarray | None = None,
        marks: Sequence[str] | np.ndarray | None = None,
    ) -> RowIndex:
        """Make an index from plain columns; ``marks`` are names (``None``: every token, name ``""``)."""
        n = len(example)
        columns = {"example": example, "position": position, "token": token}
        columns["special"] = np.zeros(n, np.bool_) if special is None else special
        names: tuple[str, ...] = ("",)
        codes = np.zeros(n, np.int16)
        if marks is not None and len(marks):
            names = tuple(dict.fromkeys(str(m) for m in marks))
            code = {name: i for i, name in enumerate(names)}
            codes = np.fromiter((code[str(m)] for m in marks), np.int16, len(marks))
        return cls(mark=codes, mark_names=names, **{name: np.asarray(values) for name, values in columns.items()})

    @classmethod
    def concat(cls, parts: Sequence[RowIndex]) -> RowIndex:
        """Join indices in order; mark names are merged in the order in which they are first met."""
        if not parts:
            return cls.build([], [], [])
        names = tuple(dict.fromkeys(name for part in parts for name in part.mark_names))
        code = {name: i for i, name in enumerate(names)}
        maps = [np.array([code[name] for name in part.mark_names], np.int16) for part in parts]
        columns = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name, _ in _COLUMNS if name != "mark"
        }
        mark = np.concatenate([table[part.mark] for table, part in zip(maps, parts, strict=True)])
        return cls(mark=mark, mark_names=names, **columns)

    def __len__(self) -> int:
        return len(self.example)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RowIndex):
            return NotImplemented
        same = all(np.array_equal(getattr(self, n), getattr(other, n)) for n, _ in _COLUMNS if n != "mark")
        return same and np.array_equal(self.marks, other.marks)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        marks = ", ".join(repr(name) for name in self.mark_names)
        return f"RowIndex({len(self):,} rows of {len(np.unique(self.example)):,} examples, marks: {marks})"

    @property
    def marks(self) -> np.ndarray:
        """The mark's name for each row."""
        return np.asarray(self.mark_names, dtype=object)[self.mark]

    def select(self, rows: Picker) -> RowIndex:
        """Only these rows (slice, row numbers or boolean mask), in the order given."""
        picked = row_numbers(rows, len(self))
        columns = {name: getattr(self, name)[picked] for name, _ in _COLUMNS}
        return RowIndex(mark_names=self.mark_names, **columns)

    def at(self, mark: str) -> np.ndarray:
        """Boolean mask of the rows captured at ``mark``; an unknown mark raises with the marks that exist."""
        if mark not in self.mark_names:
            known = ", ".join(repr(name) for name in self.mark_names)
            raise ActivationError(f"no rows were captured at mark {mark!r}; marks here: {known}")
        return self.mark == self.mark_names.index(mark)

    def with_mark(self, name: str) -> RowIndex:
        """The same rows, all carrying one mark."""
        return RowIndex(self.example, self.position, np.zeros(len(self), np.int16), self.token, self.special, (name,))

    @property
    def hash(self) -> str:
        """xxh3_128 of the columns, independent of any file format."""
        digest = xxhash.xxh3_128(json.dumps([len(self), self.mark_names]).encode())
        for name, dtype in _COLUMNS:
            digest.update(np.ascontiguousarray(getattr(self, name), np.dtype(dtype).newbyteorder("<")).data)
        return digest.hexdigest()

    def to_parquet(self) -> bytes:
        """As one Parquet file with page checksums."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns: dict[str, pa.Array] = {name: pa.array(getattr(self, name)) for name, _ in _COLUMNS}
        columns["mark"] = pa.DictionaryArray.from_arrays(pa.array(self.mark), pa.array(self.mark_names, pa.string()))
        table = pa.table(columns).replace_schema_metadata({"mark_names": json.dumps(self.mark_names)})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, write_page_checksum=True, compression="snappy")
        return sink.getvalue().to_pybytes()

    @classmethod
    def from_parquet(cls, data: bytes, name: str = "row index") -> RowIndex:
        """Back from `to_parquet`; page checksums are verified. ``name`` is the file's name, for messages.

        Raises:
            StoreCorruptError: the bytes are not such a file, or a checksum is wrong.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read(use_threads=False)
            mark_names = tuple(json.loads((table.schema.metadata or {})[b"mark_names"]))
            marks = table["mark"].combine_chunks()
            texts = marks.cast(pa.string()).to_numpy(zero_copy_only=False) if len(table) else np.array([], object)
            code = {text: i for i, text in enumerate(mark_names)}
            columns = {n: table[n].to_numpy() for n, _ in _COLUMNS if n != "mark"}
            codes = _encode(texts, code)
            return cls(mark=codes, mark_names=mark_names, **columns)
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, ActivationError) as error:
            raise StoreCorruptError(f"{name} is not a readable row index: {error}") from error


def _encode(texts: np.ndarray, code: dict[str, int]) -> np.ndarray:
    """Names to codes, by way of the few distinct names."""
    if len(code) == 1 and len(texts):
        only = next(iter(code))
        if (texts != only).any():
            raise ValueError(f"unknown mark {texts[texts != only][0]!r}")
        return np.zeros(len(texts), np.int16)
    unique, inverse = np.unique(texts, return_inverse=True)
    return np.array([code[text] for text in unique], np.int16)[inverse.reshape(-1)]


def _column(name: str, values: object, dtype: type) -> np.ndarray:
    """A read-only 1-D column of exactly ``dtype``; a value that would not survive the cast raises."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise ActivationError(f"column {name!r} of a row index must be 1-D, got shape {array.shape}")
    cast: np.ndarray = array.astype(dtype, copy=True)
    if array.dtype != cast.dtype and array.size and not np.array_equal(cast, array):
        raise ActivationError(f"column {name!r} of a row index does not fit {np.dtype(dtype).name}")
    cast.flags.writeable = False
    return cast
