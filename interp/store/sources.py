"""Where rows come from: a tensor in memory, or mapped shard files."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from .manifest import Identity, ShardLine
from .quantise import dequantise, stored_dtype
from .shardfile import map_shard, scale_name, tensor_layout

# Each open map holds a file descriptor, and processes often have only 1,024.
_MAPS = 128


@runtime_checkable
class RowSource(Protocol):
    """Rows of one site, addressed by number; what it returns is always a copy."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and row length."""

    @property
    def dtype(self) -> torch.dtype:
        """What reading gives."""

    def span(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` .. ``stop - 1``."""

    def gather(self, rows: np.ndarray) -> Tensor:
        """These rows, in this order; the numbers are valid."""


class MemorySource:
    """Rows of a tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor.detach()
        self.shape = (int(tensor.shape[0]), int(tensor.shape[1]))
        self.dtype = tensor.dtype

    def span(self, start: int, stop: int) -> Tensor:
        """A copy of consecutive rows."""
        return self._tensor[start:stop].clone()

    def gather(self, rows: np.ndarray) -> Tensor:
        """A copy of any rows."""
        return self._tensor[torch.from_numpy(rows).to(self._tensor.device)]


class ShardMaps:
    """The shard files of a store, mapped when first needed; the least recently used are closed again."""

    def __init__(self, directory: Path, identity: Identity, lines: Sequence[ShardLine]) -> None:
        self._directory = directory
        self._lines = tuple(lines)
        self._sites = identity.widths()
        self.dtype = stored_dtype(identity.dtype)
        self.starts = np.concatenate([[0], np.cumsum([line.rows for line in lines], dtype=np.int64)]).astype(np.int64)
        self._open: OrderedDict[int, dict[str, np.ndarray]] = OrderedDict()
        self._guard = threading.Lock()

    def width(self, site: str) -> int:
        """Row length of a site."""
        return self._sites[site]

    def arrays(self, number: int) -> dict[str, np.ndarray]:
        """The arrays of the ``number``-th shard file, read-only."""
        with self._guard:
            arrays = self._open.get(number)
            if arrays is None:
                line = self._lines[number]
                layout = tensor_layout(self._sites, self.dtype, line.rows)
                arrays = map_shard(self._directory / line.values.name, line.values.bytes, layout)
                self._open[number] = arrays
                if len(self._open) > _MAPS:
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(number)
            return arrays


@dataclass(frozen=True)
class ShardSource:
    """Rows of one site over all shard files."""

    maps: ShardMaps
    site: str

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and row length."""
        return int(self.maps.starts[-1]), self.maps.width(self.site)

    @property
    def dtype(self) -> torch.dtype:
        """What reading gives."""
        return self.maps.dtype.read

    def span(self, start: int, stop: int) -> Tensor:
        """A copy of consecutive rows."""
        out, view = self._empty(stop - start)
        starts = self.maps.starts
        first = int(np.searchsorted(starts, start, "right")) - 1
        done = 0
        while done < stop - start:
            low = start + done - int(starts[first])
            high = min(stop, int(starts[first + 1])) - int(starts[first])
            if high > low:
                self._read(first, slice(low, high), view[done : done + high - low])
                done += high - low
            first += 1
        return out

    def gather(self, rows: np.ndarray) -> Tensor:
        """Any rows in any order: sorted once, so that each shard is visited once and read forwards."""
        out, view = self._empty(len(rows))
        if not len(rows):
            return out
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        starts = self.maps.starts
        cuts = np.searchsorted(ordered, starts)
        sorted_view = np.empty_like(view)
        for number in np.flatnonzero(np.diff(cuts)).tolist():
            low, high = int(cuts[number]), int(cuts[number + 1])
            self._read(number, ordered[low:high] - starts[number], sorted_view[low:high])
        view[order] = sorted_view
        return out

    def _empty(self, n: int) -> tuple[Tensor, np.ndarray]:
        """A tensor to fill, and numpy's view of it."""
        out = torch.empty((n, self.shape[1]), dtype=self.dtype)
        return out, (out.view(torch.int16) if self.dtype == torch.bfloat16 else out).numpy()

    def _read(self, number: int, rows: slice | np.ndarray, out: np.ndarray) -> None:
        arrays = self.maps.arrays(number)
        values = arrays[self.site]
        if self.maps.dtype.name == "int8":
            dequantise(values[rows], arrays[scale_name(self.site)][rows], out)
        elif isinstance(rows, slice):
            out[...] = values[rows]
        else:
            # mode="clip" because "raise" would buffer the output; the row numbers were checked before.
            np.take(values, rows, axis=0, out=out, mode="clip")
