"""On the think bed: the planted head is found, without it refusal is back; where nothing falls, nothing is called."""

from __future__ import annotations

import json

import numpy as np
import pytest

from interp import load_model, testbeds
from interp.cli import main
from interp.prompts import load_prompts
from interp.prompts.join import join
from interp.report import Report
from interp.safety.cliff.settings import Settings
from interp.safety.cliff.study import cliff
from interp.safety.cliff.thinking import find_thinking, think

FEW = Settings(percent=(3.0,), draws=23, permutations=99, bootstrap=100)


@pytest.fixture(scope="module")
def bed():
    model = load_model(testbeds.path("chat-think"))
    return model, testbeds.truth("chat")


def prompts(model, name, split="test", **only):
    found = load_prompts(testbeds.path("chat") / f"{name}.jsonl", model.tokenizer)
    keep = found.columns["split"].astype(str) == split
    for column, values in only.items():
        keep &= np.isin(found.columns[column].astype(str), values)
    return found.select(np.flatnonzero(keep))


@pytest.fixture(scope="module")
def thoughts(bed):
    model, _ = bed
    return think(model, prompts(model, "cliff"), progress=False)


def test_the_models_thinking_is_the_same_generated_or_given(bed, thoughts):
    model, _ = bed
    assert not thoughts.unfinished
    given = thoughts.prompts.select(range(4))
    again = find_thinking(given, model.tokenizer).prompts
    for mark in ("think_start", "think_end"):
        assert again.marks[mark].tolist() == given.marks[mark].tolist()
    words = [
        model.tokenizer.decode(t[a:b].tolist()) for t, (a, b) in zip(given.tokens, given.spans["thinking"], strict=True)
    ]
    assert all(text.endswith("can answer now .") for text in words)


def test_the_planted_cliff_and_its_head_are_found(bed, thoughts):
    model, truth = bed
    reports = cliff(model, thoughts, FEW, refusals=truth.refusal_ids, progress=False).reports
    first = reports["cliff"]
    assert first.meta["found"], first.headline
    assert not first.warnings
    rows = {row["class"]: row for row in first.rows}
    assert rows["harmful, answered"]["drop_lo"] > 0.8
    for kind in ("harmful, refused", "harmless, answered"):
        assert abs(rows[kind]["drop"]) < 0.1
    heads = reports["cliff-heads"].rows
    assert heads[0]["part"] == truth.cliff_head
    assert heads[0]["contribution"] < 5 * heads[1]["contribution"]
    assert heads[0]["p_max"] < 0.05
    assert reports["cliff-heads"].meta["sum_error"] < 1e-5
    [row] = reports["cliff-ablation"].rows
    assert row["which"] == [truth.cliff_head]
    assert row["refused_before"] < 0.05
    assert row["refused_after"] > 0.95
    assert row["random_refused"] < 0.05
    assert row["others_after"] < 0.05
    assert row["p"] == pytest.approx(1 / 24)  # the best of all heads there are
    assert row["effect_lo"] > row["random_hi"]


def test_the_head_is_found_at_the_last_block_through_the_final_norm_too(bed, thoughts):
    model, truth = bed
    paper = Settings(site="resid_post.-1", norm="final", percent=(3.0,), draws=1, permutations=99, bootstrap=50)
    heads = cliff(model, thoughts, paper, refusals=truth.refusal_ids, progress=False).reports["cliff-heads"]
    assert heads.rows[0]["part"] == truth.cliff_head


def test_before_the_head_acts_nothing_has_fallen(bed, thoughts):
    model, truth = bed
    early = Settings(site=truth.refusal_site, percent=(3.0,), draws=1, permutations=99, bootstrap=100)
    report = cliff(model, thoughts, early, refusals=truth.refusal_ids, progress=False).reports["cliff"]
    assert not report.meta["found"], report.headline
    assert report.meta["own"] < 0.01


def test_requests_that_were_never_to_be_refused_have_no_cliff(bed):
    """Jailbroken requests are answered because of what stands behind them: refusal is not there to be lost."""
    model, truth = bed
    modifiers = load_prompts(testbeds.path("chat") / "harmful.jsonl", model.tokenizer).columns["modifier"].astype(str)
    other = [m for m in np.unique(modifiers) if m != truth.trigger]
    asked = join([prompts(model, name, "val", modifier=other) for name in ("harmful", "harmless", "jailbroken")])
    report = cliff(model, think(model, asked, progress=False), FEW, refusals=truth.refusal_ids, progress=False).reports[
        "cliff"
    ]
    assert {row["class"] for row in report.rows} >= {"harmful, answered", "harmful, refused"}
    assert not report.meta["found"], report.headline


def test_a_model_that_does_not_think_is_told_so(capsys, tmp_path):
    rows = testbeds.path("chat") / "cliff.jsonl"
    code = main(
        ["cliff", str(testbeds.path("chat")), str(rows), "--limit", "4", "--out", str(tmp_path), "--progress", "False"]
    )
    assert code == 2
    assert "closes its thinking with '</think>' on none of 4 prompts" in capsys.readouterr().err


def test_the_command_writes_its_page(bed, capsys, tmp_path):
    _, truth = bed
    rows = [json.loads(line) for line in (testbeds.path("chat") / "cliff.jsonl").read_text().splitlines()]
    some = [{**row, "split": None} for row in rows if row["split"] == "test"]
    files = [tmp_path / f"{name}.jsonl" for name in ("harmful", "harmless")]
    for k, path in enumerate(files):
        path.write_text("".join(json.dumps(row) + "\n" for row in some if row["harmful"] != k))
    out = tmp_path / "out"
    options = ["--draws", "5", "--percent", "3", "--permutations", "99", "--progress", "False"]
    code = main(["cliff", str(testbeds.path("chat-think")), *map(str, files), *options, "--out", str(out)])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "A cliff: on " in said
    names = {path.name for path in out.iterdir()}
    for kind in ("cliff", "cliff-heads", "cliff-ablation", "cliff-judge"):
        assert {f"{kind}.json", f"{kind}.csv"} <= names
        assert Report.load(out / f"{kind}.json").provenance.command.startswith("interp")
    assert {"report.html", "cliff.svg", "cliff.pdf", "cliff-heads.svg", "prober.safetensors"} <= names
    page = (out / "report.html").read_text("utf-8")
    assert "A cliff: on " in page
    assert truth.cliff_head in page
    assert main(["cliff", "nowhere", "nothing.jsonl", "--out", str(out)]) == 2
    assert "nothing.jsonl" in capsys.readouterr().err
    assert main(["cliff", "nowhere", "--out", str(out)]) == 2
    assert "no prompts given" in capsys.readouterr().err
