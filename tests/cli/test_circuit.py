"""``interp circuit`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interp import testbeds
from interp.cli import main

BED = testbeds.path("induction")


def run(*args: object) -> int:
    return main([str(a) for a in args])


def test_pairs_become_a_page_that_says_first_whether_the_task_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"clean": [a, b, 17, c, a], "corrupted": [a, c, 17, b, a], "answer": b, "wrong_answer": c}
        for a, b, c in ((4, 5, 6), (7, 8, 9), (10, 11, 12), (13, 14, 15))
    ]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("\n".join(json.dumps(row) for row in rows))
    quick = ("--top", 2, "--check", 2, "--sample", 2, "--shuffles", 0, "--no-untrained", "--replicates", 20)
    assert run("circuit", BED, pairs, "--out", tmp_path / "out", *quick) == 0
    printed = capsys.readouterr().out
    assert "it gives the right answer on 100 % of 4 pairs" in printed
    assert "warning: circuit-study: The circuit is judged on the pairs that it was found on." in printed
    assert (tmp_path / "out" / "report.html").exists()
    chosen = json.loads((tmp_path / "out" / "circuit.mib.json").read_text())["edges"]
    assert {name for name, edge in chosen.items() if edge["in_graph"]} == {"input->a1.h0<v>", "a1.h0->logits"}


def test_a_missing_file_is_told_before_a_model_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("circuit", "no/such/model", tmp_path / "missing.jsonl", "--out", tmp_path / "out") != 0
    said = capsys.readouterr()
    assert "missing.jsonl" in said.err + said.out
