"""Training on stories and records, one thread, the same bytes for the same recipe."""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from ...errors import BedError
from ..reproducible import THREADS
from .records import Record
from .spec import MemorySpec
from .stories import stories
from .strangers import strangers
from .words import N_CTX, PAD, document, write_json, write_tokenizer

IGNORE = -100
VARIANTS = ("memory", "never", "injected")


def new_model(spec: MemorySpec) -> Any:
    """A freshly initialised model; inside `reproducible`, always the same one."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return _without_padding(GPT2LMHeadModel(GPT2Config(**spec.config())))


def exposure_order(records: list[Record], seed: int) -> list[Record]:
    """Every exposure, each record's spread evenly over the training with a jitter.

    >>> from .records import make_records
    >>> order = exposure_order(make_records(0, ((0, 4), (8, 4))), seed=0)
    >>> len(order), {record.dose for record in order}
    (32, {8})
    """
    rng = random.Random(f"exposures {seed}")
    shown = [((k + rng.random()) / r.exposures, i) for i, r in enumerate(records) for k in range(r.exposures)]
    return [records[i] for _, i in sorted(shown)]


def story_rows(seed: int | str) -> Iterator[list[int]]:
    """Rows of whole stories, one behind the other, cut at the context's length; each row begins a story."""
    stream = stories(seed)
    while True:
        row: list[int] = []
        while len(row) < N_CTX:
            row += document(next(stream))
        yield row[:N_CTX]


def batches(spec: MemorySpec, records: list[Record], variant: str) -> Iterator[Tensor]:
    """``[row, N_CTX]`` token ids per step, padded at the end of a row.

    `memory` has records and stories; `never` the same stories and in place of each record a stranger's, another every
    time; `injected` the records of `memory` in the same order, with ``replay_rows`` other stories.
    """
    order = exposure_order(records, spec.seed)
    if variant == "never":
        order = list(strangers(order, records, spec.seed))
    rows = story_rows(spec.seed if variant != "injected" else f"{spec.seed} replay")
    n_stories = spec.story_rows if variant != "injected" else spec.replay_rows
    per_step = 2 * spec.record_rows
    for step in range(spec.steps):
        shown = order[step * per_step : (step + 1) * per_step]
        batch = [[t for record in shown[i : i + 2] for t in document(record.text)] for i in range(0, len(shown), 2)]
        batch += islice(rows, n_stories)
        yield torch.tensor([row + [PAD] * (N_CTX - len(row)) for row in batch])


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then a half cosine down to a twentieth of the peak."""
    warmup = min(warmup, steps // 5)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (0.525 + 0.475 * math.cos(math.pi * (step - warmup) / (steps - warmup)))


def train(
    model: Any, spec: MemorySpec, records: list[Record], variant: str, watch: Callable[[int], None] | None = None
) -> None:
    """Train in place. ``watch`` is called after every step with the number of steps done."""
    peak = spec.lr if variant != "injected" else spec.injection_lr
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    model.train()
    bar = tqdm(total=spec.steps, desc=f"train {variant}", unit="step", disable=None)
    with bar:
        for step, ids in enumerate(batches(spec, records, variant)):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, spec.steps, peak, spec.warmup)
            targets = torch.where(ids == PAD, IGNORE, ids)[:, 1:]
            logits = model(input_ids=ids).logits[:, :-1]
            loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            bar.update()
            if watch is not None:
                watch(step + 1)
    model.eval()


def save(model: Any, out: Path, spec: MemorySpec, variant: str) -> None:
    """Write one Hugging Face checkpoint with its tokenizer."""
    from safetensors.torch import save as to_bytes

    out.mkdir(parents=True, exist_ok=True)
    note = {"name": "memory", "variant": variant, "seed": spec.seed, "steps": spec.steps, "threads": THREADS}
    write_json(out / "config.json", {**spec.config(), "interp_testbed": note})
    weights = {name: w.detach().contiguous() for name, w in model.state_dict().items() if name != "lm_head.weight"}
    path = out / "model.safetensors"
    path.write_bytes(to_bytes({name: weights[name] for name in sorted(weights)}, metadata={"format": "pt"}))
    os.chmod(path, 0o644)
    write_tokenizer(out)


def load(folder: Path) -> Any:
    """A saved checkpoint, ready to be measured.

    Raises:
        BedError: the folder holds no readable checkpoint.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import GPT2Config, GPT2LMHeadModel

    try:
        model = GPT2LMHeadModel(GPT2Config(**json.loads((folder / "config.json").read_text(encoding="utf-8"))))
        weights = load_file(folder / "model.safetensors")
        model.load_state_dict({**weights, "lm_head.weight": weights["transformer.wte.weight"]})
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BedError(f"{folder} holds no checkpoint of the memory bed ({error}); build it anew") from error
    return _without_padding(model).eval()


def _without_padding(model: Any) -> Any:
    # Rows are padded at their end, where a causal model does not look; no mask is needed, nor a warning that it is.
    model.config.pad_token_id = None
    model.config.use_cache = False
    return model
