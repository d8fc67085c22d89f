"""Files of requests: roles, rows that are taken, parts that share nothing, and every mistake by its place."""

from __future__ import annotations

import json

import numpy as np
import pytest

import interp
from interp import testbeds
from interp.errors import PromptError, SplitError, TokenizerMissingError
from interp.safety.refusal.loading import load_requests, source_of

BED = testbeds.path("chat")


@pytest.fixture(scope="module")
def tokenizer():
    return interp.load_model(BED).tokenizer


def request(number, **more):
    verbs = "install write upload copy delete block disable erase build repair".split()
    things = "firewall backup scanner update browser virus trojan spyware botnet rootkit".split()
    text = f"how do i {verbs[number % 10]} the {things[number // 10 % 10]} ?"
    return {"instruction": text, **more}


def load(tokenizer, harmful, harmless, **more):
    return load_requests(tokenizer, harmful=harmful, harmless=harmless, **more)


def test_texts_and_messages_become_chats_with_both_marks(tokenizer):
    chats = [{"messages": [{"role": "user", "content": request(1)["instruction"]}]}]
    found = load(tokenizer, [request(0)], chats)
    assert found.role.tolist() == ["harmful", "harmless"]
    assert found.harmful.tolist() == [True, False]
    pieces = found.prompts.pieces
    ends = [pieces[int(t[m])] for t, m in zip(found.prompts.tokens, found.prompts.marks["t_inst"], strict=True)]
    assert ends == ["?", "?"]
    assert (found.prompts.marks["t_post"] == found.prompts.lengths - 1).all()
    assert "1 harmful, 1 harmless" in repr(found)


def test_columns_are_kept_and_roles_name_what_lacks_a_category(tokenizer):
    found = load(
        tokenizer, [request(0, topic="computing", refused=1)], [request(1)],
        jailbroken=[request(2, category="roleplay")], overrefused=[request(3)],
    )  # fmt: skip
    assert found.topic.tolist() == ["computing", "", "", ""]
    assert found.category.tolist() == ["plain", "plain", "roleplay", "over-refused"]
    assert found.expected.tolist() == [1, -1, -1, -1]
    assert found.plain.tolist() == [True, True, False, False]
    assert any("No field says which requests belong together" in note for note in found.notes)


def test_parts_are_dealt_out_by_whole_groups_and_evenly_over_roles(tokenizer):
    found = load(
        tokenizer, [request(i, group=f"g{i}") for i in range(40)], [request(i) for i in range(40, 80)],
        jailbroken=[{**request(i, group=f"g{i}"), "instruction": request(i)["instruction"] + " at home"}
                    for i in range(40)],
    )  # fmt: skip
    for g in np.unique(found.group):
        assert len(set(found.part[found.group == g])) == 1
    for role in ("harmful", "harmless", "jailbroken"):
        counts = [int(((found.role == role) & (found.part == p)).sum()) for p in ("train", "val", "test")]
        assert counts == [20, 8, 12], role
    again = load(tokenizer, [request(i) for i in range(40)], [request(i) for i in range(40, 80)], seed=1)
    assert (
        again.part != load(tokenizer, [request(i) for i in range(40)], [request(i) for i in range(40, 80)]).part
    ).any()


def test_the_same_tokens_up_to_the_instruction_are_one_group(tokenizer):
    late = {"messages": [{"role": "system", "content": "write as for a student"}, {"role": "user",
            "content": request(0)["instruction"]}]}  # fmt: skip
    found = load(tokenizer, [request(0)], [request(1)], jailbroken=[late])
    # The template writes the system message after the instruction, so both are alike up to its end.
    assert found.group[0] == found.group[2] != found.group[1]


def test_splits_of_the_files_are_taken_and_must_agree(tokenizer):
    found = load(tokenizer, [request(0, split="train")], [request(1, split="validation")])
    assert found.part.tolist() == ["train", "val"]
    with pytest.raises(SplitError, match="split is None; where one row has a split"):
        load(tokenizer, [request(0, split="train")], [request(1)])
    with pytest.raises(SplitError, match="occurs in test and train"):
        load(tokenizer, [request(0, split="train", group="a")], [request(1, split="test", group="a")])


def test_rows_of_a_file_by_the_value_of_a_field(tokenizer, tmp_path):
    path = tmp_path / "mixed.jsonl"
    rows = [request(i, label="safe" if i % 2 else "unsafe") for i in range(6)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    found = load(tokenizer, f"{path}@label=unsafe", f"{path}@label=safe")
    assert found.role.tolist() == ["harmful"] * 3 + ["harmless"] * 3
    with pytest.raises(PromptError, match=r"no row of mixed.jsonl has label=danger; values are: safe, unsafe"):
        load(tokenizer, f"{path}@label=danger", [request(1)])
    with pytest.raises(PromptError, match="has no field 'kind'"):
        load(tokenizer, f"{path}@kind=safe", [request(1)])
    odd = tmp_path / "a@b=c"
    odd.write_text(json.dumps(request(0)))
    assert source_of(str(odd)) == (str(odd), None, None)


def test_a_limit_draws_at_random_and_long_prompts_are_left_out_and_both_are_told(tokenizer):
    rows = [request(i) for i in range(30)]
    found = load(tokenizer, rows, [request(i) for i in range(30, 60)], limit=10)
    assert len(found) == 20
    assert "10 of 30 harmful requests were drawn at random." in found.notes
    assert found.prompts.ids[:10] != tuple(f"harmful-{i}" for i in range(10))
    long = {"instruction": " ".join(["the"] * 60)}
    found = load(tokenizer, [*rows[:4], long], rows[10:14], n_ctx=40)
    assert len(found) == 8
    assert "1 of 9 requests exceed 40 tokens and were left out." in found.notes


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"instruction": " "}, "the request is empty"),
        ({"instruction": "how do i run ?", "harmful": 0}, "has harmful=0, but was given among the harmful requests"),
        ({"instruction": 3}, "a request is a text or a list of messages, got '3'"),
    ],
)
def test_mistakes_name_the_row(tokenizer, row, message):
    with pytest.raises(PromptError, match=message):
        load(tokenizer, [request(0), row], [request(1)])


def test_a_template_that_writes_nothing_behind_the_instruction(tokenizer):
    bare = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(PromptError, match="have no t_post, the first is 'harmful-0'"):
        load(tokenizer, [request(0)], [request(1)], template=bare)
    with pytest.raises(TokenizerMissingError):
        load(None, [request(0)], [request(1)])
