"""What a study of the cliff reads where, and how often it draws."""

from __future__ import annotations

from dataclasses import dataclass

from ...circuits.contributions import Norm
from ...edits import At
from .ablation import AT_THE_END, How
from .judge import SHARE

PERCENT = (3.0, 1.0, 10.0)


@dataclass(frozen=True)
class Settings:
    """What is read where, and how often things are drawn.

    ``site`` and ``norm`` say what the prober reads: a block's output as it is, or through the final norm; by default
    behind the first block from which on its end shows what the model will do (see `where_to_read`).
    ``percent`` are shares of heads to ablate, the one that is judged first; ``how`` says with what, ``at`` at which
    tokens. ``rank`` is what heads are ranked by: their ``contribution`` on harmful prompts that are answered (as in the
    paper), or its ``contrast`` to those that are refused. ``share`` of the harmful prompts is selected by the judge.
    """

    site: str = "auto"
    norm: Norm = "none"
    C: float = 1.0
    percent: tuple[float, ...] = PERCENT
    rank: str = "contribution"
    how: How = "zero"
    at: At = AT_THE_END
    draws: int = 100
    share: float = SHARE
    permutations: int = 999
    bootstrap: int = 2000
    level: float = 0.95
    reach: int = 128
    measured: bool = False
    seed: int = 0
