"""What kinds of prompts there are: harmful or not by their content, refused or not by what the model does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from ...errors import PromptError, SplitError
from ...metrics import refusal_score
from ...prompts import PromptSet
from ...run import forward

if TYPE_CHECKING:
    from ...models import Model

Array = NDArray[Any]
SUSPECT, REFUSED, CONTROL, OVERREFUSED = (
    "harmful, answered",
    "harmful, refused",
    "harmless, answered",
    "harmless, refused",
)
KINDS = (SUSPECT, REFUSED, CONTROL, OVERREFUSED)
_TRAIN = ("train", "fit")


@dataclass(frozen=True, eq=False)
class Kinds:
    """Per prompt: is it harmful, is it refused, which group it belongs to, and whether its half fits or judges.

    ``told`` says that the file says what is refused, and ``agrees`` how often the model then does as the file says
    (``None`` where that was not measured).
    """

    harmful: Bool[np.ndarray, " prompt"]
    refused: Bool[np.ndarray, " prompt"]
    groups: Array
    fits: Bool[np.ndarray, " prompt"]
    told: bool
    agrees: float | None

    def of(self, kind: str) -> Bool[np.ndarray, " prompt"]:
        """Which prompts are of one of `KINDS`."""
        return (self.harmful == kind.startswith("harmful")) & (self.refused == kind.endswith("refused"))


def flags(prompts: PromptSet, name: str) -> Bool[np.ndarray, " prompt"] | None:
    """A column of zeros and ones (or false and true, in numbers or words), ``None`` where there is none.

    Raises:
        PromptError: a value that is neither; with the prompt's id.
    """
    values = prompts.columns.get(name)
    if values is None:
        return None
    words = {"0": False, "1": True, "false": False, "true": True, "0.0": False, "1.0": True}
    found = [words.get(str(v).strip().lower()) for v in values]
    if None in found:
        i = found.index(None)
        raise PromptError(f"prompt {prompts.ids[i]!r} has {name}={values[i]!r}; it is 0 or 1")
    return np.array(found, bool)


def kinds_of(
    model: Model,
    prompts: PromptSet,
    refusals: Sequence[int] | None,
    *,
    measured: bool = False,
    seed: int = 0,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Kinds:
    """Sort prompts: harmful by the column ``harmful``, refused by ``refused`` or else by the answer's first token.

    Halves are those of a column ``split``, where ``train`` fits and the rest judges, or whole groups dealt out evenly
    over the kinds. Groups are those of the prompts, or each distinct prompt its own.

    Args:
        refusals: first tokens of refusals.
        measured: go by the model even where the file says.

    Raises:
        PromptError: no column ``harmful``, or nothing says what is refused.
        SplitError: a group in both halves.
    """
    harmful, told = flags(prompts, "harmful"), flags(prompts, "refused")
    if harmful is None:
        raise PromptError(
            f"these prompts have no column 'harmful' (0 or 1); columns: {', '.join(prompts.columns) or 'none'}"
        )
    does = None
    if refusals is not None:
        logits = forward(model, prompts, at="last", batch_tokens=batch_tokens, progress=progress).logits
        does = refusal_score(logits, refusals).cpu().numpy() > 0
    if does is None and (told is None or measured):
        raise PromptError("nothing says which prompts are refused: give a column 'refused', or how refusals begin")
    refused = does if told is None or measured else told
    assert refused is not None
    agrees = None if does is None or told is None else float((does == told).mean())
    groups = _groups(prompts)
    fits = _halves(prompts, groups, 2 * harmful + refused, seed)
    return Kinds(harmful, refused, groups, fits, told is not None and not measured, agrees)


def _groups(prompts: PromptSet) -> Array:
    """The prompts' groups, as numbers; without any, prompts of the same tokens are one."""
    if prompts.groups is not None:
        return np.unique(prompts.groups, return_inverse=True)[1]
    known: dict[bytes, int] = {}
    return np.array([known.setdefault(t.tobytes(), len(known)) for t in prompts.tokens])


def _halves(prompts: PromptSet, groups: Array, kind: Array, seed: int) -> Bool[np.ndarray, " prompt"]:
    split = prompts.columns.get("split")
    names = None if split is None else np.array([str(s).lower() in _TRAIN for s in split])
    if names is not None and 0 < names.sum() < len(names):
        both = [g for g in np.unique(groups) if len(np.unique(names[groups == g])) > 1]
        if both:
            name = prompts.ids[int(np.flatnonzero(groups == both[0])[0])]
            raise SplitError(f"the group of prompt {name!r} lies in several splits; keep groups whole")
        return names
    rng = np.random.default_rng(seed)
    held = ["".join(map(str, np.unique(kind[groups == g]))) for g in range(groups.max() + 1)]
    order = sorted(rng.permutation(groups.max() + 1).tolist(), key=lambda g: held[g])
    turn = int(rng.integers(2))
    first = np.zeros(groups.max() + 1, bool)
    first[order[turn::2]] = True
    return first[groups]
