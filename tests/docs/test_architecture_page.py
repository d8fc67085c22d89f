"""The architecture page and its picture say what the code is held to."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import pytest

from tests.docs.reading import PAGES, ROOT
from tests.test_architecture import FLOORS


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "docs/img/draw_architecture.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_has_the_floors() -> None:
    rows = re.findall(r"^\| (\d) \| ([^|]+) \|", PAGES["docs/architecture.md"].text, re.M)
    assert {int(n): set(re.findall(r"`(\w+)`", parts)) for n, parts in rows} == dict(enumerate(FLOORS))


def test_the_picture_has_the_floors_and_is_up_to_date(drawing: ModuleType) -> None:
    assert [set(parts) for parts in drawing.FLOORS] == FLOORS
    for theme in ("paper", "screen"):
        drawn = (ROOT / f"docs/img/architecture.{theme}.svg").read_text(encoding="utf-8")
        assert drawn == drawing.picture(theme), "python docs/img/draw_architecture.py"


def test_boxes_do_not_touch_and_no_arrow_crosses_one(drawing: ModuleType) -> None:
    boxes = [(floor, left, right) for floor, left, right, *_ in drawing.BOXES]
    for floor, left, right in boxes:
        others = [(a, b) for f, a, b in boxes if f == floor and (a, b) != (left, right)]
        assert all(b + 20 <= left or right + 20 <= a for a, b in others)
        for (x0, f0, _), (x1, f1, _) in drawing.ARROWS:
            between = min(f0, f1) < floor < max(f0, f1)
            assert not (between and left - 8 < x0 < right + 8), f"an arrow at {x0} crosses a box of floor {floor}"
            assert f0 == f1 or x0 == x1


def test_words_fit_their_boxes(drawing: ModuleType) -> None:
    for _, left, right, name, note, _ in drawing.BOXES:
        # Wide estimates: 0.68 em a letter in bold, 0.6 em in plain.
        assert 0.68 * 14 * len(name) < right - left - 8 or len(name) < 20, name
        assert 0.56 * 11.5 * len(note) < right - left - 6, note
