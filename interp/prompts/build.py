"""From texts or raw token ids to a `PromptSet`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import EmptyPromptsError, PromptError
from .align import substring_span, token_span
from .columns import Values, column_array, is_missing, label_array, name_array
from .encode import Encoded, control_mask, encode_texts, token_pieces
from .hashing import tokenizer_hash
from .promptset import PromptSet
from .source import Source

CharMark = str | tuple[int, int] | Sequence[int] | None


def texts_to_prompts(
    texts: Iterable[str],
    tokenizer: Any,
    *,
    bos: str = "auto",
    ids: Sequence[str] | None = None,
    labels: Values | None = None,
    groups: Values | None = None,
    pairs: Values | None = None,
    columns: Mapping[str, Any] | None = None,
    marks: Mapping[str, Sequence[CharMark]] | None = None,
    name: str = "memory",
) -> PromptSet:
    """Encode plain texts as the tokenizer itself would; ``bos`` is 'auto', 'always' or 'never'.

    ``marks`` maps a name to one entry per text: a substring that is in the text once, or a ``(start, stop)`` range of
    characters; the mark is the last token that covers it. ``None`` means that the text lacks the mark.

    Raises:
        TokenizerMissingError: ``tokenizer`` is ``None``.
        EmptyPromptsError: no texts.
        PromptError: an empty or non-text prompt, or a mark that is absent or ambiguous, with the prompt's id.
    """
    given = list(texts)
    names = prompt_ids(len(given), ids)
    for i, text in enumerate(given):
        check_text(text, f"prompt {names[i]!r} (number {i + 1})")
    _some(given, name)
    encoded = encode_texts(given, tokenizer, bos=bos, offsets=bool(marks))
    found = {}
    for mark, parts in (marks or {}).items():
        if len(parts) != len(given):
            raise PromptError(f"mark {mark!r} has {len(parts)} entries for {len(given)} prompts")
        rows = zip(names, given, encoded, parts, strict=True)
        found[mark] = [_char_mark(mark, who, text, one, part, tokenizer) for who, text, one, part in rows]
    return assemble(
        encoded,
        tokenizer,
        Source(name, "text", bos=bos, tokenizer=tokenizer_hash(tokenizer)),
        ids=names,
        texts=tuple(given),
        marks={k: np.array(v, dtype=np.int64) for k, v in found.items()},
        about=(labels, groups, pairs),
        columns=columns,
    )


def tokens_to_prompts(
    tokens: Iterable[Any],
    *,
    tokenizer: Any = None,
    special: Sequence[Any] | None = None,
    special_ids: Collection[int] = (),
    ids: Sequence[str] | None = None,
    labels: Values | None = None,
    groups: Values | None = None,
    pairs: Values | None = None,
    columns: Mapping[str, Any] | None = None,
    marks: Mapping[str, Sequence[int] | np.ndarray] | None = None,
    name: str = "memory",
) -> PromptSet:
    """Take token ids exactly as they are: no BOS is added, nothing is removed.

    Which tokens are special is said by ``special`` (one mask per prompt), or by ``special_ids``, or by the control
    tokens of ``tokenizer``; without any of them no token is special. ``marks`` are token indices, -1 for none.

    >>> tokens_to_prompts([[1, 7, 8]], special_ids=[1]).special[0].tolist()
    [True, False, False]
    """
    rows = [_id_list(t, i) for i, t in enumerate(tokens)]
    _some(rows, name)
    if (special is not None) + bool(special_ids) + (tokenizer is not None and special is None) > 1:
        raise PromptError("give one of special, special_ids and tokenizer to say which tokens are special")
    if special is not None:
        masks = [np.asarray(m, dtype=bool) for m in special]
    elif tokenizer is not None:
        masks = [control_mask(t, tokenizer) for t in rows]
    else:
        masks = [np.isin(t, list(special_ids)) for t in rows]
    return PromptSet(
        ids=prompt_ids(len(rows), ids),
        tokens=tuple(rows),
        special=tuple(masks),
        marks={k: np.asarray(v) for k, v in (marks or {}).items()},
        columns={**_column_arrays(columns, len(rows)), "bos": np.full(len(rows), "given", dtype=object)},
        **_annotations(len(rows), labels, groups, pairs),
        source=Source(name, "tokens", tokenizer=None if tokenizer is None else tokenizer_hash(tokenizer)),
        pieces={} if tokenizer is None else token_pieces(rows, tokenizer),
    )


def assemble(
    encoded: Sequence[Encoded],
    tokenizer: Any,
    source: Source,
    *,
    ids: tuple[str, ...],
    about: tuple[Values | None, Values | None, Values | None],
    columns: Mapping[str, Any] | None,
    **fields: Any,
) -> PromptSet:
    """A `PromptSet` from encoded texts; ``about`` is labels, groups, pairs."""
    for i, one in enumerate(encoded):
        if not len(one.tokens):
            raise PromptError(f"prompt {ids[i]!r} gives no token at all; drop it, or use bos='always'")
    decisions = np.array([e.bos for e in encoded], dtype=object)
    return PromptSet(
        ids=ids,
        tokens=tuple(e.tokens for e in encoded),
        special=tuple(e.special for e in encoded),
        columns={**_column_arrays(columns, len(ids)), "bos": decisions},
        source=source,
        pieces=token_pieces([e.tokens for e in encoded], tokenizer),
        **_annotations(len(ids), *about),
        **fields,
    )


def prompt_ids(n: int, ids: Sequence[str] | None) -> tuple[str, ...]:
    """The ids given, as text, or '0', '1', ..."""
    if ids is None:
        return tuple(str(i) for i in range(n))
    if len(ids) != n:
        raise PromptError(f"{len(ids)} ids for {n} prompts")
    for i, value in enumerate(ids):
        if is_missing(value):
            raise PromptError(f"id {i + 1} of {n} is missing")
    return tuple(str(i) for i in ids)


def check_text(text: Any, where: str) -> None:
    """Raise unless ``text`` is a text with something in it."""
    if not isinstance(text, str):
        shown = "missing" if is_missing(text) else f"a {type(text).__name__} ({str(text)[:40]}), not text"
        raise PromptError(f"{where} is {shown}")
    if not text:
        raise PromptError(f"{where} is an empty text; drop it or give it some text")


def _char_mark(mark: str, who: str, text: str, encoded: Encoded, part: CharMark, tokenizer: Any) -> int:
    """Token index of the last token that covers ``part`` of the text; -1 for no part."""
    if part is None:
        return -1
    try:
        start, stop = substring_span(text, part) if isinstance(part, str) else _char_span(text, part)
        return token_span(text, encoded, start, stop, tokenizer)[1] - 1
    except PromptError as error:
        raise PromptError(f"mark {mark!r} of prompt {who!r}: {error}") from error


def _char_span(text: str, part: Any) -> tuple[int, int]:
    try:
        start, stop = (int(v) for v in part)
    except (TypeError, ValueError):
        raise PromptError(f"expected a substring or a (start, stop) character range, got {part!r}") from None
    if not 0 <= start < stop <= len(text):
        raise PromptError(f"characters {start}..{stop} are not in a text of {len(text)} characters")
    return start, stop


def _id_list(tokens: Any, i: int) -> np.ndarray:
    try:
        array = np.asarray(tokens)
    except ValueError:
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "iu" or array.ndim != 1 or not array.size:
        raise PromptError(f"prompt number {i + 1} is not a flat list of token ids: {str(tokens)[:60]}")
    return array


def _column_arrays(columns: Mapping[str, Any] | None, n: int) -> dict[str, np.ndarray]:
    if columns and "bos" in columns:
        raise PromptError("the column 'bos' records what was decided about each BOS; rename yours")
    return {k: column_array(v, n, k) for k, v in (columns or {}).items()}


def _annotations(n: int, labels: Values | None, groups: Values | None, pairs: Values | None) -> dict[str, Any]:
    return {
        "labels": None if labels is None else label_array(labels, n),
        "groups": None if groups is None else name_array(groups, n, "group"),
        "pairs": None if pairs is None else name_array(pairs, n, "pair"),
    }


def _some(rows: Sequence[Any], name: str) -> None:
    if not rows:
        raise EmptyPromptsError(f"there are no prompts in {name}")
