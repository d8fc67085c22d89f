from __future__ import annotations

import math

import pytest

from interp.errors import ReportError
from interp.plots import table
from interp.plots.tables import number, p_value


def test_a_probe_shows_what_matters(make_probe):
    shown = table(make_probe(5, meta={"best_site": "resid_post.3"}))
    assert shown.headings == (
        "Site", "AUC", "Accuracy", "Untrained AUC", "Shuffled AUC, 95 %", "p, best of all sites",
    )  # fmt: skip
    assert shown.numeric == (False, True, True, True, True, True)
    assert shown.note == "Every row: 400 examples in 57 groups."
    assert shown.marked == (False, False, False, True, False)
    auc = shown.rows[0][1]
    assert (auc.text, auc.extra) == ("0.61", "[0.56, 0.65]")


def test_groups_that_differ_are_a_column(make_probe):
    rows = [{**row, "n": 400 + i} for i, row in enumerate(make_probe().rows)]
    shown = table(make_probe(rows=rows))
    assert "Examples" in shown.headings
    assert shown.note == "Every row: 57 groups."


def test_named_columns_are_shown_as_named(make_probe):
    shown = table(make_probe(), ["auc_lo", "n"], "Low ends")
    assert (shown.title, shown.headings) == ("Low ends", ("auc lo", "Examples"))
    assert len(shown.rows) == 5
    with pytest.raises(ReportError, match="no column 'f1'"):
        table(make_probe(), ["f1"])


def test_unknown_kinds_show_everything(make_probe):
    shown = table(
        make_probe(rows=[{"x": [1, "a"], "big": 1234567, "small": -1e-9, "yes": True, "none": None}], kind="other")
    )
    assert [c.text for c in shown.rows[0]] == ['[1, "a"]', "1\u202f234\u202f567", "−1.0×10⁻⁹", "pass", "–"]


def test_no_rows(make_probe):
    assert table(make_probe(0)).rows == ()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.5, "0.5"), (-0.25, "−0.25"), (4.1, "4.1"), (123.4, "123"), (12345.6, "1.2×10⁴"),
        (1e-300, "1.0×10⁻³⁰⁰"), (0.00999, "1.0×10⁻²"), (math.nan, "NaN"), (-math.inf, "−∞"),
    ],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("value", "text"), [(1.0, "1.000"), (0.0050, "0.005"), (0.00099, "9.9×10⁻⁴"), (0.0, "0.000")])
def test_p_values(value, text):
    assert p_value(value) == text
