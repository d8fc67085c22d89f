"""Colours that every reader can tell apart: with a colour blindness, on a grey print, in the light and in the dark."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from interp.plots.colours import AROUND, RISING, tick_every
from interp.plots.heads import DIVERGING
from interp.plots.static.traces import colormap
from interp.plots.themes import DARK, PALETTE, SERIES, THEMES

# Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB.
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(rgb) -> np.ndarray:
    c = np.asarray(rgb, float)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def of_hex(text: str) -> np.ndarray:
    return linear([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE Lab of linear RGB, white at D65."""
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def lightness(scale, place: float) -> float:
    return float(lab(linear(colormap(scale, False)(place)[:3]))[0])


@pytest.mark.parametrize("palette", [PALETTE, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["none", *BLIND])
def test_series_differ_for_every_eye(palette, kind):
    matrix = np.eye(3) if kind == "none" else np.array(BLIND[kind])
    # Four series are the most that figures commonly have; the others differ from them by more than colour, too.
    seen = [lab(matrix @ of_hex(palette[style.color])) for style in SERIES[:4]]
    for (i, a), (j, b) in combinations(enumerate(seen), 2):
        assert np.linalg.norm(a - b) > 10, (SERIES[i].color, SERIES[j].color)


def test_on_grey_paper_every_series_has_its_own_dash_and_marker():
    assert len({style.dash for style in SERIES}) == len(SERIES)
    assert len({style.symbol for style in SERIES}) == len(SERIES)


def test_letters_and_lines_stand_out_from_the_page():
    for palette, page in ((PALETTE, "#ffffff"), (DARK, "#161b22")):
        back = TO_XYZ[1] @ of_hex(page)
        for name in ("ink", "muted", *(style.color for style in SERIES)):
            own = TO_XYZ[1] @ of_hex(palette[name])
            high, low = max(own, back), min(own, back)
            assert (high + 0.05) / (low + 0.05) > (4.5 if name in ("ink", "muted") else 3), name


def test_a_rising_scale_only_gets_darker():
    shades = [lightness(RISING, k / 20) for k in range(21)]
    assert all(a > b + 0.5 for a, b in pairwise(shades))
    assert shades[0] - shades[-1] > 70


@pytest.mark.parametrize("scale", [AROUND, DIVERGING], ids=["around", "diverging"])
def test_the_two_ends_of_a_scale_differ_in_grey(scale):
    low, middle, high = (lightness(scale, place) for place in (0.0, 0.5, 1.0))
    assert middle > 99
    assert abs(low - high) > 25
    for side in ([k / 40 for k in range(21)], [1 - k / 40 for k in range(21)]):
        assert all(lightness(scale, a) < lightness(scale, b) for a, b in pairwise(side))


def test_paper_is_as_journals_want_it():
    paper = THEMES["paper"]
    assert [paper.width / 96, paper.wide / 96] == pytest.approx([3.3, 6.75])
    assert 8 <= round(paper.font_size * 72 / 96, 6) <= 9


def test_ticks_are_as_many_as_fit():
    assert tick_every(12, 12) == list(range(12))
    assert tick_every(12, 5) == [0, 4, 8]
    assert tick_every(80, 1) == [0]
