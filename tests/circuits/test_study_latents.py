"""The study of SAE latents: what is left when they are taken out, against edits and against the corrupted run."""

from __future__ import annotations

import numpy as np
import pytest

from interp import testbeds
from interp.circuits.attribution import attribute
from interp.circuits.kept import run_kept
from interp.circuits.latentscores import LatentScores
from interp.circuits.latentsets import LatentTable
from interp.circuits.nodeset import set_of
from interp.circuits.study import circuit_study
from interp.cli import main
from interp.cli.circuit import write_circuit
from interp.errors import CircuitError
from interp.prompts import PromptSet
from interp.run import capture, forward
from interp.sae import ablate_latents, save_sae, train_sae
from tests.circuits.conftest import off
from tests.circuits.test_study import copying


@pytest.fixture(scope="module")
def sae(induction):
    rng = np.random.default_rng(0)
    prompts = PromptSet.from_tokens(rng.integers(4, 20, (60, 5)).tolist())
    acts = capture(induction, prompts, "resid_post.0")
    return train_sae(acts, "resid_post.0", n_latents=24, k=4, steps=60, batch=50, progress=False).sae


@pytest.fixture(scope="module")
def table(induction, sae) -> LatentTable:
    scores = attribute(induction, copying(6), level="latent", saes=[sae], replicates=0)
    assert isinstance(scores, LatentScores)
    return LatentTable.of(scores, (sae,))


def test_a_table_has_every_score_by_name(table, sae):
    assert table.source is not None
    for row in table.source.rows():
        assert table[row["latent"]] == row["score"]
        assert table.name(table.place(row["latent"])) == row["latent"]
    assert table.values.shape == (1, sae.n_latents + 1)
    assert np.nansum(table.values) == pytest.approx(table.source["resid_post.0.whole"])


def test_all_latents_are_the_model_and_none_is_the_corrupted_run(induction, table):
    """Everything flows through the site, so that with all of it ablated the corrupted run is left."""
    pairs = copying(6)
    nothing = set_of(table, np.zeros(table.values.shape, bool))
    kept, none = run_kept(induction, pairs, [nothing.complement(), nothing])
    for prompts, found in ((pairs.clean, kept), (pairs.corrupted, none)):
        logits = np.asarray(forward(induction, prompts).logits)
        right, wrong = (np.array([a[0] for a in side]) for side in (pairs.answers, pairs.wrong))
        rows = np.arange(len(pairs))
        assert off(found, logits[rows, right] - logits[rows, wrong]) < 1e-3


def test_one_latent_taken_out_is_the_edit_that_zeroes_it(induction, table, sae):
    pairs = copying(6)
    latent = table.place(next(r["latent"] for r in table.source.rows(errors=False)))[1]
    mask = np.ones(table.values.shape, bool)
    mask[0, latent] = False
    found = run_kept(induction, pairs, [set_of(table, mask)], ablation="zero")[0]
    logits = np.asarray(forward(induction, pairs.clean, edits=[ablate_latents(sae, [latent], "zero")]).logits)
    right, wrong = (np.array([a[0] for a in side]) for side in (pairs.answers, pairs.wrong))
    rows = np.arange(len(pairs))
    assert off(found, logits[rows, right] - logits[rows, wrong]) < 1e-3


def test_the_study_of_latents(induction, sae, tmp_path):
    study = circuit_study(
        induction, copying(16), level="latent", saes=[sae], top=6, check=4, sample=4, shuffles=1, replicates=20
    )
    report = study.reports["circuit-latents"]
    assert sum(row["chosen"] for row in report.rows) == 6
    assert any(row["kind"] == "error" for row in report.rows)  # told, whether chosen or not
    curve = study.reports["circuit"]
    assert curve.rows[-1]["n_latents"] == sae.n_latents + 1
    assert curve.rows[-1]["faithfulness"] == pytest.approx(1.0, abs=1e-3)
    assert any("untrained copy" in w for w in study.reports["circuit-null"].warnings)
    assert {row["search"] for row in study.reports["circuit-null"].rows} == {
        "real pairs", "shuffled partners", "random latents",
    }  # fmt: skip
    page = write_circuit(study, tmp_path)
    assert "Strongest latents" in page.read_text("utf-8")
    assert LatentScores.load(tmp_path / "scores.safetensors").sites == ("resid_post.0",)
    assert not (tmp_path / "circuit.mib.json").exists()


def test_latents_need_an_sae_and_an_sae_latents(induction, sae, tmp_path, capsys):
    with pytest.raises(CircuitError, match="needs saes"):
        circuit_study(induction, copying(4), level="latent", top=2)
    folder = save_sae(sae, tmp_path / "sae")
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"clean": [5, 9, 7, 8, 5], "corrupted": [5, 8, 7, 9, 5], "answer": 9, "wrong_answer": 8}\n')
    for options in (("--level", "latent"), ("--sae", folder)):
        assert main([*map(str, ("circuit", testbeds.path("induction"), pairs, *options, "--out", tmp_path / "o"))]) != 0
        assert "--sae" in capsys.readouterr().err
