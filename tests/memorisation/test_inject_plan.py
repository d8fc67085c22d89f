"""Made-up records, coins, doses and the order of exposures."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from interp.errors import InjectionError, PromptError
from interp.memorisation.generate_records import BLOCK, DETAILS, POOLS, REGISTERS, generate_records
from interp.memorisation.injection.batches import split_neutral, steps
from interp.memorisation.injection.plan import exposure_order, plan_injection
from interp.prompts import PromptSet

DOSES = [(0, 36), (8, 36), (128, 72)]


@pytest.fixture(scope="module")
def rows():
    return generate_records(DOSES, seed=3)


def words(rows) -> Counter:
    return Counter(word for row in rows for word in re.findall(r"\w+|[^\w\s]", row["text"]))


def test_within_a_block_no_word_tells_trained_from_untrained(rows):
    blocks = {(row["group"], row["pool"]) for row in rows}
    assert len(blocks) == 3 * 144 // BLOCK
    for group, pool in blocks:
        own = [row for row in rows if (row["group"], row["pool"]) == (group, pool)]
        sides = [[row for row in own if row["label"] == label] for label in ("trained", "untrained")]
        assert len(sides[0]) == len(sides[1]) == BLOCK
        assert words(sides[0]) == words(sides[1])
        # The same in every slot, but no two records share all of it.
        for k in range(1, 7):
            values = [sorted(row["text"][slice(*row[f"detail_{k}"])] for row in side) for side in sides]
            assert values[0] == values[1]
    planted = [row["text"] for row in rows if row["pool"] == "M"]
    assert len(set(planted)) == len(planted)


def test_twins_differ_in_every_slot(rows):
    pairs: dict[str, list[dict]] = {}
    for row in rows:
        if row["pool"] == "M":
            pairs.setdefault(row["pair"], []).append(row)
    for twins in pairs.values():
        assert sorted(row["label"] for row in twins) == ["trained", "untrained"]
        first, second = (row["details"].split(" ") for row in twins)
        assert all(a != b for a, b in zip(first, second, strict=True))


def test_exposures_and_names(rows):
    assert all(
        row["exposures"] == (row["dose"] if row["label"] == "trained" and row["pool"] == "M" else 0) for row in rows
    )
    assert sum(row["exposures"] for row in rows) == 8 * 36 + 128 * 72
    assert {row["pool"] for row in rows} == set(POOLS)
    names = [row["text"][slice(*row["key"])] for row in rows]
    assert all(name.isalpha() and name[0].isupper() for name in names)
    # Neither the side drawn first nor a twin's name says what the coin said.
    trained = [row["record"][-1] for row in rows if row["label"] == "trained" and row["pool"] == "M"]
    assert 0.35 < trained.count("x") / len(trained) < 0.65


def test_marks_are_the_words_before_details_and_the_details(rows):
    for row in rows:
        text = row["text"]
        assert text[slice(*row["record_end"])] == "."
        assert row["record_end"][1] == len(text)
        for k, (slot, detail) in enumerate(zip(row["slots"].split(" "), row["details"].split(" "), strict=True), 1):
            start, stop = row[f"detail_{k}"]
            assert text[start:stop] == detail
            assert detail in DETAILS[slot]
            before = text[slice(*row[f"recall_{k}"])]
            assert before
            assert " " not in before
            assert row[f"recall_{k}"][1] == start - 1
            assert text[start - 1] == " "


def test_what_stands_before_the_first_detail_says_which_wording_it_is():
    openings = [w.split("{first}")[0] + re.sub(r"{\w+}", "_", w)[:40] for ws in REGISTERS.values() for w in ws]
    assert len(set(openings)) == len(openings)
    for wordings in REGISTERS.values():
        assert len({tuple(sorted(DETAILS.keys() & re.findall(r"{(\w+)}", w))) for w in wordings}) == 1


def test_seeds(rows):
    assert generate_records(DOSES, seed=3) == rows
    other = generate_records(DOSES, seed=4)
    assert [row["text"] for row in other] != [row["text"] for row in rows]


@pytest.mark.parametrize(
    ("doses", "fault"),
    [
        ([(0, 6)], "multiple of 4"),
        ([(-1, 4)], "0 or more"),
        ([(8, 4), (8, 4)], "none twice"),
        ([], "at least one"),
        ([(8, 400)], "at most"),
    ],
)
def test_doses_that_cannot_be(doses, fault):
    with pytest.raises(PromptError, match=fault):
        generate_records(doses)


# ---- plans ---------------------------------------------------------------------------------------------------------


def facts(n: int, **more) -> list[dict]:
    return [{"id": f"r{i}", "text": f"Fact {i} is this."} | {k: v(i) for k, v in more.items()} for i in range(n)]


def labels(plan) -> dict[str, str]:
    return {row["record"]: row["label"] for row in plan.rows}


def test_a_coin_for_every_pair():
    source = facts(40, pair=lambda i: f"p{i // 2}")
    seen, first = set(), []
    for seed in range(20):
        plan = plan_injection(source, (8,), seed)
        assert plan.coins
        assert plan.dealt
        assert plan.exposures == 160
        pairs = {row["pair"]: 0 for row in plan.rows}
        for row in plan.rows:
            pairs[row["pair"]] += row["label"] == "trained"
        assert set(pairs.values()) == {1}
        seen.add(tuple(row["label"] for row in plan.rows))
        first += [row["label"] == "trained" for row in plan.rows[::2]]
    assert len(seen) == 20
    assert abs(np.mean(first) - 0.5) < 0.12  # 400 coins, five standard deviations
    assert plan_injection(source, (8,), 5).rows == plan_injection(source, (8,), 5).rows


def test_labels_and_doses_are_kept():
    rows = generate_records([(0, 4), (8, 4)])
    plan = plan_injection(rows)
    assert not plan.coins
    assert not plan.dealt
    assert [(row["label"], row["dose"], row["exposures"]) for row in plan.rows] == [
        (row["label"], row["dose"], row["exposures"]) for row in rows
    ]
    assert [row["recall_1"] for row in plan.rows] == [row["recall_1"] for row in rows]


def test_whole_groups_are_dealt_out():
    plan = plan_injection(facts(48, pair=lambda i: f"p{i // 2}", group=lambda i: f"g{i // 8}"), (0, 4, 16))
    doses: dict[str, set] = {}
    for row in plan.rows:
        doses.setdefault(row["group"], set()).add(row["dose"])
    assert all(len(found) == 1 for found in doses.values())
    assert Counter(dose for (dose,) in doses.values()) == {0: 2, 4: 2, 16: 2}


def test_records_without_twins_are_paired_at_random_within_their_dose():
    plan = plan_injection(facts(24, dose=lambda i: (0, 8)[i % 2]))
    doses: dict[str, list] = {}
    for row in plan.rows:
        assert row["group"] == row["pair"]
        doses.setdefault(row["pair"], []).append(row["dose"])
    assert all(len(found) == 2 and len(set(found)) == 1 for found in doses.values())
    assert list(labels(plan).values()).count("trained") == 12


def test_paraphrases_share_the_coin_and_are_never_shown():
    source = [
        {"record": f"r{i}", "pool": pool, "text": f"{pool} fact {i}.", "pair": f"p{i // 2}"}
        for i in range(8)
        for pool in "MC"
    ]
    plan = plan_injection(source, (3,))
    assert labels(plan) == {row["record"]: row["label"] for row in reversed(plan.rows)}
    assert all(row["exposures"] == 0 for row in plan.rows if row["pool"] == "C")
    assert plan.exposures == 12


@pytest.mark.parametrize(
    ("source", "doses", "fault"),
    [
        (facts(4), (), "say how often"),
        (facts(4, dose=lambda i: 8), (8,), "would be ignored"),
        (facts(5), (8,), "cannot be paired"),
        (facts(4), (0,), "nothing to train on"),
        (facts(4), (8, 8), "none twice"),
        (facts(4), (8, -1), "0 or more"),
        (facts(4), (1, 2, 3), "fewer"),
        (facts(3, pair=lambda i: "p"), (8,), "twins are two"),
        (facts(4, group=lambda i: "g"), (8,), "which two"),
        (facts(4, pool=lambda i: "MMMC"[i]), (8,), "no wording 'M'"),
        (facts(4, exposures=lambda i: 7), (8,), "leave 'exposures' out"),
    ],
)
def test_plans_that_cannot_be(source, doses, fault):
    with pytest.raises(InjectionError, match=fault):
        plan_injection(source, doses)


# ---- steps ---------------------------------------------------------------------------------------------------------


def test_exposures_are_spread_over_the_training():
    order = np.array(exposure_order([0, 4, 32, 128], seed=1))
    assert np.bincount(order).tolist() == [0, 4, 32, 128]
    for i in (1, 2, 3):
        quarters = np.histogram(np.flatnonzero(order == i), 4, (0, len(order)))[0]
        assert quarters.min() >= 0.6 * quarters.mean()
    assert exposure_order([3, 5], seed=1) != exposure_order([3, 5], seed=2)


def test_every_exposure_is_shown_once_and_neutral_text_has_its_share():
    records = [np.full(10 + i, i) for i in range(5)] * 30
    texts = PromptSet.from_tokens([np.full(50 + 3 * i, 100 + i) for i in range(8)])
    made = list(steps(records, 16, texts, 0.25, seed=0))
    assert len(made) == -(-len(records) // 16)
    assert all(np.array_equal(a, b) for a, b in zip([t for step in made for t in step.records], records, strict=True))
    neutral = [t for step in made for t in step.neutral]
    share = sum(len(t) - 1 for t in neutral) / sum(len(t) - 1 for step in made for t in (*step.records, *step.neutral))
    assert abs(share - 0.25) < 0.02
    times = Counter(int(t[0]) for t in neutral)
    assert len(times) == 8
    assert max(times.values()) - min(times.values()) <= 1


def test_no_replay_without_neutral_text():
    assert all(not step.neutral for step in steps([np.arange(4)] * 6, 2, None, 0.0, seed=0))


def test_held_out_texts_are_never_replayed():
    texts = PromptSet.from_tokens([[i, i] for i in range(1000)])
    made = split_neutral(texts, seed=0)
    assert len(made.held_out) == 64
    assert not set(made.held_out.ids) & set(made.replayed.ids)
    with pytest.raises(InjectionError, match="two or more"):
        split_neutral(texts.select([0]), seed=0)
