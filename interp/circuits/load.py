"""``load_pairs``: pairs of prompts from JSON lines, JSON or CSV; the public files of two papers as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ..errors import CircuitError, PromptError, TokenizerMissingError
from ..prompts import PromptSet
from ..prompts.align import substring_span, token_span
from ..prompts.build import assemble
from ..prompts.encode import Encoded, encode_texts
from ..prompts.hashing import tokenizer_hash
from ..prompts.load import read_table
from ..prompts.source import Source
from .answers import Answer, answer_tokens, two_digits
from .pairs import Pairs, token_lists


@dataclass(frozen=True)
class _Layout:
    """Which fields hold what.

    ``years`` marks the greater-than task: the answer is every later two-digit year. ``words``: answers are bare words,
    which follow the prompt after a space.
    """

    clean: str
    corrupted: str
    answers: tuple[str, ...]
    wrong: tuple[str, ...]
    years: bool = False
    words: bool = False


_LAYOUTS = (
    _Layout("clean_prefix", "patch_prefix", ("clean_answer",), ("patch_answer",)),
    _Layout("clean", "corrupted", ("correct_idx",), ("incorrect_idx",)),
    _Layout("clean", "corrupted", ("answers", "answer"), ("wrong_answers", "wrong_answer", "wrong")),
    _Layout("clean", "corrupted", ("label",), (), years=True),
    _Layout("one_prefix_prefix", "one_prefix_prefix", ("one_prefix_word_good",), ("one_prefix_word_bad",), words=True),
)
EACH = "each"  # as a group: every pair by itself
_GROUP = ("group", "groups")


def load_pairs(
    source: Any,
    tokenizer: Any = None,
    *,
    corrupted: str | None = None,
    answers: Literal["one", "first"] = "one",
    unusable: Literal["raise", "drop"] = "raise",
    align: bool = False,
    group: str | None = None,
    bos: str = "auto",
    limit: int | None = None,
) -> Pairs:
    """Read pairs from a file, or from rows at hand.

    A row has ``clean`` and ``corrupted`` (texts, or lists of token ids), ``answer`` or ``answers``, and, for metrics
    that compare, ``wrong_answer`` or ``wrong_answers``. Answers are texts that follow the prompt, or token ids.
    ``clean_spans`` and ``corrupted_spans`` may name spans: a substring or a ``[start, stop]`` range each (characters
    of a text, tokens of a list). EAP-IG's files (``correct_idx``, or a two-digit ``label`` that later years answer) and
    feature-circuits' (``clean_prefix``, ``patch_prefix``, ``clean_answer``, ``patch_answer``) are known, and BLiMP's
    one-prefix paradigms (``one_prefix_prefix``, ``one_prefix_word_good``, ``one_prefix_word_bad``), which have no
    corrupted prompts: the clean ones stand in for them, which suits ablations that need none.

    Args:
        corrupted: another field that holds the corrupted prompt.
        answers: ``one``: every answer must be one token. ``first``: tokens that right and wrong answers share go to
            the end of both prompts, and the first that differs is the answer.
        unusable: ``drop`` leaves out, and counts, pairs whose prompts differ in length and have no spans, and pairs
            whose answers are not one token each (or, with ``first``, are not told apart by one).
        align: for pairs without spans: what both prompts begin and end with alike is matched token by token, and what
            lies between is one span, ``differs``, so that lengths may differ.
        group: the field whose value pairs that are not independent share; ``each`` makes every pair a group of its own.
            By default a field ``group``; where there is none, texts whose prompts differ in the same words are one.

    Raises:
        TokenizerMissingError: texts, but no tokenizer.
        CircuitError: rows without the fields, answers of several tokens, pairs of unequal length.

    >>> load_pairs([{"clean": [5, 9, 7], "corrupted": [5, 8, 7], "answer": 3, "wrong_answer": 4}])
    Pairs(1 pair, 3 tokens each, 1 of them corrupted on average; answers: 1 right, 1 wrong)
    """
    if answers not in ("one", "first") or unusable not in ("raise", "drop"):
        raise CircuitError(f"answers={answers!r} ('one' or 'first'), unusable={unusable!r} ('raise' or 'drop')")
    table = read_table(source).head(limit)
    layout = _layout(table.columns, table.name, corrupted)
    sides = [[row[field] for row in table.rows] for field in (layout.clean, layout.corrupted)]
    ids = [str(row.get("id", i)) for i, row in enumerate(table.rows)]
    groups = _groups(table.columns, table.rows, group)
    if groups is None and group != EACH and isinstance(sides[0][0], str):
        groups = [_differing(*both) for both in zip(*sides, strict=True)]
    spans = [[row.get(f"{side}_spans") or {} for row in table.rows] for side in ("clean", "corrupted")]
    if isinstance(sides[0][0], str):
        if tokenizer is None:
            raise TokenizerMissingError(f"{table.name} holds texts, but there is no tokenizer; pass one")
        encoded = [encode_texts(texts, tokenizer, bos=bos) for texts in sides]
        ranges = [_char_spans(*side, tokenizer) for side in zip(sides, encoded, spans, strict=True)]
    else:
        encoded = [[_given(t) for t in tokens] for tokens in sides]
        ranges = [[{name: tuple(at) for name, at in one.items()} for one in side] for side in spans]
    found: list[Answer | None] = []
    reason = ""
    for i, row in enumerate(table.rows):
        try:
            found.append(_answers(row, layout, sides[0][i], encoded[0][i], tokenizer, answers))
        except CircuitError as error:
            if unusable == "raise":
                raise CircuitError(f"{table.name}, {table.places[i]}: {error}") from error
            found.append(None)
            reason = reason or f"; {table.places[i]}: {error}"
        else:
            for side in encoded:
                side[i] = _longer(side[i], found[-1])
    if align and layout.corrupted != layout.clean:
        for i in range(len(ids)):
            if not ranges[0][i] and not ranges[1][i]:
                ranges[0][i], ranges[1][i] = _difference(encoded[0][i].tokens, encoded[1][i].tokens)
    names = tuple(dict.fromkeys(name for one in ranges[0] for name in one))
    keep, notes = _usable(found, encoded, names, unusable, table.name, reason)
    notes += _about_groups(groups, keep, group, table.columns)
    if layout.corrupted == layout.clean:
        notes = (*notes, "no corrupted prompts: the clean ones stand in")
    if answers == "first":
        notes = (*notes, "answers by their first token that differs")
    kept = [answer for i in keep if (answer := found[i]) is not None]
    sets = [
        _prompt_set([encoded[s][i] for i in keep], [sides[s][i] for i in keep], [ranges[s][i] for i in keep], names,
                    [ids[i] for i in keep], None if groups is None else [groups[i] for i in keep], tokenizer, bos,
                    table.name)
        for s in (0, 1)
    ]  # fmt: skip
    right, wrong = token_lists([a.right for a in kept]), token_lists([a.wrong for a in kept])
    return Pairs(sets[0], sets[1], right, wrong, names, notes)


def _layout(columns: list[str], name: str, corrupted: str | None) -> _Layout:
    for layout in _LAYOUTS:
        side = corrupted or layout.corrupted
        if {layout.clean, side} <= set(columns) and any(a in columns for a in layout.answers):
            return replace(layout, corrupted=side)
    if {"sentence_good", "sentence_bad"} <= set(columns):
        raise CircuitError(
            f"{name} has whole sentences, good and bad, and no prompt that two words can follow; of BLiMP, paradigms "
            "of the one-prefix method can be used"
        )
    raise CircuitError(
        f"{name} has the fields {', '.join(columns)}; pairs need 'clean', 'corrupted' and 'answer' (or 'answers')"
    )


def _groups(columns: list[str], rows: list[dict[str, Any]], group: str | None) -> list[str] | None:
    if group == EACH:
        return None
    field = group or next((g for g in _GROUP if g in columns), None)
    if field is None:
        return None
    if field not in columns:
        raise CircuitError(f"there is no field {field!r}; fields are {', '.join(columns)}")
    return [str(row[field]) for row in rows]


def _differing(clean: str, corrupted: str) -> str:
    """The words that only one of two prompts has; the prompt itself where there are none."""
    return " ".join(sorted(set(clean.split()) ^ set(corrupted.split()))) or clean


def _about_groups(groups: list[str] | None, keep: list[int], group: str | None, columns: list[str]) -> tuple[str, ...]:
    """A note on groups that were found in the words, if they join any pairs."""
    if groups is None or group is not None or any(g in columns for g in _GROUP):
        return ()
    n = len({groups[i] for i in keep})
    return () if n == len(keep) else (f"{n} group{'s' * (n != 1)} by the words in which prompts differ",)


def _answers(row: Mapping[str, Any], layout: _Layout, text: Any, encoded: Encoded, tokenizer: Any, how: str) -> Answer:
    if layout.years:
        return two_digits(row["label"], tokenizer)
    given = [_listed(row, names) for names in (layout.answers, layout.wrong)]
    if layout.words:
        given = [[f" {word}" for word in side] for side in given]
    return answer_tokens(given[0], given[1], text, encoded, tokenizer, how)


def _listed(row: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """The answers of a row: one or several, texts or ids (which a CSV file holds as text)."""
    name = next((n for n in names if row.get(n) is not None), None)
    if name is None:
        return []
    value = row[name]
    found = list(value) if isinstance(value, (list, tuple)) else [value]
    return [int(v) if name.endswith("_idx") else v for v in found]


def _char_spans(texts: list[str], encoded: list[Encoded], spans: list[Mapping[str, Any]], tokenizer: Any) -> list[dict]:
    found = []
    for text, one, named in zip(texts, encoded, spans, strict=True):
        ranges = {}
        for name, part in named.items():
            try:
                start, stop = substring_span(text, part) if isinstance(part, str) else (int(part[0]), int(part[1]))
                ranges[name] = token_span(text, one, start, stop, tokenizer)
            except (PromptError, TypeError, ValueError, IndexError) as error:
                raise CircuitError(f"span {name!r} of {text[:60]!r}: {error}") from error
        found.append(ranges)
    return found


def _given(tokens: Any) -> Encoded:
    array = np.asarray(tokens, np.int64)
    return Encoded(array, np.zeros(len(array), bool), None, "given", 0)


def _longer(encoded: Encoded, answer: Answer | None) -> Encoded:
    """The prompt with what all its answers share at its end."""
    more = np.array(answer.shared if answer is not None else (), np.int64)
    tokens = np.concatenate([encoded.tokens, more])
    special = np.concatenate([encoded.special, np.zeros(len(more), bool)])
    return replace(encoded, tokens=tokens, special=special)


def _difference(clean: np.ndarray, corrupted: np.ndarray) -> tuple[dict, dict]:
    """The stretch in which two prompts differ, as a span of at least one token in both."""
    shorter = min(len(clean), len(corrupted))
    equal = clean[:shorter] == corrupted[:shorter]
    front = shorter if equal.all() else int(equal.argmin())
    equal = clean[::-1][: shorter - front] == corrupted[::-1][: shorter - front]
    back = len(equal) if equal.all() else int(equal.argmin())
    if front == shorter - back:  # one of the two is all prefix and suffix; a token of the prefix stands for nothing
        front, back = (front - 1, back) if front else (front, back - 1)
    return {"differs": (front, len(clean) - back)}, {"differs": (front, len(corrupted) - back)}


def _usable(
    found: list[Answer | None],
    encoded: list[list[Encoded]],
    names: tuple[str, ...],
    unusable: str,
    source: str,
    reason: str,
) -> tuple[list[int], tuple[str, ...]]:
    """Which pairs are kept, and a note on those that are not; `Pairs` itself refuses what is kept and does not fit."""
    every = range(len(found))
    if unusable == "raise":
        return list(every), ()
    answered = [i for i in every if found[i] is not None]
    keep = [i for i in answered if names or len(encoded[0][i].tokens) == len(encoded[1][i].tokens)]
    lost = {"answers of several tokens": len(found) - len(answered), "unequal lengths": len(answered) - len(keep)}
    reasons = ", ".join(f"{n} {why}" for why, n in lost.items() if n)
    if not keep:
        raise CircuitError(f"no pair of {source} can be used: {reasons} of {len(found)}{reason}")
    return keep, ((f"left out of {len(found)}: {reasons}",) if reasons else ())


def _prompt_set(
    encoded: list[Encoded], texts: list[Any], ranges: list[dict], names: tuple[str, ...], ids: list[str],
    groups: list[str] | None, tokenizer: Any, bos: str, name: str,
) -> PromptSet:  # fmt: skip
    spans = {n: np.array([one.get(n, (-1, -1)) for one in ranges]) for n in names}
    if not isinstance(texts[0], str):
        made = PromptSet.from_tokens([e.tokens for e in encoded], ids=ids, groups=groups, name=name)
        return replace(made, spans=spans)
    source = Source(name, "text", bos=bos, tokenizer=tokenizer_hash(tokenizer))
    return assemble(
        encoded, tokenizer, source, ids=tuple(ids), about=(None, groups, None), columns=None, texts=tuple(texts),
        spans=spans,
    )  # fmt: skip
