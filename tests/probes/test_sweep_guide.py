"""The sweep of the guide: captured once, stopped and resumed, and its best probe judged by the best of the null."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from interp import testbeds
from interp.errors import PromptError
from interp.plots.gallery import pictures

GUIDE = Path(__file__).parents[2] / "docs/guides/sweep.py"
SMALL = {"folds": 3, "permutations": 39, "seeds": 2, "held": 4, "limit": 96, "group": "group"}


@pytest.fixture(scope="module")
def guide():
    spec = importlib.util.spec_from_file_location("sweep_guide", GUIDE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sweep_guide"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["sweep_guide"]


def sweep(guide, out: Path, prompts: Path | None = None, **changes):
    bed = testbeds.path("induction")
    given = {"sites": "resid_post", "C": (0.1, 1.0), **SMALL, **changes}
    return guide.Sweep(str(bed), str(prompts or bed / "prompts.jsonl"), out, **given)


@pytest.fixture
def fits(guide, monkeypatch):
    """The cells that are fitted; more than ``most`` stop the run as a kill would."""
    done, state = [], {"most": 1000}
    real = guide.fit

    def counted(cell, *rest):
        if len(done) >= state["most"]:
            raise KeyboardInterrupt
        done.append(cell)
        return real(cell, *rest)

    monkeypatch.setattr(guide, "fit", counted)
    return done, state


def test_a_sweep_stops_resumes_and_finds_what_was_planted(guide, fits, tmp_path, monkeypatch):
    done, state = fits
    state["most"] = 3
    with pytest.raises(KeyboardInterrupt):
        guide.run(sweep(guide, tmp_path))
    cells = tmp_path / "cells"
    assert len(list(cells.iterdir())) == len(done) == 3
    next(cells.iterdir()).write_text('{"auc": 0.5')  # half a file, as no run of ours leaves it
    state["most"] = 1000
    report = guide.run(sweep(guide, tmp_path))
    assert len(done) == 3 + 5 + 1  # nothing twice but the damaged one
    assert report.kind == "sweep"
    by_site = {row["site"]: row for row in report.rows}
    assert by_site["resid_post.1"]["auc"] > 0.95
    assert by_site["resid_post.1"]["p_max"] == pytest.approx(1 / 40)
    assert by_site["resid_post.0"]["p_max"] > 0.05
    assert report.meta["held_out_auc"] > 0.9
    assert "resid_post.1 at last" in report.headline
    assert {path.name for path in tmp_path.iterdir()} >= {"report.html", "report.json", "report.csv", "figure.pdf"}
    # Again: nothing is fitted, nothing is captured, and the numbers are the same.
    again = guide.run(sweep(guide, tmp_path))
    assert len(done) == 9
    assert again.rows == report.rows
    # Another setting is another file.
    guide.run(sweep(guide, tmp_path, permutations=19, C=(1.0,), seeds=1))
    assert len(done) == 9 + 2


def test_the_whole_sweep_counts_in_p(guide, tmp_path):
    report = guide.run(sweep(guide, tmp_path, seeds=1, C=(1.0,)))
    for row in report.rows:
        assert row["p"] <= row["p_max"]
    assert report.meta["null_max_auc_95"] >= max(row["null_auc_hi"] for row in report.rows) - 1e-12


def test_labels_that_mean_nothing_are_not_found(guide, tmp_path):
    rng, rows = np.random.default_rng(0), []
    for line in (testbeds.path("induction") / "prompts.jsonl").read_text().splitlines()[:64]:
        row = json.loads(line)
        rows.append({"text": row["text"], "label": bool(rng.random() < 0.5)})
    prompts = tmp_path / "luck.jsonl"
    prompts.write_text("\n".join(map(json.dumps, rows)))
    report = guide.run(sweep(guide, tmp_path / "out", prompts, group=None, held=0))
    assert min(row["p_max"] for row in report.rows) > 0.05
    assert report.headline.startswith("No probe of 8")
    assert any("held out" in warning for warning in report.warnings)


def test_a_mark_that_is_not_there_is_told(guide, tmp_path):
    with pytest.raises(PromptError, match="no prompt has the mark 'verb'"):
        guide.run(sweep(guide, tmp_path, at=("verb",)))


def test_a_tracker_that_is_missing_is_told_before_anything_is_run(guide, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(SystemExit, match="pip install trackio"):
        guide.run(sweep(guide, tmp_path / "out", tracker="trackio"))
    assert not (tmp_path / "out").exists()


def test_a_tracker_gets_every_probe(guide, tmp_path, monkeypatch):
    logged, finished = [], []

    class Run:
        def log(self, row):
            logged.append(row)

        def finish(self):
            finished.append(True)

    class Tracker:
        @staticmethod
        def init(project, config):
            assert project == "sweep"
            assert config["seeds"] == "1"
            return Run()

    monkeypatch.setitem(sys.modules, "wandb", Tracker)
    report = guide.run(sweep(guide, tmp_path, tracker="wandb", seeds=1, C=(1.0,), permutations=19))
    assert [row["probe"] for row in logged] == [1, 2]
    assert finished
    assert [picture.name for picture in pictures(report, "paper")] == ["By layer and position"]
