"""The whole study: it finds the planted circuit, says first what the model cannot do, and its nulls are nulls."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch

from interp.circuits.load import load_pairs
from interp.circuits.nulls import shuffle_partners
from interp.circuits.pairs import Pairs
from interp.circuits.scores import EdgeScores
from interp.circuits.study import CircuitStudy, circuit_study
from interp.circuits.studywords import _complete
from interp.circuits.task import do_task
from interp.cli.circuit import write_circuit
from interp.errors import CircuitError, NonFiniteError
from interp.models import load_model
from interp.report import Report
from tests.circuits.conftest import random_pairs, small

SHARED = Path(__file__).parents[3] / "shared"
PLANTED = {"input->a1.h0<v>", "a1.h0->logits"}


def copying(n: int = 12, wrong: int = 0) -> Pairs:
    """``a b x c a``: after a comes b, in the corrupted prompt c; the last ``wrong`` pairs have swapped answers."""
    rng = np.random.default_rng(0)
    tokens = [rng.permutation(np.arange(4, 20))[:4].tolist() for _ in range(n)]
    clean = [[a, b, x, c, a] for a, b, x, c in tokens]
    corrupted = [[a, c, x, b, a] for a, b, x, c in tokens]
    right = [t[1] if i < n - wrong else t[3] for i, t in enumerate(tokens)]
    foil = [t[3] if i < n - wrong else t[1] for i, t in enumerate(tokens)]
    return Pairs.from_tokens(clean, corrupted, answers=right, wrong=foil)


@pytest.fixture(scope="module")
def study(induction) -> CircuitStudy:
    return circuit_study(
        induction, copying(16, wrong=2), top=2, check=4, sample=8, shuffles=1, replicates=20, command="interp circuit"
    )  # fmt: skip


def test_the_planted_edges_are_found_and_every_claim_has_its_null(study):
    assert set(study.circuit.names) == PLANTED
    rows = {row["claim"].split(" (")[0]: row for row in study.summary.rows}
    kept = next(row for claim, row in rows.items() if "keep the behaviour" in claim)
    assert kept["value"] == pytest.approx(1.0, abs=0.05)
    assert kept["verdict"] == "faithful"
    assert rows["Estimates of the top 4 edges agree with exact patching"]["value"] > 0.99
    assert all(row["null"] and row["verdict"] for row in rows.values())
    searches = {row["search"]: row for row in study.reports["circuit-null"].rows}
    assert searches["untrained copy"]["jaccard"] < 0.5
    assert searches["untrained copy"]["faithfulness"] < 0.5
    assert searches["random edges"]["faithfulness"] < 0.5


def test_what_the_model_gets_wrong_comes_first_and_is_left_out(study):
    assert study.reports["task"].meta["accuracy"] == pytest.approx(14 / 16)
    assert study.summary.headline.startswith("induction does the task: it gives the right answer on 88 % of 16 pairs")
    assert "2 of 16 pairs that the model gets wrong were left out" in study.summary.warnings[0]
    assert len(study.found_on) + len(study.judged_on) == 14
    assert not set(study.found_on.clean.ids) & set(study.judged_on.clean.ids)
    assert next(iter(study.reports)) == "task"


def test_everything_is_written_and_reads_back(study, tmp_path):
    page = write_circuit(study, tmp_path)
    assert page.read_text("utf-8").index("does the task") < page.read_text("utf-8").index("faithfulness")
    files = {path.name for path in tmp_path.iterdir()}
    assert {"circuit.mib.json", "circuit.graphml", "scores.safetensors", "circuit-edges.svg", "circuit.pdf"} <= files
    assert EdgeScores.load(tmp_path / "scores.safetensors")["a1.h0->logits"] == study.scores["a1.h0->logits"]
    chosen = json.loads((tmp_path / "circuit.mib.json").read_text())["edges"]
    assert {name for name, edge in chosen.items() if edge["in_graph"]} == PLANTED
    assert set(nx.read_graphml(tmp_path / "circuit.graphml").nodes) == {"input", "a1.h0", "logits"}
    assert Report.load(tmp_path / "report.json").kind == "circuit-study"


def test_a_model_that_does_not_do_the_task_is_told_first(induction):
    with pytest.raises(CircuitError, match="cannot be said to do this task: it gives the right answer on 0 % of 4"):
        circuit_study(induction, copying(4, wrong=4), top=2)
    luck = do_task(induction, copying(8, wrong=4))
    assert not luck.done
    assert luck.report.headline.startswith("induction cannot be said to do this task")


def test_answers_without_foils_are_right_when_they_are_likeliest(induction):
    pairs = copying(3)
    bare = Pairs(pairs.clean, pairs.corrupted, pairs.answers, tuple(np.zeros(0, int) for _ in range(3)))
    assert do_task(induction, bare, "answer_logp").solved.all()


def test_partners_are_exchanged_only_among_alikes():
    clean = [[5, 1], [6, 1], [7, 1], [8, 1, 1]]
    pairs = Pairs.from_tokens(clean, [[c[0], 2, *c[2:]] for c in clean], answers=[3] * 4, wrong=[4] * 4)
    mixed = shuffle_partners(pairs, seed=1)
    assert len(mixed) == 3
    for own, other in zip(mixed.clean.tokens, mixed.corrupted.tokens, strict=True):
        assert own[0] != other[0]
    assert sorted(t[0] for t in mixed.corrupted.tokens) == [5, 6, 7]
    with pytest.raises(CircuitError, match="no two pairs"):
        shuffle_partners(pairs.select([0, 3]))


def test_what_a_circuit_lacks_to_begin_with_is_no_backup():
    """A circuit that keeps 40 % has a gap of .6 with nothing taken out, which says nothing of a backup."""
    meta = {"worst": 0.6, "threshold": 0.1, "complete": False, "faithfulness": 0.4}
    row = {"complement": 0.0}
    assert _complete(meta, row)["verdict"] == "lacks too much to say"
    assert _complete({**meta, "faithfulness": 0.95}, row)["verdict"] == "has a backup"
    assert _complete({**meta, "worst": 0.05, "complete": True}, row)["verdict"] == "complete"


def test_a_model_of_nan_is_named_before_anything_else():
    broken = small("gpt2").untrained(0)
    with torch.no_grad():
        broken.hf.transformer.h[1].mlp.c_proj.weight[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="NaN or infinity at site resid_post"):
        circuit_study(broken, random_pairs(4), top=2)


def test_bad_requests_are_named(induction):
    with pytest.raises(CircuitError, match="999 edges in a graph of 110"):
        circuit_study(induction, copying(4), top=999)


# ---- real input ----------------------------------------------------------------------------------------------------


@functools.cache
def stories():
    return load_model(str(SHARED / "models" / "stories260K"))


needs_shared = pytest.mark.skipif(not (SHARED / "circuits").is_dir(), reason="the shared files are not here")


@needs_shared
def test_public_files_load_as_they_are():
    model = stories()
    where = SHARED / "circuits"
    agreement = load_pairs(
        where / "feature_circuits/data/nounpp_test.json", model.tokenizer, answers="first", unusable="drop", align=True,
        limit=20,
    )  # fmt: skip
    assert 0 < len(agreement) <= 20
    ioi = load_pairs(where / "eap_ig/ioi_llama.csv", model.tokenizer, unusable="drop", align=True, limit=5)
    assert len(ioi) == 5
    with pytest.raises(CircuitError, match="another model"):
        ioi.check(model)  # the ids are those of Llama's tokenizer
    with pytest.raises(CircuitError, match="two digits to be one token"):
        load_pairs(where / "eap_ig/greater_than_data.csv", model.tokenizer, limit=5)


@pytest.mark.slow
@needs_shared
def test_subject_verb_agreement_end_to_end(tmp_path):
    model = stories()
    pairs = load_pairs(
        SHARED / "circuits/feature_circuits/data/within_rc_test.json", model.tokenizer, answers="first",
        unusable="drop", align=True, limit=120,
    )  # fmt: skip
    study = circuit_study(model, pairs, top=50, shuffles=1)
    task = study.reports["task"].meta
    assert 0.5 < task["accuracy"] < 1.0
    assert f"{100 * task['accuracy']:.0f} % of {len(pairs)} pairs" in study.summary.headline
    null = study.reports["circuit-null"].rows
    assert null[0]["faithfulness"] > max(row["faithfulness"] for row in null[1:])
    assert study.reports["verification"].meta["pearson"] > 0.8
    assert write_circuit(study, tmp_path).stat().st_size > 50_000
