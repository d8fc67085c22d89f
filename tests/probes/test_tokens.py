"""Scores token by token: the threshold is that of whole texts, and a reference with nothing to find sets it."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from interp import Direction, PromptSet
from interp.errors import PromptError
from interp.probes.tokens import token_scores
from interp.run import capture
from tests.identity.architectures import fresh

SPOT = 42


@functools.cache
def model():
    return fresh("llama")


@functools.cache
def spotter() -> Direction:
    """A direction that is high at one token, whatever stands around it."""
    one = capture(model(), PromptSet.from_tokens([[t] for t in range(2, 90)]), "embed", at="last")
    x = one["embed"].tensor().float()
    vector = torch.linalg.lstsq(
        x, torch.nn.functional.one_hot(torch.tensor(SPOT - 2), len(x)).float()[:, None]
    ).solution
    return Direction.of(vector[:, 0], "embed", "last", "made up", model().provenance())


def texts(n: int, spot: bool, seed: int) -> PromptSet:
    rng = np.random.default_rng(seed)
    words = [t for t in range(2, 90) if t != SPOT]
    made = [rng.choice(words, 8).tolist() for _ in range(n)]
    if spot:
        for row in made:
            row[5] = SPOT
    return PromptSet.from_tokens(made, ids=[f"{'spot' if spot else 'plain'}{i}" for i in range(n)])


def test_what_was_planted_is_found_where_it_is():
    report = token_scores(model(), spotter(), texts(3, True, 0), reference=texts(40, False, 1))
    assert [(r["text"], r["position"]) for r in report.rows if r["above"]] == [(f"spot{i}", 5) for i in range(3)]
    assert all(row["p_max"] == pytest.approx(1 / 41) for row in report.rows if row["above"])
    assert report.headline.startswith("3 tokens in 3 of 3 texts")


def test_of_texts_like_the_reference_one_in_twenty_has_a_token_above():
    vector = torch.randn(model().d_model, generator=torch.Generator().manual_seed(0))
    any_direction = Direction.of(vector, "resid_post.1", "all", "made up", model().provenance())
    report = token_scores(model(), any_direction, texts(200, False, 2), reference=texts(400, False, 3))
    found = {row["text"] for row in report.rows if row["above"]}
    assert 1 <= len(found) <= 22  # 10 of 200 are expected
    # The threshold of single tokens would flag many more texts: eight looks each.
    loose = {row["text"] for row in report.rows if row["score"] > report.meta["threshold_one"]}
    assert len(loose) > 2.5 * len(found)


def test_scores_are_the_directions_own_and_in_order():
    prompts = texts(2, True, 4)
    report = token_scores(model(), spotter(), prompts)
    acts = capture(model(), prompts, "embed", at="all")
    own = spotter()(acts["embed"].tensor().float()).tolist()
    assert [row["score"] for row in report.rows] == pytest.approx(own, rel=1e-4)
    assert "above" not in report.columns
    assert any("No reference texts" in warning for warning in report.warnings)


def test_a_reference_that_holds_a_prompt_is_refused():
    with pytest.raises(PromptError, match="is one of the prompts, too"):
        token_scores(model(), spotter(), texts(2, True, 0), reference=texts(3, True, 0))


def test_short_and_few_references_are_told():
    few = PromptSet.from_tokens([[3, 4], [5, 6], [7, 8]])
    told = token_scores(model(), spotter(), texts(2, True, 0), reference=few).warnings
    assert any("3 reference texts are too few" in warning for warning in told)
    assert any("shorter than the prompts" in warning for warning in told)
    assert any("fitted at the mark 'last'" in warning for warning in told)
