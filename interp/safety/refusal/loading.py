"""``load_requests``: files of harmful and harmless requests to `Requests`, with parts that share no request."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import PromptError, SplitError, TokenizerMissingError
from ...prompts import PromptSet
from ...prompts.fields import guess_prompt_field
from ...prompts.load import read_table
from ...prompts.readers import Table
from .requests import PARTS, ROLES, T_INST, TEST, TRAIN, VALIDATION, Chat, Requests

Array = NDArray[Any]
SHARES = {TRAIN: 0.5, VALIDATION: 0.2, TEST: 0.3}
"""How groups are dealt out where the files do not say."""

_PART_NAMES = {"train": TRAIN, "val": VALIDATION, "validation": VALIDATION, "dev": VALIDATION, "test": TEST}
_GROUP_FIELDS = ("group", "pair", "pair_id")
_PLAIN = {"harmful": "plain", "harmless": "plain", "jailbroken": "jailbroken", "overrefused": "over-refused"}


def load_requests(
    tokenizer: Any,
    *,
    harmful: Any,
    harmless: Any,
    jailbroken: Any = None,
    overrefused: Any = None,
    template: str | Path | None = None,
    template_options: Mapping[str, Any] | None = None,
    system: str | None = None,
    limit: int | None = None,
    n_ctx: int | None = None,
    seed: int = 0,
) -> Requests:
    """Requests of up to four roles as chat prompts, dealt into training, validation and test parts.

    Each source is a file (as for `load_prompts`; ``FILE@FIELD=VALUE`` takes only those rows, such as
    ``xstest_prompts.csv@label=safe``) or a list of rows. A row's prompt is a text, which becomes a user message, or a
    list of messages. Used where they are there: ``topic``, ``category``, ``refused`` (0 or 1), ``split`` (train, val,
    test; in all files or in none) and ``group`` or ``pair`` (rows that belong together, such as a request and its
    jailbroken wording). Requests with the same tokens up to ``t_inst`` always belong together.

    Args:
        jailbroken: harmful requests that are dressed up so as to be answered.
        overrefused: harmless requests that look harmful, or come with a context that makes the model refuse.
        template: a Jinja file or text, for tokenizers without a chat template or instead of theirs.
        system: a system message for rows that are texts.
        limit: take so many rows of each source at most, drawn at random.
        n_ctx: leave out prompts of more tokens; a note counts them.
        seed: of the draws and, where the files have no ``split``, of the parts.

    Raises:
        PromptError: a file, a field or a row that cannot be used; the message names it.
        SplitError: files that disagree about parts, or a group in two of them.

    >>> from interp import load_model, testbeds
    >>> tokenizer = load_model(testbeds.path("memory")).tokenizer
    >>> template = "{% for m in messages %}{{ m['content'] }}{% endfor %} ."
    >>> rows = [{"instruction": f"{name} went home"} for name in ("anna", "ben", "carl", "dora")]
    >>> load_requests(tokenizer, harmful=rows[:2], harmless=rows[2:], template=template)
    Requests(2 harmful, 2 harmless; 4 groups; train 2, val 0, test 2)
    """
    if tokenizer is None:
        raise TokenizerMissingError("requests are texts, but the model has no tokenizer")
    given = {"harmful": harmful, "harmless": harmless, "jailbroken": jailbroken, "overrefused": overrefused}
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for role in ROLES:
        if given[role] is not None:
            made, told = _rows(given[role], role, system, limit, rng)
            rows += made
            notes += told
    columns = {name: [row[name] for row in rows] for name in ("role", "topic", "category")}
    prompts = PromptSet.from_chats(
        [row["chat"] for row in rows], tokenizer, chat_template=template, template_options=template_options,
        ids=[row["id"] for row in rows], columns=columns, name="requests",
    )  # fmt: skip
    if n_ctx is not None and (prompts.lengths > n_ctx).any():
        kept = np.flatnonzero(prompts.lengths <= n_ctx)
        notes.append(f"{len(prompts) - len(kept)} of {len(prompts)} requests exceed {n_ctx} tokens and were left out.")
        prompts, rows = prompts.select(kept), [rows[i] for i in kept]
    group = _groups(prompts, [row["group"] for row in rows])
    if all(row["group"] is None for row in rows) and {"jailbroken", "overrefused"} & {row["role"] for row in rows}:
        notes.append(
            "No field says which requests belong together, so a jailbroken wording may be judged by centroids that saw "
            "its plain wording; give both one group."
        )
    part = _parts(rows, group, rng)
    named = {name: np.array([row[name] for row in rows], dtype=object) for name in ("role", "topic", "category")}
    return Requests(
        prompts, tuple(row["chat"] for row in rows), group=group, part=part,
        expected=np.array([row["refused"] for row in rows]), template=template, notes=tuple(notes), **named,
    )  # fmt: skip


def source_of(text: str) -> tuple[str, str | None, str | None]:
    """A path, and the field and value that rows must have: ``a.csv@label=safe``.

    >>> source_of("prompts.csv@label=safe"), source_of("prompts.csv")
    (('prompts.csv', 'label', 'safe'), ('prompts.csv', None, None))
    """
    path, at, rule = text.rpartition("@")
    if not at or "=" not in rule or os.path.exists(text):
        return text, None, None
    field, _, value = rule.partition("=")
    return path, field, value


def _rows(
    source: Any, role: str, system: str | None, limit: int | None, rng: np.random.Generator
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of one source, and what a reader should know about what was left out."""
    field = value = None
    if isinstance(source, str):
        source, field, value = source_of(source)
    table = read_table(source)
    spec = guess_prompt_field(table)
    keep = list(range(len(table.rows)))
    if field is not None:
        if field not in table.columns:
            raise PromptError(f"{table.name} has no field {field!r}; fields are: {', '.join(table.columns)}")
        keep = [i for i in keep if str(table.rows[i].get(field)) == value]
        if not keep:
            known = sorted({str(row.get(field)) for row in table.rows})[:8]
            raise PromptError(f"no row of {table.name} has {field}={value}; values are: {', '.join(known)}")
    notes = []
    if limit is not None and len(keep) > limit:
        notes.append(f"{limit} of {len(keep)} {role} requests were drawn at random.")
        keep = sorted(rng.permutation(keep)[:limit].tolist())
    return [_row(table, i, spec, role, system) for i in keep], notes


def _row(table: Table, i: int, spec: str, role: str, system: str | None) -> dict[str, Any]:
    row, place = table.rows[i], f"{table.name}, {table.places[i]}"
    told = row.get("harmful")
    if told is not None and bool(int(told)) != (role in ("harmful", "jailbroken")):
        raise PromptError(f"{place}: the row has harmful={told}, but was given among the {role} requests")
    refused = row.get("refused")
    group = next((str(row[f]) for f in _GROUP_FIELDS if row.get(f) is not None), None)
    return {
        "chat": _chat(row.get(spec), place, system), "role": role, "id": f"{role}-{i}",
        "topic": str(row.get("topic") or ""), "category": str(row.get("category") or _PLAIN[role]),
        "refused": -1 if refused is None else int(refused), "group": group, "split": row.get("split"), "place": place,
    }  # fmt: skip


def _chat(content: Any, place: str, system: str | None) -> Chat:
    if isinstance(content, str):
        if not content.strip():
            raise PromptError(f"{place}: the request is empty")
        before = () if system is None else ({"role": "system", "content": system},)
        return (*before, {"role": "user", "content": content})
    if isinstance(content, Sequence) and content and isinstance(content[0], Mapping):
        return tuple(dict(m) for m in content)
    raise PromptError(f"{place}: a request is a text or a list of messages, got {str(content)[:60]!r}")


def _groups(prompts: PromptSet, given: Sequence[str | None]) -> Array:
    """Rows that share a given group, or their tokens up to the end of the instruction, directly or through others."""
    parent: dict[Any, Any] = {}

    def top(key: Any) -> Any:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    keys = []
    for tokens, end, group in zip(prompts.tokens, prompts.marks[T_INST], given, strict=True):
        key = tokens[: int(end) + 1].tobytes()
        keys.append(key)
        if group is not None:
            parent[top(key)] = top(("group", group))
    roots = [top(key) for key in keys]
    number = {root: i for i, root in enumerate(dict.fromkeys(roots))}
    return np.array([number[root] for root in roots])


def _parts(rows: Sequence[Mapping[str, Any]], group: Array, rng: np.random.Generator) -> Array:
    """The part of each row: as the files say, or whole groups dealt out, evenly over what roles a group has."""
    told = [row["split"] for row in rows]
    if any(t is not None for t in told):
        part = []
        for row, name in zip(rows, told, strict=True):
            if name is None or str(name).lower() not in _PART_NAMES:
                raise SplitError(
                    f"{row['place']}: split is {name!r}; where one row has a split, each needs train, val or test"
                )
            part.append(_PART_NAMES[str(name).lower()])
        out = np.array(part, dtype=object)
        for g in np.unique(group):
            found = sorted(set(out[group == g]))
            if len(found) > 1:
                first = rows[int(np.flatnonzero(group == g)[0])]
                raise SplitError(
                    f"{first['place']}: its group, or the same tokens, occurs in {' and '.join(found)}; keep what "
                    "belongs together in one part"
                )
        return out
    roles = np.array([row["role"] for row in rows])
    kinds = np.array(["".join(np.unique(roles[group == g])) for g in np.unique(group)])
    out = np.full(len(rows), TEST, dtype=object)
    for kind in np.unique(kinds):
        members = rng.permutation(np.flatnonzero(kinds == kind))
        n_train = round(SHARES[TRAIN] * len(members))
        n_val = round(SHARES[VALIDATION] * len(members))
        for name, chosen in zip(PARTS[:2], (members[:n_train], members[n_train : n_train + n_val]), strict=True):
            out[np.isin(group, chosen)] = name
    return out
