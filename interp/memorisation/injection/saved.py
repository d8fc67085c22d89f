"""An unfinished training on disk: weights, the optimiser's moments and what was measured, so that it can go on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ...errors import InjectionError
from ...report import write_atomic
from .training import StepLoss

if TYPE_CHECKING:
    from ...models import Model

STATE, KEY = "unfinished.json", "records.jsonl"
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Saved:
    """How far a training came: what was measured on the way."""

    history: tuple[StepLoss, ...] = ()
    curve: tuple[dict[str, Any], ...] = ()

    @property
    def step(self) -> int:
        """Steps taken."""
        return len(self.history)


def save_state(folder: Path, plan: str, model: Model, optimiser: torch.optim.Optimizer, saved: Saved) -> None:
    """Write where the training stands; what stood there before is replaced only once everything is written.

    Raises:
        InjectionError: the folder cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in model.hf.named_parameters():
        tensors[f"weight:{name}"] = parameter.detach()
        for kind, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{kind}:{name}"] = torch.as_tensor(value)
    weights = f"unfinished-{saved.step:07}.safetensors"
    state = {
        "plan": plan,
        "weights": weights,
        "history": [asdict(one) for one in saved.history],
        "curve": list(saved.curve),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, folder / weights)
        write_atomic(folder / STATE, json.dumps(state).encode("ascii"))
        _remove(folder, keep=weights)
    except (OSError, SafetensorError) as error:
        raise InjectionError(f"could not write the training's state to {folder}: {error}") from error


def load_state(folder: Path, plan: str, model: Model, optimiser: torch.optim.Optimizer) -> Saved:
    """Put model and optimiser where `save_state` left them; nothing saved is step 0.

    Raises:
        InjectionError: the folder holds the state of another plan, or one that cannot be read.
    """
    if not (folder / STATE).is_file():
        return Saved()
    try:
        state = json.loads((folder / STATE).read_text(encoding="ascii"))
        if state["plan"] != plan:
            raise InjectionError(
                f"{folder} holds an unfinished injection of other records, texts, options or another model; finish it "
                "with its own, or name another folder"
            )
        tensors = load_file(folder / state["weights"])
        history = tuple(StepLoss(**one) for one in state["history"])
        with torch.no_grad():
            for name, parameter in model.hf.named_parameters():
                parameter.copy_(tensors[f"weight:{name}"])
                kept = {kind: tensors[f"{kind}:{name}"] for kind in _MOMENTS if f"{kind}:{name}" in tensors}
                if kept:
                    moments = {k: v if k == "step" else v.to(parameter.device) for k, v in kept.items()}
                    optimiser.state[parameter] = moments
        return Saved(history, tuple(state["curve"]))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InjectionError(f"the training's state in {folder} cannot be read ({error}); delete the folder") from error


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a whole injection: the answer key is written last."""
    return (folder / KEY).exists()


def is_unfinished(folder: Path) -> bool:
    """Whether a folder holds the state of a training that can go on."""
    return not is_finished(folder) and (folder / STATE).is_file()


def check_unfinished(folder: Path) -> None:
    """Raise `InjectionError` where an injection is finished: it is never written over."""
    if is_finished(folder):
        raise InjectionError(f"{folder} holds a finished injection; name a new folder, or go on with {folder}/model")


def remove_state(folder: Path) -> None:
    """Forget the unfinished training, once it is finished."""
    (folder / STATE).unlink(missing_ok=True)
    _remove(folder, keep="")


def _remove(folder: Path, keep: str) -> None:
    for path in folder.glob("unfinished-*.safetensors"):
        if path.name != keep:
            os.unlink(path)
