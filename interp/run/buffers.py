"""Result rows in host memory, filled pass by pass; on a GPU the copies overlap the next pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch

from ..errors import NonFiniteError
from ..prompts import PromptSet
from ..sites import Site
from ..store import RowIndex

_IN_FLIGHT = 2  # pinned copies under way per device: one is filled while the other is unloaded


class Buffers:
    """One ``[row, width]`` tensor per site; `put` is an engine sink."""

    def __init__(self, widths: Mapping[Any, int], n_rows: int, dtype: torch.dtype) -> None:
        self.values: dict[Site | str, torch.Tensor] = {
            site: torch.empty(n_rows, width, dtype=dtype) for site, width in widths.items()
        }
        self._dtype = dtype
        self._stream: dict[torch.device, torch.cuda.Stream] = {}
        self._copies: deque[tuple[Site, torch.Tensor, torch.Tensor, torch.cuda.Event]] = deque()

    def put(self, site: Site, rows: torch.Tensor, dest: torch.Tensor) -> None:
        """Store rows of a site; from a GPU the copy is asynchronous, and `flush` waits for it."""
        if rows.device.type != "cuda":
            self.values[site].index_copy_(0, dest, rows.to("cpu", self._dtype))
            return
        rows = rows.to(self._dtype)
        stream = self._stream.setdefault(rows.device, torch.cuda.Stream(rows.device))
        stream.wait_stream(torch.cuda.current_stream(rows.device))
        with torch.cuda.stream(stream):
            pinned = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
            pinned.copy_(rows, non_blocking=True)
            rows.record_stream(stream)
            event = torch.cuda.Event()
            event.record(stream)
        self._copies.append((site, pinned, dest, event))
        while len(self._copies) > _IN_FLIGHT * len(self.values):
            self._unload()

    def _unload(self) -> None:
        site, pinned, dest, event = self._copies.popleft()
        event.synchronize()
        self.values[site].index_copy_(0, dest, pinned)

    def flush(self) -> None:
        """Wait for copies under way."""
        while self._copies:
            self._unload()

    def check_finite(self, prompts: PromptSet, index: RowIndex) -> None:
        """Raise, naming site, example and position, if a row holds NaN or infinity."""
        for site, values in self.values.items():
            # A row's sum is finite unless an entry is not (or the sum overflows, which the slow path tells apart).
            if bool(torch.isfinite(values.sum(dim=-1, dtype=torch.float32)).all()):
                continue
            bad = ~torch.isfinite(values).all(dim=-1)
            if not bool(bad.any()):
                continue
            row = int(bad.nonzero()[0])
            hint = ""
            if self._dtype == torch.float16:
                hint = "; float16 overflows above 65504: capture with dtype='bfloat16' or 'float32'"
            where = row_text(prompts, index, row)
            raise NonFiniteError(
                f"NaN or infinity at site {site}, {where} ({int(bad.sum())} rows of {len(bad)} in this part){hint}"
            )


def row_text(prompts: PromptSet, index: RowIndex, row: int) -> str:
    """A row's example and position, for messages."""
    return f"example {prompts.ids[int(index.example[row])]!r}, position {int(index.position[row])}"
