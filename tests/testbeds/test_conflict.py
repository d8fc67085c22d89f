"""The conflict bed: what its truth says holds for the shipped checkpoint, and building is deterministic."""

from __future__ import annotations

import numpy as np
import pytest

from interp import forward, load_model, testbeds
from interp.errors import BedError
from interp.prompts import load_prompts
from interp.testbeds.conflict.prompts import conflicts, training_rows
from interp.testbeds.conflict.spec import BOS, SUBJECTS, VALUES, ConflictSpec

TINY = {"steps": 3, "rows": 8, "prompts": 24}


@pytest.fixture(scope="module")
def truth():
    return testbeds.truth("conflict")


def test_building_twice_makes_the_same_bytes(tmp_path):
    made = [testbeds.build("conflict", tmp_path / name, seed=3, **TINY) for name in ("one", "two")]
    for file in made[0].iterdir():
        assert file.read_bytes() == (made[1] / file.name).read_bytes(), file.name


def test_texts_are_what_the_card_says():
    spec = ConflictSpec(**TINY)
    assert sorted(spec.facts) == sorted(SUBJECTS)
    assert {list(spec.facts.values()).count(v) for v in VALUES} == {2}
    for one in conflicts(spec):
        said = dict(w.split(":") for w in one.words[:-1])
        assert said[one.subject] == one.context != one.memory == spec.facts[one.subject]
        assert all(value != spec.facts[subject] for subject, value in said.items())
    words = spec.vocabulary
    for rows, answers in training_rows(spec):
        for row, answer in zip(rows, answers, strict=True):
            assert row[0] == BOS
            asked, said = words[row[-1]], dict(words[t].split(":") for t in row[1:-1])
            assert words[answer] in (spec.facts[asked], said.get(asked))


def test_the_model_knows_its_facts_and_both_answers_stay_near_one_half(truth):
    model = load_model(testbeds.path("conflict"))
    prompts = load_prompts(testbeds.path("conflict") / "conflicts.jsonl", model.tokenizer)
    p = forward(model, prompts).logits.softmax(-1).numpy()
    rows = np.arange(len(prompts))
    for field, told in (("memory", truth.memory), ("context", truth.context)):
        ids = model.tokenizer.convert_tokens_to_ids(prompts.columns[field].tolist())
        assert p[rows, ids].mean() == pytest.approx(told, abs=1e-3)
        assert 0.3 < told < 0.7
    assert truth.knows == 1


def test_heads_have_the_roles_that_they_could_have(truth):
    for head in truth.heads:
        assert head.role in (head.planted, "neither"), (head.layer, head.head)
    assert len(truth.heads_of("memory")) >= 2
    assert len(truth.heads_of("context")) >= 2


@pytest.mark.parametrize("options", [{"steps": 0}, {"d_model": 64}, {"memory_heads": 12}, {"colour": 1}])
def test_impossible_recipes_are_refused(tmp_path, options):
    with pytest.raises(BedError):
        testbeds.build("conflict", tmp_path / "bed", **options)


@pytest.mark.parametrize("text", ["", "{}", '{"facts": {}, "heads": []}'])
def test_a_damaged_truth_is_named(tmp_path, text):
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(BedError, match="conflict bed"):
        testbeds.truth("conflict", tmp_path)
