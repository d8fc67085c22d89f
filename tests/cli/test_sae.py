"""``interp sae`` from texts, from a store and with pairs: files that sae-lens reads, and a page on both."""

from __future__ import annotations

import json

import pytest

from interp import Report, testbeds
from interp.cli import main
from interp.sae.library import library

BED = testbeds.path("induction")
SMALL = ("--latents", "24", "--k", "4", "--steps", "20", "--batch", "64")


def run(*arguments) -> int:
    return main([str(a) for a in arguments])


def test_from_texts_with_pairs(tmp_path, capsys):
    out = tmp_path / "sae"
    given = ("sae", BED, BED / "prompts.jsonl", "--limit", "40", "--site", "resid_post.0", "--out", out)
    assert run(*given, *SMALL, "--pairs", BED / "pairs.jsonl", "--pairs-limit", "8") == 0
    said = capsys.readouterr().out
    report = Report.load(out / "report.json")
    assert report.headline in said
    assert report.column("control") == (None, "pca", "untrained", "shuffled")
    assert report.provenance.command.startswith("interp")
    # This model predicts nothing of such texts, so that there is no loss to recover, and the report says so.
    assert any("nats per token" in text for text in report.warnings)
    assert library().SAE.load_from_disk(out).cfg.d_sae == 24
    about = json.loads((out / "cfg.json").read_text())["metadata"]
    assert about["hook_name"] == "blocks.0.hook_resid_post"
    latents = Report.load(out / "latents.json")
    assert {"top", "sample", "error", "latents", "whole"} >= set(latents.column("group"))
    page = (out / "report.html").read_text("utf-8")
    assert "resid_post.0.error" in page
    assert "Random weights" in page
    names = {p.name for p in out.iterdir()}
    assert {"sae.svg", "latents.svg", "report.csv", "latents.csv", "latent-scores.safetensors"} <= names


def test_from_a_store_there_are_no_texts_to_lose_on(tmp_path, capsys):
    store = tmp_path / "store"
    assert run("capture", BED, BED / "prompts.jsonl", "--limit", "40", "--sites", "resid_post.0", "--out", store) == 0
    out = tmp_path / "sae"
    assert run("sae", BED, store, "--site", "resid_post.0", "--out", out, *SMALL, "--no-controls") == 0
    report = Report.load(out / "report.json")
    assert report.column("control") == (None, "pca")
    assert "recovered" not in report.columns


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--site", "resid_post"), "an SAE belongs to one"), (("--k", "3", "--l1", "1.0"), "one of the two")],
)
def test_what_cannot_be_is_said(options, message, tmp_path, capsys):
    given = ("sae", BED, BED / "prompts.jsonl", "--limit", "9", "--site", "resid_post.0", "--out", tmp_path / "out")
    assert run(*given, *options) == 2
    assert message in capsys.readouterr().err


def test_missing_files_are_said_before_the_model_is_loaded(tmp_path, capsys):
    assert run("sae", "no-such-model", tmp_path / "none.jsonl", "--out", tmp_path / "out") == 2
    assert "none.jsonl" in capsys.readouterr().err
