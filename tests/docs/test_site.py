"""`make docs` builds a site that is whole, that reads like its sources, and that asks nothing of the network."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.reading import ROOT, Page

LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
FORBIDDEN = {"stylesheet", "preload", "prefetch", "preconnect", "dns-prefetch", "icon", "manifest"}
COUNTED = ("li", "table", "tr", "pre", "h2", "h3")


def _hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_pages", ROOT / "docs" / "theme" / "pages.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


hooks = _hooks()


class _Html(HTMLParser):
    """What a page loads, and how many elements of each kind its article holds."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.counts = dict.fromkeys(COUNTED, 0)
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "link" and given.get("rel") not in FORBIDDEN:
            given.pop("href", None)
        self.loads += [given[LOADS[tag]]] if tag in LOADS and LOADS[tag] in given else []
        self.inside |= tag == "article"
        if self.inside and tag in self.counts:
            self.counts[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag != "article"


def _seen(path: Path) -> _Html:
    html = _Html()
    html.feed(path.read_text(encoding="utf-8"))
    return html


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site") / "site"
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "REPOSITORY_URL": ""}
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "-f", ".mkdocs.yml", "-d", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_every_page_is_built_and_reads_like_its_source(site: Path) -> None:
    sources = {f"docs/{p.relative_to(ROOT / 'docs').as_posix()}": p for p in (ROOT / "docs").rglob("*.md")}
    pages = {p.removeprefix("docs/"): p for p in sources} | {
        page: source for page, source in hooks.elsewhere().items() if source.endswith(".md")
    }
    differ = []
    for page, source in pages.items():
        built = site / page.replace("README.md", "index.md").replace(".md", ".html")
        names = {"li": "list_item_open", "table": "table_open", "tr": "tr_open"}
        tokens = Page.read(source).tokens
        wanted = {tag: sum(t.type == name for t in tokens) for tag, name in names.items()}
        wanted["pre"] = sum(t.type in {"fence", "code_block"} for t in tokens)
        wanted |= {h: sum(t.type == "heading_open" and t.tag == h for t in tokens) for h in ("h2", "h3")}
        differ += [f"{source}: {wanted} became {got}" for got in [_seen(built).counts] if got != wanted]
    assert not differ, "Markdown that code hosts and the site read differently:\n" + "\n".join(differ)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = [p for p in site.rglob("*.html") if p.name != "404.html"]  # a server's page, with a server's paths
    assert len(pages) > 30
    for page in pages:
        for load in _seen(page).loads:
            assert not re.match(r"(https?:)?//", load), f"{page.name} loads {load}"
            assert load.startswith("data:") or (page.parent / load.partition("#")[0].partition("?")[0]).exists(), load
    styles = "".join(p.read_text(encoding="utf-8") for p in site.rglob("*.css"))
    assert not re.findall(r"url\(['\"]?(?:https?:)?//", styles)


def test_the_navigation_has_every_page_once(site: Path) -> None:
    def flat(nav: object) -> list[str]:
        if isinstance(nav, str):
            return [nav]
        parts = nav.values() if isinstance(nav, dict) else nav
        return [page for part in parts for page in flat(part)]  # type: ignore[union-attr]

    pages = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")} | set(hooks.elsewhere())
    named = flat(hooks.navigation(pages))
    assert sorted(named) == sorted(pages)
    assert (site / "search" / "search_index.js").stat().st_size > 50_000


PAGES = {"docs/a.md": "a.md", "docs/methods/README.md": "methods/README.md", "README.md": "index.md"}


@pytest.mark.parametrize(
    ("text", "source", "page", "became"),
    [
        ("[a](docs/a.md#x)", "README.md", "index.md", "[a](a.md#x)"),
        ("[m](docs/methods)", "README.md", "index.md", "[m](methods/README.md)"),
        ("[r](../../README.md)", "docs/methods/x.md", "methods/x.md", "[r](../index.md)"),
        ("[b](Makefile)", "README.md", "index.md", "b (`Makefile`)"),
        ("[Makefile](Makefile)", "README.md", "index.md", "Makefile"),
        ("`[c](docs/a.md)` [o](https://x.org)", "README.md", "index.md", "`[c](docs/a.md)` [o](https://x.org)"),
        ("```\n[a](docs/a.md)\n```\n", "README.md", "index.md", "```\n[a](docs/a.md)\n```\n"),
        ("[gone](none.md)", "docs/a.md", "a.md", "[gone](none.md)"),
    ],
)
def test_links_are_turned(text: str, source: str, page: str, became: str) -> None:
    assert hooks.turn(text, source, page, PAGES) == became


def test_links_go_to_the_repository_where_one_is_given() -> None:
    turned = hooks.turn("[b](../Makefile), [t](../tests)", "docs/a.md", "a.md", PAGES, "https://host/x/")
    assert turned == "[b](https://host/x/blob/HEAD/Makefile), [t](https://host/x/tree/HEAD/tests)"


def test_an_index_orders_its_folder() -> None:
    text = "# All\n\n## A\n- [x](x.md)\n- [y](y.md#z), [x](x.md)\n\n## Empty\n\n## B\n- [w](w.md)\n"
    assert hooks.order(text, "m") == ["m/README.md", {"A": ["m/x.md", "m/y.md"]}, {"B": ["m/w.md"]}]


def test_a_notebook_is_a_page() -> None:
    outputs = [
        {"name": "stdout", "text": ["1\n"]},
        {"name": "stderr", "text": ["bar"]},
        {"data": {"image/png": "aa\n"}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "Text"]},
        {"cell_type": "code", "source": "f()", "outputs": outputs},
    ]
    page = hooks.notebook_page({"cells": cells}, "notebooks/n.ipynb")
    assert page.startswith(
        "# Title\n\nRun it: `notebooks/n.ipynb`.\n\nText\n\n```python\nf()\n```\n\n```text\n1\n```\n\n"
    )
    assert page.endswith("![Figure](data:image/png;base64,aa)")


def test_make_has_what_it_needs() -> None:
    assert shutil.which("mkdocs", path=os.path.dirname(sys.executable)), "make setup brings mkdocs"
