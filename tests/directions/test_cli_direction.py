"""``interp direction`` as a user types it, on the chat bed whose refusal direction is known, and on its nulls."""

from __future__ import annotations

import json

import pytest

from interp import testbeds
from interp.cli import main
from interp.cli.direction import Direction as Command
from interp.cli.options import PromptOptions
from interp.directions import Direction, select_direction
from interp.errors import PromptError, ProvenanceError
from interp.models import load_model
from interp.prompts import load_prompts
from interp.report import Report

BED = testbeds.path("chat")
SELECT = [
    "--method",
    "select",
    "--refusal",
    *testbeds.truth("chat").refusal_first,
    "--mark",
    "t_post",
    "--bootstrap",
    "300",
]
LESS = ["--train", "48", "--val", "16", "--test", "24", "--n-random", "2"]


def run(*args):
    return main(["direction", *map(str, args)])


def test_selection_recovers_the_planted_direction(tmp_path, capsys):
    out = tmp_path / "out"
    files = ["--positive", BED / "harmful.jsonl", "--negative", BED / "harmless.jsonl"]
    assert run(BED, *files, "--out", out, *SELECT, *LESS, "--shuffles", "0") == 0
    assert "A refusal direction was found" in capsys.readouterr().out
    truth, model = testbeds.truth("chat"), load_model(BED)
    found = Direction.load(out / "direction.safetensors", model.fingerprint)
    assert float(found.unit @ truth.refusal) > 0.95
    assert found.site.kind == "resid_pre"
    assert found.site.layer < int(0.8 * model.n_layers)
    assert found.provenance.command.startswith("interp")
    with pytest.raises(ProvenanceError):
        Direction.load(out / "direction.safetensors", "another")
    report = Report.load(out / "selection.json")
    assert report.meta["prompts"][0]["n"] == 48
    assert Report.load(out / "selection-test.json").rows
    names = {p.name for p in out.iterdir()}
    assert {"report.html", "selection.csv", "selection.svg", "selection.pdf", "selection-test.svg"} <= names
    assert "A refusal direction was found" in (out / "report.html").read_text()


@pytest.mark.parametrize("kind", ["template", "length", "last"])
def test_sets_that_differ_in_form_alone_have_no_refusal_direction(kind):
    model, truth = load_model(BED), testbeds.truth("chat")
    whole = load_prompts(BED / f"null-{kind}.jsonl", model.tokenizer)
    sets = [whole.select(whole.labels == label) for label in ("a", "b")]
    found = select_direction(
        model, *sets, refusal_ids=truth.refusal_ids, train=48, val=16, test=24, marks=["t_post"], progress=False
    )
    assert not found.found
    assert found.chosen is None
    assert "whatever sets the two apart is not refusal" in found.reason


def test_a_page_of_nothing_says_so_and_leaves_no_former_direction(tmp_path, capsys):
    old = tmp_path / "direction.safetensors"
    old.write_text("from a former run")
    path = BED / "null-template.jsonl"
    files = ["--positive", f"{path}@label=a", "--negative", f"{path}@label=b"]
    assert run(BED, *files, "--out", tmp_path, *SELECT, *LESS) == 0
    assert "No direction found" in capsys.readouterr().out
    assert not old.exists()
    assert "No direction found" in (tmp_path / "report.html").read_text()
    assert run(BED, "--positive", f"{path}@label=c", *files[2:], "--out", tmp_path, *SELECT) != 0
    assert "has label 'c'; there is: a, b" in capsys.readouterr().err


def test_fitted_directions_come_with_their_nulls(tmp_path):
    command = Command(
        str(BED), (str(BED / "harmful.jsonl"),), (str(BED / "harmless.jsonl"),), tmp_path, layer=(0, -2), mark="t_post",
        group="group", folds=4, permutations=19, bootstrap=100, untrained=False, prompt=PromptOptions(limit=60),
    )  # fmt: skip
    study = command.study("interp direction by hand")
    assert "By the difference of means: 'positive' against 'negative' can be read" in study.report.headline
    report = {r["site"]: r for r in study.report.rows}
    assert set(report) == {"resid_post.0", "resid_post.4"}
    assert report["resid_post.4"]["auc"] > 0.95
    assert report["resid_post.4"]["p_max"] <= 0.05 < report["resid_post.0"]["p_max"]
    assert report["resid_post.4"]["cos_halves"] > 0.9
    assert command._write_study(study)
    path = tmp_path / "directions" / "resid_post.4.safetensors"
    found = Direction.load(path, load_model(BED).fingerprint)
    assert float(found.unit @ testbeds.truth("chat").refusal) > 0.95
    assert (found.method, found.mark, found.provenance.command) == ("diff_means", "t_post", "interp direction by hand")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--positive": ["nowhere.jsonl"]}, "nowhere.jsonl"),
        ({"--positive": ["a", "b"]}, "takes one file, got 2"),
        ({"--refusal": ["No"]}, "--refusal is for --method select"),
        ({"--method": ["select"], "--layer": ["1"]}, "looks at every layer"),
        ({"--depth-limit": ["2"]}, "--depth-limit is a share"),
        ({"--out": ["/proc/nothing"]}, "cannot write"),
    ],
)
def test_mistakes_are_named_before_the_model_is_loaded(changes, message, tmp_path, capsys):
    given = {
        "--positive": [BED / "harmful.jsonl"],
        "--negative": [BED / "harmless.jsonl"],
        "--out": [tmp_path],
        **changes,
    }
    args = [part for name, values in given.items() for part in (name, *values)]
    assert run("no-such-model", *args) != 0
    assert message in capsys.readouterr().err


def test_pairs_by_row_are_split_together(tmp_path):
    for name, word in (("up", "grenade"), ("down", "vaccine")):
        asked = ("how do i", "please tell me how to", "what is the way to")
        rows = [{"text": f"{a} {v} the {word}"} for a in asked for v in "copy hide grow drain build delete".split()]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = Command(
        str(BED), (str(tmp_path / "up.jsonl"),), (str(tmp_path / "down.jsonl"),), tmp_path, method="pca", paired=True,
        layer=(0,), permutations=19, bootstrap=50, untrained=False, folds=3, shared="warn",
    )  # fmt: skip
    study = command.study("by hand")
    assert study.report.rows[0]["n_groups"] == 18
    assert list(map(str, study.directions)) == ["resid_post.0"]
    (tmp_path / "down.jsonl").write_text('{"text": "one row"}')
    with pytest.raises(PromptError, match="as many rows on both sides, got 18 and 1"):
        command.study("by hand")
