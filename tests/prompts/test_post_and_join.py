"""Marks between instruction and answer, and prompt sets put together."""

from __future__ import annotations

import pytest

from interp.errors import PromptError
from interp.prompts import PromptSet
from interp.prompts.join import join
from interp.prompts.post import mark_post
from tests.prompts.made_tokenizers import TEMPLATES, byte_level

ASKED = ["tell me how to make a cake", "what is a good name for a cat?", "play"]


def chats(name, **about):
    tokenizer = byte_level(template=TEMPLATES[name])
    return PromptSet.from_chats([[{"role": "user", "content": text}] for text in ASKED], tokenizer, **about)


@pytest.mark.parametrize("name", [n for n in TEMPLATES if n != "thinking"])
def test_post_marks_are_the_templates_own_tokens(name):
    prompts, marks = mark_post(chats(name))
    assert marks[-1] == "post-1"
    assert prompts.marks["post-1"].tolist() == prompts.marks["t_post"].tolist()
    for mark in marks:  # the same token in every prompt, whatever the instruction
        assert len({int(t[i]) for t, i in zip(prompts.tokens, prompts.marks[mark], strict=True)}) == 1
    first = prompts.marks[marks[0]]
    assert (first == prompts.marks["t_inst"] + 1).all(), "nothing between the instruction and the first"
    fewer, names = mark_post(chats(name), most=1)
    assert names == ("post-1",)
    assert "post-2" not in fewer.marks


def test_plain_texts_have_none():
    with pytest.raises(PromptError, match="no tokens after the instruction"):
        mark_post(PromptSet.from_tokens([[1, 2, 3]]))


def test_joined_sets_keep_everything_in_order():
    one = chats("chatml", groups=["a", "b", "c"], columns={"topic": ["x", "y", "z"]})
    other = PromptSet.from_chats(
        [[{"role": "user", "content": "hello world"}]], byte_level(template=TEMPLATES["chatml"]), groups=["a"]
    )
    both = join([one, other], labels=[1, 0])
    assert both.labels.tolist() == [1, 1, 1, 0]
    assert both.groups.tolist() == ["a", "b", "c", "a"]
    assert both.columns["topic"].tolist() == ["x", "y", "z", None]
    assert [t.tolist() for t in both.tokens] == [t.tolist() for t in (*one.tokens, *other.tokens)]
    assert both.spans["post"].tolist() == [*one.spans["post"].tolist(), *other.spans["post"].tolist()]
    assert both.marks["t_inst"].tolist() == [*one.marks["t_inst"].tolist(), *other.marks["t_inst"].tolist()]
    assert join([one]).hash == one.hash
    assert both.source.bos_counts == {"none": 4}


def test_sets_of_different_templates_are_not_joined():
    with pytest.raises(PromptError, match="chat template"):
        join([chats("chatml"), chats("headers")])
    with pytest.raises(PromptError, match="no prompt sets"):
        join([])
