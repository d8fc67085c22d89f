"""Contrastive activation addition: the same question with one answer and with the other, read at the answer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from ..errors import PromptError, SplitError
from ..prompts import PromptSet
from ..prompts.align import token_span
from ..prompts.build import assemble, prompt_ids
from ..prompts.chat import ChatTemplate
from ..prompts.encode import encode_rendered, encode_texts
from ..prompts.hashing import text_hash, tokenizer_hash
from ..prompts.source import Source
from ..run import capture_stats
from ..sites import Site
from .diff_means import diff_means
from .direction import Direction

if TYPE_CHECKING:
    from ..models import Model

QUESTION, MATCHING, OTHER = "question", "answer_matching_behavior", "answer_not_matching_behavior"
LOPSIDED = 0.8
"""Share of the matching answers that begin with one token from which a warning is due."""


def answer_prompts(
    rows: Sequence[Mapping[str, Any]],
    tokenizer: Any,
    *,
    chat_template: str | Path | None = None,
    question: str = QUESTION,
    matching: str = MATCHING,
    other: str = OTHER,
    name: str = "questions",
) -> PromptSet:
    """Two prompts for each question: it, and one of its answers. Labels 1 (matching) and 0, pairs, and a mark.

    The mark ``answer`` is the token of the letter or word that tells the answers apart: in ``(A)`` that of ``A``. With
    a chat template (given, or the tokenizer's own) the question is the user's and the answer begins the assistant's
    turn; otherwise one follows the other after a blank.

    Raises:
        PromptError: a row lacks a field, or its two answers are the same; with its number.
    """
    asked: list[str] = []
    spans: list[tuple[int, int]] = []
    template = None
    if chat_template is not None or getattr(tokenizer, "chat_template", None):
        template = ChatTemplate.find(tokenizer, chat_template, True, {})
    for i, row in enumerate(rows):
        lacking = [field for field in (question, matching, other) if not str(row.get(field) or "").strip()]
        if lacking:
            raise PromptError(f"{name}, row {i + 1} has nothing in {lacking[0]!r}; its fields are: {', '.join(row)}")
        text, one, two = str(row[question]), str(row[matching]).strip(), str(row[other]).strip()
        start = _first_difference(one, two, f"{name}, row {i + 1}")
        before = template.render([{"role": "user", "content": text}], ask=True) if template else text.rstrip() + " "
        for answer in (one, two):
            asked.append(before + answer)
            spans.append((len(before) + start, len(before) + start + 1))
    if not asked:
        raise PromptError(f"there are no questions in {name}")
    own = template is None or template.own
    encoded = (
        encode_texts(asked, tokenizer, bos="auto")
        if template is None
        else encode_rendered(asked, tokenizer, bos="auto", own_template=own)
    )
    marks = [token_span(t, e, *span, tokenizer)[0] for t, e, span in zip(asked, encoded, spans, strict=True)]
    numbers = [str(i // 2) for i in range(len(asked))]
    source = Source(
        name, "text" if template is None else "chat", bos="auto", tokenizer=tokenizer_hash(tokenizer),
        chat_template=None if template is None else text_hash(template.text),
    )  # fmt: skip
    ids = prompt_ids(len(asked), [f"{i // 2}{'+-'[i % 2]}" for i in range(len(asked))])
    about = ([1 - i % 2 for i in range(len(asked))], numbers, numbers)
    return assemble(
        encoded, tokenizer, source, ids=ids, about=about, columns=None, texts=tuple(asked),
        marks={"answer": np.array(marks, dtype=np.int64)},
    )  # fmt: skip


def caa(
    model: Model,
    prompts: PromptSet,
    sites: str | Site | Sequence[str | Site] = "resid_post",
    *,
    at: str = "answer",
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> dict[Site, Direction]:
    """Mean difference, at the answer's token, between prompts that end in the matching answer and their partners.

    Means are streamed in float64. Within a pair everything before the answer is the same, which is checked; so the
    direction is about the answer. Whether it is about what the answer *means* depends on the letters: where the
    matching answer is nearly always the same letter, a ``UserWarning`` says that it may be about that letter.

    Args:
        prompts: as `answer_prompts` makes them: labels 1 and 0, pairs, and the mark.

    Raises:
        PromptError: no labels, pairs or mark; or a pair whose prompts differ before the answer.
        SplitError: a pair that is not one of each label.

    Source: Rimsky et al., Steering Llama 2 via Contrastive Activation Addition (arXiv 2312.06681), section 3.

    >>> from interp import load_model, testbeds
    >>> model = load_model(testbeds.path("induction"))
    >>> tokens = [[5, 9, 11], [5, 9, 12], [6, 7, 11], [6, 7, 12], [8, 7, 12], [8, 7, 11]]
    >>> prompts = PromptSet.from_tokens(tokens, labels=[1, 0] * 3, pairs=list("aabbcc"), marks={"answer": [2] * 6})
    >>> [str(site) for site in caa(model, prompts, "resid_post.0")]
    ['resid_post.0']
    """
    up = _checked(prompts, at)
    _warn_of_letters(prompts, up, at)
    moments = capture_stats(model, prompts, sites, at=at, by=up, batch_tokens=batch_tokens, progress=progress)
    made: dict[Site, Direction] = {}
    for site in moments.sites:
        sides = moments.mean(site, True), moments.mean(site, False)
        found = diff_means(*sides, site=site, mark=at, provenance=moments.provenance)
        made[site] = Direction(found.site, at, found.unit, found.scale, "caa", found.provenance)
    return made


def _first_difference(one: str, other: str, where: str) -> int:
    """Where two answers part."""
    if one == other:
        raise PromptError(f"{where}: both answers are {one!r}")
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if at is None or one[at].isspace() or other[at].isspace():
        raise PromptError(f"{where}: one answer, {one!r} or {other!r}, is the beginning of the other")
    return at


def _checked(prompts: PromptSet, at: str) -> Bool[np.ndarray, " prompt"]:
    """Which prompts are positive, after the check that pairs part at the mark and not before."""
    if prompts.labels is None or prompts.pairs is None:
        raise PromptError("caa needs labels (the matching answer sorts last) and pairs; answer_prompts makes both")
    if at not in prompts.marks or (prompts.marks[at] < 0).any():
        raise PromptError(f"some prompts lack the mark {at!r}, the token of the answer")
    classes = np.unique(prompts.labels)
    if len(classes) != 2:
        raise SplitError(f"caa needs two labels, these prompts have {len(classes)}")
    up = prompts.labels == classes[1]
    for name in np.unique(prompts.pairs):
        rows = np.flatnonzero(prompts.pairs == name)
        if len(rows) != 2 or up[rows].sum() != 1:
            raise SplitError(f"pair {name!r} is not one prompt of each label; leave incomplete pairs out")
        one, two = (prompts.tokens[i][: prompts.marks[at][i]] for i in rows)
        if not np.array_equal(one, two):
            who = " and ".join(repr(prompts.ids[i]) for i in rows)
            raise PromptError(
                f"prompts {who} of pair {name!r} differ before the answer at {at!r}, so would the direction"
            )
    return up


def _warn_of_letters(prompts: PromptSet, up: np.ndarray, at: str) -> None:
    tokens = np.array([t[i] for t, i in zip(prompts.tokens, prompts.marks[at], strict=True)])
    ids, counts = np.unique(tokens[up], return_counts=True)
    share = counts.max() / counts.sum()
    if share >= LOPSIDED and len(tokens) > 2:
        token = int(ids[counts.argmax()])
        shown = prompts.pieces.get(token, str(token))
        warnings.warn(
            f"{share:.0%} of the matching answers are {shown!r}, so the direction may be about that answer and not "
            "about what it says; exchange the answers in half of the questions",
            UserWarning,
            stacklevel=3,
        )
