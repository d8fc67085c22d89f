"""What is told apart: harmful from harmless and refused from accepted, alone and with the other held fixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray

from .cells import CELLS, CROSSED, OFF, PLAIN, Axis, Quadrants

Array = NDArray[Any]

PLAIN_READING, OFF_READING, HARM, REFUSAL = "plain", "off-diagonal", "harm", "refusal"


@dataclass(frozen=True, eq=False)
class Contrast:
    """Held-out prompts of two classes, and the axis that scores each; AUCs are averaged over strata.

    ``two_sided``: an AUC below one half says something, too (``off-diagonal``: that refusal is followed, not harm).
    """

    name: str
    rows: Int[np.ndarray, " row"]
    truth: Bool[np.ndarray, " row"]
    stratum: Int[np.ndarray, " row"]
    axes: tuple[Axis, ...]
    two_sided: bool = False

    def axis_of(self, row: int) -> Axis:
        """The axis that scores a row of the stratum."""
        return self.axes[int(self.stratum[row])]


def plain_axis(quadrants: Quadrants) -> Axis | None:
    """From accepted harmless to refused harmful; to accepted harmful for a model that does not refuse."""
    filled = quadrants.filled
    if {*PLAIN.positive, *PLAIN.negative} <= set(filled):
        return PLAIN
    never = CROSSED["harm"]["accepted"]
    return Axis("plain", never.positive, never.negative) if {*never.positive, *never.negative} <= set(filled) else None


def contrasts_of(quadrants: Quadrants) -> list[Contrast]:
    """Every contrast that the filled cells allow; none without the first.

    - ``plain``: refused harmful from accepted harmless. Harm and refusal are one here.
    - ``off-diagonal``: accepted harmful from refused harmless, by the plain axis. Above one half follows harmfulness,
      below follows refusal.
    - ``harm``: harmful from harmless with refusal held fixed, by an axis that was fitted at the other level of
      refusal: what sets the contexts of one level apart is no help at the other. ``refusal``: the same the other way
      round.
    """
    filled, found = set(quadrants.filled), []
    plain = plain_axis(quadrants)
    if plain is None:
        return []
    found.append(_contrast(quadrants, PLAIN_READING, [(plain, plain.positive[0], plain.negative[0])]))
    if plain == PLAIN and set(OFF) <= set(quadrants.judged):
        found.append(_contrast(quadrants, OFF_READING, [(plain, OFF[0], OFF[1])], two_sided=True))
    if set(CELLS) <= filled:
        for concept in (HARM, REFUSAL):
            one, other = CROSSED[concept].values()
            parts = [(other, one.positive[0], one.negative[0]), (one, other.positive[0], other.negative[0])]
            found.append(_contrast(quadrants, concept, parts))
    return found


def axes_of(contrasts: list[Contrast]) -> list[Axis]:
    """Every axis that some contrast is scored by, once."""
    return list({axis.name: axis for c in contrasts for axis in c.axes}.values())


def _contrast(quadrants: Quadrants, name: str, parts: list[tuple[Axis, str, str]], two_sided: bool = False) -> Contrast:
    rows, truth, stratum = [], [], []
    for number, (_, positive, negative) in enumerate(parts):
        for cell, side in ((positive, True), (negative, False)):
            here = np.flatnonzero((quadrants.cell == CELLS.index(cell)) & ~quadrants.train)
            rows.append(here)
            truth.append(np.full(len(here), side))
            stratum.append(np.full(len(here), number))
    order = np.concatenate(rows)
    return Contrast(
        name, order, np.concatenate(truth), np.concatenate(stratum), tuple(axis for axis, _, _ in parts), two_sided
    )
