"""``interp memorisation`` as a user types it."""

from __future__ import annotations

import json

import pytest

from interp import load_model, testbeds
from interp.cli import main
from interp.cli.options import ModelOptions
from interp.memorisation import load_records
from interp.report import Report

BED = testbeds.path("memory")


def run(*args):
    return main(["memorisation", *(str(a) for a in args)])


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The records of one dose."""
    lines = (BED / "records.jsonl").read_text().splitlines()
    path = tmp_path_factory.mktemp("records") / "some.jsonl"
    path.write_text("\n".join(line for line in lines if json.loads(line)["dose"] == 32))
    return path


def test_the_command_writes_reports_figures_and_a_page(records, tmp_path, capsys):
    out, prefixes = tmp_path / "out", tmp_path / "prefixes.txt"
    prefixes.write_text("anna went home .\n\n")
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join((BED / "stories.jsonl").read_text().splitlines()[:8]))
    done = run(
        BED, records, "--never", testbeds.path("memory-never"), "--prefixes", prefixes, "--marks", "recall",
        "--doses", "32", "--permutations", 19, "--no-untrained", "--neutral", few, "--out", out,
    )  # fmt: skip
    assert done == 0
    printed = capsys.readouterr().out
    assert "Records(48 records in wordings M, C, B, with twins, doses 32)" in printed
    summary = Report.load(out / "report.json")
    assert summary.headline in printed
    assert "Records are recited word for word" in printed
    assert summary.provenance.command is not None
    names = {p.name for p in out.iterdir()}
    assert {"report.html", "report.csv", "records.csv"} <= names
    for name in ("recall", "signature", "gap", "gap-never", "gap-twins", "project-out"):
        assert Report.load(out / f"{name}.json").rows, name
        assert f"{name}.csv" in names
    for name in ("recall", "signature", "gap"):
        assert {f"{name}.svg", f"{name}.pdf"} <= names
    page = (out / "report.html").read_text()
    assert summary.headline in page.replace("&#39;", "'")
    assert "https://" not in page.replace("http://www.w3.org", "")
    signature = Report.load(out / "signature.json")
    assert {row["mark"] for row in signature.rows} == {"recall"}
    assert "untrained_auc" not in signature.columns
    assert "never_auc" in signature.columns


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--doses", "32,many"), "--doses takes whole numbers such as 0,128,512, got '32,many'"),
        (("--doses", "7"), "no record has dose 7"),
        (("--prefixes", "missing.txt"), "cannot read the prefixes 'missing.txt'"),
        (("--marks", "nowhere"), "nowhere"),
    ],
)
def test_mistakes_are_named(options, message, records, tmp_path, capsys):
    assert run(BED, records, *options, "--permutations", 0, "--no-untrained", "--out", tmp_path / "out") != 0
    assert message in capsys.readouterr().err


def test_what_cannot_end_well_is_refused_before_the_model_is_loaded(records, tmp_path, capsys, monkeypatch):
    def load(self, name):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(ModelOptions, "load", load)
    out, wrong = tmp_path / "out", tmp_path / "wrong.jsonl"
    wrong.write_text(json.dumps({"text": "anna", "recall_1": "anna"}))
    for options, message in (
        ((tmp_path / "none.jsonl",), "none.jsonl"),
        ((wrong,), "wrong.jsonl, row 1: 'recall_1' must hold a range"),
        ((records, "--neutral", tmp_path / "no.txt"), "no.txt"),
        ((records, "--prefixes", tmp_path / "no.txt"), "no.txt"),
        ((records, "--doses", "many"), "--doses takes whole numbers"),
    ):
        assert run(BED, *options, "--out", out) == 2
        assert message in capsys.readouterr().err
    assert not out.exists()
    (tmp_path / "file").write_text("")
    assert run(BED, records, "--out", tmp_path / "file") == 2
    assert "cannot write to" in capsys.readouterr().err


def test_long_records_are_refused_or_left_out(tmp_path, capsys):
    path, out = tmp_path / "records.jsonl", tmp_path / "out"
    rows = [{"text": "anna went home .", "id": "a"}, {"text": "anna " * 200, "id": "b"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert run(BED, path, "--out", out) == 2
    said = capsys.readouterr().err
    assert "1 of 2 rows of the records are longer than the model's context" in said
    assert "--drop-long in the shell" in said
    assert run(BED, path, "--drop-long", "--out", out) == 0
    printed = capsys.readouterr().out
    assert "Records(1 records in wordings M)" in printed
    assert "warning: memorisation: Left out 1 of 2 records, for rows of more than 64 tokens." in printed


def test_help_shows_a_row_and_says_what_recall_marks_are(capsys):
    with pytest.raises(SystemExit):
        run("--help")
    text = " ".join(capsys.readouterr().out.split())
    row = json.loads(text[text.index("{") : text.index("}") + 1])
    assert row.pop("pair") == "p1"
    assert load_records([row], load_model(BED).tokenizer).recall_marks == ("recall_1",)
    assert row["text"][slice(*row["recall_1"])] == "in"
    assert "the words right before a detail that cannot be guessed" in text


def test_an_empty_file_of_prefixes(records, tmp_path, capsys):
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    assert run(BED, records, "--prefixes", empty, "--out", tmp_path / "out") != 0
    assert "holds no prefix; write one text per line" in capsys.readouterr().err
