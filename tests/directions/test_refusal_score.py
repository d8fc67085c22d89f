"""The refusal score is the log odds of refusing, exact at both ends; first tokens are those that a model writes."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.errors import PromptError
from interp.metrics import refusal_score, refusal_tokens, refusal_tokens_and_notes
from interp.prompts.first import first_tokens
from tests.models.tiny import word_tokenizer
from tests.prompts.made_tokenizers import TEMPLATES, byte_level


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-8, 8), min_size=3, max_size=9),
    st.integers(1, 2),
    st.floats(-50, 50),
)
def test_it_is_the_log_odds_and_shifts_do_nothing(logits, count, shift):
    x = torch.tensor(logits, dtype=torch.float64)
    ids = list(range(count))
    p = float(x.softmax(-1)[:count].sum())
    score = float(refusal_score(x, ids))
    assert score == pytest.approx(math.log(p) - math.log1p(-p), abs=1e-9)
    assert float(refusal_score(x + shift, ids)) == pytest.approx(score, abs=1e-9)
    rest = list(range(count, len(logits)))
    assert float(refusal_score(x, rest)) == pytest.approx(-score, abs=1e-9)


def test_it_is_exact_where_probabilities_are_not():
    x = torch.tensor([200.0, 0.0, 0.0])
    assert float(x.softmax(-1)[0]) == 1.0, "float32 has no room for what is left"
    assert float(refusal_score(x, [0])) == pytest.approx(200 - math.log(2), abs=1e-12)
    assert float(refusal_score(x, [1, 2])) == pytest.approx(math.log(2) - 200, abs=1e-12)
    assert refusal_score(x.half(), [0]).dtype == torch.float64


def test_repeats_count_once_and_impossible_sets_are_refused():
    x = torch.randn(4, 7)
    assert torch.equal(refusal_score(x, [2, 5, 2]), refusal_score(x, torch.tensor([5, 2])))
    for wrong in ([], list(range(7)), [7], [-1]):
        with pytest.raises(PromptError, match="refusal tokens are some of the 7"):
            refusal_score(x, wrong)


@pytest.mark.parametrize("template", [None, *TEMPLATES])
def test_first_tokens_are_those_that_follow_the_rendered_question(template):
    tokenizer = byte_level(template=None if template is None else TEMPLATES[template])
    [found] = first_tokens(tokenizer, ["Sorry, no"])
    if template is None:
        assert found == tokenizer("Sorry, no", add_special_tokens=False).input_ids[0]
        return
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "why?"}], add_generation_prompt=True, tokenize=False
    )
    before = tokenizer(asked, add_special_tokens=False).input_ids
    assert tokenizer(asked + "Sorry, no", add_special_tokens=False).input_ids[len(before)] == found


def test_shared_first_tokens_are_told():
    tokenizer = byte_level()
    with pytest.warns(UserWarning, match=r"'I cannot' begin with the same token as 'I can'"):
        ids = refusal_tokens(tokenizer, ["I cannot", "no"], acceptances=["I can", "Yes"])
    assert len(ids) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refusal_tokens(tokenizer, ["no"], acceptances=["Yes"])


def test_words_that_the_vocabulary_lacks_are_left_out_and_told():
    tokenizer = word_tokenizer()
    ids, notes = refusal_tokens_and_notes(tokenizer, ["the cat", "never"], acceptances=["a mat"])
    assert ids == (3,)
    assert len(notes) == 1
    assert "'never'" in notes[0]
    with pytest.raises(PromptError, match="no first token"):
        refusal_tokens(tokenizer)
