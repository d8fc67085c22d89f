"""One shard's values as a safetensors file: written piece by piece, mapped read-only after one look at the header."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import StoreCorruptError
from .fs import Bytes
from .quantise import STORED, StoredDtype

_STORAGE = {s.code: (s.storage, s.itemsize) for s in STORED.values()}
_CODES = {s.native: s.code for s in STORED.values()}
_ALIGN = 64


def scale_name(site: str) -> str:
    """The name of the tensor that holds a site's int8 row scales."""
    return f"{site}:scale"


def tensor_layout(sites: Mapping[str, int], dtype: StoredDtype, rows: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Tensor name -> (safetensors dtype, shape), as a shard of ``rows`` rows must have them."""
    layout: dict[str, tuple[str, tuple[int, ...]]] = {}
    if dtype.name == "int8":
        layout.update({scale_name(site): ("F32", (rows,)) for site in sites})
    layout.update({site: (dtype.code, (rows, width)) for site, width in sites.items()})
    return layout


def shard_pieces(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[Bytes]:
    """The bytes of a safetensors file, tensor after tensor in the order given, without a copy of contiguous tensors."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    offset = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGN)
    yield len(text).to_bytes(8, "little") + text
    for tensor in tensors.values():
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        if flat.numel():
            yield flat.view(torch.uint8).numpy().data


def map_shard(path: Path, size: int, layout: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, np.ndarray]:
    """Read-only arrays over a shard file, one per tensor; the header is read and checked here, once.

    Raises:
        StoreCorruptError: the file is missing, has another size, or holds something else than the manifest says.
    """
    try:
        whole = np.memmap(path, dtype=np.uint8, mode="r")
    except FileNotFoundError:
        raise StoreCorruptError(f"{path} is missing, but listed; run `interp verify {path.parent}`") from None
    except (OSError, ValueError) as error:
        raise StoreCorruptError(f"{path} cannot be mapped: {error}") from error
    if whole.size != size:
        raise StoreCorruptError(
            f"{path} has {whole.size:,} bytes, the manifest says {size:,}; run `interp verify {path.parent}`"
        )
    start, found = _read_header(path, whole)
    arrays = {}
    for name, (code, shape) in layout.items():
        entry = found.get(name)
        storage, itemsize = _STORAGE[code]
        length = int(np.prod(shape, dtype=np.int64)) * itemsize
        if not isinstance(entry, dict) or entry.get("dtype") != code or entry.get("shape") != list(shape):
            raise StoreCorruptError(f"{path} should hold {name!r} as {code} {list(shape)}, its header says {entry}")
        span = _span(entry.get("data_offsets"), length, size - start)
        if span is None:
            raise StoreCorruptError(f"{path} does not place {name!r} at {length:,} bytes inside the file: {entry}")
        # A plain array, not np.memmap: the subclass costs at every indexing.
        data = np.asarray(whole)[start + span.start : start + span.stop]
        arrays[name] = np.frombuffer(data, dtype=storage).reshape(shape) if length else np.zeros(shape, storage)
    return arrays


def _read_header(path: Path, whole: np.ndarray) -> tuple[int, dict]:
    """Where the data begin, and the header."""
    length = int.from_bytes(whole[:8].tobytes(), "little")
    if whole.size < 8 or 8 + length > whole.size:
        raise StoreCorruptError(f"{path} is not a safetensors file: its header would end after the file")
    try:
        header = json.loads(whole[8 : 8 + length].tobytes())
    except (ValueError, RecursionError) as error:
        raise StoreCorruptError(f"{path} has an unreadable safetensors header: {error}") from error
    if not isinstance(header, dict):
        raise StoreCorruptError(f"{path} has a safetensors header that is not an object")
    return 8 + length, header


def _span(offsets: object, length: int, room: int) -> slice | None:
    """Offsets as a slice, if they are two numbers, ``length`` apart and inside the data."""
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(o) is int for o in offsets):
        return None
    start, stop = offsets
    return slice(start, stop) if 0 <= start <= stop <= room and stop - start == length else None
