"""``interp erase`` as a user types it: what is printed and written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interp import load_model, testbeds
from interp.cli import main
from interp.cli.commands import COMMANDS
from interp.cli.erase import Erase
from interp.directions.erasers import Eraser
from interp.report import Report

BED = testbeds.path("memory")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of the highest dose only."""
    lines = (BED / "records.jsonl").read_text().splitlines()
    path = tmp_path_factory.mktemp("erase") / "records.jsonl"
    path.write_text("\n".join(line for line in lines if json.loads(line)["dose"] == 512))
    return path


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "erase", Erase)


def run(*args: object) -> int:
    return main([str(a) for a in args])


def erase(records: Path, out: Path, *more: object) -> int:
    common = [
        "--neutral",
        BED / "stories.jsonl",
        "--neutral-limit",
        8,
        "--attackers",
        "quick",
        "--sites",
        "resid_post.3",
    ]
    return run("erase", BED, records, "--device", "cpu", "--out", out, *common, *more)


def test_closed_form_erasers_are_judged_and_written(records: Path, tmp_path: Path, capsys):
    assert erase(records, tmp_path / "out", "--method", "mean", "random", "--permutations", 19) == 0
    text = capsys.readouterr().out
    assert "erasers" in text
    assert "warning: In-sample readings below chance" in text
    report = Report.load(tmp_path / "out" / "report.json")
    assert report.kind == "erasure"
    assert report.column("method") == ("none", "mean", "random")
    assert report.provenance.command is not None
    for name in ("report.html", "report.csv", "figure.svg", "figure.pdf"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    model = load_model(BED, device="cpu")
    path = tmp_path / "out" / "erasers" / "mean.resid_post.2.safetensors"
    eraser = Eraser.load(path, model.fingerprint)
    assert (eraser.rank, eraser.width, eraser.method) == (1, 128, "mean")


def test_models_with_other_weights_are_written(records: Path, tmp_path: Path, capsys):
    options = ["--permutations", 0, "--epochs", 2, "--refit", 1, "--lora", 2, "--save-model"]
    assert erase(records, tmp_path / "out", "--method", "pga", "mean-weights", *options) == 0
    assert "not tested" in capsys.readouterr().out
    report = Report.load(tmp_path / "out" / "report.json")
    assert report.rows[1]["where"] == "weights"
    assert report.rows[1]["weights_changed"] > 0
    assert [len(run["history"]) for run in report.meta["training"]["pga"]] == [2, 2]
    made = [load_model(tmp_path / "out" / f"model-{name}", device="cpu") for name in ("pga", "mean-weights")]
    assert len({m.fingerprint for m in made} | {load_model(BED, device="cpu").fingerprint}) == 3


def test_refusals(records: Path, tmp_path: Path, capsys):
    assert erase(records, tmp_path / "out", "--method", "spell") == 2
    assert "no eraser is called 'spell'" in capsys.readouterr().err
    assert erase(records, tmp_path / "out", "--permutations", 5) == 2
    assert "19 or more" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert erase(records, tmp_path / "file", "--method", "mean", "--permutations", 0) == 2
    assert "cannot write" in capsys.readouterr().err
