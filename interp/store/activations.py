"""``Activations``: rows of activations by site, the same in memory and memory-mapped from a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..errors import ActivationError, NonFiniteError, SiteError
from ..provenance import Provenance
from ..sites import Site
from .examples import Examples
from .picking import Picker, row_numbers
from .rows import RowIndex
from .sources import MemorySource, RowSource

_SCAN_BYTES = 16 * 2**20


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one site, ``[row, d]``. Nothing is read before it is asked for, and what is read is a copy.

    >>> rows = Rows(MemorySource(torch.arange(6.0).reshape(3, 2)))
    >>> rows.shape, rows[[2, 0]].tolist()
    ((3, 2), [[4.0, 5.0], [0.0, 1.0]])
    """

    source: RowSource
    picked: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and row length."""
        n, d = self.source.shape
        return (n if self.picked is None else len(self.picked)), d

    @property
    def dtype(self) -> torch.dtype:
        """What reading gives (float32 for int8 stores)."""
        return self.source.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | Picker) -> Tensor:
        """A copy of these rows, in the order given: slice, row numbers, boolean mask, or one row by its number.

        Raises:
            ActivationError: a row that does not exist, or a mask of another length.
        """
        if isinstance(rows, (int, np.integer)) and not isinstance(rows, (bool, np.bool_)):
            return self[[int(rows)]][0]
        if self.picked is None and isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self.source.span(start, max(start, stop))
        numbers = row_numbers(rows, len(self))
        return self.source.gather(numbers if self.picked is None else self.picked[numbers])

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def tensor(self) -> Tensor:
        """All rows."""
        return self[:]

    def select(self, rows: Picker) -> Rows:
        """Only these rows, still unread."""
        numbers = row_numbers(rows, len(self))
        return Rows(self.source, numbers if self.picked is None else self.picked[numbers])

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ActivationError("rows are read from their store: an array of them is always a copy")
        values = self.tensor().cpu()
        array = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
        return array if dtype is None else array.astype(dtype)

    def __repr__(self) -> str:
        return f"Rows({self.shape[0]:,} x {self.shape[1]}, {str(self.dtype).removeprefix('torch.')})"


@dataclass(frozen=True, eq=False)
class Activations:
    """Activations by site, with what each row is and where all of it came from.

    Make one with `Activations.from_tensors`, or read a store with `open_store`. `index` and `examples` are read when
    first used.
    """

    rows: Mapping[Site, Rows]
    provenance: Provenance
    load_index: Callable[[], RowIndex]
    load_examples: Callable[[], Examples]

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[Site, Tensor] | Mapping[str, Tensor] | Mapping[Site | str, Tensor],
        index: RowIndex,
        provenance: Provenance,
        examples: Examples,
    ) -> Activations:
        """Wrap tensors ``{site: [row, d]}`` without copying them.

        Raises:
            ActivationError: a tensor with another number of rows than ``index``, or rows of examples that do not exist.

        >>> acts = Activations.from_tensors(
        ...     {"resid_post.0": torch.ones(3, 4)}, RowIndex.build([0, 0, 1], [0, 1, 0], [7, 8, 7]),
        ...     Provenance(model="f00d", model_id="tiny"), Examples(ids=("a", "b")))
        >>> acts["resid_post.0"][[0, 2]].shape, acts.per_row("ids").tolist()
        (torch.Size([2, 4]), ['a', 'a', 'b'])
        """
        rows = {}
        for site, tensor in tensors.items():
            if tensor.ndim != 2 or len(tensor) != len(index):
                raise ActivationError(
                    f"site {site} has shape {list(tensor.shape)}, but the index has {len(index)} rows"
                )
            rows[Site.parse(site)] = Rows(MemorySource(tensor))
        if len(index) and (index.example.min() < 0 or index.example.max() >= len(examples)):
            raise ActivationError(
                f"the index has rows of example {index.example.max()}, but there are {len(examples)} examples"
            )
        return cls(rows, provenance, lambda: index, lambda: examples)

    @cached_property
    def index(self) -> RowIndex:
        """What each row is."""
        return self.load_index()

    @cached_property
    def examples(self) -> Examples:
        """What is known of each example; `index.example` points into it."""
        return self.load_examples()

    @property
    def sites(self) -> tuple[Site, ...]:
        """The sites, in the order in which they were asked for."""
        return tuple(self.rows)

    @property
    def ids(self) -> tuple[str, ...]:
        """Example ids."""
        return self.examples.ids

    def __len__(self) -> int:
        return len(next(iter(self.rows.values()))) if self.rows else len(self.index)

    def __contains__(self, site: object) -> bool:
        return isinstance(site, (str, Site)) and Site.parse(site) in self.rows

    def __getitem__(self, site: Site | str) -> Rows:
        wanted = Site.parse(site)
        if wanted not in self.rows:
            raise SiteError(f"no activations of site '{wanted}' here; sites: {', '.join(str(s) for s in self.rows)}")
        return self.rows[wanted]

    def __iter__(self) -> Iterator[Site]:
        return iter(self.rows)

    def __repr__(self) -> str:
        sites = ", ".join(f"{site} [{rows.shape[1]}]" for site, rows in self.rows.items())
        return f"Activations({len(self):,} rows; {sites}; model {self.provenance.model_id!r})"

    def select(self, rows: Picker) -> Activations:
        """Only these rows (slice, row numbers or boolean mask), in the order given; nothing is read yet."""
        numbers = row_numbers(rows, len(self))
        return replace(
            self,
            rows={site: r.select(numbers) for site, r in self.rows.items()},
            load_index=lambda: self.index.select(numbers),
            load_examples=lambda: self.examples,
        )

    def at(self, mark: str) -> Activations:
        """Only the rows at ``mark``. Works on rows captured at that mark, and on rows captured at every token.

        Examples that lack the mark have no row in the result.

        Raises:
            ActivationError: neither the rows nor the examples know the mark; says which exist.
        """
        index = self.index
        if mark in index.mark_names:
            return self.select(index.at(mark))
        if index.mark_names != ("",) or mark not in self.examples.marks:
            known = [*index.mark_names, *(self.examples.marks if index.mark_names == ("",) else ())]
            names = ", ".join(repr(name) for name in known if name)
            raise ActivationError(f"no activations at mark {mark!r} here; marks: {names or 'none'}")
        chosen = self.select(np.asarray(self.examples.marks[mark])[index.example] == index.position)
        return replace(chosen, load_index=lambda: index_of(chosen).with_mark(mark))

    def per_row(self, column: str) -> np.ndarray:
        """A column of the examples (``ids``, ``labels``, ``groups``, ``pairs``, ...), repeated for each row."""
        return self.examples.column(column)[self.index.example]

    def batches(self, size: int, seed: int | None = None) -> Iterator[Activations]:
        """In-memory pieces of at most ``size`` rows that cover every row once: in order, or shuffled by ``seed``."""
        if size <= 0:
            raise ActivationError(f"a batch needs at least one row, got size {size}")
        n = len(self)
        order = np.arange(n) if seed is None else np.random.default_rng(seed).permutation(n)
        for start in range(0, n, size):
            yield self.select(order[start : start + size]).to_memory()

    def to_memory(self) -> Activations:
        """The same, with every row read into memory."""
        tensors = {site: rows.tensor() for site, rows in self.rows.items()}
        return Activations.from_tensors(tensors, self.index, self.provenance, self.examples)

    def check_finite(self) -> None:
        """Raise `NonFiniteError`, naming site, example and position, if any number is NaN or infinite."""
        for site, rows in self.rows.items():
            step = max(1, _SCAN_BYTES // (4 * max(1, rows.shape[1])))
            for start in range(0, len(rows), step):
                piece = rows[start : start + step]
                bad = ~torch.isfinite(piece)
                if bad.any():
                    row, column = (int(i) for i in bad.nonzero()[0])
                    raise NonFiniteError(self._describe(site, start + row, column, float(piece[row, column])))

    def _describe(self, site: Site, row: int, column: int, value: float) -> str:
        example, position = self.ids[self.index.example[row]], int(self.index.position[row])
        return (
            f"site {site} holds {value} in example {example!r} at position {position} (row {row}, column {column}); "
            "a float16 model or store overflows at 65504: try bfloat16 or float32"
        )


def index_of(acts: Activations) -> RowIndex:
    """``acts.index``, as a function, so that a view can name its parent."""
    return acts.index
