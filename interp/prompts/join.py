"""``join``: several prompt sets as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import PromptError
from .columns import Values, column_array, label_array
from .promptset import PromptSet


def join(sets: Sequence[PromptSet], *, labels: Values | None = None) -> PromptSet:
    """All prompts in order; ids that repeat get the number of their set in front, as in ``1/12``.

    ``labels`` has one value per set, or per prompt, and replaces the sets' own. Marks, spans and columns that some set
    lacks are -1, ``(-1, -1)`` and ``None`` there; groups and pairs are kept where every set has them.

    Raises:
        PromptError: nothing to join, or sets of different tokenizers or chat templates.

    >>> a, b = PromptSet.from_tokens([[5, 6]]), PromptSet.from_tokens([[7]], marks={"verb": [0]})
    >>> both = join([a, b], labels=[True, False])
    >>> both.ids, both.labels.tolist(), both.marks["verb"].tolist()
    (('1/0', '2/0'), [True, False], [-1, 0])
    """
    if not sets:
        raise PromptError("there are no prompt sets to join")
    for what in ("tokenizer", "chat_template"):
        found = {getattr(one.source, what) for one in sets}
        if len(found) > 1:
            names = ", ".join(one.source.name for one in sets)
            raise PromptError(f"{names} were encoded with different {what.replace('_', ' ')}s, so they cannot be one")
    sizes = [len(one) for one in sets]
    total = sum(sizes)
    ids = [name for one in sets for name in one.ids]
    if len(set(ids)) < len(ids):
        ids = [f"{number}/{name}" for number, one in enumerate(sets, 1) for name in one.ids]
    given = None if labels is None else list(np.asarray(labels).tolist())
    if given is not None and len(given) == len(sets) != total:
        given = [value for value, size in zip(given, sizes, strict=True) for _ in range(size)]
    if given is None and all(one.labels is not None for one in sets):
        given = [value for one in sets if one.labels is not None for value in one.labels.tolist()]
    first = sets[0]
    return PromptSet(
        ids=tuple(ids),
        tokens=tuple(t for one in sets for t in one.tokens),
        special=tuple(s for one in sets for s in one.special),
        marks=_stacked([one.marks for one in sets], sizes, (), -1),
        spans=_stacked([one.spans for one in sets], sizes, (2,), -1),
        labels=None if given is None else label_array(given, total),
        groups=_all([one.groups for one in sets]),
        pairs=_all([one.pairs for one in sets]),
        columns={name: column_array(values, total, name) for name, values in _columns(sets, sizes).items()},
        texts=None if any(one.texts is None for one in sets) else tuple(t for one in sets for t in one.texts or ()),
        source=first.source.replace(name=" + ".join(dict.fromkeys(one.source.name for one in sets))),
        pieces={k: v for one in sets for k, v in one.pieces.items()},
    )


def _all(parts: list[np.ndarray | None]) -> Any:
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if len(there) == len(parts) else None


def _stacked(parts: list[dict[str, np.ndarray]], sizes: list[int], shape: tuple[int, ...], empty: int) -> Any:
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: np.concatenate(
            [part.get(name, np.full((size, *shape), empty)) for part, size in zip(parts, sizes, strict=True)]
        )
        for name in names
    }


def _columns(sets: Sequence[PromptSet], sizes: list[int]) -> dict[str, Any]:
    names = dict.fromkeys(name for one in sets for name in one.columns)
    return {
        name: [
            value
            for one, size in zip(sets, sizes, strict=True)
            for value in (one.columns[name].tolist() if name in one.columns else [None] * size)
        ]
        for name in names
    }
