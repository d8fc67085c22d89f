"""`interp heads` and `interp lens` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interp import testbeds
from interp.cli import main
from interp.report import Report


def run(*args: object) -> int:
    return main([str(a) for a in args])


def some(path: Path, lines: int, out: Path) -> Path:
    out.write_text("\n".join(path.read_text().splitlines()[:lines]))
    return out


def test_heads_finds_the_copy_head(tmp_path, capsys):
    bed = testbeds.path("needle")
    rows = some(bed / "haystacks.jsonl", 12, tmp_path / "rows.jsonl")
    made = tmp_path / "out"
    options = ("--shuffles", 40, "--draws", 3, "--masks", "zero_z", "--out", made)
    assert run("heads", bed, rows, *options) == 0
    assert "z.1.h2" in capsys.readouterr().out
    assert Report.load(made / "retrieval-heads.json").rows[0]["part"] == "z.1.h2"
    assert {"report.html", "retrieval-heads.svg", "retrieval-masks.pdf", "retrieval-masks.csv"} <= {
        p.name for p in made.iterdir()
    }
    assert "just as it is written" in (made / "report.html").read_text()


def test_lens_trains_reads_again_and_refuses_another_model(tmp_path, capsys):
    bed = testbeds.path("memory")
    texts = some(bed / "stories.jsonl", 20, tmp_path / "texts.jsonl")
    few = some(bed / "stories.jsonl", 3, tmp_path / "few.jsonl")
    assert run("lens", bed, few, "--train", texts, "--steps", 4, "--out", tmp_path / "one") == 0
    saved = tmp_path / "one" / "tuned-lens.safetensors"
    held = Report.load(tmp_path / "one" / "lens-held-out.json")
    assert held.meta["held_out"]
    assert {row["lens"] for row in held.rows} == {"logit", "tuned"}
    assert run("lens", bed, few, "--tuned", saved, "--out", tmp_path / "two") == 0
    capsys.readouterr()
    assert run("lens", testbeds.path("memory-never"), few, "--tuned", saved, "--out", tmp_path / "three") != 0
    assert "unembedding" in capsys.readouterr().err


def test_lens_shares_the_answers_lead_out(tmp_path):
    bed = testbeds.path("induction")
    rows = some(bed / "prompts.jsonl", 16, tmp_path / "rows.jsonl")
    twins = [json.loads(line) for line in rows.read_text().splitlines()]
    for one, other in zip(twins[::2], twins[1::2], strict=True):
        one["foil"], other["foil"] = other["answer"], one["answer"]
    rows.write_text("\n".join(map(json.dumps, twins)))
    assert run("lens", bed, rows, "--answer", "answer", "--wrong", "foil", "--out", tmp_path / "out") == 0
    parts = Report.load(tmp_path / "out" / "direct-logits.json")
    assert parts.rows[0]["part"] == "z.1.h0"
    assert (tmp_path / "out" / "direct-logits.svg").is_file()


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("lens", ("--wrong", "x"), "--answer"),
        ("lens", ("--tuned", "nowhere.safetensors"), "nowhere.safetensors"),
        ("lens", ("--train", "nowhere.jsonl"), "nowhere.jsonl"),
        ("heads", ("--top", "0"), "1 or more"),
    ],
)
def test_what_cannot_work_is_told_at_once(command, options, said, tmp_path, capsys):
    bed = testbeds.path("needle")
    assert run(command, bed, bed / "haystacks.jsonl", *options, "--out", tmp_path / "out") != 0
    assert said in capsys.readouterr().err
