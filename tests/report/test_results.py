"""Results and what differs between two: rows find their like, numbers their tolerance, and the verdict is true."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.errors import ReportError
from interp.provenance import Provenance
from interp.report import Report, Result, compare, load_result
from interp.report.inputs import Inputs, look_at, sha256
from interp.report.match import key_columns, match, row_name
from interp.report.sources import options

SOURCE = Provenance(model="a1", model_id="tiny", seed=0, command="interp probe tiny pairs.jsonl --out a")
AUCS = (0.5, 0.71, 0.93)


def rows(aucs: Any = AUCS, **more: Any) -> list[dict[str, Any]]:
    return [
        {"site": f"resid_post.{i}", "auc": auc, "auc_lo": auc - 0.05, "auc_hi": auc + 0.05, "verdict": "found", **more}
        for i, auc in enumerate(aucs)
    ]


def result(table: Any = None, where: str = "a", kind: str = "probe", **changes: Any) -> Result:
    values: dict[str, Any] = {"kind": kind, "title": "T", "headline": "One sentence.", "provenance": SOURCE}
    values |= {"rows": rows() if table is None else table} | changes
    return Result(where, {"report": Report(**values)})


def same_but(**changes: Any) -> Provenance:
    return SOURCE.replace(**changes)


# ---- verdicts ----------------------------------------------------------------------------------------------------


def test_equal_results_are_the_same_wherever_they_were_written():
    found = compare(result(), result(provenance=same_but(command="interp probe tiny pairs.jsonl --out=b")))
    assert found.same
    assert found.identical
    assert found.compared == 3
    assert found.verdict == "Same numbers, and made in the same way (3 numbers compared)."


@pytest.mark.parametrize("changes, said", [
    ({"seed": 1}, "seed"),
    ({"dtype": "float64"}, "precision"),
    ({"model": "b2"}, "model"),
    ({"prompts": "77"}, "prompts"),
    ({"tokenizer": "77", "code": "9.9"}, "tokenizer and code version"),
    ({"command": "interp probe tiny pairs.jsonl --folds 3 --out a"}, "option --folds"),
    ({"command": "interp probe tiny other.jsonl --out a"}, "command"),
])  # fmt: skip
def test_what_results_were_made_with_is_named_and_is_no_change_of_numbers(changes, said):
    found = compare(result(), result(provenance=same_but(**changes)))
    assert found.same
    assert not found.identical
    assert found.verdict == f"Same numbers; differs in {said} (3 numbers compared)."


def test_a_change_is_held_against_both_intervals():
    inside, one_side, outside = rows((0.52, 0.71, 0.93)), rows(), rows((0.5, 0.71, 0.99))
    one_side[1] |= {"auc": 0.75, "auc_lo": 0.74, "auc_hi": 0.76}
    for table, row, said in ((inside, 0, "yes"), (one_side, 1, "one side"), (outside, 2, "no")):
        (change,) = compare(result(), result(table)).changes
        assert (change.row, change.column, change.inside) == (f"resid_post.{row}", "auc", said)
        assert change.by == pytest.approx(table[row]["auc"] - AUCS[row])
    found = compare(result(), result(rows((0.52, 0.71, 0.99))))
    assert not found.same
    assert [change.inside for change in found.changes] == ["no", "yes"]  # what matters more comes first
    assert found.verdict == (
        "Different numbers: 2 of 3 changed, 1 of the 2 with intervals beyond the other's; yet both were made in the "
        "same way."
    )


def test_an_interval_that_changed_alone_is_a_change():
    table = rows()
    table[0]["auc_hi"] = 0.7
    (change,) = compare(result(), result(table)).changes
    assert (change.column, change.by, change.b_ends) == ("auc", 0, (0.45, 0.7))


def test_numbers_within_the_tolerance_are_equal_and_beyond_it_are_not():
    near, far = rows([auc * (1 + 9e-6) for auc in AUCS]), rows([auc * (1 + 2e-5) for auc in AUCS])
    for table in (near, far):
        for row, before in zip(table, rows(), strict=True):
            row.update(auc_lo=before["auc_lo"], auc_hi=before["auc_hi"])
    assert compare(result(), result(near)).same
    assert len(compare(result(), result(far)).changes) == 3
    assert compare(result(), result(far), tolerance=1e-3).same
    assert not compare(result(), result(near), tolerance=0).same
    assert compare(result([{"kl": 0.0}]), result([{"kl": 1e-9}])).same
    assert not compare(result([{"kl": 0.0}]), result([{"kl": 1e-7}])).same
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(ReportError, match="tolerance"):
            compare(result(), result(), tolerance=wrong)


@pytest.mark.parametrize("a, b, same", [
    (math.nan, math.nan, True), (math.nan, 0.5, False), (math.nan, None, False), (None, None, True), (None, 0.5, False),
    (math.inf, math.inf, True), (math.inf, -math.inf, False), (1, 1.0, True), (True, 1, False), (True, True, True),
    ([1.0, math.nan], [1.0, math.nan], True), ([1.0], [1.0, 2.0], False), ("0.5", 0.5, False),
])  # fmt: skip
def test_values_that_are_no_plain_numbers(a, b, same):
    one, other = (result([{"site": "embed", "auc": value, "n": 4}]) for value in (a, b))
    assert compare(one, other).same == compare(other, one).same == same


def test_a_verdict_that_changed_is_a_change_though_no_number_did():
    found = compare(result(), result(rows(verdict="not found")))
    assert not found.same
    assert found.verdict.startswith("Different results: 3 verdicts or other texts changed;")
    assert {(c.row, c.column, c.a, c.b) for c in found.changes} >= {("resid_post.0", "verdict", "found", "not found")}


def test_wording_is_told_and_changes_no_number():
    found = compare(result(), result(headline="Another sentence.", warnings=["Few groups."]))
    assert found.same
    assert not found.identical
    assert [change.column for change in found.words] == ["headline", "warnings"]
    assert "differs in wording" in found.verdict


def test_numbers_of_the_whole_report_are_compared_too():
    meta = {"cells": [{"dose": 8, "auc": 0.6, "auc_lo": 0.5, "auc_hi": 0.7}], "gain": [0.1, 0.2], "unit": "group"}
    other = {"cells": [{"dose": 8, "auc": 0.8, "auc_lo": 0.7, "auc_hi": 0.9}], "gain": [0.1, 0.3], "unit": "pair"}
    found = compare(result(meta=meta), result(meta=other))
    assert [(c.column, c.inside) for c in found.changes] == [("cells[0].auc", "no"), ("gain[1]", None)]
    assert [(c.column, c.a, c.b) for c in found.words] == [("unit", "group", "pair")]
    assert found.compared == 3 + 4


def test_an_option_that_the_provenance_names_is_told_once():
    reseeded = same_but(seed=1, command="interp probe tiny pairs.jsonl --seed 1 --out a")
    assert [source.what for source in compare(result(), result(provenance=reseeded)).sources] == ["seed"]


def test_rows_and_reports_that_one_side_alone_has():
    found = compare(result(), result(rows()[:2]))
    assert found.only_a == ("report: resid_post.2",)
    assert not found.same
    assert "1 row or report only in A" in found.verdict
    both = Result("b", {**result().reports, "null": result(kind="circuit-null").reports["report"]})
    assert compare(result(), both).only_b == ("the report null",)
    assert compare(both, both).compared == 6


def test_results_of_other_kinds_have_nothing_to_compare():
    found = compare(result(), result(kind="recall"))
    assert found.verdict.startswith("Nothing to compare: A holds probe, B holds recall")
    assert not found.same


def test_a_report_of_another_name_is_found_by_its_kind():
    assert compare(result(), Result("b", {"mine": result().reports["report"]})).same


def test_the_comparison_is_a_report_that_can_be_kept(tmp_path):
    table = rows((0.5, 0.71, math.nan))
    found = compare(result(), result(table, provenance=same_but(model="b2", model_id="big", seed=1), where="b"))
    made = found.report("interp diff a b")
    assert made.kind == "diff"
    assert made.headline == found.verdict
    assert made.provenance == Provenance(model="a1 / b2", model_id="tiny / big", command="interp diff a b")
    assert [(row["row"], row["column"], row["inside"]) for row in made.rows] == [("resid_post.2", "auc", "no")]
    assert made.meta["made_with"][0] == {"what": "model", "a": "a1", "b": "b2"}
    assert Report.load(made.save(tmp_path / "diff.json")) == made
    assert "model" in found.made_with().table()


# ---- rows find their like ----------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_row_finds_itself_in_any_order_with_other_numbers(data):
    names = data.draw(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), unique=True, min_size=1))
    auc = st.floats(0, 1)
    a = [{"mark": m, "depth": d, "auc": data.draw(auc), "auc_lo": 0.0, "auc_hi": 1.0} for m, d in names]
    b = [row | {"auc": data.draw(auc)} for row in data.draw(st.permutations(a))]
    found = match(a, b)
    assert set(found.key) <= {"mark", "depth"}
    assert not found.only_a
    assert not found.only_b
    assert all((one["mark"], one["depth"]) == (other["mark"], other["depth"]) for one, other in found.pairs)


def test_keys_are_few_and_no_measured_number():
    a = [{"edge": f"e{i}", "part": "qk"[i % 2], "score": i / 7, "p": i / 9, "sure": i > 2} for i in range(6)]
    b = [{**row, "edge": f"e{i + 3}", "sure": i > 4} for i, row in enumerate(a)]
    assert key_columns(a, b) == ("edge",)
    found = match(a, b)
    assert [one["edge"] for one, _ in found.pairs] == ["e3", "e4", "e5"]
    assert [len(found.only_a), len(found.only_b)] == [3, 3]
    assert match(a, b, key=["part"]).key == ("part",)


def test_rows_that_nothing_tells_apart_go_in_order():
    a = [{"p": 0.1}, {"p": 0.2}]
    assert [(one["p"], other["p"]) for one, other in match(a, [{"p": 0.3}, {"p": 0.4}]).pairs] == [
        (0.1, 0.3),
        (0.2, 0.4),
    ]
    assert row_name({"dose": None, "label": "trained"}, ("dose", "label")) == "dose -, trained"


def test_a_coefficient_can_name_a_row():
    a = [{"coeff": c, "score": c * 2, "score_lo": 0, "score_hi": 9, "n": 4} for c in (0.5, 1.0, 2.0)]
    assert key_columns(a, [{**row, "score": 1.0} for row in a]) == ("coeff",)


@pytest.mark.parametrize("command, option, words", [
    ("interp probe tiny x.jsonl --out a b", "", "probe tiny x.jsonl b"),
    ("interp steer tiny x --coeff -1 -0.5 --unit norm", "--coeff", "-1 -0.5"),
    ("interp probe tiny x --label='a b'", "--label", "'a b'"),
])  # fmt: skip
def test_commands_are_read_by_option(command, option, words):
    assert options(command)[option] == words


# ---- directories -------------------------------------------------------------------------------------------------


def test_a_directory_is_the_reports_in_it(tmp_path):
    result().summary.save(tmp_path / "report.json")
    result(kind="recall").summary.save(tmp_path / "a-recall.json")
    (tmp_path / "circuit.mib.json").write_text('{"edges": {}}')
    (tmp_path / "notes.json").write_text("not JSON at all")
    found = load_result(tmp_path)
    assert list(found.reports) == ["report", "a-recall"]
    assert found.summary.kind == "probe"
    assert found.command == SOURCE.command
    assert found.inputs is None
    assert list(load_result(tmp_path / "a-recall.json").reports) == ["a-recall"]


def test_what_holds_no_report_says_what_was_looked_for(tmp_path):
    (tmp_path / "acts").mkdir()
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ReportError, match=r'"format": "interp.report".*found acts/, manifest.json'):
        load_result(tmp_path)
    result().summary.save(tmp_path / "acts" / "report.json")
    with pytest.raises(ReportError, match="there are reports in its folder acts"):
        load_result(tmp_path)
    with pytest.raises(ReportError, match="no directory or report at"):
        load_result(tmp_path / "nowhere")
    (tmp_path / "acts" / "report.json").write_text('{"format": "interp.report"}')
    with pytest.raises(ReportError, match="version"):
        load_result(tmp_path / "acts")


def test_inputs_notice_every_change_and_say_nothing_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data/model").mkdir(parents=True)
    for name in ("model/config.json", "model/model.safetensors", "model/README.md", "pairs.jsonl"):
        (Path("data") / name).write_text(name)
    made = look_at(
        ["data/model", "data/pairs.jsonl", "gpt2", "a question? " * 99, "data/pairs.jsonl"], Path("out/deep/a")
    )
    assert [one.path for one in made.files] == [
        "data/model/config.json", "data/model/model.safetensors", "data/pairs.jsonl",
    ]  # fmt: skip
    assert made.base == "../../.."
    assert look_at([], tmp_path.parent / "elsewhere").base is None
    made.save(tmp_path)
    assert Inputs.load(tmp_path) == made
    assert str(tmp_path) not in (tmp_path / "inputs.json").read_text()
    assert made.changed(tmp_path) == []
    Path("data/pairs.jsonl").write_text("pairs.jsonL")  # as long as before
    Path("data/model/config.json").unlink()
    assert made.changed(tmp_path) == ["data/model/config.json is not there", "data/pairs.jsonl has changed"]
    (tmp_path / "inputs.json").write_text('{"format": "interp.inputs", "version": 9, "files": []}')
    with pytest.raises(ReportError, match="version 9"):
        Inputs.load(tmp_path)
    (tmp_path / "inputs.json").write_text('{"format": "interp.inputs", "version": 1, "base": "/etc", "files": []}')
    with pytest.raises(ReportError, match="elsewhere than up"):
        Inputs.load(tmp_path)


def test_the_hash_is_that_of_sha256sum(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(ReportError, match="cannot read"):
        sha256(tmp_path)


def test_files_that_changed_are_part_of_what_results_were_made_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = tmp_path / "pairs.jsonl"
    made = []
    for text in ("one", "two"):
        pairs.write_text(text)
        made.append(Result("a", result().reports, look_at([os.path.relpath(pairs)], tmp_path / "out")))
    assert compare(made[0], made[1]).verdict.startswith("Same numbers; differs in file pairs.jsonl")
