"""What the documentation names is there: links, anchors, pictures, files, targets, indexes; and its Python compiles."""

from __future__ import annotations

import ast
import posixpath
import re

import pytest

from tests.docs.reading import NAMES, PAGES, ROOT, Page

IN_A_WHEEL = "interp/_data"  # where an installed package keeps what a clone has in data/


def broken_links(page: Page) -> list[str]:
    wrong = []
    for link in page.links:
        if re.match(r"https?:|mailto:", link):
            continue
        to, _, anchor = link.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page.name), to)) if to else page.name
        if path.startswith("..") or not (ROOT / path).exists():
            wrong.append(f"{link}: there is no {path}")
        elif anchor and path.endswith(".md") and anchor not in Page.read(path).anchors:
            wrong.append(f"{link}: {path} has no heading of that name, only {sorted(Page.read(path).anchors)}")
    return wrong


def missing_paths(page: Page) -> list[str]:
    wrong = []
    for path, test in page.paths():
        if path == IN_A_WHEEL:
            continue
        found = list(ROOT.glob(path))
        if not found:
            wrong.append(f"{path}: there is no such file")
        elif test and not re.search(rf"^ *(?:def|class) {test}\b", found[0].read_text(encoding="utf-8"), re.M):
            wrong.append(f"{path}::{test}: there is no such test")
    return wrong


@pytest.mark.parametrize("name", NAMES)
def test_links_anchors_and_pictures_resolve(name: str) -> None:
    assert not (wrong := broken_links(PAGES[name])), "\n".join(wrong)


@pytest.mark.parametrize("name", NAMES)
def test_links_and_pictures_are_markdown_and_not_html(name: str) -> None:
    assert not re.findall(r"<(?:a|img|picture|source|iframe)\b", PAGES[name].html), "the other tests do not read HTML"


@pytest.mark.parametrize("name", [n for n in NAMES if n != "CHANGELOG.md"])
def test_files_that_are_named_exist(name: str) -> None:
    assert not (wrong := missing_paths(PAGES[name])), "\n".join(wrong)


@pytest.mark.parametrize("name", [n for n in NAMES if PAGES[n].python])
def test_python_compiles(name: str) -> None:
    for block in PAGES[name].python:
        compile(block.text, f"{name}:{block.line}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("name", NAMES)
def test_targets_of_make_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    page = PAGES[name]
    lines = [*page.spans, *(line for block in page.shell for line in block.text.splitlines())]
    named = {found[1] for line in lines if (found := re.match(r"make ([a-z]+)\b", line))}
    assert named <= targets


@pytest.mark.parametrize("folder", ["methods", "guides"])
def test_the_index_names_every_page(folder: str) -> None:
    index = PAGES[f"docs/{folder}/README.md"]
    pages = {n.split("/")[-1] for n in NAMES if n.startswith(f"docs/{folder}/") and not n.endswith("README.md")}
    assert pages <= {link.partition("#")[0] for link in index.links}, "an index names every page of its folder"


@pytest.mark.parametrize(
    ("check", "text", "fault"),
    [
        (broken_links, "[a](nowhere.md)", "there is no nowhere.md"),
        (broken_links, "[a](README.md#nothing-like-it)", "no heading of that name"),
        (broken_links, "![a](docs/img/none.svg)", "there is no docs/img/none.svg"),
        (broken_links, "[a](../outside.md)", "there is no ../outside.md"),
        (missing_paths, "see `interp/none.py`", "no such file"),
        (missing_paths, "```\npytest tests/none -s\n```", "no such file"),
        (missing_paths, "`tests/test_architecture.py::test_of_nothing`", "no such test"),
    ],
)
def test_these_tests_see(check, text: str, fault: str) -> None:
    found = check(Page("x.md", text))
    assert found
    assert fault in found[0]


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (broken_links, "[a](README.md#ten-lines), [b](https://x.org/a.md), `[c](none.md)`\n\n```\n[d](none.md)\n```"),
        (missing_paths, "`tests/stats`, `docs/img/*.svg`, `../shared/data/none`, `out/interp/none.py`"),
    ],
)
def test_these_tests_let_pass(check, text: str) -> None:
    assert not check(Page("x.md", text))
