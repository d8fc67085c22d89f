"""Pairs from files and rows: answers as tokens, spans, what is refused, what is left out and counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from interp.circuits import Pairs, attribute, load_pairs, run_circuits
from interp.errors import CircuitError, PromptError, TokenizerMissingError
from tests.circuits.conftest import off, small
from tests.models.tiny import word_tokenizer

SHARED = Path(__file__).parents[3] / "shared"
ROW = {"clean": "the cat sits", "corrupted": "the cats sits", "answer": " on", "wrong_answer": " a"}
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the shared material in {SHARED.name}/")


@pytest.fixture(scope="module")
def words():
    return word_tokenizer()


def test_answers_are_the_tokens_that_follow(words):
    pairs = load_pairs([ROW, {**ROW, "answer": [" on", " mat"], "wrong_answer": 9}], words)
    ids = {w: words.convert_tokens_to_ids(w) for w in ("on", "a", "mat")}
    assert [a.tolist() for a in pairs.answers] == [[ids["on"]], [ids["on"], ids["mat"]]]
    assert [a.tolist() for a in pairs.wrong] == [[ids["a"]], [9]]
    assert pairs.clean.tokens[0].tolist() == words("the cat sits").input_ids
    assert pairs.even


def test_answers_of_several_tokens(words):
    row = {**ROW, "answer": " on a", "wrong_answer": " on mat"}
    with pytest.raises(CircuitError, match=r"row 1: answer ' on a' is 2 tokens after this prompt; use answers='first'"):
        load_pairs([row], words)
    pairs = load_pairs([row], words, answers="first")
    # What the answers share goes to the end of both prompts.
    assert pairs.clean.tokens[0].tolist() == words("the cat sits on").input_ids
    assert pairs.corrupted.tokens[0].tolist() == words("the cats sits on").input_ids
    assert pairs.answers[0].tolist() == [words.convert_tokens_to_ids("a")]
    begins = {**ROW, "answer": " on", "wrong_answer": " on mat"}
    with pytest.raises(CircuitError, match="is how another answer begins"):
        load_pairs([begins], words, answers="first")
    kept = load_pairs([ROW, begins], words, answers="first", unusable="drop")
    assert len(kept) == 1
    assert "left out of 2: 1 answers of several tokens" in kept.notes


@pytest.mark.parametrize(
    ("clean", "corrupted", "columns"),
    [
        ([1, 2, 3, 4], [1, 9, 9, 3, 4], [0, 2, 3, 4]),
        ([1, 2, 3], [1, 2, 9, 3], [0, 2, 3]),  # nothing of the clean prompt is replaced; the token before stands for it
        ([1, 2, 9, 3], [1, 2, 3], [0, 1, 1, 2]),
        ([2, 3], [9, 2, 3], [1, 2]),
        ([1, 2], [1, 2], [0, 1]),
    ],
)
def test_alignment_by_what_is_alike(clean, corrupted, columns):
    rows = [{"clean": clean, "corrupted": corrupted, "answer": 5, "wrong_answer": 6}]
    assert load_pairs(rows, align=True).columns[0].tolist() == columns


def test_a_span_of_another_length_is_patched_from_its_end():
    """The corrupted values that an ablation takes are those at the aligned tokens."""
    model = small("llama")
    pairs = Pairs.from_tokens(
        [[8, 9, 10]], [[8, 20, 21, 10]], answers=[[5]], wrong=[[7]], spans={"mid": ([[1, 2]], [[1, 3]])}
    )
    from interp.circuits.batches import pair_batches
    from interp.circuits.observe import observe

    [batch] = pair_batches(pairs, 4)
    seen, _ = observe(model, batch)
    [alone] = pair_batches(Pairs(pairs.corrupted, pairs.corrupted, pairs.answers, pairs.wrong), 4)
    whole, _ = observe(model, alone)
    assert off(seen.corrupted.values["z.1"][0], whole.clean.values["z.1"][0][[0, 2, 3]]) < 1e-6
    assert np.isfinite(attribute(model, pairs, replicates=0).values).all()
    with pytest.raises(CircuitError, match="match token by token"):
        attribute(model, pairs, method="atp*", replicates=0)


def test_refusals(words):
    cases = [
        ([{"clean": "a", "corrupted": "the"}], CircuitError, "pairs need 'clean', 'corrupted' and 'answer'"),
        ([{**ROW, "answer": " a"}], CircuitError, "begin with the same token"),
        ([{**ROW, "clean_spans": {"x": "dog"}, "corrupted_spans": {"x": "cats"}}], CircuitError, "'dog' is not in"),
    ]
    for rows, error, message in cases:
        with pytest.raises(error, match=message):
            load_pairs(rows, words)
    with pytest.raises(TokenizerMissingError, match="holds texts, but there is no tokenizer"):
        load_pairs([ROW])
    model = small("gpt2")
    with pytest.raises(PromptError, match="has token id 400, but the model knows 0 to 96"):
        attribute(model, Pairs.from_tokens([[400]], [[3]], answers=[5], wrong=[6]))
    with pytest.raises(CircuitError, match="an answer is token 400, but the model's vocabulary has 97"):
        attribute(model, Pairs.from_tokens([[4]], [[3]], answers=[400], wrong=[6]))
    with pytest.raises(CircuitError, match="pair '0' has none"):
        attribute(model, Pairs.from_tokens([[4]], [[3]], answers=[5]))
    with pytest.raises(CircuitError, match="token 5 is a right and a wrong answer"):
        Pairs.from_tokens([[4]], [[3]], answers=[5], wrong=[5])
    with pytest.raises(CircuitError, match="there are no circuits to run"):
        run_circuits(model, Pairs.from_tokens([[4]], [[3]], answers=[5]), [], "answer_logp")


def test_files_and_groups(tmp_path, words):
    lines = "".join(json.dumps({**ROW, "group": g}) + "\n" for g in "aab")
    (tmp_path / "pairs.jsonl").write_text(lines)
    pairs = load_pairs(tmp_path / "pairs.jsonl", words)
    assert pairs.groups.tolist() == ["a", "a", "b"]
    assert pairs.select([2, 0]).groups.tolist() == ["b", "a"]
    (tmp_path / "pairs.csv").write_text("clean,corrupted,answer,wrong_answer\nthe cat sits,the cats sits, on, a\n" * 1)
    assert load_pairs(tmp_path / "pairs.csv", words).answers[0].tolist() == pairs.answers[0].tolist()
    assert load_pairs(tmp_path / "pairs.jsonl", words, group="clean").groups.tolist() == ["the cat sits"] * 3


def test_pairs_that_differ_in_the_same_words_are_one_group(words):
    """Without a field, what two prompts differ in says which pairs are not independent, whichever is the clean one."""
    other = {**ROW, "clean": ROW["corrupted"], "corrupted": ROW["clean"]}
    third = {**ROW, "clean": "the cat sat", "corrupted": "the cat sits"}
    pairs = load_pairs([ROW, other, third], words)
    assert len(set(pairs.groups[:2])) == 1
    assert len(set(pairs.groups)) == 2
    assert "2 groups by the words in which prompts differ" in repr(pairs)
    assert len(set(load_pairs([ROW, other, third], words, group="each").groups)) == 3
    named = load_pairs([{**row, "group": name} for row, name in zip((ROW, other, third), "xyz", strict=True)], words)
    assert named.groups.tolist() == ["x", "y", "z"]
    assert not named.notes


def test_blimp_has_answers_and_no_corrupted_prompts(words):
    row = {
        "sentence_good": "the cat sits", "sentence_bad": "the cat sat", "one_prefix_prefix": "the cat",
        "one_prefix_word_good": "sits", "one_prefix_word_bad": "sat",
    }  # fmt: skip
    pairs = load_pairs([row], words)
    assert pairs.clean.tokens[0].tolist() == pairs.corrupted.tokens[0].tolist() == words("the cat").input_ids
    assert pairs.answers[0].tolist() == [words.convert_tokens_to_ids("sits")]
    assert pairs.wrong[0].tolist() == [words.convert_tokens_to_ids("sat")]
    assert "no corrupted prompts" in repr(pairs)
    with pytest.raises(CircuitError, match="paradigms of the one-prefix method"):
        load_pairs([{"sentence_good": "the cat sits", "sentence_bad": "the cat sat"}], words)


@needs_shared
def test_public_files_load_as_they_are():
    from transformers import AutoTokenizer

    stories = AutoTokenizer.from_pretrained(SHARED / "models" / "stories260K")
    agreement = SHARED / "circuits" / "feature_circuits" / "data" / "nounpp_test.json"
    pairs = load_pairs(agreement, stories, answers="first", unusable="drop", limit=60)
    assert 0 < len(pairs) < 60
    assert pairs.even
    aligned = load_pairs(agreement, stories, answers="first", unusable="drop", align=True, limit=60)
    assert len(pairs) < len(aligned)
    assert len(set(aligned.groups)) == 14  # nouns, each in both numbers
    blimp = load_pairs(SHARED / "circuits" / "blimp" / "determiner_noun_agreement_1.jsonl", stories, answers="first",
                       unusable="drop", limit=60)  # fmt: skip
    assert len(blimp) == 10
    assert blimp.even
    assert not aligned.even
    names = load_pairs(SHARED / "circuits" / "eap_ig" / "ioi_llama.csv", stories, unusable="drop")
    assert names.answers[0].max() > 1000  # ids of another vocabulary, which is found out when a model is at hand
    hard = load_pairs(
        SHARED / "circuits" / "eap_ig" / "ioi_llama.csv", stories, corrupted="corrupted_hard", unusable="drop"
    )
    assert hard.corrupted.tokens[0].tolist() != names.corrupted.tokens[0].tolist()
    with pytest.raises(CircuitError, match="two digits to be one token"):
        load_pairs(SHARED / "circuits" / "eap_ig" / "greater_than_data.csv", stories)


@needs_shared
def test_the_greater_than_task_with_two_digit_tokens():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    years = {f"{i:02d}": i for i in range(100)}
    vocab = years | {w: 100 + i for i, w in enumerate(["<unk>", "1", "2"])}
    raw = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Split(pattern=" ", behavior="removed")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")
    pairs = load_pairs(SHARED / "circuits" / "eap_ig" / "greater_than_data.csv", tokenizer, limit=1)
    assert pairs.answers[0].tolist() == list(range(53, 100))
    assert pairs.wrong[0].tolist() == list(range(53))
