"""``interp report``, ``diff`` and ``reproduce`` as a user types them, on results that commands really made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interp import testbeds
from interp.cli import main
from interp.cli.reproduce import redirected
from interp.provenance import Provenance
from interp.report import Report, load_result
from tests.plots.conftest import make
from tests.plots.looks import Page, assert_offline

__all__ = ["make"]  # a fixture

BED = testbeds.path("induction")
QUICK = ("--permutations", 19, "--bootstrap", 100, "--folds", 3, "--no-untrained")
SOURCE = Provenance(model="a1", model_id="tiny", seed=0, command="interp probe tiny pairs.jsonl --out a")


def run(*args: object) -> int:
    return main([str(a) for a in args])


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a probe was made by relative paths: pairs.jsonl, the model, and results in runs/number."""
    folder = tmp_path_factory.mktemp("work")
    lines = (BED / "prompts.jsonl").read_text().splitlines()
    groups = sorted({json.loads(line)["group"] for line in lines})[:6]
    (folder / "pairs.jsonl").write_text("\n".join(ln for ln in lines if json.loads(ln)["group"] in groups))
    shutil.copytree(BED, folder / "model", ignore=shutil.ignore_patterns("*.jsonl", "*.md"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("probe", "model", "pairs.jsonl", "--out", "runs/number", *QUICK) == 0
    return folder


@pytest.fixture
def copy(work: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of all that, with the probe's report changed by hand."""

    def make(change: Callable[[dict[str, Any]], object] | None = None) -> Path:
        folder = tmp_path / "copy"
        shutil.copytree(work, folder)
        path = folder / "runs" / "number" / "report.json"
        report = json.loads(path.read_text())
        if change is not None:
            change(report)
        path.write_text(json.dumps(report))
        return folder / "runs" / "number"

    return make


# ---- reproduce ---------------------------------------------------------------------------------------------------


def test_a_result_knows_its_command_and_its_files(work):
    made = load_result(work / "runs" / "number")
    assert made.command == "interp probe model pairs.jsonl --out runs/number " + " ".join(map(str, QUICK))
    assert made.inputs is not None
    assert made.inputs.base == "../.."
    assert {one.path for one in made.inputs.files} >= {"pairs.jsonl", "model/config.json", "model/model.safetensors"}
    assert "truth.json" not in str(made.inputs)
    assert str(work) not in (work / "runs" / "number" / "inputs.json").read_text()


def test_numbers_come_back_from_anywhere(work, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*")}
    assert run("reproduce", work / "runs" / "number", "--keep", "again", "--out", "diff.html") == 0
    said = capsys.readouterr().out
    assert "running: interp probe model pairs.jsonl --permutations 19" in said
    assert "The numbers came back: " in said
    assert "Same numbers, and made in the same way" in said
    assert "warning: the result" not in said
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*")} == before
    again = load_result("again").summary
    assert again.rows == load_result(work / "runs" / "number").summary.rows
    page = Page(Path("diff.html").read_text("utf-8"))
    assert_offline(page)
    assert run("diff", work / "runs" / "number", "again", "--strict") == 0
    assert run("reproduce", work / "runs" / "number", "--keep", "again") == 2
    assert "holds something already" in capsys.readouterr().err


def test_a_number_that_was_tampered_with_does_not_come_back(copy, capsys):
    def tamper(report: dict[str, Any]) -> None:
        report["rows"][0]["auc"] += 0.003
        report["provenance"]["code"] = "0.0.9"

    assert run("reproduce", copy(tamper)) == 1
    said = capsys.readouterr().out
    assert "warning: the result was made by interp 0.0.9, and this is " in said
    assert "The numbers did not come back." in said
    assert "Different numbers: 1 of " in said
    assert "resid_post.0  auc" in said
    assert "code version" in said


def test_another_seed_gives_other_numbers_and_is_named(copy, tmp_path, capsys):
    def reseed(report: dict[str, Any]) -> None:
        report["provenance"]["command"] += " --seed 1"

    assert run("reproduce", copy(reseed), "--base", tmp_path / "copy") == 1
    said = capsys.readouterr().out
    assert "The numbers did not come back." in said
    assert "differs in seed" in said


def test_files_that_are_gone_or_changed_are_named_and_nothing_runs(copy, tmp_path, monkeypatch, capsys):
    made = copy()
    here = tmp_path / "copy"
    (here / "pairs.jsonl").write_text((here / "pairs.jsonl").read_text().replace("1", "2"))
    (here / "model" / "model.safetensors").unlink()
    assert run("reproduce", made) == 2
    said = capsys.readouterr()
    assert "model/model.safetensors is not there; pairs.jsonl has changed" in said.err
    assert "running" not in said.out
    assert run("reproduce", made, "--base", tmp_path / "nowhere") == 2
    assert "is no directory" in capsys.readouterr().err


@pytest.mark.parametrize("command, message", [
    (None, "made from Python"),
    ("rm -rf /", "no command of interp"),
    ("interp", "no command of interp"),
    ("interp 'probe", "cannot be read"),
    ("interp testbed list", "does not take the stored command"),
    ("interp reproduce somewhere --out x", "writes no result"),
    ("interp report somewhere --out x", "writes no result"),
    ("interp probe model pairs.jsonl --no-such-option 3 --out x", "does not take the stored command"),
    ("interp probe model pairs.jsonl --out x; rm -rf /", "does not take the stored command"),
    ("interp probe model pairs.jsonl --trust-remote-code --out x", "--trust-remote-code"),
])  # fmt: skip
def test_commands_that_are_not_run_again(tmp_path, capsys, command, message):
    source = SOURCE.replace(command=command)
    Report("probe", "T", "H.", [{"site": "embed"}], source).save(tmp_path / "report.json")
    assert run("reproduce", tmp_path) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert "running" not in said.out


def test_results_go_elsewhere_and_no_tracker_hears_of_it():
    words = ["probe", "tiny", "x", "--out", "a", "--wandb=study", "--seed", "1"]
    assert redirected(words, Path("b")) == ["probe", "tiny", "x", "--seed", "1", "--out", "b"]


@pytest.mark.slow
def test_a_circuit_comes_back_with_every_report(tmp_path, monkeypatch, capsys):
    rows = [
        {"clean": [a, b, 17, c, a], "corrupted": [a, c, 17, b, a], "answer": b, "wrong_answer": c}
        for a, b, c in ((4, 5, 6), (7, 8, 9), (10, 11, 12), (13, 14, 15))
    ]
    monkeypatch.chdir(tmp_path)
    Path("pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    quick = ("--top", 2, "--check", 2, "--sample", 2, "--shuffles", 1, "--no-untrained", "--replicates", 20)
    assert run("circuit", BED, "pairs.jsonl", "--out", "circuit", *quick) == 0
    capsys.readouterr()
    assert run("reproduce", "circuit") == 0
    assert "The numbers came back: " in capsys.readouterr().out


# ---- diff --------------------------------------------------------------------------------------------------------


def saved(folder: Path, rows: Any = None, kind: str = "probe", name: str = "report", **changes: Any) -> Path:
    table = rows or [
        {"site": f"resid_post.{i}", "auc": a, "auc_lo": a - 0.1, "auc_hi": a + 0.1} for i, a in enumerate((0.6, 0.9))
    ]
    values = {"title": f"The {kind}", "headline": f"What the {kind} found.", "provenance": SOURCE} | changes
    return Report(kind, rows=table, **values).save(folder / f"{name}.json").parent


def test_diff_says_the_verdict_first_and_ends_with_its_code(tmp_path, capsys):
    a, seed = saved(tmp_path / "a"), saved(tmp_path / "b", provenance=SOURCE.replace(seed=1))
    other = saved(tmp_path / "c", [{"site": "resid_post.0", "auc": 0.9, "auc_lo": 0.85, "auc_hi": 0.95}], headline="X.")
    assert run("diff", a, seed) == 0
    assert capsys.readouterr().out.startswith("Same numbers; differs in seed (2 numbers compared).\n\nMade with:")
    assert run("diff", a, seed, "--strict") == 1
    assert run("diff", a, a, "--strict") == 0
    capsys.readouterr()
    assert run("diff", a / "report.json", other, "--json", tmp_path / "d.json", "--out", tmp_path / "d.html") == 1
    said = capsys.readouterr().out
    assert said.startswith("Different numbers: 1 of 1 changed, 1 of the 1 with intervals beyond the other's, 1 row")
    assert "Only in A: report: resid_post.1." in said
    assert "0.600 [0.500, 0.700]  0.900 [0.850, 0.950]   0.300  no" in said
    assert "headline:\n  A: What the probe found.\n  B: X." in said
    kept = Report.load(tmp_path / "d.json")
    assert kept.kind == "diff"
    assert kept.headline == said.splitlines()[0]
    page = Page((tmp_path / "d.html").read_text("utf-8"))
    assert_offline(page)
    assert kept.headline in page.text
    assert "Only in A: report: resid_post.1." in page.text
    assert run("diff", a, tmp_path / "nothing") == 2


def test_long_texts_are_shown_from_where_they_part(tmp_path, capsys):
    a, b = (saved(tmp_path / name, headline="word " * 60 + name) for name in ("one", "other"))
    assert run("diff", a, b) == 0
    said = capsys.readouterr().out
    assert "word word one\n" in said
    assert "word word other" in said
    assert "  A: ... word" in said


def test_diff_prints_as_many_changes_as_asked_for(tmp_path, capsys):
    rows = [{"site": f"resid_post.{i}", "auc": 0.5} for i in range(40)]
    a, b = saved(tmp_path / "a", rows), saved(tmp_path / "b", [row | {"auc": 0.6} for row in rows])
    assert run("diff", a, b, "--rows", 5) == 1
    said = capsys.readouterr().out
    assert said.count("resid_post.") == 5
    assert "... and 35 more" in said
    assert run("diff", a, b, "--tolerance", 0.5) == 0
    assert run("diff", a, b, "--key", "site,mark") == 1


# ---- report ------------------------------------------------------------------------------------------------------


@pytest.fixture
def results(tmp_path: Path, make: Any) -> list[Path]:
    a, b, c = (tmp_path / name for name in ("number", "memory", "odd"))
    saved(a, warnings=["Few groups."])
    for kind in ("memorisation", "recall"):
        make(kind).save(b / f"{'report' if kind == 'memorisation' else kind}.json")
    saved(c, kind="home-made", headline="Something of my own.")
    return [a, b, c]


def test_results_become_one_page_with_an_index(results, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert run("report", *results, results[0], "--out", out, "--title", "All of it") == 0
    said = capsys.readouterr().out
    assert f"note: {results[0]} holds what {results[0]} holds, and is shown once" in said
    assert "'The home-made' is of the kind 'home-made', which this version does not know" in said
    assert "The probe: What the probe found.\n  warning: Few groups." in said
    page = Page(out.read_text("utf-8"))
    assert_offline(page)
    assert not page.all("script")
    text = page.text
    order = [
        "3 results", "All of it", "which this version does not know", "What the probe found.", "Few groups.",
        "One sentence about memorisation.", "Something of my own.", "resid_post.1", "Reproduce", SOURCE.command,
        "Provenance", "a1", "Records shown 512 times are recited", "One sentence about recall.",
    ]  # fmt: skip
    at = 0
    for words in order:
        at = text.index(str(words), at)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for a in page.all("a")]
    assert links[:3] == ["study-1", "study-2", "study-3"]
    assert set(links) <= set(ids)
    assert text.count(str(SOURCE.command)) >= 2  # each result has its own


def test_a_report_that_two_results_share_is_shown_once(results, tmp_path, make, capsys):
    make("recall").save(tmp_path / "more" / "recall.json")
    make("gap").save(tmp_path / "more" / "gap.json")
    assert run("report", results[1], tmp_path / "more", "--out", tmp_path / "page.html") == 0
    assert "recall is the same as in" in capsys.readouterr().out
    text = Page((tmp_path / "page.html").read_text("utf-8")).text
    assert text.count("Recited exactly, share of records") == 2  # the wide and the narrow figure of one report
    assert "One sentence about gap." in text


def test_all_figures_of_all_results_by_one_command(results, tmp_path, capsys):
    folder = tmp_path / "figures"
    assert run("report", *results, "--out", tmp_path / "page.html", "--figures", folder) == 0
    names = {path.name for path in folder.iterdir()}
    assert names == {f"{stem}.{end}" for stem in ("number-report", "memory-recall") for end in ("svg", "pdf", "csv")}
    head, *rows = (folder / "memory-recall.csv").read_text().splitlines()
    assert head.startswith("panel,series,x_axis,x,x_name")
    assert len(rows) == 20  # five doses, two labels, two panels
    assert "figures: 2 in" in capsys.readouterr().out
    first = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".pdf"}
    assert (
        run("report", results[1], "--out", tmp_path / "p.html", "--figures", tmp_path / "one", "--theme", "screen") == 0
    )
    assert {path.stem for path in (tmp_path / "one").iterdir()} == {"recall"}
    assert (tmp_path / "one" / "recall.csv").read_bytes() == first["memory-recall.csv"]
    assert (tmp_path / "one" / "recall.svg").read_bytes() != first["memory-recall.svg"]


def test_what_cannot_be_merged_says_why(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for args, message in (
        ((tmp_path / "empty",), "holds no report: looked for *.json"),
        ((tmp_path / "none",), "no directory or report at"),
        ((), "name at least one directory"),
    ):
        assert run("report", *args, "--out", tmp_path / "page.html") == 2
        assert message in capsys.readouterr().err
    assert run("report", saved(tmp_path / "a"), "--out", tmp_path) == 2
    assert "--out names the page" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
