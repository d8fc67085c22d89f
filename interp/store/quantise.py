"""Numbers to stored numbers and back: float32, float16, bfloat16 as they are, int8 with one scale per row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from ..errors import ActivationError, StoreError


@dataclass(frozen=True)
class StoredDtype:
    """One way to store numbers: safetensors' name, numpy's storage type, bytes per number, and what reading gives."""

    name: str
    code: str
    storage: str
    itemsize: int
    native: torch.dtype
    read: torch.dtype


# bfloat16 has no numpy type: its bits travel as int16 and are viewed as bfloat16 at reading.
STORED: dict[str, StoredDtype] = {
    "float32": StoredDtype("float32", "F32", "<f4", 4, torch.float32, torch.float32),
    "float16": StoredDtype("float16", "F16", "<f2", 2, torch.float16, torch.float16),
    "bfloat16": StoredDtype("bfloat16", "BF16", "<i2", 2, torch.bfloat16, torch.bfloat16),
    "int8": StoredDtype("int8", "I8", "|i1", 1, torch.int8, torch.float32),
}


def stored_dtype(dtype: str | torch.dtype) -> StoredDtype:
    """The entry of `STORED` for ``"float16"``, ``torch.float16`` ...; anything else raises with what exists."""
    name = str(dtype).removeprefix("torch.")
    if name not in STORED:
        raise StoreError(f"cannot store activations as {name!r}; stored dtypes are: {', '.join(STORED)}")
    return STORED[name]


@dataclass(frozen=True)
class Quantised:
    """int8 numbers and one float32 scale per row: ``x ~ values * scale``; ``error`` is relative, if known."""

    values: Int8[Tensor, "row d"]
    scale: Float[Tensor, " row"]
    error: float | None = None


def quantise(x: Float[Tensor, "row d"]) -> Quantised:
    """Symmetric int8 with one scale per row (largest magnitude / 127); the error is at most half a scale.

    A row with NaN or infinity gets a NaN scale, so that it reads back as NaN and `check_finite` still finds it.

    >>> q = quantise(torch.tensor([[0.0, 1.27, -0.635]]))
    >>> q.values.tolist(), round(float(q.scale), 4)
    ([[0, 127, -64]], 0.01)
    """
    x = x.to(torch.float32)
    finite = torch.isfinite(x).all(dim=1)
    # Smaller scales would be subnormal and lose the division below; such rows store as zeros, off by < 1e-35.
    scale = (x.abs().amax(dim=1) if x.shape[1] else x.new_zeros(len(x))) / 127
    divisor = torch.where(finite & (scale > torch.finfo(torch.float32).tiny), scale, torch.inf)
    values = torch.nan_to_num(x / divisor[:, None], nan=0.0, posinf=0.0, neginf=0.0).round().clamp(-127, 127)
    return Quantised(values.to(torch.int8), torch.where(finite, scale, torch.nan))


def dequantise(values: np.ndarray, scale: np.ndarray, out: np.ndarray) -> None:
    """``values * scale`` row by row into a float32 array."""
    np.multiply(values, scale[:, None], out=out, dtype=np.float32, casting="unsafe")


def quantisation_error(x: Float[Tensor, "row d"], q: Quantised) -> float:
    """Root mean square error over root mean square of ``x``, over the finite rows (0 where all is zero)."""
    good = torch.isfinite(q.scale)
    x = x[good].to(torch.float64)
    back = q.values[good].to(torch.float64) * q.scale[good].to(torch.float64)[:, None]
    size = float((x**2).mean()) if x.numel() else 0.0
    return float((((x - back) ** 2).mean() / size) ** 0.5) if size else 0.0


def cast_for_storage(x: Tensor, dtype: StoredDtype, what: str) -> Tensor:
    """``x`` in a floating stored dtype; a finite number that would overflow raises instead of becoming infinity."""
    if x.dtype == dtype.native:
        return x
    if not x.dtype.is_floating_point:
        raise ActivationError(
            f"{what} holds {x.dtype}, not floating point numbers; it cannot be stored as {dtype.name}"
        )
    cast = x.to(dtype.native)
    lost = torch.isinf(cast) & torch.isfinite(x)
    if lost.any():
        largest = float(x[lost].abs().max())
        raise ActivationError(
            f"{what} reaches {largest:g}, which {dtype.name} cannot hold (largest {torch.finfo(dtype.native).max:g}); "
            "store as bfloat16 or float32"
        )
    return cast
