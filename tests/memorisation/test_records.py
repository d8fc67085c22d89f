"""Records: what a file may say, what it may not, and the parts that are taken out of it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

import interp
from interp import testbeds
from interp.errors import EmptyPromptsError, PromptError, PromptTooLongError
from interp.memorisation import Records, load_records, read
from interp.memorisation.records import check_records


@pytest.fixture(scope="module")
def model():
    return interp.load_model(testbeds.path("memory"))


@pytest.fixture(scope="module")
def records(model):
    return load_records(testbeds.path("memory") / "records.jsonl", model.tokenizer)


def row(text="anna went home .", **fields):
    return {"text": text, **fields}


def twins(**fields):
    return [
        row("anna went home .", record="a", pair="p", label="trained", **fields),
        row("emma went home .", record="b", pair="p", label="untrained", **fields),
    ]


def test_the_bed(records):
    truth = testbeds.truth("memory")
    assert records.n_records == len(truth.records)
    assert records.pools == ("M", "C", "B")
    assert records.doses == truth.doses
    assert records.has_twins
    assert records.recall_marks == tuple(f"recall_{k}" for k in range(1, 7))
    planted = records.planted()
    assert len(planted) == records.n_records
    assert set(planted.columns["pool"]) == {"M"}
    for name, label, seen in zip(planted.columns["record"], planted.labels, planted.columns["exposures"], strict=True):
        known = truth.record(name)
        assert (label == "trained") == known.trained
        assert seen == known.exposures


def test_parts_of_it(records):
    twins = records.twins(512)
    assert set(twins.columns["pool"]) == {"M"}
    assert set(twins.columns["dose"]) == {512}
    assert sorted(set(twins.labels)) == ["trained", "untrained"]
    wordings = records.contrast("M", "C", 512)
    assert sorted(set(wordings.labels)) == ["C", "M"]
    assert len(wordings) == len(twins)  # half the records, twice the wordings
    every = records.contrast("M", "C", 512, trained_only=False)
    assert len(every) == 2 * len(wordings)


def test_targets_are_the_details(records, model):
    prompts = records.planted()
    for i in (0, 100, 400):
        words = [model.tokenizer.decode([int(prompts.tokens[i][k])]) for k in records.targets()[i]]
        assert " ".join(words) == prompts.columns["details"][i]


def test_read_averages_over_the_recall_marks(records, model):
    prompts = records.twins(8)
    one = [read(model, prompts, ["resid_post.1"], mark) for mark in records.recall_marks]
    mean = torch.stack([next(iter(x.values())) for x in one]).mean(0)
    both = read(model, prompts, ["resid_post.1"], "recall")
    assert torch.allclose(next(iter(both.values())), mean, atol=1e-5)


def test_read_takes_records_with_different_numbers_of_marks(model):
    text = "anna went home ."
    rows = [row(text, recall_1=[0, 4], recall_2=[5, 9]), row(text, recall_1=[0, 4], recall_2=None)]
    prompts = load_records(rows, model.tokenizer).prompts
    found = next(iter(read(model, prompts, ["resid_post.1"]).values()))
    at = {
        m: next(iter(read(model, prompts.select([0]), ["resid_post.1"], m).values())) for m in ("recall_1", "recall_2")
    }
    assert torch.allclose(found[0], (at["recall_1"] + at["recall_2"])[0] / 2, atol=1e-5)
    assert torch.allclose(found[1], at["recall_1"][0], atol=1e-5)


def test_read_says_which_prompt_lacks_a_mark(model):
    rows = [row(recall_1=[0, 4]), row(recall_1=None, id="lacking")]
    with pytest.raises(PromptError, match="1 of 2 prompts have no recall mark, first 'lacking'"):
        read(model, load_records(rows, model.tokenizer).prompts)


def test_prefixes_repeat_each_record_and_move_its_marks(model):
    rows = [row(record="r", recall_1=[0, 4])]
    made = load_records(rows, model.tokenizer, prefixes=["the book says that", "then"])
    assert made.n_records == 1
    assert made.n_prefixes == 2
    assert len(made.prompts) == 2
    for prompt, at in zip(made.prompts.tokens, made.prompts.marks["recall_1"], strict=True):
        assert model.tokenizer.decode([int(prompt[at])]) == "anna"
    assert set(made.prompts.groups) == {"r"}
    assert len(made.planted()) == 1
    assert [len(t) for t in made.targets()] == [1]


def test_the_least_that_a_row_can_say(model):
    made = load_records([row(), row("emma went home .")], model.tokenizer)
    assert made.n_records == 2
    assert made.doses == (None,)
    assert not made.has_twins
    assert made.recall_marks == ()
    assert [len(t) for t in made.targets()] == [0, 0]
    with pytest.raises(PromptError, match="no twins"):
        made.twins()
    with pytest.raises(PromptError, match="no wording 'C'"):
        made.contrast("M", "C")


def test_ids_that_look_like_wordings(model):
    rows = [row(record=name, pool=pool) for name in ("vitamin", "vitamin-C") for pool in ("M", "C", "B")]
    made = load_records(rows, model.tokenizer)
    assert made.n_records == 2
    assert made.prompts.ids == ("vitamin", "vitamin-C'", "vitamin-B", "vitamin-C", "vitamin-C-C", "vitamin-C-B")
    for pool in ("M", "C"):
        same = load_records([row(id="vitamin-C", pool=p) for p in ("M", pool)][pool == "M" :], model.tokenizer)
        assert same.names == ("vitamin-C",)
    own = load_records([row(id="a-C"), row(id="b", record="a-C", pool="C")], model.tokenizer)
    assert own.prompts.ids == ("a-C", "b")


def test_a_long_row_is_found_whatever_its_wording_and_label(model):
    rows = [
        row(text, record=f"{pair}{label[0]}", pair=pair, label=label, pool=pool, recall_1=[0, 4])
        for pair in "pq" for label in ("trained", "untrained") for pool, text in (("M", "anna ."), ("C", "emma went ."))
    ]  # fmt: skip
    rows[3]["text"] = "anna " * 9
    made = load_records(rows, model.tokenizer)
    assert made.fit(None) is made
    assert made.fit(10) is made
    with pytest.raises(PromptTooLongError, match=r"1 of 8 rows .* context of 6 tokens; the longest is 'pu-C' .*--drop"):
        made.fit(6)
    left = made.fit(6, drop_long=True)
    assert set(left.prompts.pairs) == {"q"}
    assert len(left.prompts) == 4
    assert left.prompts.source.history[-1] == "left out 1 of 2 pairs of twins, for rows of more than 6 tokens"
    with pytest.raises(EmptyPromptsError, match="none is left"):
        made.fit(1, drop_long=True)


def test_rows_are_checked_without_a_tokenizer(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(row()) + "\n" + json.dumps(row(pool="X")) + "\n")
    with pytest.raises(PromptError, match=r"records\.jsonl, line 2: pool 'X'"):
        check_records(path)


def test_other_field_names_and_csv(model, tmp_path):
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["body", "seen", "twin"], ["anna went home .", "1", "p"], ["emma went home .", "0", "p"]])
    made = load_records(path, model.tokenizer, text="body", label="seen", pair="twin")
    assert made.prompts.labels.tolist() == ["trained", "untrained"]
    assert made.prompts.source.name == "mine.csv"
    assert np.array_equal(made.prompts.groups, ["p", "p"])


def test_marks_in_a_text_table(model, tmp_path):
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "recall_1", "recall_2", "note"])
        writer.writerow(["anna went home .", "[0, 4]", "(5,9)", "(1, 2)"])
        writer.writerow(["emma went home .", " [5, 9] ", " ", "see above"])
    made = load_records(path, model.tokenizer)
    assert made.recall_marks == ("recall_1", "recall_2")
    assert made.prompts.marks["recall_1"].tolist() == [1, 2]  # behind a BOS
    assert made.prompts.marks["recall_2"].tolist() == [2, -1]
    assert made.column("note").tolist() == ["(1, 2)", "see above"]


def test_marks_as_arrays(model):
    made = load_records([row(recall_1=np.array([0, 4])), row(recall_1=[np.int64(5), np.int64(9)])], model.tokenizer)
    assert made.prompts.marks["recall_1"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "values, message",
    [
        ([[0, 4], [0, 4], "anna"], r"row 3: 'name' must hold a range of characters, .*; got 'anna' \(1 of 3"),
        ([[0, 4], [0, 4], 7], "row 3: 'name' must hold a range"),
        (["[0, 4]", "0-4", "[0, 4]"], "row 2: 'name' must hold a range of characters, .* got '0-4'"),
    ],
)
def test_a_field_of_ranges_holds_nothing_else(model, values, message):
    with pytest.raises(PromptError, match=message):
        load_records([row(name=value, id=str(i)) for i, value in enumerate(values)], model.tokenizer)


def test_a_recall_mark_is_a_range(model):
    with pytest.raises(PromptError, match=r"row 1: 'recall_1' must hold a range of characters, .* got 'anna'"):
        load_records([row(recall_1="anna"), row(recall_1="emma")], model.tokenizer)
    with pytest.raises(PromptError, match="'recall_2' must hold a range"):
        load_records([row(recall_1=[0, 4], recall_2=[0.0, 4.0])], model.tokenizer)


@pytest.mark.parametrize(
    "rows, message",
    [
        ([row(pool="D")], "pool 'D' is none of M, C, B"),
        ([row("")], "must hold the record's text"),
        ([{"txt": "x"}], "must hold the record's text, got None"),
        ([row(record="r"), row("x", record="r")], "record 'r' is there twice in wording M"),
        ([row(record="r", label="maybe")], "label 'maybe' is neither"),
        ([row(record="r", dose=-1)], "dose must be a whole number"),
        ([row(record="r", dose=1.5)], "dose must be a whole number"),
        ([row(record="r", dose=1), row(record="s")], "dose must be a whole number, 0 or more, got None"),
        ([twins()[0], {**twins()[1], "label": "trained"}], "one trained and one untrained"),
        ([twins()[0], {**twins()[1], "label": None}], "'label' is missing here"),
        ([twins(dose=1)[0], twins(dose=2)[1]], "differ in group or dose"),
        ([twins()[0]], "^pair 'p' has the record 'a' .trained.: its untrained twin is missing; twins are one trained"),
        ([twins()[1]], "^pair 'p' has the record 'b' .untrained.: its trained twin is missing"),
        ([*twins(), row("x", record="c", pair="p", label="trained")], "'c' .trained.: it needs one of each label"),
    ],
)  # fmt: skip
def test_what_is_refused(model, rows, message):
    with pytest.raises(PromptError, match=message):
        load_records(rows, model.tokenizer)


def test_a_field_that_is_not_there(model):
    with pytest.raises(PromptError, match=r"text='body': .* has no such field; it has: text"):
        load_records([row()], model.tokenizer, text="body")
    with pytest.raises(PromptError, match="no field 'words'"):
        load_records([row()], model.tokenizer, words="text")


def test_errors_name_the_line(model, tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(row()) + "\n" + json.dumps(row(pool="X")) + "\n")
    with pytest.raises(PromptError, match=r"records\.jsonl, line 2: pool 'X'"):
        load_records(path, model.tokenizer)


def test_unknown_doses_columns_and_wrong_prompts(records):
    with pytest.raises(PromptError, match="no record has dose 7; doses: 0, 8, 32, 128, 512"):
        records.at_dose(7)
    with pytest.raises(PromptError, match="have no 'colour'"):
        records.column("colour")
    with pytest.raises(PromptError, match="need the column 'record'"):
        Records(interp.PromptSet.from_tokens([[1]]))
