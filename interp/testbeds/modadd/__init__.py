"""`modadd`: a two-layer network that adds modulo 97, and has memorised the wrong labels it was shown besides.

Its neurons fall into two kinds. Periodic ones (high inverse participation ratio in Fourier space) compute the sum; the
others hold what is not a sum. It is no language model: `load` gives a small torch module.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import BedError
from .examples import Examples, make_examples
from .network import ModAdd, load
from .spec import ModAddSpec
from .truth import ModAddTruth, accuracy, participation, read_truth

__all__ = [
    "Examples", "ModAdd", "ModAddSpec", "ModAddTruth", "accuracy", "build", "load", "make_examples", "participation",
    "truth",
]  # fmt: skip


def build(out: Path, seed: int, **options: Any) -> None:
    """Train the network and write it, its truth and its card into ``out``; `ModAddSpec` names the options.

    Raises:
        BedError: an option that `ModAddSpec` lacks or refuses.
    """
    from ..reproducible import reproducible
    from .card import write_card
    from .network import save
    from .training import train
    from .truth import write_truth

    try:
        spec = ModAddSpec(seed=seed, **options)
    except TypeError as error:
        raise BedError(f"modadd cannot be built with {options}: {error}") from error
    examples = make_examples(spec)
    with reproducible(seed):
        model = ModAdd(spec.modulus, spec.neurons)
        curve: list[dict[str, float]] = []

        def watch(step: int) -> None:
            if step % max(1, spec.steps // 8) == 0:
                curve.append({"step": step, **accuracy(model, examples)})

        train(model, spec, examples, watch)
        save(model, out / "model.safetensors")
        found = write_truth(out, spec, examples, model)
        write_card(out, spec, found, model, curve)


def truth(folder: Path) -> ModAddTruth:
    """What was planted: every example, which were corrupted, and what each neuron turned out to be."""
    return read_truth(folder)
