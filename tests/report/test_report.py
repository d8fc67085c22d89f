from __future__ import annotations

import csv
import io
import json
import math
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.errors import ReportError
from interp.provenance import Provenance
from interp.report import Report, write_atomic

SOURCE = Provenance(model="a1b2", model_id="tiny", seed=3, command="interp probe tiny data.jsonl")


def make(rows: Any = (), **changes: Any) -> Report:
    values: dict[str, Any] = {"kind": "probe", "title": "T", "headline": "One sentence."}
    return Report(**{**values, "rows": rows, "provenance": SOURCE, **changes})


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
names = st.text(min_size=1, max_size=8)
rows_of_scalars = st.lists(st.dictionaries(names, scalars | st.lists(scalars, max_size=3), max_size=4), max_size=5)
trees = st.recursive(scalars, lambda t: st.lists(t, max_size=3) | st.dictionaries(names, t, max_size=3), max_leaves=8)


@settings(max_examples=80, deadline=None)
@given(rows=rows_of_scalars, meta=st.dictionaries(names, trees, max_size=3), warnings=st.lists(st.text(), max_size=2))
def test_json_gives_every_value_back(rows, meta, warnings):
    made = make(rows, meta=meta, warnings=warnings)
    text = made.to_json()
    back = Report.from_json(text)
    assert back.to_json() == text
    assert back == made
    assert hash(back) == hash(made)
    # json's own parser takes "NaN"; strict JSON does not.
    json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    for before, after in zip(made.rows, back.rows, strict=True):
        for name, value in before.items():
            assert type(after[name]) is type(value)
            assert repr(after[name]) == repr(value)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({"x": st.floats(), "n": st.integers(), "s": st.text()}), max_size=5))
def test_csv_keeps_every_digit(rows):
    read = list(csv.DictReader(io.StringIO(make(rows).to_csv(), newline="")))
    assert len(read) == len(rows)
    for before, after in zip(rows, read, strict=True):
        assert repr(float(after["x"])) == repr(before["x"])
        assert int(after["n"]) == before["n"]
        assert after["s"] == before["s"]


def test_csv_of_missing_and_listed_values(tmp_path):
    assert make([{"a": None}, {"a": ""}]).to_csv() == 'a\n""\n""\n'
    made = make([{"a": None, "b": [1, 2.5, "x"]}, {"b": [], "c": True}])
    text = made.to_csv(tmp_path / "rows.csv")
    assert text == 'a,b,c\n,"[1, 2.5, ""x""]",\n,[],True\n'
    assert (tmp_path / "rows.csv").read_text(encoding="utf-8") == text


def test_nan_is_null_in_the_file_and_nan_again_when_read(tmp_path):
    made = make([{"auc": math.nan, "p": None, "all": [1.0, -math.inf]}], meta={"deep": {"x": [math.inf]}})
    path = made.save(tmp_path / "deep" / "report.json")
    data = json.loads(path.read_text())
    assert data["rows"] == [{"auc": None, "p": None, "all": [1.0, None]}]
    row = Report.load(path).rows[0]
    assert math.isnan(row["auc"])
    assert row["p"] is None
    assert row["all"] == [1.0, -math.inf]
    assert Report.load(path).meta == {"deep": {"x": [math.inf]}}


def test_numpy_values_become_plain():
    made = make([{"f": np.float32(0.5), "i": np.int64(3), "b": np.bool_(True), "a": np.arange(2), "s": np.str_("x")}])
    assert made.rows[0] == {"f": 0.5, "i": 3, "b": True, "a": [0, 1], "s": "x"}
    assert [type(v) for v in made.rows[0].values()] == [float, int, bool, list, str]


def test_a_report_keeps_no_hold_on_what_it_was_made_from():
    row = {"a": [1]}
    made = make([row])
    row["a"].append(2)
    assert made.rows[0]["a"] == [1]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"rows": [{"x": {"y": 1}}]}, r"rows\[0\]\['x'\] is a dict"),
        ({"rows": [{"x": 1j}]}, r"rows\[0\]\['x'\] is a complex"),
        ({"rows": [{3: "x"}]}, "the key 3"),
        ({"meta": {"x": object()}}, r"meta\['x'\] is a object"),
        ({"kind": "Two words"}, "Two words"),
        ({"headline": ""}, "report.headline"),
        ({"title": "a\nb"}, "report.title"),
        ({"warnings": "not a list"}, "not a list"),
    ],
)
def test_what_a_report_cannot_hold_is_named(changes, words):
    with pytest.raises(ReportError, match=words):
        make(**changes)


def _edit(**changes: Any) -> str:
    data = json.loads(make([{"x": 1.0}]).to_json())
    data.update(changes)
    return json.dumps({k: v for k, v in data.items() if v != "DROP"})


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "not valid JSON"),
        ("[1]", "is not a report"),
        ('{"format": "other"}', "is not a report"),
        (_edit(version=2), "version 2.*upgrade"),
        (_edit(version=True), "version True"),
        (_edit(rows="DROP"), r"missing fields \['rows'\]"),
        (_edit(extra=1), r"unknown fields \['extra'\]"),
        (_edit(rows=5), "rows must be a JSON array, not 5"),
        (_edit(rows=[5]), r"rows\[0\] must be a JSON object"),
        (_edit(rows=[{"x": {"y": 1}}]), "is a dict"),
        (_edit(kind=7), "kind must be text"),
        (_edit(warnings=[7]), r"warnings\[0\] must be text"),
        (_edit(provenance={"model": "a"}), "model_id"),
        (_edit(provenance={"model": None, "model_id": "x"}), "provenance.model must be text"),
        (_edit(provenance={"model": "a", "model_id": "x", "seed": "3"}), "provenance.seed must be a whole number"),
        (_edit(provenance={"model": "a", "model_id": "x", "colour": "red"}), "colour"),
        (_edit(nonfinite=[["rows", 0, "x", "nan"]]), "does not point at a null"),
        (_edit(nonfinite=[["rows", 9, "x", "nan"]]), "does not point at a null"),
        (_edit(nonfinite=[["title", "nan"]]), "does not point at a null"),
        (_edit(nonfinite=["nan"]), "does not point at a null"),
        (_edit().replace("1.0", "NaN"), "NaN is not a finite number"),
        (_edit().replace("1.0", "1e999"), "1e999 is not a finite number"),
        (_edit().replace('"x"', '"x": 1, "x"'), "'x' appears twice"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_damaged_file_says_what_is_wrong(tmp_path, text, words):
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(ReportError, match=words) as caught:
        Report.load(path)
    assert "report.json" in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_one_field_of_the_wrong_type_is_a_report_error(data):
    whole = json.loads(make([{"x": 1.0}]).to_json())
    name = data.draw(st.sampled_from(sorted(whole)))
    whole[name] = data.draw(trees.filter(lambda v: type(v) is not type(whole[name])))
    with pytest.raises(ReportError):
        Report.from_json(json.dumps(whole))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ReportError, match=r"nowhere\.json"):
        Report.load(tmp_path / "nowhere.json")


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    make(title="Old").save(path)

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReportError, match="No space left"):
        make(title="New").save(path)
    assert Report.load(path).title == "Old"
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_folder_in_the_way_is_named(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(ReportError, match="taken"):
        write_atomic(tmp_path / "taken", b"x")
    assert os.listdir(tmp_path) == ["taken"]


@pytest.mark.skipif(sys.platform == "win32", reason="permission bits are POSIX")
def test_saved_files_have_the_usual_permissions(tmp_path):
    before = os.umask(0o022)
    try:
        path = make().save(tmp_path / "r.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_table_aligns_and_joins_intervals():
    made = make(
        [
            {"site": "resid_post.9", "auc": 0.5, "auc_lo": 0.25, "auc_hi": 0.75, "p": 1e-5, "n": 7},
            {"site": "表", "auc": math.nan, "auc_lo": None, "auc_hi": None, "p": 0.5, "n": 1200},
        ]
    )
    assert made.table().splitlines() == [
        "site               auc [low, high]      p     n",
        "resid_post.9  0.500 [0.250, 0.750]  1e-05     7",
        "表                             nan    0.5  1200",
    ]
    assert made.table(["site", "auc_lo"]).splitlines()[1] == "resid_post.9   0.250"
    assert "... and 1 more rows" in made.table(max_rows=1)


def test_table_has_no_minus_before_zeros():
    made = make([{"a": -0.0004, "b": -0.5}, {"a": -0.25, "b": -0.0}])
    assert made.table().splitlines()[1:] == ["-0.0004  -0.500", "  -0.25   0.000"]
    assert make([{"a": -0.25, "a_lo": -0.5, "a_hi": -0.0}]).table().splitlines()[1] == "-0.250 [-0.500, 0.000]"


def test_table_never_breaks_a_line_and_survives_nothing():
    assert make().table() == "(no rows)"
    assert make([{}]).table() == "(no rows)"
    assert "One sentence." in repr(make())
    text = make([{"text": "a\nb\x1b[31m"}], warnings=["Careful."]).table()
    assert text.splitlines() == ["text", "a\\nb\\x1b[31m"]
    with pytest.raises(ReportError, match="columns are: a"):
        make([{"a": 1}]).table(["b"])
    with pytest.raises(ReportError, match="columns are: a"):
        make([{"a": 1}]).column("b")


def test_repr_is_headline_warnings_and_a_short_table():
    shown = repr(make([{"x": i} for i in range(80)], warnings=["Careful."]))
    assert shown.startswith("One sentence.\nWarning: Careful.\n")
    assert shown.endswith("... and 56 more rows")


def test_reading_a_report_loads_nothing_heavy():
    code = (
        "import sys; import interp.report; "
        "bad = {'numpy', 'torch', 'plotly', 'matplotlib', 'pandas', 'jinja2'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
