"""The network of the `modadd` bed, as plain torch: two tables, a square, and a read-out."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding

from ...errors import BedError


class ModAdd(nn.Module):
    """``logits = square(first[a] + second[b]) @ out``: a two-layer MLP on two one-hot numbers, without biases.

    >>> model = ModAdd(modulus=5, neurons=3)
    >>> model(torch.tensor([0, 1]), torch.tensor([4, 4])).shape
    torch.Size([2, 5])
    """

    def __init__(self, modulus: int, neurons: int) -> None:
        """Draw the weights: variances 1/(2 modulus) and 1/neurons."""
        super().__init__()
        self.first = nn.Parameter(torch.randn(modulus, neurons) / (2 * modulus) ** 0.5)
        self.second = nn.Parameter(torch.randn(modulus, neurons) / (2 * modulus) ** 0.5)
        self.out = nn.Parameter(torch.randn(neurons, modulus) / neurons**0.5)

    def neurons(self, a: Int[Tensor, " example"], b: Int[Tensor, " example"]) -> Float[Tensor, "example neuron"]:
        """What each neuron says: the square of the sum of its two entries."""
        return (embedding(a, self.first) + embedding(b, self.second)).square()

    def forward(
        self,
        a: Int[Tensor, " example"],
        b: Int[Tensor, " example"],
        keep: Float[Tensor, " neuron"] | None = None,
    ) -> Float[Tensor, "example number"]:
        """Logits of the sum. ``keep`` multiplies the neurons: 0 ablates one, 1 leaves it alone."""
        said = self.neurons(a, b)
        return (said if keep is None else said * keep) @ self.out


def save(model: ModAdd, path: Path) -> None:
    """Write the weights as safetensors."""
    from safetensors.torch import save as to_bytes

    weights = {name: w.detach().contiguous() for name, w in sorted(model.state_dict().items())}
    path.write_bytes(to_bytes(weights, metadata={"format": "pt"}))
    os.chmod(path, 0o644)


def load(folder: str | Path) -> ModAdd:
    """A saved network.

    Raises:
        BedError: the folder holds no readable network of this bed.

    >>> from interp import testbeds
    >>> model = load(testbeds.path("modadd"))
    >>> int(model(torch.tensor([60]), torch.tensor([50])).argmax())  # 110 modulo 97
    13
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder) / "model.safetensors"
    try:
        weights = load_file(path)
        model = ModAdd(*weights["first"].shape)
        model.load_state_dict(weights)
    except (OSError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        raise BedError(f"{path} holds no network of the modadd bed ({error}); build it anew") from error
    return model.eval()
