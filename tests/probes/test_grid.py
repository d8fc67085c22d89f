"""The grid of probes: a label that one token carries is read from that token on, and luck is judged over all cells."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from interp import PromptSet
from interp.errors import PromptError
from interp.probes.grid import probe_grid
from tests.identity.architectures import fresh

FAST = {"folds": 4, "permutations": 39, "bootstrap": 100, "shared": "warn"}


@functools.cache
def model():
    return fresh("gpt2")


def prompts(real: bool = True, n: int = 60, **changes) -> PromptSet:
    """Random tokens; the third says the label, if it is real."""
    rng = np.random.default_rng(3)
    tokens = rng.integers(8, 90, (n, 5))
    truth = rng.random(n) < 0.5
    if real:
        tokens[:, 2] = np.where(truth, 5, 6)
    marks = {"before": [1] * n, "there": [2] * n, "end": [4] * n}
    return PromptSet.from_tokens(tokens.tolist(), labels=truth.tolist(), marks=marks, **changes)


def test_a_label_is_read_where_it_stands():
    report = probe_grid(model(), prompts(), ["embed", "resid_post"], at=["before", "there"], **FAST)
    cells = {(row["site"], row["mark"]): row for row in report.rows}
    assert cells["embed", "there"]["auc"] == 1.0
    assert cells["embed", "there"]["p_max"] == pytest.approx(1 / 40)
    assert all(cells[site, "before"]["p_max"] > 0.05 for site, mark in cells if mark == "before")
    assert cells["embed", "there"]["bow_auc"] > 0.95
    assert cells["embed", "before"]["bow_auc"] < 0.8
    assert "at there" in report.headline or ", there" in report.headline
    assert report.meta["marks"] == ["before", "there"]
    assert {"untrained_auc", "inputs"} <= set(report.columns)


def test_where_nothing_is_the_best_cell_is_luck():
    report = probe_grid(model(), prompts(False), at=["before", "there", "end"], untrained=False, **FAST)
    assert min(row["p_max"] for row in report.rows) > 0.05
    assert report.headline.startswith("No cell of")
    assert all(row["p"] <= row["p_max"] for row in report.rows)


def test_the_null_is_of_all_cells():
    few = probe_grid(model(), prompts(False), "embed", at=["before", "there"], untrained=False, **FAST)
    many = probe_grid(
        model(),
        prompts(False),
        ["embed", "resid_post", "attn_out"],
        at=["before", "there", "end"],
        untrained=False,
        **FAST,
    )
    assert many.meta["null_max_auc_95"] >= few.meta["null_max_auc_95"]


def test_one_mark_and_unknown_marks_are_refused():
    with pytest.raises(PromptError, match="two marks or more"):
        probe_grid(model(), prompts(), at=["end"], **FAST)
    with pytest.raises(PromptError, match="no prompt has the mark 'verb'"):
        probe_grid(model(), prompts(), at=["end", "verb"], **FAST)


def test_prompts_that_lack_a_mark_are_counted():
    some = prompts()
    marks = {**some.marks, "rare": np.where(np.arange(len(some)) < 50, 3, -1)}
    from dataclasses import replace

    report = probe_grid(model(), replace(some, marks=marks), "embed", at=["there", "rare"], untrained=False, **FAST)
    assert report.rows[0]["n"] == 50
    assert any("10 of 60 prompts lack" in warning for warning in report.warnings)
