"""``Parts``: prompts to make candidates of, prompts to choose among them, prompts to judge the choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import PromptError, SplitError
from ...prompts import PromptSet

NAMES = ("train", "val", "test")
_SAME = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Parts:
    """One class of prompts in three parts, no prompt in two of them.

    Raises:
        SplitError: a prompt, token for token, in two parts.
    """

    train: PromptSet
    val: PromptSet
    test: PromptSet

    def __post_init__(self) -> None:
        seen: dict[bytes, tuple[str, str]] = {}
        for name in NAMES:
            one: PromptSet = getattr(self, name)
            for who, tokens in zip(one.ids, one.tokens, strict=True):
                other, where = seen.setdefault(tokens.tobytes(), (who, name))
                if where != name:
                    raise SplitError(
                        f"prompt {who!r} of the {name} part is prompt {other!r} of the {where} part, token for token; "
                        "what is chosen on one part must be judged by others"
                    )

    def __repr__(self) -> str:
        return f"Parts({len(self.train)} train, {len(self.val)} val, {len(self.test)} test)"


def split_parts(
    prompts: PromptSet,
    *,
    train: int = 128,
    val: int = 32,
    test: int = 100,
    column: str = "split",
    seed: int = 0,
) -> Parts:
    """Three parts of at most so many prompts each: those that a column names, or else drawn, groups kept whole.

    Training and validation come first and the test part takes what is left, at least as many as validation; where
    there are too few prompts for that, each part gets its share. Prompts with the same tokens count as one group.

    Raises:
        SplitError: a column that names something else or leaves a part empty; too few groups; a prompt in two parts.

    >>> prompts = PromptSet.from_tokens([[i] for i in range(20)])
    >>> split_parts(prompts, train=8, val=4, test=100)
    Parts(8 train, 4 val, 8 test)
    """
    sizes = dict(zip(NAMES, (train, val, test), strict=True))
    if min(sizes.values()) < 1:
        raise SplitError(f"every part needs a prompt, asked for {sizes}")
    rng = np.random.default_rng(seed)
    if column in prompts.columns:
        of = _named(prompts.columns[column], column)
    else:
        of = _drawn(prompts, sizes, rng)
    parts = {}
    for name in NAMES:
        rows = np.flatnonzero(of == name)
        if not len(rows):
            raise SplitError(f"no prompt of {prompts.source.name} is in the part {name!r}")
        parts[name] = prompts.select(np.sort(rng.permutation(rows)[: sizes[name]]))
    return Parts(**parts)


def at_most(prompts: PromptSet, count: int, seed: int = 0) -> PromptSet:
    """So many of the prompts, drawn at random and in their order; all where there are no more."""
    if len(prompts) <= count:
        return prompts
    return prompts.select(np.sort(np.random.default_rng(seed).permutation(len(prompts))[:count]))


def _named(values: np.ndarray, column: str) -> np.ndarray:
    unknown = sorted({str(v) for v in values} - _SAME.keys())
    if unknown:
        raise SplitError(f"column {column!r} holds {unknown[0]!r}; parts are called train, val and test")
    return np.array([_SAME[str(v)] for v in values])


def _drawn(prompts: PromptSet, sizes: dict[str, int], rng: Any) -> np.ndarray:
    """Whole groups in a random order until each part has its number, the rest to the last."""
    given = prompts.groups if prompts.groups is not None else np.arange(len(prompts)).astype(str)
    group = _joined([str(g) for g in given], [t.tobytes() for t in prompts.tokens])
    n = len(prompts)
    least = {**sizes, "test": min(sizes["test"], sizes["val"])}
    if n < sum(least.values()):
        least = {name: max(1, round(n * size / sum(least.values()))) for name, size in least.items()}
    of = np.full(n, "test", dtype="<U5")
    order = rng.permutation(int(group.max()) + 1)
    if len(order) < len(NAMES):
        raise SplitError(f"{prompts.source.name} has {len(order)} groups; three parts need three at least")
    filled = dict.fromkeys(NAMES, 0)
    for number, one in enumerate(order):
        left = len(order) - number
        empty = [name for name in NAMES if not filled[name]]
        open_ = [name for name in NAMES[:2] if filled[name] < least[name]]
        name = empty[0] if len(empty) >= left else (open_ or ["test"])[0]
        rows = group == one
        of[rows] = name
        filled[name] += int(rows.sum())
    return of


def _joined(groups: list[str], tokens: list[bytes]) -> np.ndarray:
    """A number per prompt, the same for prompts that share a group or their tokens, directly or through others."""
    parent = list(range(len(groups)))

    def top(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[Any, int] = {}
    for i, keys in enumerate(zip(groups, tokens, strict=True)):
        for key in keys:
            parent[top(i)] = top(first.setdefault(key, i))
    return np.unique([top(i) for i in range(len(groups))], return_inverse=True)[1]


def require_apart(harmful: Parts, harmless: Parts) -> None:
    """Raise if a prompt is in both classes.

    Raises:
        PromptError: names the first one.
    """
    seen = {t.tobytes(): i for name in NAMES for i, t in zip(*_ids(harmful, name), strict=True)}
    for name in NAMES:
        for who, tokens in zip(*_ids(harmless, name), strict=True):
            if tokens.tobytes() in seen:
                raise PromptError(f"prompt {who!r} is in both sets, as {seen[tokens.tobytes()]!r} in the other")


def _ids(parts: Parts, name: str) -> tuple[tuple[str, ...], tuple[np.ndarray, ...]]:
    one: PromptSet = getattr(parts, name)
    return one.ids, one.tokens
