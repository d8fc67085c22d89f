"""The artefact of `docs/methods/below-chance.md`: in-sample erasure is below chance by construction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from interp.directions import attack, fit_mean, nested_erasure
from interp.directions.erasers.below_chance import BEDS, COLUMNS, DATA_SETS, SIGMAS, Line, measure, pairs_of, table

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "below-chance.md"
QUICK = 5


def page_tables() -> list[list[list[str]]]:
    """The cells of the page's two tables of numbers, without their heads."""
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    numbers = [r for r in rows if r[0].isdigit()]
    return [numbers[:4], numbers[4:]]


@pytest.fixture(scope="module")
def lines() -> dict[tuple[int, str], Line]:
    return {(n, s): measure(n, d, sigmas, QUICK) for n, d in BEDS for s, sigmas in (("noise", 0.0), ("signal", SIGMAS))}


@pytest.mark.parametrize("pairs", [7, 9])
def test_in_sample_erasure_falls_below_chance_on_noise_and_signal_alike(lines, pairs):
    for data in ("noise", "signal"):
        plain, turned = lines[pairs, data].accuracy, lines[pairs, data].oriented
        assert plain["in-sample mean"] == 0
        assert plain["in-sample probe"] < 0.05
        assert turned["in-sample mean"] == 1
        assert plain["nested mean"] == 0.5
    assert abs(lines[pairs, "noise"].accuracy["none"] - 0.5) < 0.15
    assert lines[pairs, "signal"].accuracy["none"] > lines[pairs, "noise"].accuracy["none"] + 0.1


def test_nested_is_at_chance_on_noise_and_other_keys_show_the_signal_that_is_left(lines):
    for pairs in (7, 9):
        noise = lines[pairs, "noise"].accuracy
        assert all(abs(noise[c] - 0.5) < 0.15 for c in ("nested probe", "other half mean", "other half probe"))
    left = lines[9, "signal"].accuracy
    assert left["other half mean"] > 0.6
    assert left["other half probe"] > 0.6
    assert left["none, half"] - left["other half mean"] < 0.15


def test_why():
    # The means of all pairs are equal after in-sample erasure, so those of the training pairs differ by the opposite
    # of what the held-out pair does, scaled by 1 / (pairs - 1).
    for sigmas in (0.0, SIGMAS):
        x, y, pair = pairs_of(7, 512, sigmas, seed=0)
        erased = fit_mean(x, y)(x)
        for held_out in range(7):
            train, test = pair != held_out, pair == held_out
            inside = erased[train & (y == 1)].mean(0) - erased[train & (y == 0)].mean(0)
            outside = erased[test & (y == 1)].mean(0) - erased[test & (y == 0)].mean(0)
            assert torch.allclose(inside, -outside / 6)


def test_it_does_not_go_away_with_the_measure_that_hides_folds():
    x, y, pair = pairs_of(7, 512, SIGMAS, seed=1)
    found = nested_erasure(x, y, pair, fit_mean)
    assert (found.in_sample.auc, found.in_sample.concordance, found.in_sample.oriented) == (0, 0, 1)
    assert (found.nested.auc, found.nested.concordance) == (0.5, 0.5)


def test_more_pairs_and_other_attackers_weaken_it_and_do_not_remove_it():
    x, y, pair = pairs_of(128, 128, SIGMAS, seed=0)
    suite = ("logistic C=1", "kernel ridge", "knn")
    before, inside = (attack(rows, y, pair, suite=suite).readings for rows in (x, fit_mean(x, y)(x)))
    assert min(r.auc for r in before) > 0.9
    assert [r.auc for r in inside] == pytest.approx([0.085, 0.032, 0.373], abs=0.05)


def test_the_page_has_what_is_measured(lines):
    for kind, rows in zip(("accuracy", "oriented"), page_tables(), strict=True):
        assert len(rows) == len(lines)
        for cells, line in zip(rows, lines.values(), strict=True):
            assert cells[:3] == [str(line.pairs), str(line.d), line.data]
            for column, cell in zip(COLUMNS, cells[3:], strict=True):
                # An accuracy over 14 or 18 rows of one data set has a spread of .2 at most.
                off = abs(getattr(line, kind)[column] - float(cell))
                assert off < 4 * 0.2 / np.sqrt(QUICK), (kind, line.pairs, line.data, column)
                if column in ("in-sample mean", "nested mean"):
                    assert off == 0


@pytest.mark.slow
def test_the_page_has_the_commands_table():
    printed = [line.strip("| ").split(" | ") for line in table().splitlines() if line[:2] == "| "]
    numbers = [r for r in printed if r[0].isdigit()]
    page = [row for rows in page_tables() for row in rows]
    assert [r[:3] for r in numbers] == [r[:3] for r in page]
    measured, written = (np.array([[float(c) for c in r[3:]] for r in part]) for part in (numbers, page))
    # Rounding may turn a score that is nearly 0 on another machine: one row of one data set in a hundred.
    assert np.abs(measured - written).max() < 2 / (14 * DATA_SETS)
