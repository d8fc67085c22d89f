"""What mkdocs calls while it builds the site: pages that live outside docs/, the navigation, links that leave docs/.

Every page lives once. README.md, CHANGELOG.md, the cards in data/ and the notebooks are read where they are; nothing is
copied into docs/. Links are written as a code host reads them, from the file that they stand in, and are turned here.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# The order of the pages of docs/ itself; others follow behind them.
FIRST = ("reports.md", "figures.md", "architecture.md", "benchmarks.md", "comparisons.md")
FENCE = re.compile(r"^ {0,3}(```+|~~~+)[^\n]*\n.*?^ {0,3}\1[ \t]*$", re.M | re.S)
LINK = re.compile(
    r"(?P<code>(?P<ticks>`+)(?!`)(?:(?!\n\s*\n).)+?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\[\]]*\])*)\]\((?P<to>[^()\s]+)\)",
    re.S,
)


def elsewhere(root: Path = ROOT) -> dict[str, str]:
    """Page of the site -> file of the repository, for the pages that docs/ does not hold."""
    pages = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
    pages["data/README.md"] = "data/README.md"
    cards = sorted(root.glob("data/*/README.md"))
    pages |= {f"data/{card.parent.name}.md": card.relative_to(root).as_posix() for card in cards}
    pages |= {f"notebooks/{b.stem}.md": f"notebooks/{b.name}" for b in sorted(root.glob("notebooks/*.ipynb"))}
    return pages


def notebook_page(notebook: dict[str, Any], path: str) -> str:
    """A notebook as a page: its text, its code as blocks, and what it printed and drew when it was last executed."""
    parts = []
    for cell in notebook["cells"]:
        text = "".join(cell["source"]).strip("\n")
        if cell["cell_type"] == "markdown":
            parts.append(text)
        elif text:
            parts.append(f"```python\n{text}\n```")
        parts += [shown for output in cell.get("outputs", []) if (shown := _shown(output))]
    title, _, rest = "\n\n".join(parts).partition("\n")
    return f"{title}\n\nRun it: `{path}`.\n{rest}"


def _shown(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        return f"![Figure](data:image/png;base64,{''.join(data['image/png']).replace(chr(10), '')})"
    text = "".join(output.get("text", data.get("text/plain", ""))).rstrip()
    return f"```text\n{text}\n```" if text and output.get("name") != "stderr" else ""


def order(text: str, folder: str) -> list[Any]:
    """The pages that a folder's index links to, in its order, under its headings."""
    nav: list[Any] = [f"{folder}/README.md"]
    here, seen = nav, set()
    for heading, page in re.findall(r"^## (.+)$|\]\(([\w-]+\.md)(?:#[^)]*)?\)", text, re.M):
        if heading:
            here = []
            nav.append({heading: here})
        elif page not in seen:
            seen.add(page)
            here.append(f"{folder}/{page}")
    return [part for part in nav if not isinstance(part, dict) or any(part.values())]


def navigation(pages: Iterable[str], root: Path = ROOT) -> list[Any]:
    """The site's navigation, from what there is: a new page needs no entry here."""
    pages = sorted(pages)

    def folder(name: str) -> list[Any]:
        index = root / "docs" / name / "README.md"
        if index.is_file():
            return order(index.read_text(encoding="utf-8"), name)
        inside = [p for p in pages if p.startswith(f"{name}/")]
        return sorted(inside, key=lambda p: (not p.endswith("/README.md"), p))

    top = [p for p in pages if "/" not in p and p not in {"index.md", "contributing.md", "changelog.md"}]
    top = [p for p in FIRST if p in top] + [p for p in top if p not in FIRST]
    nav = [{"Start": "index.md"}, {"Guides": folder("guides")}, {"Methods": folder("methods")}, *top]
    nav += [{"Decisions": folder("decisions")}, {"Notebooks": folder("notebooks")}, {"Test beds": folder("data")}]
    nav += [{"Contributing": "contributing.md"}, {"Changelog": "changelog.md"}]
    return [part for part in nav if part and (isinstance(part, str) or any(part.values()))]


def turn(text: str, source: str, page: str, pages: dict[str, str], repository: str = "", root: Path = ROOT) -> str:
    """`text` of the repository's file `source`, with its links as they must be on the site's page `page`.

    `pages` maps files of the repository to pages of the site. What is no page becomes a link to the repository, or the
    words with the path behind them.
    """

    def link(found: re.Match[str]) -> str:
        if found["code"] or re.match(r"[a-z][a-z0-9+.-]*:|#", found["to"]):
            return found[0]
        to, hash_, anchor = found["to"].partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), to))
        there = pages.get(path) or pages.get(f"{path}/README.md")
        label = LINK.sub(link, found["text"])
        if there:
            return (
                f"{found['image']}[{label}]({posixpath.relpath(there, posixpath.dirname(page) or '.')}{hash_}{anchor})"
            )
        if found["image"] or path.startswith("..") or not (root / path).exists():
            return found[0]
        if repository:
            kind = "tree" if (root / path).is_dir() else "blob"
            return f"[{label}]({repository.rstrip('/')}/{kind}/HEAD/{path}{hash_}{anchor})"
        return label if path in label else f"{label} (`{path}`)"

    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [LINK.sub(link, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(link, text[end:])])


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from elsewhere, and make the navigation."""
    from mkdocs.structure.files import File

    for page, source in elsewhere().items():
        text = (ROOT / source).read_text(encoding="utf-8")
        if source.endswith(".ipynb"):
            text = notebook_page(json.loads(text), source)
        files.append(File.generated(config, page, content=text))
    config.nav = navigation(f.src_uri for f in files.documentation_pages())
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn a page's links."""
    sources = elsewhere()
    own = page.file.src_uri
    pages = {f"docs/{f.src_uri}": f.src_uri for f in files if f.inclusion.is_included() and f.src_uri not in sources}
    pages |= {source: there for there, source in sources.items()}
    return turn(markdown, sources.get(own, f"docs/{own}"), own, pages, config.repo_url or "")
