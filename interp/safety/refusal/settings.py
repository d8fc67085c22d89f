"""``Settings``: how everything in a study is tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Settings:
    """How things are tested: permutations behind each null, resamples and level of each interval, the seed."""

    permutations: int = 1000
    bootstrap: int = 1000
    level: float = 0.95
    seed: int = 0
    progress: bool | None = None

    @property
    def boot(self) -> dict[str, Any]:
        """Options of `cluster_bootstrap`."""
        return {"replicates": self.bootstrap, "level": self.level, "seed": self.seed}
