"""The README's ten lines run, and print what the README says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.S)


def test_the_lines_print_what_the_readme_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ten_lines, edits = _blocks("python")
    (shown,) = _blocks("text")
    out = io.StringIO()
    names: dict[str, object] = {}
    with contextlib.redirect_stdout(out):
        exec(compile(ten_lines, "README.md", "exec"), names)
    assert out.getvalue().strip() == shown.strip()
    assert (tmp_path / "report.html").stat().st_size > 10_000
    exec(compile(edits, "README.md", "exec"), names)


def test_every_file_that_the_readme_names_exists() -> None:
    text = README.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links
    for link in links:
        assert link.startswith("http") or (README.parent / link).exists(), link


def test_every_command_that_the_readme_names_exists() -> None:
    from interp.cli.commands import COMMANDS

    named = set(re.findall(r"^interp (\w+)", README.read_text(encoding="utf-8"), flags=re.M))
    assert named
    assert named <= COMMANDS.keys()
