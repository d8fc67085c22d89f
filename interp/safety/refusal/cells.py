"""The four quadrants of harmful and refused, and whether there are enough of them to tell the two apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray

Array = NDArray[Any]

CELLS = ("harmful-refused", "harmful-accepted", "harmless-refused", "harmless-accepted")
WORDS = {
    "harmful-refused": "refused harmful", "harmful-accepted": "accepted harmful",
    "harmless-refused": "refused harmless", "harmless-accepted": "accepted harmless",
}  # fmt: skip
DIAGONAL = ("harmful-refused", "harmless-accepted")
OFF = ("harmful-accepted", "harmless-refused")
FEWEST = 8
"""Requests of a cell below which it is as good as empty."""


def cell_of(harmful: Bool[np.ndarray, " prompt"], refused: Bool[np.ndarray, " prompt"]) -> Int[np.ndarray, " prompt"]:
    """The number of each prompt's cell in `CELLS`.

    >>> cell_of(np.array([True, True, False]), np.array([True, False, False])).tolist()
    [0, 1, 3]
    """
    return 2 * (~harmful).astype(np.int64) + (~refused).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Quadrants:
    """The cell of every prompt, and which cells are filled in the training part and in the rest."""

    cell: Int[np.ndarray, " prompt"]
    train: Bool[np.ndarray, " prompt"]
    fewest: int = FEWEST

    def count(self, name: str, train: bool) -> int:
        """Prompts of a cell in the training part, or outside it."""
        return int(((self.cell == CELLS.index(name)) & (self.train == train)).sum())

    @property
    def filled(self) -> tuple[str, ...]:
        """Cells with at least `FEWEST` prompts in the training part and as many in the rest."""
        return tuple(c for c in CELLS if min(self.count(c, True), self.count(c, False)) >= self.fewest)

    @property
    def judged(self) -> tuple[str, ...]:
        """Cells with at least `FEWEST` prompts outside the training part."""
        return tuple(c for c in CELLS if self.count(c, False) >= self.fewest)

    @property
    def confounded(self) -> bool:
        """Whether harmful and refused are the same thing here: no more than one off-diagonal cell cannot tell."""
        return not any(c in self.judged for c in OFF)

    def warning(self) -> str | None:
        """What cannot be told apart with these requests, if anything; nothing where no request is refused."""
        if not any(self.count(c, True) + self.count(c, False) for c in CELLS if c.endswith("refused")):
            return None
        counts = ", ".join(f"{self.count(c, True) + self.count(c, False)} {WORDS[c]}" for c in CELLS)
        if self.confounded:
            return (
                f"Harmfulness and refusal are confounded ({counts}): what is read of one may be the other. Give "
                "jailbroken requests that are answered and harmless requests that are refused, of each "
                f"{self.fewest} outside the training part and more."
            )
        lacking = [WORDS[c] for c in CELLS if c not in self.filled]
        if lacking:
            return (
                f"Too few {' and '.join(lacking)} requests ({counts}): harmfulness and refusal can be told apart only "
                "in part, where the other one is held fixed."
            )
        return None


@dataclass(frozen=True)
class Axis:
    """Two sides, each the mean of the means of some cells: from ``negative`` to ``positive``."""

    name: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]


PLAIN = Axis("plain", ("harmful-refused",), ("harmless-accepted",))
CROSSED = {
    "harm": {"refused": Axis("harm-refused", ("harmful-refused",), ("harmless-refused",)),
             "accepted": Axis("harm-accepted", ("harmful-accepted",), ("harmless-accepted",))},
    "refusal": {"harmful": Axis("refusal-harmful", ("harmful-refused",), ("harmful-accepted",)),
                "harmless": Axis("refusal-harmless", ("harmless-refused",), ("harmless-accepted",))},
}  # fmt: skip
"""Harm with refusal held fixed, refusal with harm held fixed."""


def concept_axis(concept: str, filled: tuple[str, ...]) -> Axis | None:
    """The axis of ``harm`` or ``refusal``, the other held fixed wherever both cells of a level are filled.

    With all four cells that is the mean of two differences; with three, the one difference that is there (which is
    what regressing on both would give); with the two diagonal cells only, their difference, in which the two are one.
    ``None`` with less.

    >>> concept_axis("harm", CELLS).positive
    ('harmful-refused', 'harmful-accepted')
    >>> concept_axis("refusal", DIAGONAL).name
    'plain'
    """
    there = [axis for axis in CROSSED[concept].values() if {*axis.positive, *axis.negative} <= set(filled)]
    if there:
        return Axis(concept, sum((a.positive for a in there), ()), sum((a.negative for a in there), ()))
    return PLAIN if set(DIAGONAL) <= set(filled) else None
