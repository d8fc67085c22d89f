"""Latents of sparse autoencoders and transcoders, through sae-lens (``pip install 'interp[sae]'``).

`load_sae` reads the directories that sae-lens writes, `train_sae` trains one straight from a store of activations,
`set_latents` and `ablate_latents` are edits, and `interp.circuits.attribute(..., level="latent")` scores latents.
Names load when they are first used; sae-lens itself only when it is needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .controls import pca_basis, shuffled
    from .latents import Sae
    from .load import load_sae, save_sae, wrap_sae
    from .measure import Fidelity, loss_recovered, reconstruction
    from .operate import ablate_latents, reconstruct, set_latents
    from .train import Training, train_sae

# Public name -> the module that has it.
_HOME = {
    "Fidelity": "measure",
    "Sae": "latents",
    "Training": "train",
    "ablate_latents": "operate",
    "load_sae": "load",
    "loss_recovered": "measure",
    "pca_basis": "controls",
    "reconstruct": "operate",
    "reconstruction": "measure",
    "save_sae": "load",
    "set_latents": "operate",
    "shuffled": "controls",
    "train_sae": "train",
    "wrap_sae": "load",
}

__all__ = [
    "Fidelity",
    "Sae",
    "Training",
    "ablate_latents",
    "load_sae",
    "loss_recovered",
    "pca_basis",
    "reconstruct",
    "reconstruction",
    "save_sae",
    "set_latents",
    "shuffled",
    "train_sae",
    "wrap_sae",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
