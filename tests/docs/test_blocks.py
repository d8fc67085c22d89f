"""The documentation's Python runs, page by page, top to bottom, and what it imports and names by path exists."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import interp
from interp import testbeds
from tests.docs.reading import NAMES, PAGES, ROOT, Block, Page


def _erasers() -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    keys = np.repeat(np.arange(16), 4)
    labels = np.tile([0, 1], 32)
    x = torch.randn(64, 8, generator=generator) + torch.tensor(labels)[:, None]
    return {"x": x, "labels": labels, "keys": keys, "model_provenance": interp.Provenance("a1", "tiny")}


def _extraction() -> dict[str, Any]:
    from interp.memorisation import load_records

    model, never = interp.load_model(testbeds.path("memory")), interp.load_model(testbeds.path("memory-never"))
    records = load_records(testbeds.path("memory") / "records.jsonl", model.tokenizer).at_dose(512)
    return {"model": model, "never_model": never, "records": records}


def _own() -> dict[str, Any]:
    bed, rows = testbeds.path("chat"), []
    for label in ("harmful", "harmless"):
        lines = (bed / f"{label}.jsonl").read_text(encoding="utf-8").splitlines()[:20]
        rows += [{"label": label, **{k: json.loads(line)[k] for k in ("messages", "group")}} for line in lines]
    return {"many": interp.load_prompts(rows, interp.load_model(bed).tokenizer)}


def _reports() -> dict[str, Any]:
    folder = Path("number")  # what a command wrote with --out
    folder.mkdir()
    shutil.copyfile(ROOT / "docs/img/reports/probe.json", folder / "report.json")
    return {}


# What a page's blocks take as given. A page that is not here brings everything itself.
GIVEN: dict[str, Callable[[], dict[str, Any]]] = {
    "docs/guides/own-model.md": _own,
    "docs/methods/erasers.md": _erasers,
    "docs/methods/extraction-metrics.md": _extraction,
    "docs/reports.md": _reports,
}

RUN = [name for name in NAMES if any(not b.why_not for b in PAGES[name].python)]


def _shown(page: Page, block: Block) -> str | None:
    """What the page says that a block prints: the `text` block right behind it, if there is one."""
    following = page.blocks[page.blocks.index(block) + 1 :]
    return following[0].text if following and following[0].language == "text" else None


@pytest.mark.parametrize("name", RUN)
def test_blocks_run_and_print_what_they_show(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("docs", "data"):  # a reader stands in the repository, and writes elsewhere
        (tmp_path / folder).symlink_to(ROOT / folder)
    names = GIVEN.get(name, dict)()
    page = PAGES[name]
    for block in page.python:
        if block.why_not:
            continue
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(block.text, f"{name}:{block.line}", "exec"), names)
        shown = _shown(page, block)
        if shown is not None and out.getvalue():
            assert out.getvalue().strip() == shown.strip(), f"{name}:{block.line}"
    if name == "README.md":
        assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("name", [n for n in NAMES if any(b.why_not for b in PAGES[n].python)])
def test_blocks_that_are_not_run_import_what_exists(name: str) -> None:
    for block in PAGES[name].python:
        imports = [n for n in ast.parse(block.text).body if isinstance(n, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), f"{name}:{block.line}", "exec"), {})


def _resolves(dotted: str) -> bool:
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            value: Any = import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            if not hasattr(value, part) and part not in getattr(value, "__dataclass_fields__", {}):
                return False
            value = getattr(value, part, None)
        return True
    return False


@pytest.mark.parametrize("name", [n for n in NAMES if n != "CHANGELOG.md"])
def test_names_of_the_package_exist(name: str) -> None:
    spans = " ".join(PAGES[name].spans)
    dotted = set(re.findall(r"(?<![\w/.-])interp(?:\.[A-Za-z_]\w*)+", spans))
    assert not (gone := sorted(d for d in dotted if not _resolves(d))), f"{name} names what is not there: {gone}"


def test_what_each_part_offers_has_a_page() -> None:
    """Every public function of an analysis is named on a page of methods; circuits say theirs in their docstring."""
    text = "\n".join(page.text for name, page in PAGES.items() if name.startswith("docs/methods/"))
    parts = ["directions", "probes", "weights", "memorisation", "safety"]
    names = {(p, n) for p in parts for n in import_module(f"interp.{p}").__all__ if n[0].islower()}
    missing = sorted(f"interp.{p}.{n}" for p, n in names if not re.search(rf"\b{n}\b", text))
    assert not missing, f"on no page in docs/methods: {missing}"


def test_every_command_has_a_page() -> None:
    from interp.cli.commands import COMMANDS

    text = "\n".join(page.text for name, page in PAGES.items() if name.startswith("docs/"))
    assert not [name for name in COMMANDS if not re.search(rf"interp {name}\b", text)]


def test_these_tests_see() -> None:
    assert not _resolves("interp.probes.nothing")
    assert not _resolves("interp.nothing.at.all")
    assert _resolves("interp.circuits.lens.read_lens")
    page = Page("x.md", "<!-- not run: costs\ntoo much -->\n\n```python\na\n```\n\n```python\nb\n```\n")
    assert [b.why_not for b in page.python] == ["costs\ntoo much", None]
