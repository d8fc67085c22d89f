"""Pages of the documentation as the tests see them: their links, anchors, pictures, paths, blocks and commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from pymdownx.slugs import slugify

ROOT = Path(__file__).parents[2]
NAMES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md"]
NAMES += sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md"))

PARTS = "interp|tests|docs|data|notebooks"
PATH = re.compile(
    rf"(?<![\w./~-])((?:{PARTS})/[\w./*-]*[\w*/]|\.ci/\w+|Makefile|pyproject\.toml|requirements\.lock)(::\w+)?"
)
PLACEHOLDER = re.compile(r"\.\.\.|[\[\]|<>]")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, where it begins, and why it is not run if a comment before it says so."""

    language: str
    text: str
    line: int
    why_not: str | None


@dataclass(frozen=True)
class Page:
    """One page, by its path in the repository."""

    name: str
    text: str

    @classmethod
    def read(cls, name: str) -> Page:
        """The page as it lies there."""
        text = (ROOT / name).read_text(encoding="utf-8")
        # Front matter is for model hubs.
        return cls(name, re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S))

    @cached_property
    def tokens(self) -> list[Token]:
        """Blocks and, behind each, what stands in it."""
        found = []
        for token in MarkdownIt("commonmark").enable("table").parse(self.text):
            found += [token, *(token.children or [])]
        return found

    @cached_property
    def anchors(self) -> set[str]:
        """What `#...` may follow the page's name: every heading, as code hosts and the site name it."""
        slug, pairs = slugify(case="lower"), zip(self.tokens, self.tokens[1:], strict=False)
        heads = [inline for head, inline in pairs if head.type == "heading_open"]
        return {slug("".join(c.content for c in h.children or []), "-") for h in heads}

    @property
    def links(self) -> list[str]:
        """Where links and pictures point."""
        hrefs = [str(t.attrs["href"]) for t in self.tokens if t.type == "link_open"]
        return hrefs + self.pictures

    @property
    def pictures(self) -> list[str]:
        """Where pictures lie."""
        return [str(t.attrs["src"]) for t in self.tokens if t.type == "image"]

    @property
    def html(self) -> str:
        """Whatever is written as HTML, comments aside."""
        raw = "".join(t.content for t in self.tokens if t.type in {"html_block", "html_inline"})
        return re.sub(r"<!--.*?-->", "", raw, flags=re.S).strip()

    @property
    def spans(self) -> list[str]:
        """Code between backticks, on one line each."""
        return [" ".join(t.content.split()) for t in self.tokens if t.type == "code_inline"]

    @cached_property
    def blocks(self) -> list[Block]:
        """Every fenced block."""
        found, before = [], ""
        for token in self.tokens:
            if token.type == "fence":
                why = re.fullmatch(r"<!-- not run: (.+?) -->\s*", before, re.S)
                language = (token.info.split() or [""])[0]
                found.append(Block(language, token.content, (token.map or [0])[0] + 1, why[1] if why else None))
            before = token.content if token.type == "html_block" else ""
        return found

    @property
    def shell(self) -> list[Block]:
        """Blocks that a reader would type into a shell."""
        return [b for b in self.blocks if b.language in {"", "sh", "bash", "shell", "console"}]

    @property
    def python(self) -> list[Block]:
        """Blocks of Python."""
        return [b for b in self.blocks if b.language == "python"]

    def paths(self) -> Iterator[tuple[str, str]]:
        """(path, test's name or nothing) of everything in code that looks like a file of this repository."""
        for code in [*self.spans, *(b.text for b in self.blocks)]:
            for path, inside in PATH.findall(code):
                yield path.rstrip("/"), inside.removeprefix("::")


def commands(text: str) -> Iterator[list[str]]:
    """Every `interp ...` of a block as words; a line that ends in a backslash, or whose next is indented, goes on.

    >>> list(commands("$ interp probe M P --out x  # why\\ninterp lens M \\\\\\n  P | head\\n    --out y\\nls\\n"))
    [['probe', 'M', 'P', '--out', 'x'], ['lens', 'M', 'P']]
    """
    lines: list[str] = []
    for line in text.replace("\\\n", "\n ").splitlines():
        if lines and line[:1].isspace() and line.strip():
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    for line in lines:
        begun = re.match(r"(?:\$ )?(?:\w+=\S+ )*(?:\S*/bin/)?interp\s+(.*)", line)
        if begun:
            words = shlex.split(begun[1], comments=True)
            stops = [i for i, word in enumerate(words) if word in {"|", "&&", ";", ">", "2>&1"}]
            yield words[: min(stops, default=len(words))]


PAGES = {name: Page.read(name) for name in NAMES}
