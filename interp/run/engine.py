"""The hot path: run passes through a model and hand each site's wanted rows to a sink, copied once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch

from ..models import Model
from ..models.hooks import Hooks
from ..models.resolve import Tap
from ..sites import Site
from .passes import Pass
from .where import EditRun

# What a sink gets: the site, rows [n, width] (its own copy), and the result row of each.
Sink = Callable[[Site, torch.Tensor, torch.Tensor], None]


class Engine:
    """Runs passes with hooks on; use as a context manager. ``n_keys`` is the width in keys of `pattern` rows."""

    def __init__(
        self, model: Model, sites: Sequence[Site], sink: Sink, *, edits: EditRun | None = None, n_keys: int = 0,
        dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        self._model, self._sink, self._edits, self._n_keys, self._dtype = model, sink, edits, n_keys, dtype
        self._taps = [model.resolve(site) for site in sites]
        reads = [(tap, partial(self._read, tap)) for tap in self._taps]
        self._hooks = Hooks(model, reads, edits.writes() if edits else (), stop=True)
        self._kept: Any = None
        self._pass: Pass | None = None
        self._source: torch.Tensor | None = None

    def __enter__(self) -> Engine:
        self._hooks.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._kept = None
        self._hooks.__exit__()

    def run(self, todo: Iterable[Pass], done: Callable[[Pass], None] = lambda _: None) -> None:
        """Run every pass; ``done`` is called after each."""
        with torch.inference_mode():
            for one in todo:
                self._forward(one)
                done(one)

    def _forward(self, one: Pass) -> None:
        device = self._model.device
        self._pass, self._source = one, None
        if self._edits:
            self._edits.cells = one.cells
        inputs: dict[str, Any] = {
            "input_ids": one.input_ids.to(device),
            "attention_mask": None if one.attention_mask is None else one.attention_mask.to(device),
            "position_ids": one.position_ids.to(device),
            "use_cache": False,
        }
        if one.keep:
            self._kept = _new_cache(self._model)
            inputs |= {"past_key_values": self._kept, "use_cache": True}
        elif one.prefix_rows is not None:
            cache = copy.deepcopy(self._kept)
            cache.batch_select_indices(one.prefix_rows)  # on the CPU: layers may be on several devices
            inputs |= {"past_key_values": cache, "use_cache": True}
        self._hooks.run(lambda: self._model.hf(**inputs), batch=one.input_ids.shape[0])

    def _read(self, tap: Tap, x: torch.Tensor) -> None:
        one = self._pass
        assert one is not None
        if one.source.numel() == 0:
            return
        if self._source is None or self._source.device != x.device:
            self._source = one.source.to(x.device)
        if tap.side == "pattern":
            x = _pad_keys(x, self._model.sizes.n_heads, self._n_keys)
        # index_select copies the wanted rows and nothing else; a slice would keep the whole activation alive.
        rows = x.reshape(-1, x.shape[-1]).index_select(0, self._source)
        self._sink(tap.site, rows if self._dtype is None else rows.to(self._dtype), one.dest)


def _new_cache(model: Model) -> Any:
    from transformers import DynamicCache

    return DynamicCache(config=model.cfg)


def _pad_keys(x: torch.Tensor, heads: int, n_keys: int) -> torch.Tensor:
    """``[batch, query, heads * keys]`` with the key axis padded by zeros to ``n_keys``, so that rows have one width."""
    batch, queries, width = x.shape
    keys = width // heads
    if keys == n_keys:
        return x
    padded = x.new_zeros(batch, queries, heads, n_keys)
    padded[..., :keys] = x.reshape(batch, queries, heads, keys)
    return padded.reshape(batch, queries, heads * n_keys)
