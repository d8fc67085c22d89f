"""``interp erase`` as a user types it: what is printed and written, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interp import load_model, testbeds
from interp.cli import main
from interp.cli.commands import COMMANDS
from interp.cli.erase import Erase
from interp.cli.options import ModelOptions
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
    mine = ["notes.md", "erasers/mine.resid_post.0.safetensors", "erasers/mean.safetensors"]
    former = ["report.html", "erasers/leace.resid_post.7.safetensors"]
    (tmp_path / "out" / "erasers").mkdir(parents=True)
    for name in (*mine, *former):
        (tmp_path / "out" / name).write_text("from before")
    assert erase(records, tmp_path / "out", "--method", "mean", "random", "--permutations", 19) == 0
    text = capsys.readouterr().out
    assert "erasers" in text
    assert text.index("method  ") < text.index("verdict  ") < text.index("rank  ")
    assert "warning: In-sample readings below chance" in text
    report = Report.load(tmp_path / "out" / "report.json")
    assert report.kind == "erasure"
    assert report.column("method") == ("none", "mean", "random")
    assert report.provenance.command is not None
    for name in ("report.html", "report.csv", "figure.svg", "figure.pdf"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    # What an earlier run wrote is gone or replaced; what is not its own is left.
    assert all((tmp_path / "out" / name).read_text() == "from before" for name in mine)
    written = {p.name for p in (tmp_path / "out" / "erasers").iterdir()} - {Path(name).name for name in mine}
    assert written == {f"{m}.resid_post.{k}.safetensors" for m in ("mean", "random") for k in range(4)}
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index(">Eraser<") < page.index(">Verdict<") < page.index(">Rank<")
    assert report.title == "Erasing what tells trained from untrained twins in 'memory', read at recall"
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


def test_what_cannot_end_well_is_refused_before_the_model_is_loaded(
    records: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
):
    def load(self, name):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(ModelOptions, "load", load)
    out = tmp_path / "out"
    assert erase(tmp_path / "none.jsonl", out) == 2
    assert "none.jsonl" in capsys.readouterr().err
    assert run("erase", BED, records, "--neutral", tmp_path / "no.txt", "--out", out) == 2
    assert "no.txt" in capsys.readouterr().err
    assert not out.exists()
    assert erase(records, out, "--method", "spell") == 2
    assert erase(records, out, "--permutations", 5) == 2
    assert not out.exists()
    (tmp_path / "file").write_text("")
    assert erase(records, tmp_path / "file") == 2
    (out / "model-pga").mkdir(parents=True)
    capsys.readouterr()
    assert erase(records, out) == 2
    assert "holds the model of an earlier run, model-pga" in capsys.readouterr().err


def test_help_names_the_commands_that_know_records(capsys):
    with pytest.raises(SystemExit):
        run("erase", "--help")
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "`interp memorisation --help` lists its fields, and `interp inject` writes one" in text


def test_refusals(records: Path, tmp_path: Path, capsys):
    assert erase(records, tmp_path / "out", "--method", "spell") == 2
    assert "no eraser is called 'spell'" in capsys.readouterr().err
    assert erase(records, tmp_path / "out", "--permutations", 5) == 2
    assert "19 or more" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert erase(records, tmp_path / "file", "--method", "mean", "--permutations", 0) == 2
    assert "cannot write" in capsys.readouterr().err
