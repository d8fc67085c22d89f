"""``sources``: what two results were made with, where that differs: model, data, code, command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from .report import Report
from .result import Result

# Field of the provenance -> what it is called in a sentence.
_CALLED = {
    "model": "model",
    "model_id": "name of the model",
    "revision": "revision",
    "tokenizer": "tokenizer",
    "chat_template": "chat template",
    "bos": "BOS policy",
    "dtype": "precision",
    "prompts": "prompts",
    "code": "code version",
    "seed": "seed",
}
# Options that say where results go or how much is told on the way, not what is computed.
_ELSEWHERE = frozenset({"out", "progress", "no-progress", "interactive", "no-interactive", "wandb"})


@dataclass(frozen=True)
class Source:
    """One thing that two results were made with, where it differs; ``-`` is what one of them does not have."""

    what: str
    a: str
    b: str


def sources(a: Result, b: Result, reports: Sequence[tuple[Report, Report]]) -> tuple[Source, ...]:
    """What two results were made with, where that differs: provenance, files by their hash, options of the command."""
    found: dict[Source, None] = {}
    for name, called in _CALLED.items():
        for one, other in reports:
            left, right = getattr(one.provenance, name), getattr(other.provenance, name)
            if left != right:
                found[Source(called, _text(left), _text(right))] = None
    files = [{f.path: f for f in side.inputs.files} if side.inputs else {} for side in (a, b)]
    for path in files[0].keys() & files[1].keys():
        left, right = files[0][path], files[1][path]
        if left != right:
            found[Source(f"file {path}", _short(left.sha256, left.size), _short(right.sha256, right.size))] = None
    if a.command != b.command:
        said = {f"option --{source.what}" for source in found}
        found |= {option: None for option in _options(a.command, b.command) if option.what not in said}
    return tuple(sorted(found, key=lambda source: source.what.startswith("file ")))


def options(command: str) -> dict[str, str]:
    """A command's words by option; ``""`` holds those that belong to none. Where results go is left out.

    >>> options("interp probe tiny pairs.jsonl --folds 3 --no-untrained --coeff -1 2 --out x")
    {'': 'probe tiny pairs.jsonl', '--folds': '3', '--no-untrained': '', '--coeff': '-1 2'}
    """
    found: dict[str, list[str]] = {"": []}
    name = ""
    for word in shlex.split(command)[1:]:
        if word.startswith("-") and not word[1:2].isdigit() and word[1:2] != ".":
            name, _, value = word.partition("=")
            found[name] = [value] if value else []
        else:
            alone = name.lstrip("-").replace("_", "-") in _ELSEWHERE and found[name]
            found["" if alone else name].append(word)
    return {
        name: shlex.join(words) for name, words in found.items() if name.lstrip("-").replace("_", "-") not in _ELSEWHERE
    }


def _options(a: str | None, b: str | None) -> list[Source]:
    if a is None or b is None:
        return [Source("command", _text(a), _text(b))]
    one, other = options(a), options(b)
    changed = [name for name in dict.fromkeys((*one, *other)) if one.get(name) != other.get(name)]
    return [Source(f"option {name}" if name else "command", _given(one, name), _given(other, name)) for name in changed]


def _given(options: dict[str, str], name: str) -> str:
    return "not given" if name not in options else options[name] or "given"


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _short(sha256: str | None, size: int) -> str:
    return f"{size} bytes" if sha256 is None else f"{sha256[:16]} ({size} bytes)"
