"""Every command that the documentation shows exists, has the options that it names, and takes what it is given."""

from __future__ import annotations

import contextlib
import io
import re
from functools import cache

import pytest
import tyro

from interp.cli import main
from interp.cli.commands import COMMANDS
from tests.docs.reading import NAMES, PAGES, PLACEHOLDER, Page, commands

NESTED = {"testbed", "bench"}


@cache
def options(*command: str) -> frozenset[str]:
    """Every option that the command's help names."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit):
        main([*command, "--help"])
    return frozenset(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", out.getvalue()))


def parse_error(words: list[str]) -> str | None:
    """What the command line says about these words, where it does not take them. Nothing is run."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            tyro.cli(COMMANDS[words[0]], args=words[1:])
        except SystemExit as done:
            return f"interp {' '.join(words)}: {said.getvalue()}" if done.code else None
    return None


def wrong_commands(page: Page) -> list[str]:
    whole = [words for block in page.shell for words in commands(block.text)]
    parts = [words for span in page.spans for words in commands(span)]
    wrong = []
    for words in [*whole, *parts]:
        if not words or words[0].startswith("-") or PLACEHOLDER.search(words[0]):
            continue
        if words[0] not in COMMANDS:
            wrong.append(f"interp {words[0]}: no such command")
            continue
        command = words[: 2 if words[0] in NESTED and len(words) > 1 else 1]
        named = {re.split("[=\\]]", word.lstrip("["))[0] for word in words[1:] if re.match(r"\[?--[a-z]", word)}
        wrong += [f"interp {' '.join(command)} has no {name}" for name in sorted(named - options(*command))]
    for words in whole:
        if words and words[0] in COMMANDS and not PLACEHOLDER.search(" ".join(words)):
            wrong += [error for error in [parse_error(words)] if error]
    return wrong


@pytest.mark.parametrize("name", NAMES)
def test_commands_exist_and_take_what_they_are_given(name: str) -> None:
    assert not (wrong := wrong_commands(PAGES[name])), "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("`interp prob`", "no such command"),
        ("`interp probe --labels`", "interp probe has no --labels"),
        ("`interp testbed build NAME --sed`", "interp testbed build has no --sed"),
        ("```\ninterp probe MODEL\n```", "PROMPTS"),
        ("```\ninterp circuit M P --out x \\\n  --top many\n```", "--top"),
    ],
)
def test_these_tests_see(text: str, fault: str) -> None:
    found = wrong_commands(Page("x.md", text))
    assert found
    assert fault in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "`interp lens MODEL PROMPTS [--tuned FILE | --train TEXTS]`, `interp --help`, `interp.probe`",
        "```\n$ interp probe M P --out x  # why\ninterp probe ...\n```",
    ],
)
def test_these_tests_let_pass(text: str) -> None:
    assert not wrong_commands(Page("x.md", text))


def test_commands_go_on_over_lines() -> None:
    text = (
        "$ interp probe M P --out x  # why\ninterp lens M \\\n  P | head\ninterp show\n    --out 'y z'\nls interp a\n"
    )
    assert list(commands(text)) == [["probe", "M", "P", "--out", "x"], ["lens", "M", "P"], ["show", "--out", "y z"]]
