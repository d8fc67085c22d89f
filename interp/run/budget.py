"""How many tokens one batch may hold, and whether a result fits in memory."""

from __future__ import annotations

import torch

from ..errors import TooLargeError
from ..models import Model
from ..store import size_text

# On a CPU larger rectangles gain nothing once a matrix product fills the cores, and cost memory (docs/benchmarks.md).
CPU_TOKENS = 1024
_GPU_LIMITS = (2_048, 131_072)


def auto_budget(model: Model) -> int:
    """Tokens per batch for the model's device: a constant on a CPU, from free memory on a GPU."""
    if model.device.type != "cuda":
        return CPU_TOKENS
    free, _ = torch.cuda.mem_get_info(model.device)
    sizes = model.sizes
    # Residual, normed copy, q, k, v, z, and the MLP's hidden twice over, in the model's dtype; half of what is free.
    per_token = (6 * sizes.d_model + 3 * sizes.d_mlp) * torch.finfo(model.dtype).bits // 8
    low, high = _GPU_LIMITS
    return int(min(high, max(low, free // 2 // per_token)))


def check_memory(needed: int, what: str, *, advice: str) -> None:
    """Raise `TooLargeError` unless ``needed`` bytes fit comfortably in free memory."""
    import psutil

    free = psutil.virtual_memory().available
    if needed > 0.9 * free:
        raise TooLargeError(f"{what} would take {size_text(needed)}, but {size_text(free)} of memory is free; {advice}")
