"""Everything that the bytes of the `modadd` bed depend on, besides library versions and the kind of processor."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import BedError


@dataclass(frozen=True)
class ModAddSpec:
    """The recipe: sums modulo ``modulus``; ``train`` of all pairs are trained on, ``corrupted`` of those wrongly.

    Source: Doshi, Das, He & Gromov (2023), "To grok or not to grok", section 2.
    """

    seed: int = 0
    modulus: int = 97
    neurons: int = 500
    train: float = 0.5
    corrupted: float = 0.35
    steps: int = 800
    lr: float = 1e-2
    weight_decay: float = 1.0

    def __post_init__(self) -> None:
        """Refuse recipes that make nothing.

        Raises:
            BedError: a size that is not positive, or a share that is not below 1.
        """
        for name in ("neurons", "steps", "lr"):
            if not getattr(self, name) > 0:
                raise BedError(f"modadd needs {name} > 0, got {getattr(self, name)!r}")
        if self.modulus < 3 or any(self.modulus % k == 0 for k in range(2, int(self.modulus**0.5) + 1)):
            raise BedError(f"modadd needs an odd prime modulus, got {self.modulus}")
        if not 0 < self.train < 1 or not 0 <= self.corrupted < 1 or not self.weight_decay >= 0:
            raise BedError(
                f"modadd needs 0 < train < 1, 0 <= corrupted < 1 and weight_decay >= 0, got train={self.train}, "
                f"corrupted={self.corrupted} and weight_decay={self.weight_decay}"
            )
