"""``PromptSet``: exact tokens and named positions, as one frozen value."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EmptyPromptsError, PromptError
from .columns import Values, column_array, label_array, name_array
from .hashing import annotation_hash, content_hash
from .source import Source

Select = slice | Sequence[int] | Sequence[bool] | np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class PromptSet:
    """Prompts as exact, unpadded token ids, with named positions (marks) and what is known about each prompt.

    Make one with `from_texts`, `from_chats`, `from_tokens`, or from a file with `load_prompts`.

    Attributes:
        ids: one distinct name per prompt.
        tokens: int64 ids of each prompt, at least one, never padded.
        special: for each token, whether it is a control token (see `encode`); never inferred from a padding id.
        marks: token index per prompt, -1 where the prompt lacks the mark. ``last`` is always there.
        spans: half-open token ranges ``[n, 2]``, such as ``instruction`` of a chat; ``(-1, -1)`` where lacking.
        labels: text, bool, int or float per prompt. ``groups``, ``pairs``: text per prompt. Each may be ``None``.
        columns: everything else that came with the prompts; ``bos`` says what was decided about the BOS of each.
        texts: what was encoded (for chats: the rendered conversation), or ``None`` for raw ids.
        pieces: the vocabulary's string for each id that occurs, where there was a tokenizer.

    Raises:
        EmptyPromptsError: no prompts.
        PromptError: sizes that do not agree, ids that repeat, a prompt without tokens, a mark outside its prompt.

    >>> prompts = PromptSet.from_tokens([[5, 6, 7], [8, 9]], labels=["a", "b"], marks={"subject": [1, -1]})
    >>> prompts.marks["last"].tolist(), prompts.marks["subject"].tolist()
    ([2, 1], [1, -1])
    >>> prompts.select([1])
    PromptSet(1 prompt from memory (tokens), 2 tokens; marks last, subject (0 have it); labels: b 1; bos: given 1)
    """

    ids: tuple[str, ...]
    tokens: tuple[np.ndarray, ...]
    special: tuple[np.ndarray, ...]
    marks: dict[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    pairs: np.ndarray | None = None
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    texts: tuple[str, ...] | None = None
    spans: dict[str, np.ndarray] = field(default_factory=dict)
    source: Source = field(default_factory=Source)
    pieces: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.ids)
        if not n:
            raise EmptyPromptsError(f"there are no prompts in {self.source.name}")
        _check_ids(self.ids)
        put = object.__setattr__
        tokens = tuple(_token_array(t, self.ids[i]) for i, t in enumerate(self.tokens))
        special = tuple(_frozen(np.asarray(s, dtype=bool)) for s in self.special)
        for what, values in (("token sequences", tokens), ("special masks", special), ("texts", self.texts)):
            if values is not None and len(values) != n:
                raise PromptError(f"{len(values)} {what} for {n} prompts")
        for name, t, s in zip(self.ids, tokens, special, strict=True):
            if t.shape != s.shape:
                raise PromptError(f"prompt {name!r} has {len(t)} tokens but a special mask of {len(s)}")
        put(self, "tokens", tokens)
        put(self, "special", special)
        lengths = self.lengths
        marks = {"last": lengths - 1, **{k: v for k, v in self.marks.items() if k != "last"}}
        put(self, "marks", {k: _mark_array(k, v, self.ids, lengths) for k, v in marks.items()})
        put(self, "spans", {k: _span_array(k, v, self.ids, lengths) for k, v in self.spans.items()})
        for name in ("labels", "groups", "pairs"):
            values = getattr(self, name)
            if values is not None:
                array = label_array(values, n) if name == "labels" else name_array(values, n, name[:-1])
                put(self, name, _frozen(array))
        put(self, "columns", {k: _frozen(column_array(v, n, k)) for k, v in self.columns.items()})
        if "bos" in self.columns:
            decisions, counts = np.unique(self.columns["bos"].astype(str), return_counts=True)
            found = dict(zip(decisions.tolist(), counts.tolist(), strict=True))
            put(self, "source", self.source.replace(bos_counts=found))

    # -- making one -------------------------------------------------------------------------------------------------

    @classmethod
    def from_texts(cls, texts: Iterable[str], tokenizer: Any, *, bos: str = "auto", **about: Any) -> PromptSet:
        """Encode plain texts; see `interp.prompts.build.texts_to_prompts` for ``about`` (ids, labels, marks, ...)."""
        from .build import texts_to_prompts

        return texts_to_prompts(texts, tokenizer, bos=bos, **about)

    @classmethod
    def from_chats(
        cls, chats: Iterable[Sequence[Mapping[str, Any]]], tokenizer: Any, *, bos: str = "auto", **options: Any
    ) -> PromptSet:
        """Render and encode conversations; see `interp.prompts.chat.chats_to_prompts` for ``options``."""
        from .chat import chats_to_prompts

        return chats_to_prompts(chats, tokenizer, bos=bos, **options)

    @classmethod
    def from_tokens(
        cls,
        tokens: Iterable[Any],
        *,
        tokenizer: Any = None,
        special: Sequence[Any] | None = None,
        special_ids: Collection[int] = (),
        **about: Any,
    ) -> PromptSet:
        """Take lists or arrays of token ids exactly as they are; see `interp.prompts.build.tokens_to_prompts`."""
        from .build import tokens_to_prompts

        return tokens_to_prompts(tokens, tokenizer=tokenizer, special=special, special_ids=special_ids, **about)

    # -- looking at it ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        from .show import summary

        return summary(self)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens per prompt, int64 ``[n]``."""
        return _frozen(np.array([len(t) for t in self.tokens], dtype=np.int64))

    @property
    def n_tokens(self) -> int:
        """Tokens in all prompts together."""
        return int(self.lengths.sum())

    @cached_property
    def hash(self) -> str:
        """Hash of all that activations depend on: ids, tokens, special masks, marks. Not labels, groups or source."""
        return content_hash(self.ids, self.tokens, self.special, self.marks)

    @cached_property
    def label_hash(self) -> str:
        """Hash of what is said about the prompts: labels, groups, pairs."""
        return annotation_hash(labels=self.labels, groups=self.groups, pairs=self.pairs)

    def index(self, which: int | str) -> int:
        """Position of a prompt, from its id or from a (possibly negative) position."""
        if isinstance(which, str):
            if which not in self._places:
                raise PromptError(f"no prompt has id {which!r}; ids run from {self.ids[0]!r} to {self.ids[-1]!r}")
            return self._places[which]
        if not -len(self) <= which < len(self):
            raise PromptError(f"there is no prompt {which}; there are {len(self)}")
        return which % len(self)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.ids)}

    def describe(self, which: int | str = 0) -> str:
        """One prompt in full, one line per token: index, exact id, token string, special or not, marks."""
        from .show import describe

        return describe(self, self.index(which))

    # -- another one ------------------------------------------------------------------------------------------------

    def select(self, which: Select) -> PromptSet:
        """Some of the prompts, by indices, boolean mask or slice, in the order given.

        Raises:
            EmptyPromptsError: nothing is selected.
            PromptError: an index outside, a mask of another length, or an index given twice.
        """
        keep = _indices(which, len(self))
        if not len(keep):
            raise EmptyPromptsError(f"the selection leaves none of the {len(self)} prompts")

        def some(values: Any) -> Any:
            return None if values is None else values[keep]

        return replace(
            self,
            ids=tuple(self.ids[i] for i in keep),
            tokens=tuple(self.tokens[i] for i in keep),
            special=tuple(self.special[i] for i in keep),
            texts=None if self.texts is None else tuple(self.texts[i] for i in keep),
            marks={k: v[keep] for k, v in self.marks.items()},
            spans={k: v[keep] for k, v in self.spans.items()},
            columns={k: v[keep] for k, v in self.columns.items()},
            labels=some(self.labels),
            groups=some(self.groups),
            pairs=some(self.pairs),
        )

    def with_labels(self, labels: Values | None) -> PromptSet:
        """The same prompts with other labels: text, bool, int or float, one type throughout."""
        return replace(self, labels=None if labels is None else label_array(labels, len(self)))

    def with_groups(self, groups: Values | None) -> PromptSet:
        """The same prompts with other groups (prompts of one group stay on one side of every split)."""
        return replace(self, groups=None if groups is None else name_array(groups, len(self), "group"))

    def with_pairs(self, pairs: Values | None) -> PromptSet:
        """The same prompts with other pair names (such as clean and corrupted of one item)."""
        return replace(self, pairs=None if pairs is None else name_array(pairs, len(self), "pair"))

    def with_marks(self, **marks: Sequence[int] | np.ndarray) -> PromptSet:
        """The same prompts with marks added or replaced: token indices, -1 where a prompt lacks the mark.

        >>> PromptSet.from_tokens([[5, 6, 7]]).with_marks(verb=[1]).marks["verb"].tolist()
        [1]
        """
        if "last" in marks:
            raise PromptError("the mark 'last' is always the last token; choose another name")
        return replace(self, marks={**self.marks, **{k: np.asarray(v) for k, v in marks.items()}})

    def with_columns(self, **columns: Sequence[Any] | np.ndarray) -> PromptSet:
        """The same prompts with metadata columns added or replaced."""
        if "bos" in columns:
            raise PromptError("the column 'bos' records what was decided about each BOS; choose another name")
        arrays = {k: column_array(v, len(self), k) for k, v in columns.items()}
        return replace(self, columns={**self.columns, **arrays})

    def check_fits(self, n_ctx: int) -> None:
        """Raise `PromptTooLongError`, naming the longest prompt and the options, unless all fit ``n_ctx`` tokens."""
        from .fit import check_fits

        check_fits(self, n_ctx)

    def fit(self, n_ctx: int, *, truncate: str | None = None, drop_long: bool = False) -> PromptSet:
        """Make all prompts fit ``n_ctx`` tokens, in the one way that is asked for; recorded in ``source.history``.

        ``truncate='left'`` cuts tokens off the start (a special first token, such as a BOS, stays);
        ``truncate='right'`` cuts them off the end; ``drop_long=True`` leaves out the prompts that are too long. Marks
        on tokens that were cut are lost (-1); ``last`` is the new last token.

        Raises:
            PromptTooLongError: something does not fit and no option is given.
            EmptyPromptsError: every prompt was dropped.
        """
        from .fit import fit

        return fit(self, n_ctx, truncate=truncate, drop_long=drop_long)

    def to_jsonl(self, path: str | Path) -> Path:
        """Write one JSON object per prompt (id, tokens, special, marks, text, label, group, pair, columns)."""
        from .show import write_jsonl

        return write_jsonl(self, Path(path))


def _check_ids(ids: tuple[str, ...]) -> None:
    seen: dict[str, int] = {}
    for i, name in enumerate(ids):
        if not isinstance(name, str):
            raise PromptError(f"prompt ids are text; number {i + 1} is {name!r}")
        if name in seen:
            raise PromptError(
                f"id {name!r} is used twice, by prompts {seen[name] + 1} and {i + 1}; ids must be distinct"
            )
        seen[name] = i


def _token_array(tokens: Any, name: str) -> np.ndarray:
    array = np.asarray(tokens)
    if array.ndim != 1 or array.size == 0:
        raise PromptError(f"prompt {name!r} needs a flat list of at least one token id, got shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise PromptError(f"prompt {name!r} holds token ids of type {array.dtype}; they must be integers")
    if array.min() < 0:
        raise PromptError(f"prompt {name!r} holds the negative token id {array.min()}")
    return _frozen(array.astype(np.int64))


def _mark_array(mark: str, values: Any, ids: tuple[str, ...], lengths: np.ndarray) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != lengths.shape or array.dtype.kind not in "iu":
        raise PromptError(f"mark {mark!r} needs {len(ids)} token indices, got {array.dtype} of shape {array.shape}")
    wrong = np.flatnonzero((array < -1) | (array >= lengths))
    if len(wrong):
        i = int(wrong[0])
        raise PromptError(f"mark {mark!r} is at token {array[i]} of prompt {ids[i]!r}, which has {lengths[i]} tokens")
    return _frozen(array.astype(np.int64))


def _span_array(span: str, values: Any, ids: tuple[str, ...], lengths: np.ndarray) -> np.ndarray:
    array = np.asarray(values, dtype=np.int64)
    if array.shape != (len(ids), 2):
        raise PromptError(f"span {span!r} needs {len(ids)} (start, stop) pairs, got shape {array.shape}")
    start, stop = array.T
    wrong = np.flatnonzero(~((start == -1) & (stop == -1)) & ~((start >= 0) & (start < stop) & (stop <= lengths)))
    if len(wrong):
        i = int(wrong[0])
        raise PromptError(f"span {span!r} is {tuple(array[i].tolist())} in prompt {ids[i]!r} of {lengths[i]} tokens")
    return _frozen(array)


def _frozen(array: np.ndarray) -> np.ndarray:
    """A read-only view or copy; the caller's own array stays writable."""
    out = array.view()
    out.flags.writeable = False
    return out


def _indices(which: Select, n: int) -> np.ndarray:
    if isinstance(which, slice):
        return np.arange(n)[which]
    array = np.asarray(which)
    if array.dtype == bool:
        if array.shape != (n,):
            raise PromptError(f"a mask over {n} prompts needs {n} values, got shape {array.shape}")
        return np.flatnonzero(array)
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise PromptError(f"select takes indices, a mask or a slice, got {array.dtype} of shape {array.shape}")
    outside = array[(array < -n) | (array >= n)]
    if len(outside):
        raise PromptError(f"there is no prompt {outside[0]}; there are {n}")
    array = array.astype(np.int64) % n
    values, counts = np.unique(array, return_counts=True)
    if counts.max() > 1:
        raise PromptError(f"prompt {values[counts.argmax()]} is selected {counts.max()} times; ids must stay distinct")
    return array
