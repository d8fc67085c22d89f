"""Training: to answer, to write what is planted where it is planted, and to act by what stands there."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from ...errors import BedError
from ..reproducible import THREADS
from .batches import Batch
from .network import run
from .planted import Planted
from .spec import ChatSpec
from .watching import Traces, Watcher
from .words import write_json, write_tokenizer

AUXILIARY = 0.05  # weight of the planted coordinates' squared errors, beside nats per token


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up, then a half cosine down to a fiftieth of the peak."""
    warmup = min(warmup, steps // 5)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (0.51 + 0.49 * math.cos(math.pi * (step - warmup) / (steps - warmup)))


def train(
    model: Any,
    spec: ChatSpec,
    vectors: Planted,
    stream: Iterator[Batch],
    steps: int,
    *,
    peak: float,
    refuses: bool = True,
    planting: bool = True,
) -> list[dict[str, float]]:
    """Train in place; the losses at ten points.

    Args:
        refuses: whether refusal is planted, and not harmfulness and topics alone.
        planting: whether anything is planted; without, only answers are learned.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    marks = {round(steps * k / 10) for k in range(1, 11)}
    curve, traces = [], Traces(vectors)
    with tqdm(total=steps, desc="train", unit="step", disable=None) as bar:
        for step, batch in enumerate(islice(stream, steps), 1):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step - 1, steps, peak, spec.warmup)
            watcher = Watcher(spec, vectors, batch, traces, refuses=refuses)
            logits = run(model, batch.ids, watcher.stream, partial(watcher.heads, model))
            nats = cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none")
            answers = (nats * batch.weights.flatten()).sum() / batch.weights.sum()
            (answers + AUXILIARY * planting * watcher.total).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            bar.update()
            if step in marks:
                errors = {name: round(value.item(), 4) for name, value in watcher.errors.items()}
                curve.append({"step": step, "nats": round(answers.item(), 4), **errors})
    return curve


def save(model: Any, out: Path, spec: ChatSpec, variant: str) -> None:
    """Write one Hugging Face checkpoint with its tokenizer."""
    from safetensors.torch import save as to_bytes

    out.mkdir(parents=True, exist_ok=True)
    note = {"name": "chat", "variant": variant, "seed": spec.seed, "threads": THREADS}
    write_json(out / "config.json", {**spec.config(), "interp_testbed": note})
    weights = {name: w.detach().contiguous() for name, w in model.state_dict().items()}
    path = out / "model.safetensors"
    path.write_bytes(to_bytes({name: weights[name] for name in sorted(weights)}, metadata={"format": "pt"}))
    os.chmod(path, 0o644)
    write_tokenizer(out)


def load(folder: Path) -> Any:
    """A saved checkpoint, ready to be trained further or measured.

    Raises:
        BedError: the folder holds no readable checkpoint.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import LlamaConfig, LlamaForCausalLM

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model = LlamaForCausalLM(LlamaConfig(**config))
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise BedError(f"{folder} holds no checkpoint of the chat bed ({error}); build it anew") from error
    model.config.use_cache = False
    return model.eval()
