"""Where heads look, on a model whose heads were written by hand; what tokens add, where the truth is known."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from interp import PromptSet, load_model, testbeds
from interp.circuits import attention_report, token_attribution
from interp.circuits.attention import PLACES, place_of
from interp.errors import CircuitError, PromptError
from tests.identity.architectures import fresh

FAST = {"bootstrap": 200}


@functools.cache
def bed():
    return load_model(testbeds.path("induction"))


def repeats(n: int = 8, seed: int = 0) -> PromptSet:
    """Seven words, the last of which stood before."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(n):
        words = rng.permutation(np.arange(5, 50))[:7]
        words[6] = words[int(rng.integers(1, 5))]
        made.append([0, *words.tolist()])
    return PromptSet.from_tokens(made)


def test_places_are_apart_and_cover_what_can_be_seen():
    place = place_of(np.array([0, 5, 6, 7, 5]))
    names = list(PLACES)
    assert [names[k] for k in place[4]] == ["first", "copy", "induction", "previous", "self"]
    assert (place[np.triu_indices(5, 1)] == -1).all()
    assert (place[np.tril_indices(5)] >= 0).all()


def test_the_planted_heads_look_where_they_were_made_to():
    report = attention_report(bed(), repeats(), **FAST)
    shares = {(row["part"], row["place"]): row for row in report.rows}
    assert shares["z.0.h0", "previous"]["share"] > 0.99
    assert shares["z.1.h0", "induction"]["share"] > 0.99
    looking = {
        (r["part"], r["place"]) for r in report.rows if r["looks"] and r["place"] in ("previous", "induction", "copy")
    }
    assert looking == {("z.0.h0", "previous"), ("z.1.h0", "induction")}
    assert "z.0.h0 at the token before" in report.headline
    assert list(report.meta["patterns"])[:1] == ["z.0.h0"]
    pattern = np.array(report.meta["patterns"]["z.1.h0"])
    np.testing.assert_allclose(pattern.sum(1), 1, atol=1e-3)


def test_heads_of_a_random_model_look_nowhere():
    report = attention_report(fresh("gpt2"), PromptSet.from_tokens([[5, 6, 7, 8, 6, 9], [9, 4, 3, 8, 4, 2]]), **FAST)
    assert not any(row["looks"] for row in report.rows)
    assert report.headline.startswith("None of")


def test_shares_of_looking_evenly_are_what_they_are():
    report = attention_report(bed(), PromptSet.from_tokens([[0, 5, 6, 7], [0, 8, 9, 10]]), **FAST)
    even = {row["place"]: row["share_even"] for row in report.rows}
    assert even["self"] == pytest.approx(np.mean([1 / 2, 1 / 3, 1 / 4]))
    assert even["previous"] == pytest.approx(np.mean([1 / 3, 1 / 4]))
    assert "copy" not in even


def test_only_some_heads_and_no_others():
    report = attention_report(bed(), repeats(3), ["z.1.h0"], **FAST)
    assert {row["part"] for row in report.rows} == {"z.1.h0"}
    with pytest.raises(CircuitError, match="is no head of this model"):
        attention_report(bed(), repeats(3), ["z.7.h0"], **FAST)
    with pytest.raises(PromptError, match="three tokens"):
        attention_report(bed(), PromptSet.from_tokens([[1, 2]]), **FAST)


def test_the_answers_own_place_carries_it():
    prompts = repeats(4)
    ends = [int(np.flatnonzero(t[:-1] == t[-1])[0]) + 1 for t in prompts.tokens]
    answers = [int(t[end]) for t, end in zip(prompts.tokens, ends, strict=True)]
    report = token_attribution(bed(), prompts, answers, draws=4, targets=19)
    for name, end in zip(prompts.ids, ends, strict=True):
        own = [row for row in report.rows if row["text"] == name and "score" in row]
        assert max(own, key=lambda row: row["score"])["position"] in (end, end - 1, len(prompts.tokens[0]) - 1)
        assert next(row for row in own if row["position"] == end)["above"]


def test_a_token_of_no_account_has_no_score():
    prompts = repeats(4)
    answers = [int(t[int(np.flatnonzero(t[:-1] == t[-1])[0]) + 1]) for t in prompts.tokens]
    report = token_attribution(bed(), prompts, answers, draws=4, targets=19)
    idle = [row["score"] for row in report.rows if not row["above"] and row.get("p_max") == 1]
    assert np.abs(idle).max() < 1e-3


def test_too_few_tokens_and_wrong_counts_are_refused():
    with pytest.raises(CircuitError, match="distinct tokens"):
        token_attribution(bed(), PromptSet.from_tokens([[5, 6, 5]]), [6], targets=9)
    with pytest.raises(CircuitError, match="need as many answers"):
        token_attribution(bed(), repeats(2), [6])
    told = token_attribution(bed(), repeats(2), [6, 7], targets=5).warnings
    assert "5 other answers are too few" in told[0]
