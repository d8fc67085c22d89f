"""The needle bed: built again byte for byte, and what its truth says holds for the checkpoint."""

from __future__ import annotations

import pytest

from interp import testbeds
from interp.errors import BedError


def test_the_shipped_bed_is_what_building_makes(tmp_path):
    made, shipped = testbeds.build("needle", tmp_path / "bed", seed=0), testbeds.path("needle")
    assert sorted(p.name for p in made.iterdir()) == sorted(p.name for p in shipped.iterdir())
    for file in made.iterdir():
        assert file.read_bytes() == (shipped / file.name).read_bytes(), f"needle/{file.name} differs; build it anew"


def test_only_the_copier_and_its_helper_are_needed():
    truth = testbeds.truth("needle")
    assert truth.copied == 1
    needed = {(h.layer, h.head) for h in truth.heads if h.copied_without < 0.5}
    assert needed == {truth.copy_head, truth.helper_head}
    assert {h.role for h in truth.heads if h.copied_without > 0.99} == {"looks", "idle"}


def test_an_impossible_sharpness_is_refused(tmp_path):
    with pytest.raises(BedError, match="beta > 0"):
        testbeds.build("needle", tmp_path / "bed", beta=0.0)


@pytest.mark.parametrize("text", ["", "{}", '{"heads": [], "copy_head": [1]}'])
def test_a_damaged_truth_is_named(tmp_path, text):
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(BedError, match="needle bed"):
        testbeds.truth("needle", tmp_path)
