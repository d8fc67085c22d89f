"""AUCs of beliefs on made-up scores: found where planted, not found where there is nothing or something simpler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from interp.safety.refusal.cells import CELLS, DIAGONAL, OFF, PLAIN, Quadrants, cell_of, concept_axis
from interp.safety.refusal.contrasts import HARM, OFF_READING, REFUSAL, contrasts_of
from interp.safety.refusal.evaluate import family, judge, permuted_truths, stratified_auc

DEPTHS = 4
QUICK: dict[str, Any] = {"permutations": 39, "bootstrap": 60, "level": 0.95}


def design(each: int = 80, cells: tuple[str, ...] = CELLS, seed: int = 0):
    """So many prompts of each cell, their groups of two, and their parts: a half trains, the rest is cut in two."""
    cell = np.repeat([CELLS.index(c) for c in cells], each)
    part = np.tile(np.repeat(["train", "val", "test"], [each // 2, each // 4, each // 4]), len(cells)).astype(object)
    groups = np.arange(len(cell)) // 2
    return Quadrants(cell, part == "train"), groups, part


def judged(contrast, scores, groups, part, controls=None, seed=0, **settings):
    return judge(
        contrast, "t_inst", scores, scores, controls or {}, groups, part, seed=seed, **{**QUICK, **settings}
    )  # fmt: skip


def noise(contrast, rng, depths=DEPTHS):
    return rng.standard_normal((depths + 1, len(contrast.rows)))


def test_cells_and_axes():
    harmful, refused = np.array([1, 1, 0, 0]) > 0, np.array([1, 0, 1, 0]) > 0
    assert [CELLS[c] for c in cell_of(harmful, refused)] == list(CELLS)
    assert concept_axis("harm", CELLS).negative == ("harmless-refused", "harmless-accepted")
    # With three cells the one level of refusal at which both kinds are there: what regression on both gives.
    three = tuple(c for c in CELLS if c != "harmless-refused")
    assert concept_axis("harm", three).positive == ("harmful-accepted",)
    assert concept_axis("refusal", three).positive == ("harmful-refused",)
    assert concept_axis("refusal", DIAGONAL) == PLAIN
    assert concept_axis("refusal", ("harmful-accepted", "harmless-accepted")) is None


def test_two_quadrants_are_confounded_and_say_so():
    two, _, _ = design(cells=DIAGONAL)
    assert two.confounded
    assert "confounded (80 refused harmful, 0 accepted harmful" in two.warning()
    assert [c.name for c in contrasts_of(two)] == ["plain"]
    three, _, _ = design(cells=(*DIAGONAL, OFF[0]))
    assert not three.confounded
    assert "Too few refused harmless" in three.warning()
    four, _, _ = design()
    assert four.warning() is None
    assert [c.name for c in contrasts_of(four)] == ["plain", "off-diagonal", "harm", "refusal"]


def test_held_out_prompts_are_scored_by_the_axis_of_the_other_level():
    quadrants, _, _ = design()
    contrast = next(c for c in contrasts_of(quadrants) if c.name == HARM)
    for row, number in enumerate(contrast.rows):
        cell = CELLS[quadrants.cell[number]]
        assert not quadrants.train[number]
        axis = contrast.axis_of(row)
        assert cell not in (*axis.positive, *axis.negative)
        assert contrast.truth[row] == cell.startswith("harmful")


def test_stratified_auc_does_not_see_what_strata_differ_in():
    truth = np.array([True, False] * 4)
    stratum = np.repeat([0, 1], 4)
    scores = np.stack([10.0 * stratum, truth + 10.0 * stratum])
    assert stratified_auc(scores, truth, stratum).tolist() == [0.5, 1.0]


def test_permutations_keep_groups_whole_and_counts_as_they_are():
    quadrants, groups, _ = design()
    for contrast in contrasts_of(quadrants):
        drawn, least = permuted_truths(contrast, groups, 50, 0)
        assert least == pytest.approx(1 / 51)
        g = groups[contrast.rows]
        for labels in drawn:
            for s in np.unique(contrast.stratum):
                assert labels[contrast.stratum == s].sum() == contrast.truth[contrast.stratum == s].sum()
            assert all(len(set(labels[g == k])) == 1 for k in np.unique(g))


def test_planted_belief_is_found_and_its_depth_is_chosen_on_other_prompts():
    quadrants, groups, part = design()
    rng = np.random.default_rng(0)
    contrast = next(c for c in contrasts_of(quadrants) if c.name == REFUSAL)
    scores = noise(contrast, rng)
    scores[2] += 4 * contrast.truth
    (found,) = family([judged(contrast, scores, groups, part, {"untrained": noise(contrast, rng)})])
    assert found.found
    assert found.chosen == {"val": 2, "test": 2}
    assert found.value > 0.95
    assert found.rivals["untrained"].beaten
    assert found.p_family.min() == pytest.approx(1 / 40)


def test_what_a_control_reads_as_well_is_not_found():
    quadrants, groups, part = design()
    rng = np.random.default_rng(0)
    contrast = contrasts_of(quadrants)[0]
    scores = noise(contrast, rng)
    scores[1:] += 6 * contrast.truth
    same = (contrast.truth + 0.1 * rng.standard_normal(len(contrast.truth)))[None]
    (found,) = family([judged(contrast, scores, groups, part, {"surface": same})])
    assert found.significant
    assert not found.found
    assert found.unbeaten == ["surface"]


def test_off_diagonal_prompts_follow_harm_or_refusal():
    quadrants, groups, part = design()
    rng = np.random.default_rng(0)
    contrast = next(c for c in contrasts_of(quadrants) if c.name == OFF_READING)
    for sign, side in ((3, "harm"), (-3, "refusal")):
        scores = noise(contrast, rng)
        scores[1:] += sign * contrast.truth
        (found,) = family([judged(contrast, scores, groups, part, {"untrained": noise(contrast, rng)})])
        assert found.found, side
        assert (found.value > 0.9) == (side == "harm")


def test_nothing_is_found_in_noise_more_than_one_time_in_twenty():
    quadrants, groups, part = design(24)
    contrasts = contrasts_of(quadrants)
    hits = significant = 0
    for seed in range(240):
        rng = np.random.default_rng(seed)
        contrast = contrasts[seed % 4]
        scores, fresh = noise(contrast, rng, 2), noise(contrast, rng, 2)
        one = judged(contrast, scores, groups, part, {"untrained": fresh}, seed=seed, bootstrap=20)
        (found,) = family([one])
        significant += found.significant
        hits += found.found
    # Binomial(240, 0.05) exceeds 20 once in 100.
    assert 2 <= significant <= 20
    assert hits <= significant


def test_what_is_said_to_be_detectable_is_found_four_times_in_five():
    quadrants, groups, part = design(40)
    contrast = contrasts_of(quadrants)[0]
    able = []
    found = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        (one,) = family([judged(contrast, noise(contrast, rng, 2), groups, part, seed=seed, bootstrap=2)])
        able.append(one.detectable)
    shift = 2**0.5 * norm.ppf(np.mean(able))
    for seed in range(60):
        rng = np.random.default_rng(1000 + seed)
        scores = noise(contrast, rng, 2)
        scores[1] += shift * contrast.truth
        (one,) = family([judged(contrast, scores, groups, part, seed=seed, bootstrap=2)])
        found += one.significant
    # Binomial(60, 0.8) is below 40 once in 200; well above it, too, would be another promise than was made.
    assert 40 <= found <= 58
    assert 0.55 < np.mean(able) < 0.8
