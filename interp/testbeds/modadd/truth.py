"""The answer key: which examples were corrupted, and which neurons compute and which memorise."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from ...errors import BedError
from .examples import Examples
from .network import ModAdd
from .spec import ModAddSpec

THRESHOLD = 0.5  # inverse participation ratio; the card says how many neurons lie near it


@dataclass(frozen=True, eq=False)
class ModAddTruth:
    """``examples``: what was trained on, and how. ``ipr``: inverse participation ratio of each neuron, ``[neuron]``.

    ``frequency``: the strongest Fourier component of each neuron, ``[neuron]``; it means something where ``ipr`` is
    high.
    """

    seed: int
    examples: Examples
    ipr: NDArray[np.float64]
    frequency: NDArray[np.int64]

    @property
    def corrupted(self) -> NDArray[np.int64]:
        """Indices of the examples that were trained on with a wrong label; `examples.label` is what was shown."""
        return self.examples.part("corrupted")

    @property
    def periodic(self) -> NDArray[np.bool_]:
        """Neurons that compute the sum: nearly all of their weights lie in one frequency, ``[neuron]``."""
        return self.ipr >= THRESHOLD


def spectra(model: ModAdd) -> Float[Tensor, "part neuron frequency"]:
    """Share of each frequency (1 to half the modulus) in the power of a neuron's weights, for its three weights."""
    with torch.no_grad():
        rows = torch.stack([model.first.T, model.second.T, model.out]).double()
        power = torch.fft.rfft(rows, dim=-1)[..., 1:].abs().square()
    return power / power.sum(-1, keepdim=True)


def participation(model: ModAdd) -> tuple[Float[Tensor, " neuron"], Int[Tensor, " neuron"]]:
    """Inverse participation ratio: the sum of squared shares, 1 for a pure wave, and near 0 for noise; and the
    strongest frequency. Means over a neuron's three weights.

    Source: Doshi, Das, He & Gromov (2023), equation 3, on the power of frequencies without sign.
    """
    shares = spectra(model)
    return shares.square().sum(-1).mean(0), shares.mean(0).argmax(-1) + 1


def accuracy(model: ModAdd, examples: Examples, keep: Float[Tensor, " neuron"] | None = None) -> dict[str, float]:
    """Share of right first choices.

    ``memorised``: corrupted examples answered with the wrong label they were trained on. ``corrected``: corrupted
    examples answered with the true sum. ``clean``: the rest of the training set. ``test``: never trained on.
    """
    a, b = torch.from_numpy(examples.a), torch.from_numpy(examples.b)
    with torch.inference_mode():
        said = model(a, b, keep).argmax(-1).numpy()
    wanted = {
        "memorised": ("corrupted", examples.label),
        "corrected": ("corrupted", examples.true),
        "clean": ("clean", examples.true),
        "test": ("test", examples.true),
    }
    return {
        name: float((said == answer)[examples.part(part)].mean()) if len(examples.part(part)) else float("nan")
        for name, (part, answer) in wanted.items()
    }


def write_truth(out: Path, spec: ModAddSpec, examples: Examples, model: ModAdd) -> ModAddTruth:
    """Write ``truth.json``."""
    ipr, frequency = (values.numpy() for values in participation(model))
    truth = ModAddTruth(spec.seed, examples, np.round(ipr, 4).astype(np.float64), frequency)
    fields = {
        "seed": spec.seed,
        "modulus": examples.modulus,
        "train": np.flatnonzero(examples.train).tolist(),
        "corrupted": truth.corrupted.tolist(),
        "wrong_labels": examples.label[truth.corrupted].tolist(),
        "ipr": truth.ipr.tolist(),
        "frequency": truth.frequency.tolist(),
    }
    lines = ",\n".join(f' "{name}": {json.dumps(value)}' for name, value in fields.items())
    (out / "truth.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8", newline="\n")
    return truth


def read_truth(folder: Path) -> ModAddTruth:
    """Read ``truth.json``.

    Raises:
        BedError: it is missing, or not what `write_truth` writes.
    """
    path = folder / "truth.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        p = fields["modulus"]
        numbers = np.arange(p * p)
        label, train = (numbers // p + numbers % p) % p, np.zeros(p * p, bool)
        train[fields["train"]] = True
        label[fields["corrupted"]] = fields["wrong_labels"]
        if not train[fields["corrupted"]].all() or len(fields["ipr"]) != len(fields["frequency"]):
            raise ValueError("its lists do not belong together")
        return ModAddTruth(
            fields["seed"], Examples(p, label, train), *map(np.array, (fields["ipr"], fields["frequency"]))
        )
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise BedError(f"{path} does not hold the truth of a modadd bed: {error}") from error
