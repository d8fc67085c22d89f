"""``Examples``: what is known of each example (id, label, group, pair, mark positions), stored once per store."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xxhash

from ..errors import ActivationError, StoreCorruptError, StoreError

_PLAIN = {"b": np.bool_, "i": np.int64, "f": np.float64}


@dataclass(frozen=True, eq=False)
class Examples:
    """Columns with one entry per example; ``marks`` are token indices in the unpadded sequence, -1 where there is none.

    Raises:
        ActivationError: a column of another length than ``ids``, or ids that repeat.

    >>> Examples(ids=("a", "b"), labels=np.array([0, 1])).column("labels").tolist()
    [0, 1]
    """

    ids: tuple[str, ...]
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    pairs: np.ndarray | None = None
    marks: dict[str, np.ndarray] = field(default_factory=dict)
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.ids)) != len(self.ids):
            repeated = Counter(self.ids).most_common(1)[0][0]
            raise ActivationError(f"example id {repeated!r} appears twice; ids must be unique")
        for name, values in self._all().items():
            if len(values) != len(self.ids):
                raise ActivationError(f"{name!r} has {len(values)} entries for {len(self.ids)} examples")

    @classmethod
    def of(cls, prompts: Any) -> Examples:
        """From anything with a `PromptSet`'s columns."""
        return cls(
            prompts.ids, prompts.labels, prompts.groups, prompts.pairs, dict(prompts.marks), dict(prompts.columns)
        )

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> np.ndarray:
        """``ids``, ``labels``, ``groups``, ``pairs`` or another column by name; a miss raises with those that exist."""
        if name == "ids":
            return np.asarray(self.ids, dtype=object)
        known_columns = {stored.removeprefix("column:"): values for stored, values in self._all().items()}
        values = known_columns.get(name)
        if values is None:
            known = ", ".join(["ids", *known_columns])
            raise ActivationError(f"the examples have no column {name!r}; columns here: {known}")
        return values

    def _all(self) -> dict[str, np.ndarray]:
        fixed = {"labels": self.labels, "groups": self.groups, "pairs": self.pairs}
        present = {name: np.asarray(values) for name, values in fixed.items() if values is not None}
        present.update({f"mark:{name}": np.asarray(values, np.int64) for name, values in self.marks.items()})
        present.update({f"column:{name}": np.asarray(values) for name, values in self.columns.items()})
        return present

    @property
    def hash(self) -> str:
        """xxh3_128 of every column, independent of any file format."""
        digest = xxhash.xxh3_128(json.dumps(list(self.ids)).encode())
        for name, values in self._all().items():
            kind, plain = _plain(name, values)
            digest.update(json.dumps([name, kind]).encode())
            digest.update(json.dumps(plain).encode() if isinstance(plain, list) else plain.tobytes())
        return digest.hexdigest()

    def to_parquet(self) -> bytes:
        """As one Parquet file with page checksums."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns, kinds = {"id": pa.array(self.ids, pa.string())}, {}
        for name, values in self._all().items():
            kinds[name], plain = _plain(name, values)
            columns[name] = pa.array(plain, pa.string()) if isinstance(plain, list) else pa.array(plain)
        table = pa.table(columns).replace_schema_metadata({"kinds": json.dumps(kinds)})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, write_page_checksum=True, compression="snappy")
        return sink.getvalue().to_pybytes()

    @classmethod
    def from_parquet(cls, data: bytes, name: str = "examples") -> Examples:
        """Back from `to_parquet`; page checksums are verified. Raises `StoreCorruptError` naming the file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read(use_threads=False)
            kinds = json.loads((table.schema.metadata or {})[b"kinds"])
            read = {column: _unplain(kind, table[column]) for column, kind in kinds.items()}
            marks = {c[len("mark:") :]: v for c, v in read.items() if c.startswith("mark:")}
            columns = {c[len("column:") :]: v for c, v in read.items() if c.startswith("column:")}
            fixed = {c: read.get(c) for c in ("labels", "groups", "pairs")}
            return cls(tuple(table["id"].to_pylist()), marks=marks, columns=columns, **fixed)
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, AttributeError, ActivationError) as error:
            raise StoreCorruptError(f"{name} is not a readable table of examples: {error}") from error


def _plain(name: str, values: np.ndarray) -> tuple[str, np.ndarray | list[str]]:
    """A column as something with one exact byte form: numbers, or a list of texts (JSON for mixed objects)."""
    if values.ndim != 1:
        raise StoreError(f"column {name!r} of the examples must be 1-D to be stored, got shape {values.shape}")
    kind = "i" if values.dtype.kind == "u" and values.dtype.itemsize < 8 else values.dtype.kind
    if kind in _PLAIN:
        return kind, np.ascontiguousarray(values, dtype=np.dtype(_PLAIN[kind]).newbyteorder("<"))
    if kind == "U":
        return "str", values.tolist()
    try:
        return "json", [
            json.dumps(v.item() if isinstance(v, np.generic) else v, sort_keys=True) for v in values.tolist()
        ]
    except (TypeError, ValueError) as error:
        raise StoreError(f"column {name!r} of the examples holds a value that cannot be stored: {error}") from error


def _unplain(kind: str, column: Any) -> np.ndarray:
    if kind in _PLAIN:
        return column.to_numpy().astype(_PLAIN[kind])
    texts = column.to_pylist()
    if kind == "str":
        return np.asarray(texts, dtype=np.str_)
    values = np.empty(len(texts), dtype=object)
    for i, text in enumerate(texts):
        values[i] = json.loads(text)
    return values
