from __future__ import annotations

import pytest

from interp import testbeds
from interp.errors import BedError


def test_shipped_induction_is_what_building_makes(tmp_path):
    made, shipped = testbeds.build("induction", tmp_path / "bed", seed=0), testbeds.path("induction")
    assert sorted(p.name for p in made.iterdir()) == sorted(p.name for p in shipped.iterdir())
    for file in made.iterdir():
        assert file.read_bytes() == (shipped / file.name).read_bytes(), f"induction/{file.name} differs; build it anew"


@pytest.mark.parametrize("name", testbeds.names())
def test_a_shipped_bed_is_whole_small_and_free_of_pickles(name):
    files = [p for p in testbeds.path(name).rglob("*") if p.is_file()]
    model = {"config.json", "tokenizer.json"} if name != "modadd" else set()
    assert {"README.md", "model.safetensors", "truth.json", *model} <= {p.name for p in files}
    assert {p.suffix for p in files} <= {".md", ".json", ".jsonl", ".safetensors"}
    assert sum(p.stat().st_size for p in files) < 20e6
    assert testbeds.truth(name)


def test_another_seed_makes_another_model(tmp_path):
    made = testbeds.build("induction", tmp_path / "bed", seed=1)
    for file in ("model.safetensors", "prompts.jsonl"):
        assert (made / file).read_bytes() != (testbeds.path("induction") / file).read_bytes()


def test_an_unknown_bed_names_the_known():
    for call in (testbeds.path, testbeds.truth, lambda name: testbeds.build(name, "nowhere")):
        with pytest.raises(BedError, match=r"no test bed 'inductoin'; there are: .*induction"):
            call("inductoin")


def test_building_overwrites_nothing(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(BedError, match="not empty"):
        testbeds.build("induction", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_missing_files_say_how_to_make_them(tmp_path, monkeypatch):
    monkeypatch.setattr(testbeds, "_DATA", tmp_path)
    with pytest.raises(BedError, match="interp testbed build induction"):
        testbeds.path("induction")


@pytest.mark.parametrize("options", [{"beta": 0.0}, {"beta": float("nan")}, {"epsilon": -0.1}])
def test_impossible_options_are_refused(tmp_path, options):
    with pytest.raises(BedError, match="needs beta > 0 and epsilon >= 0"):
        testbeds.build("induction", tmp_path / "bed", seed=0, **options)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"edges": [{"name": "x"}]}', '{"edges": []}'])
def test_a_damaged_truth_is_named(tmp_path, text):
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(BedError, match=r"truth\.json does not hold the truth"):
        testbeds.truth("induction", tmp_path)
    with pytest.raises(BedError, match=r"truth\.json"):
        testbeds.truth("induction", tmp_path / "absent")
