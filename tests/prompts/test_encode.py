"""Exact ids, the BOS policy, the special mask, and marks in plain text."""

from __future__ import annotations

import pytest

from interp.errors import PromptError, TokenizerMissingError
from interp.prompts import PromptSet, tokenizer_hash
from interp.prompts.build import check_text
from tests.prompts.made_tokenizers import byte_level, merging, slow

BOS, EOS = 0, 1


def encode(text, tokenizer, **options):
    prompts = PromptSet.from_texts([text], tokenizer, **options)
    return prompts.tokens[0].tolist(), prompts.columns["bos"][0]


@pytest.mark.parametrize(
    ("adds", "text", "policy", "leading", "decision"),
    [
        (True, "the cat", "auto", 1, "tokenizer"),
        (True, "the cat", "always", 1, "tokenizer"),
        (True, "the cat", "never", 0, "removed"),
        (True, "<s>the cat", "auto", 1, "text"),
        (True, "<s>the cat", "always", 1, "text"),
        (True, "<s>the cat", "never", 0, "removed"),
        (True, "<s><s>the cat", "auto", 2, "text"),
        (True, "<s><s>the cat", "never", 0, "removed"),
        (False, "the cat", "auto", 0, "none"),
        (False, "the cat", "always", 1, "requested"),
        (False, "the cat", "never", 0, "none"),
        (False, "<s>the cat", "auto", 1, "text"),
        (False, "<s>the cat", "always", 1, "text"),
        (False, "<s>the cat", "never", 0, "removed"),
    ],
)
def test_bos_is_decided_per_prompt_and_never_doubled(adds, text, policy, leading, decision):
    tokenizer = byte_level(add_bos=adds)
    body = tokenizer("the cat", add_special_tokens=False)["input_ids"]
    tokens, decided = encode(text, tokenizer, bos=policy)
    assert tokens == [BOS] * leading + body
    assert decided == decision


def test_auto_is_what_the_tokenizer_does():
    tokenizer = byte_level(add_bos=True, add_eos=True)
    texts = ["the cat", "a dog </s> ran", "1 2 3\n\n4"]
    prompts = PromptSet.from_texts(texts, tokenizer)
    assert [t.tolist() for t in prompts.tokens] == tokenizer(texts)["input_ids"]
    assert all(s[0] and s[-1] for s in prompts.special)


def test_counts_are_recorded():
    prompts = PromptSet.from_texts(["the cat", "<s>the cat", "a dog"], byte_level(add_bos=True))
    assert prompts.source.bos == "auto"
    assert prompts.source.bos_counts == {"text": 1, "tokenizer": 2}
    assert prompts.source.bos_summary == "auto (text 1, tokenizer 2)"
    assert prompts.select([1]).source.bos_counts == {"text": 1}


def test_bos_that_is_also_eos_and_pad():
    tokenizer = byte_level(bos="</s>")
    assert encode("the cat", tokenizer)[1] == "none"
    tokens, decision = encode("</s>the cat", tokenizer)
    assert (tokens[0], decision) == (EOS, "text")
    tokens, decision = encode("the cat", tokenizer, bos="always")
    assert (tokens[0], decision) == (EOS, "requested")


def test_always_needs_a_bos_token():
    with pytest.raises(PromptError, match="has no BOS token"):
        encode("the cat", byte_level(bos=None), bos="always")


def test_special_is_what_the_tokenizer_adds_and_what_is_typed_as_control():
    """A typed eos is a control token that the model reads, special but never padding, though pad == eos."""
    tokenizer = byte_level(add_bos=True)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    prompts = PromptSet.from_texts(["the</s> cat"], tokenizer)
    special = prompts.special[0].tolist()
    assert special == [True] + [t == EOS for t in prompts.tokens[0].tolist()[1:]]
    assert sum(special) == 2


def test_a_word_used_as_padding_is_not_special():
    tokenizer = byte_level(pad_token="the")
    prompts = PromptSet.from_texts(["the cat"], tokenizer)
    assert tokenizer.pad_token_id in prompts.tokens[0]
    assert not prompts.special[0].any()


def test_raw_ids_with_a_tokenizer_get_the_same_special_mask():
    tokenizer = byte_level(add_bos=True)
    text = PromptSet.from_texts(["the</s> cat"], tokenizer)
    raw = PromptSet.from_tokens(text.tokens, tokenizer=tokenizer)
    assert raw.special[0].tolist() == text.special[0].tolist()
    assert raw.pieces == text.pieces
    assert raw.columns["bos"].tolist() == ["given"]


def test_pad_side_and_truncation_settings_change_nothing():
    plain, odd = byte_level(add_bos=True), byte_level(add_bos=True, padding_side="left", model_max_length=4)
    odd(["the cat", "a"], padding=True, truncation=True)
    texts = ["the cat sat on the mat and the dog ran", "a"]
    first, second = PromptSet.from_texts(texts, plain), PromptSet.from_texts(texts, odd)
    assert first.hash == second.hash
    assert tokenizer_hash(plain) == tokenizer_hash(odd)


def test_tokenizer_hash_sees_what_matters():
    hashes = {tokenizer_hash(t) for t in (byte_level(), byte_level(add_bos=True), merging(), slow())}
    assert len(hashes) == 4
    assert tokenizer_hash(slow()) == tokenizer_hash(slow())


def test_a_tokenizer_without_offsets_gives_the_same_answers():
    tokenizer = slow()
    prompts = PromptSet.from_texts(["cab on", "<s>cab"], tokenizer, marks={"end": ["cab", None]})
    assert [t.tolist() for t in prompts.tokens] == [tokenizer("cab on")["input_ids"], tokenizer("cab")["input_ids"]]
    assert prompts.columns["bos"].tolist() == ["tokenizer", "text"]
    assert prompts.special[0].tolist() == [True, False, False, False, False, False]
    assert prompts.marks["end"].tolist() == [2, -1]


def test_a_merge_across_the_end_is_ambiguous_without_offsets():
    with pytest.raises(PromptError, match=r"mark 'end' of prompt '0'.*merges across character 2.*ambiguous"):
        PromptSet.from_texts(["cab"], slow(), marks={"end": ["ca"]})


@pytest.mark.parametrize("part", ["dog ran", (12, 19)])
def test_a_mark_is_the_last_token_of_its_part(part):
    tokenizer = byte_level(add_bos=True)
    text = "the cat and dog ran to the park"
    span = part if isinstance(part, tuple) else (text.index(part), text.index(part) + len(part))
    prompts = PromptSet.from_texts([text], tokenizer, marks={"verb": [part]})
    upto = tokenizer(text[: span[1]])["input_ids"]
    at = prompts.marks["verb"][0]
    assert prompts.tokens[0][: at + 1].tolist() == upto


def test_a_mark_in_many_byte_tokens_is_the_last_of_them():
    tokenizer = byte_level()
    prompts = PromptSet.from_texts(["a 🙂 cat"], tokenizer, marks={"smile": ["🙂"]})
    assert prompts.marks["smile"][0] == len(tokenizer("a 🙂")["input_ids"]) - 1


def test_marks_move_with_a_bos_that_is_added_or_removed():
    tokenizer = byte_level(add_bos=True)
    for policy in ("auto", "never"):
        prompts = PromptSet.from_texts(["<s>the cat sat"], tokenizer, marks={"cat": ["cat"]}, bos=policy)
        assert prompts.pieces[int(prompts.tokens[0][prompts.marks["cat"][0]])].endswith("cat")


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("zebra", "mark 'm' of prompt '1': 'zebra' is not in 'the cat and the dog'"),
        ("the", "'the' is more than once in"),
        ("", "is empty"),
        ((3, 99), "characters 3..99 are not in a text of 19"),
        ((5, 5), "characters 5..5"),
        ((1, 2, 3), "expected a substring or a"),
    ],
)
def test_bad_marks_name_the_prompt(part, says):
    with pytest.raises(PromptError, match=says):
        PromptSet.from_texts(["the cat", "the cat and the dog"], byte_level(), marks={"m": [None, part]})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "prompt '1' is an empty text"),
        (None, "prompt '1' is missing"),
        (float("nan"), "prompt '1' is missing"),
        (3, "prompt '1' is a int .3., not text"),
    ],
)
def test_bad_texts_are_named(text, says):
    with pytest.raises(PromptError, match=says):
        check_text(text, "prompt '1'")


def test_an_empty_text_names_its_prompt():
    with pytest.raises(PromptError, match=r"prompt '1' \(number 2\) is an empty text"):
        PromptSet.from_texts(["a", ""], byte_level())


def test_text_without_a_tokenizer_says_what_to_do():
    with pytest.raises(TokenizerMissingError, match="from_tokens"):
        PromptSet.from_texts(["a"], None)


def test_unknown_policy():
    with pytest.raises(PromptError, match="'auto', 'always', 'never', got 'maybe'"):
        encode("a", byte_level(), bos="maybe")


def test_describe_shows_exact_pieces():
    prompts = PromptSet.from_texts(["the cat"], byte_level(add_bos=True))
    lines = prompts.describe().splitlines()
    assert lines[1].split() == ["0", "0", "'<s>'", "special"]
    assert "'Ġcat'" in lines[-1]
    assert lines[-1].endswith("<- last")


# -- the real tokenizer ------------------------------------------------------------------------------------------------


def test_stories_tokenizer_adds_one_bos(stories):
    """It was trained with <s> in front; its own post-processor adds it, and would double a typed one."""
    assert stories.pad_token_id == stories.eos_token_id == 2
    assert stories.padding_side == "left"
    assert stories("<s>The friends")["input_ids"][:2] == [1, 1]
    for text, decision in (("The friends", "tokenizer"), ("<s>The friends", "text")):
        assert encode(text, stories) == ([1, 291, 374, 419], decision)
    assert encode("The friends", stories, bos="never") == ([291, 374, 419], "removed")
    prompts = PromptSet.from_texts(["end</s> more"], stories, marks={"end": ["end"]})
    assert prompts.tokens[0].tolist() == [1, 344, 264, 2, 410, 284, 414, 276]
    assert prompts.special[0].tolist() == [True, False, False, True, False, False, False, False]
    assert prompts.marks["end"].tolist() == [2]
