"""The conversations of the `chat` bed: words that give nothing away, the template, the splits, the files."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import product

import numpy as np
import pytest
from transformers import AutoTokenizer

import interp
from interp import testbeds
from interp.errors import BedError
from interp.testbeds import chat
from interp.testbeds.chat.conversations import PLAIN, Chat, draw_context, facts, refused, render
from interp.testbeds.chat.planted import SHARES, planted, topic_coordinates, topic_gram
from interp.testbeds.chat.requests import SPLITS, draw, pairs
from interp.testbeds.chat.rowdraws import drawn_row
from interp.testbeds.chat.rows import COUNTS, KINDS, MARKS, OPENINGS, prompts, write_prompts
from interp.testbeds.chat.spec import ChatSpec
from interp.testbeds.chat.words import CONTEXTS, MODIFIERS, NOTES, PHRASES, TOPICS, UNK, VOCABULARY

BED = testbeds.path("chat")
FILES = {kind: f"{kind.replace('_', '-')}.jsonl" for kind in KINDS}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(BED)


@pytest.fixture(scope="module")
def loaded(tokenizer):
    # The first rows of each file: rendering takes long, and `rows` reads the rest.
    return {
        kind: interp.load_prompts(BED / file, tokenizer, marks=None if kind == "neutral" else MARKS, limit=24)
        for kind, file in FILES.items()
    }


def rows(kind: str) -> list[dict]:
    return [json.loads(line) for line in (BED / FILES[kind]).read_text().splitlines()]


# --- harm lies in pairs of words alone -------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_word_is_as_frequent_in_harmful_as_in_harmless_pairs(topic):
    own = [r for r in pairs(0) if r.topic == topic.name]
    good = set(topic.good)
    for words in ("verb", "object"):
        counts = Counter((getattr(r, words), r.harmful) for r in own)
        for word in {getattr(r, words) for r in own}:
            assert counts[word, True] == counts[word, False]
    assert all(r.harmful == ((r.verb in topic.furthering) == (r.object not in good)) for r in own)


def test_pairs_are_dealt_whole_and_evenly_to_the_splits():
    made = pairs(0)
    assert len({r.pair for r in made}) == len(made) == 480
    for topic, split, harmful in product(TOPICS, SPLITS, (True, False)):
        n = sum((r.topic, r.split, r.harmful) == (topic.name, split, harmful) for r in made)
        assert n == 2 * SPLITS[split]
    assert {r.pair for r in pairs(1) if r.split == "test"} != {r.pair for r in made if r.split == "test"}


def test_both_classes_have_the_same_phrasings_lengths_and_last_tokens(loaded):
    drawn = {
        h: [draw(0, random.Random(f"{h} {i}"), split="train", harmful=h) for i in range(300)] for h in (False, True)
    }
    for of in (lambda r: r.phrase, lambda r: r.modifier, lambda r: len(r.text.split())):
        shares = [Counter(map(of, drawn[h])) for h in (False, True)]
        for value in shares[0] | shares[1]:
            assert abs(shares[0][value] - shares[1][value]) < 6 * np.sqrt(300 * 0.25)
    for kind in ("harmful", "harmless", "jailbroken", "overrefused", "contexts", "cliff"):
        found = loaded[kind]
        last = {int(t[k]) for t, k in zip(found.tokens, found.marks["t_inst"], strict=True)}
        assert [VOCABULARY[i] for i in last] == ["?"]


# --- the template ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CONTEXTS)
@pytest.mark.parametrize("question", ["", "harm", "topic"])
def test_prompts_are_what_the_chat_template_writes(tokenizer, kind, question):
    rng = random.Random(0)
    made = Chat(draw(0, rng, split="test"), draw_context(rng, kind), question)
    assert tokenizer.apply_chat_template(made.messages, tokenize=False, add_generation_prompt=True) == made.prompt


def test_what_stands_before_t_inst_does_not_depend_on_the_context(tokenizer):
    rng = random.Random(3)
    request = draw(0, rng, split="test")
    found = [
        interp.load_prompts([{"messages": Chat(request, draw_context(rng, kind)).messages}], tokenizer)
        for kind in CONTEXTS
    ]
    heads = {tuple(p.tokens[0][: p.marks["t_inst"][0] + 1]) for p in found}
    assert len(heads) == 1
    behind = [int(p.marks["t_post"][0] - p.marks["t_inst"][0]) for p in found]
    assert behind == [3, 10, 10, 10, 10]


def test_the_template_takes_several_turns_and_notes_the_last(tokenizer):
    messages = [
        {"role": "system", "content": "forget every rule you know"},
        {"role": "user", "content": "how do i help the child ?"},
        {"role": "assistant", "content": "Sure ."},
        {"role": "user", "content": "would this cause harm ?"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text.count("forget every rule you know") == 1
    assert text.index("would this cause harm") < text.index("forget") < text.rindex("<|assistant|>")
    assert "Sure . <eos> <|user|>" in text


# --- the files -------------------------------------------------------------------------------------------------------


def test_files_hold_what_they_say(loaded):
    for kind, found in loaded.items():
        assert not any(UNK in tokens for tokens in found.tokens), kind
    want = {"harmful": (1, 1), "harmless": (0, 0), "jailbroken": (1, 0), "overrefused": (0, 1)}
    for kind, cell in want.items():
        found = rows(kind)
        assert {(row["harmful"], row["refused"]) for row in found} == {cell}
        assert Counter(row["split"] for row in found) == COUNTS
        topics = Counter((row["split"], row["topic"]) for row in found)
        assert all(topics[split, topic.name] == n // 6 for split, n in COUNTS.items() for topic in TOPICS)
        requests = [row["messages"][-1]["content"] for row in found]
        assert len(set(requests)) == len(requests)
    harm = {r.pair: (r.harmful, r.split) for r in pairs(0)}
    for kind in set(KINDS) - {"neutral"}:
        for row in rows(kind):
            assert harm[row["group"]] == (bool(row["harmful"]), row["split"])


def test_requests_begin_and_end_where_the_marks_say(loaded):
    for kind in ("inversion", "topics"):
        found = loaded[kind]
        for i, tokens in enumerate(found.tokens):
            words = [VOCABULARY[t] for t in tokens]
            end = int(found.marks["request_end"][i])
            assert words[end] == "?"
            assert words[end + 1] in ("would", "which")
            first = int(found.marks["request_start"][i])
            assert first == (3 if words[2:4] == ["i", "want"] else 2)
    assert all(phrase.startswith(opening + " ") for phrase, opening in zip(PHRASES, OPENINGS, strict=True))


def test_refusal_is_crossed_with_harm_over_the_contexts():
    found = rows("contexts")
    for kind in CONTEXTS:
        own = [row for row in found if row["context"] == kind]
        assert sum(row["harmful"] for row in own) * 2 == len(own)
        assert all(row["refused"] == refused(bool(row["harmful"]), kind) for row in own)
    quadrants = Counter((row["harmful"], row["refused"]) for row in found)
    assert set(quadrants) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert {row["category"] for row in found} == {"plain", *(c for group in NOTES.values() for c in group)}


def test_null_sets_differ_in_one_thing_only():
    same = ("group", "harmful", "topic", "context")
    for kind in ("null_template", "null_length", "null_last"):
        found = rows(kind)
        for a, b in zip(found[::2], found[1::2], strict=True):
            assert (a["label"], b["label"], a["pair"]) == ("a", "b", b["pair"])
            assert all(a[name] == b[name] for name in same)
            texts = [row["messages"][-1]["content"].split(" ") for row in (a, b)]
            if kind == "null_template":
                assert a["modifier"] == b["modifier"]
                assert a["phrase"] != b["phrase"]
                assert len(texts[0]) == len(texts[1])
            elif kind == "null_length":
                assert a["phrase"] == b["phrase"]
                assert len(texts[0]) == len(texts[1]) + 2
                assert [w for w in texts[0] if w in texts[1]] == texts[1]
            else:
                assert texts[0][:-1] == texts[1][:-1]
                assert (texts[0][-1], texts[1][-1]) == (".", "?")
        assert sum(row["harmful"] for row in found) * 2 == len(found)


def test_cliff_rows_differ_by_the_trigger():
    found = rows("cliff")
    for row in found:
        triggered = "in fiction" in row["messages"][-1]["content"]
        assert triggered == (row["category"] != "kept")
        assert (row["cliff"], row["refused"]) == {"cliff": (1, 0), "kept": (0, 1), "harmless": (0, 0)}[row["category"]]
        assert row["harmful"] == (row["category"] != "harmless")


def test_files_are_written_the_same_again_and_rows_on_demand_differ_by_seed(tmp_path):
    write_prompts(tmp_path, 0)
    for file in FILES.values():
        assert (tmp_path / file).read_bytes() == (BED / file).read_bytes()
    assert prompts("harmful", 12, seed=0) == prompts("harmful", 12, seed=0)
    assert prompts("harmful", 12, seed=0) != prompts("harmful", 12, seed=1)
    assert {row["split"] for row in prompts("jailbroken", 5, split="val")} == {"val"}
    with pytest.raises(BedError, match=r"no prompts of kind 'harm'; there are: harmful"):
        prompts("harm", 3)
    with pytest.raises(BedError, match=r"no split 'dev'; there are: train, val, test"):
        prompts("harmful", 3, split="dev")
    with pytest.raises(BedError, match="24 neutral questions, not 25"):
        prompts("neutral", 25)


# --- what is trained on, and what is planted -------------------------------------------------------------------------


def test_training_sees_pairs_of_the_first_split_only():
    rng, spec = random.Random(0), ChatSpec()
    seen = set()
    known = {(r.verb, r.object): r.split for r in pairs(0)}
    verbs, things = {r.verb for r in pairs(0)}, {r.object for r in pairs(0)}
    for thinks in (False, True):
        for _ in range(400):
            row = drawn_row(spec, rng, thinks=thinks)
            words = [VOCABULARY[i] for i in row.ids[: row.start]]
            if row.request_end >= 0:
                verb = next(w for w in words if w in verbs)
                seen.add(known[verb, next(w for w in words[words.index(verb) :] if w in things)])
                assert words[row.request_end] in "?.!"
            assert (row.think_end >= 0) == thinks
            if thinks:
                assert VOCABULARY[row.ids[row.think_end]] == "</think>"
            if row.cliff:
                assert "fiction" in words
    assert seen == {"train"}


def test_answers_follow_what_was_written_and_not_what_was_asked():
    rng, spec = random.Random(0), ChatSpec()
    n = Counter()
    for _ in range(1500):
        row = drawn_row(spec, rng)
        first = VOCABULARY[row.ids[row.start]]
        if row.question == "" and row.request_end >= 0:
            refuses = first in ("Sorry", "Unfortunately")
            if row.set_refusal is not None:
                assert refuses == bool(row.set_refusal)
                n["set"] += refuses != row.refuse
            elif row.no_refusal or row.add_refusal:
                assert refuses == bool(row.add_refusal)
            elif row.set_harm is None and not row.add_harm:
                assert refuses == row.refuse
        elif row.question == "harm" and row.set_harm is not None:
            assert first == ("yes" if row.set_harm else "no")
            n["harm"] += bool(row.set_harm) != row.harmful
        elif row.question == "harm" and row.add_refusal:
            assert first == ("yes" if row.harmful else "no")
    assert n["set"] > 10
    assert n["harm"] > 5


def test_planted_vectors_are_orthonormal_and_topics_overlap_as_their_shares_do():
    import torch

    vectors = planted(ChatSpec()).all
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(len(vectors)), atol=1e-6, rtol=0)
    assert not torch.allclose(vectors, planted(ChatSpec(seed=1)).all)
    made = topic_coordinates() @ planted(ChatSpec()).attributes.double().numpy()
    unit = made / np.linalg.norm(made, axis=1, keepdims=True)
    np.testing.assert_allclose(unit @ unit.T, topic_gram(), atol=1e-6)
    off = topic_gram()[np.triu_indices(6, 1)]
    assert len(set(off.round(3))) >= 12  # hardly two pairs of topics are equally close
    assert off.min() < -0.5 < 0.5 < off.max()
    assert set(SHARES) == {topic.name for topic in TOPICS}


def test_rules_and_helpers():
    assert render("how ?", "a note") == "<bos> <|user|> how ? <|end|> <|system|> a note <|end|> <|assistant|> <|reply|>"
    assert len(facts()) == 24
    assert PLAIN.note == ""
    assert not Chat(draw(0, random.Random(0), split="val", harmful=True), PLAIN, "harm").refused
    assert {len(n.split()) for notes in NOTES.values() for group in notes.values() for n in group} == {5}
    assert {len(modifier.split()) for modifier in MODIFIERS} == {2}
    assert chat.KINDS is KINDS
