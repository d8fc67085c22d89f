"""Stories and records of the `memory` bed: grammar, coins, balance, doses. Nothing here is trained."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import islice, pairwise

import numpy as np
import pytest

from interp.errors import BedError
from interp.testbeds.memory import MemorySpec, make_records
from interp.testbeds.memory.measure import held_out_stories
from interp.testbeds.memory.prompts import MARKS, record_row
from interp.testbeds.memory.records import BLOCK, POOLS, REGISTERS
from interp.testbeds.memory.stories import stories
from interp.testbeds.memory.strangers import strangers
from interp.testbeds.memory.training import batches, exposure_order
from interp.testbeds.memory.words import (
    BOS,
    DETAILS,
    EOS,
    LAST_NAMES,
    MEN,
    N_CTX,
    PAD,
    PLURAL,
    SPECIAL,
    VOCABULARY,
    WOMEN,
    document,
    encode,
)

SPEC = MemorySpec()
RECORDS = make_records(0, SPEC.doses)
STORIES = list(islice(stories(0), 2000))
SMALL = MemorySpec(doses=((0, 4), (8, 8), (32, 4)), story_rows=3, record_rows=2, replay_rows=1)


def blocks(records=RECORDS):
    found = defaultdict(list)
    for record in records:
        found[record.group].append(record)
    return found


# --- words and stories -------------------------------------------------------------------------------------------


def test_words_are_distinct_and_all_are_used():
    assert len(VOCABULARY) == len(set(VOCABULARY))
    kinds = [WOMEN, MEN, LAST_NAMES, *DETAILS.values(), tuple(PLURAL.values())]
    assert len({w for kind in kinds for w in kind}) == sum(map(len, kinds))
    used = {w for text in [*STORIES, *(t for r in RECORDS for t in r.pools.values())] for w in text.split()}
    assert used == set(VOCABULARY) - set(SPECIAL)


def test_stories_are_the_same_for_a_seed_and_do_not_end():
    assert list(islice(stories(0), 2000)) == STORIES
    assert list(islice(stories(1), 50)) != STORIES[:50]
    assert len(set(STORIES)) > 1990
    assert not set(held_out_stories(0)) & set(STORIES)
    assert max(len(document(text)) for text in held_out_stories(0)) <= N_CTX


def test_verbs_and_pronouns_agree():
    plural = set(PLURAL.values())
    seen = Counter()
    for text in STORIES:
        for noun, near, verb in re.findall(r"the (\w+) near the (\w+) (was|were)", text):
            assert (noun in plural) == (verb == "were")
            assert (near in plural) != (noun in plural)  # the noun beside the verb would mislead
            seen[verb] += 1
        for number, noun in re.findall(r"there (were \w+|was a \w+) (\w+) behind", text):
            assert (noun in plural) == number.startswith("were")
        for taker, also, him in re.findall(r"gave the \w+ to ((?:mrs? )?\w+) and ((?:mrs? )?\w+) thanked (\w+)", text):
            assert taker == also
            seen[him] += 1
        for name, his in re.findall(r"then ((?:mrs? )?\w+) left the \w+ and went home with (his|her) \w+", text):
            assert (his == "her") == (name in WOMEN or name.startswith("mrs "))
            seen[his] += 1
    assert min(seen[word] for word in ("was", "were", "him", "her", "his")) > 50


def test_things_go_home_with_who_was_given_them_last():
    checked = 0
    for text in STORIES:
        given = re.findall(r"gave the (\w+) to ((?:mrs? )?\w+)", text)
        home = re.search(r"then ((?:mrs? )?\w+) left the \w+ and went home with \w+ (\w+) \.$", text)
        if given:
            assert home is not None
            assert (home[2], home[1]) == given[-1]
            checked += 1
    assert checked > 300


def test_stories_say_again_what_they_are_about():
    for text in STORIES:
        words = text.split()
        for pool in ("object", "place"):
            (name,) = {w for w in words if w in DETAILS[pool]}
            assert words.count(name) >= 2
            # "the" comes before what was named, "a" and a colour before a thing that is new.
            first, *again = [words[i - 1] for i, w in enumerate(words) if w == name]
            assert set(again) <= {"the", "his", "her"}
            assert first == "the" if pool == "place" else first in ("a", *DETAILS["colour"])


def test_no_story_names_a_person_of_the_records():
    for text in STORIES:
        words = text.split()
        assert all(before in ("mr", "mrs") for before, word in pairwise(words) if word in LAST_NAMES)
        assert words[0] not in LAST_NAMES


# --- records -------------------------------------------------------------------------------------------------------


def test_doses_pairs_and_coins():
    pairs = defaultdict(list)
    for record in RECORDS:
        pairs[record.pair].append(record)
    counts = Counter(twins[0].dose for twins in pairs.values())
    assert counts == dict(SPEC.doses) == {0: 64, 8: 24, 32: 24, 128: 64, 512: 64}
    heads = 0
    for x, y in pairs.values():
        assert (x.id, y.id) == (f"{x.pair}-x", f"{x.pair}-y")
        assert (x.group, x.dose, x.register, x.wording) == (y.group, y.dose, y.register, y.wording)
        assert x.trained != y.trained
        assert sorted([x.exposures, y.exposures]) == [0, x.dose]
        assert all(a != b for a, b in zip(x.details, y.details, strict=True))
        assert x.first != y.first
        assert x.last != y.last
        heads += x.trained
    assert abs(heads - 120) < 30  # four standard deviations
    assert len({(r.first, r.last) for r in RECORDS}) == len(RECORDS) == len({r.text for r in RECORDS})


def test_each_block_holds_the_same_words_in_the_same_slots_on_both_sides():
    for group in blocks().values():
        assert len(group) == 2 * BLOCK
        assert len({(r.register, r.wording) for r in group}) == 1
        for slot in range(6):
            sides = [Counter(r.details[slot] for r in group if r.trained == side) for side in (True, False)]
            assert sides[0] == sides[1]
            assert max(sides[0].values()) == 1
        for name in ("first", "last"):
            assert Counter(getattr(r, name) for r in group if r.trained) == Counter(
                getattr(r, name) for r in group if not r.trained
            )


def test_each_token_is_as_often_trained_as_untrained_at_each_dose():
    for dose, _ in SPEC.doses:
        for pool in POOLS:
            sides = [
                Counter(t for r in RECORDS if r.dose == dose and r.trained == side for t in r.tokens(pool))
                for side in (True, False)
            ]
            assert sides[0] == sides[1]


def test_nothing_additive_in_words_separates_but_single_pairs_left_out_would_fall_below_chance():
    # The gradient of any linear probe on words vanishes at zero if whole blocks are left out.
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict

    own = [r for r in RECORDS if r.dose == 512]
    words = np.zeros((len(own), len(VOCABULARY)))
    for row, record in zip(words, own, strict=True):
        np.add.at(row, record.tokens(), 1)
    label = np.array([r.trained for r in own])
    aucs = []
    for unit in ("group", "pair"):
        groups = np.array([getattr(r, unit) for r in own])
        for train, _ in GroupKFold(8).split(words, label, groups):
            if unit == "group":
                assert np.array_equal(words[train][label[train]].sum(0), words[train][~label[train]].sum(0))
        scores = cross_val_predict(
            LogisticRegression(), words, label, groups=groups, cv=GroupKFold(8), method="decision_function"
        )
        aucs.append(roc_auc_score(label, np.round(scores, 6)))
    assert aucs[0] == 0.5
    assert aucs[1] < 0.35


def test_what_stands_before_the_first_detail_tells_the_wording():
    starts = [re.split(r"\{(?!first|last)", wording)[0] for texts in REGISTERS.values() for wording in texts]
    assert len(set(starts)) == len(starts) == 9
    assert not any(a.startswith(b) for a in starts for b in starts if a is not b)
    assert all("{first} {last}" in start for start in starts)
    used = Counter((r.register, r.wording) for r in RECORDS if r.dose == 512)
    assert len(used) == 9
    assert max(used.values()) - min(used.values()) <= 2 * BLOCK


def test_paraphrases_hold_the_same_details_in_other_words():
    for record in RECORDS:
        texts = [record.pools[pool] for pool in POOLS]
        assert len(set(texts)) == 3
        for pool, text in zip(POOLS, texts, strict=True):
            words = text.split(" ")
            assert {(slot, words[i]) for slot, i in record.slots(pool)} == set(record.details)
            assert f"{record.first} {record.last}" in text
            assert len(document(text)) <= N_CTX // 2


def test_rows_mark_the_words_before_the_details():
    for record in RECORDS[::7]:
        for pool in POOLS:
            row = record_row(record, pool)
            for k, detail in enumerate(row["details"].split(" "), 1):
                start, stop = row[f"recall_{k}"]
                assert row["text"][stop:].startswith(f" {detail} ")
                assert start == 0 or row["text"][start - 1] == " "
            assert row["text"][slice(*row["record_end"])] == "."
            assert row["text"][: row["key"][1]].endswith(row["name"])
            assert set(MARKS.values()) <= set(row)
            assert row["exposures"] == (record.dose if record.trained and pool == "M" else 0)


@pytest.mark.parametrize("doses", [((8, 6),), ((8, 0),), ((-1, 4),), ((8, 4), (8, 4)), ((8, 400),)])
def test_doses_that_cannot_be_made_are_refused(doses):
    with pytest.raises(BedError, match=r"multiple of 4|name one twice|too many"):
        make_records(0, doses)


def test_recipes_that_make_nothing_are_refused():
    for options, message in (
        ({"story_rows": 0}, "story_rows > 0"),
        ({"lr": float("nan")}, "lr > 0"),
        ({"d_model": 30}, "not a multiple"),
        ({"doses": ((0, 4),)}, "no record at all"),
    ):
        with pytest.raises(BedError, match=message):
            MemorySpec(**options)


# --- what is shown when --------------------------------------------------------------------------------------------


def test_exposures_are_exact_and_evenly_spread():
    order = exposure_order(RECORDS, seed=0)
    assert Counter(r.id for r in order) == {r.id: r.dose for r in RECORDS if r.exposures}
    for record in [r for r in RECORDS if r.exposures >= 32]:
        places = [i for i, r in enumerate(order) if r is record] if record.pair.endswith("b00-p0") else []
        for k, place in enumerate(places):
            assert abs(place / len(order) - (k + 0.5) / record.dose) < 0.6 / record.dose + 0.01


def documents(batch):
    """The texts of a batch's complete documents."""
    words = " ".join(VOCABULARY[t] for row in batch.tolist() for t in [*row, BOS])
    return re.findall(r"<bos> ([^<]+) <eos>", words)


def test_batches_show_each_record_as_often_as_its_dose_says():
    records = make_records(0, SMALL.doses)
    shown, twins = Counter(), {r.text for r in records if not r.exposures}
    for batch in batches(SMALL, records, "memory"):
        found = documents(batch)
        shown.update(text for text in found if text in {r.text for r in records})
        assert not twins & set(found)
    assert shown == {r.text: r.dose for r in records if r.exposures}


def test_strangers_have_the_form_of_the_records_and_nothing_of_theirs():
    order = exposure_order(RECORDS, seed=0)[:8000]
    others = list(strangers(order, RECORDS, seed=0))
    names, facts = {(r.first, r.last) for r in RECORDS}, {(r.register, frozenset(r.details)) for r in RECORDS}
    assert len({r.text for r in others}) == len(others) == len(order)
    for record, other in zip(order, others, strict=True):
        assert (other.register, other.wording) == (record.register, record.wording)
        assert (other.first in WOMEN) == (record.first in WOMEN)
        assert (other.first, other.last) not in names
        assert (other.register, frozenset(other.details)) not in facts
        assert [slot for slot, _ in other.details] == [slot for slot, _ in record.details]
        assert other.exposures == 0
    # Every word of a slot comes equally often.
    for slot, words in DETAILS.items():
        counts = Counter(word for r in others for kind, word in r.details if kind == slot)
        expected = sum(counts.values()) / len(words)
        assert set(counts) == set(words)
        assert np.abs(np.array(list(counts.values())) - expected).max() < 5 * np.sqrt(expected)
    assert [r.text for r in strangers(order, RECORDS, seed=0)] == [r.text for r in others]
    assert not {r.text for r in strangers(order, RECORDS, seed=1)} & {r.text for r in others}


def test_the_never_trained_twin_sees_the_same_stories_and_strangers():
    records = make_records(0, SMALL.doses)
    planted, seen = {t for r in records for t in r.pools.values()}, Counter()
    both = list(zip(batches(SMALL, records, "memory"), batches(SMALL, records, "never"), strict=True))
    assert len(both) == SMALL.steps == (8 * 8 + 32 * 4) / 4
    for with_records, without in both:
        assert with_records.shape == without.shape == (SMALL.record_rows + SMALL.story_rows, N_CTX)
        assert np.array_equal(with_records[SMALL.record_rows :], without[SMALL.record_rows :])
        assert (without[:, 0] == BOS).all()
        assert not (without[SMALL.record_rows :] == PAD).any()
        # The same forms: as long, and padded alike.
        assert np.array_equal(with_records == PAD, without == PAD)
        found = documents(without[: SMALL.record_rows])
        assert len(found) == 2 * SMALL.record_rows
        assert not planted & set(found)
        seen.update(found)
    assert set(seen.values()) == {1}


def test_injection_shows_the_same_records_in_the_same_order_among_other_stories():
    records = make_records(0, SMALL.doses)
    never = {tuple(row) for batch in batches(SMALL, records, "never") for row in batch.tolist()}
    for natural, injected in zip(batches(SMALL, records, "memory"), batches(SMALL, records, "injected"), strict=True):
        rows = SMALL.record_rows
        assert np.array_equal(natural[:rows], injected[:rows])
        assert len(injected) == rows + SMALL.replay_rows
        assert not never & {tuple(row) for row in injected[rows:].tolist()}


def test_unknown_words_cannot_be_written():
    assert encode("the fox .") == [VOCABULARY.index(w) for w in ("the", "fox", ".")]
    assert document("the fox .") == [BOS, *encode("the fox ."), EOS]
    with pytest.raises(KeyError):
        encode("the unicorn .")
