"""Building the `memory` bed in miniature: the same bytes again, nothing left behind, errors that say what to do."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from interp import testbeds
from interp.errors import BedError
from interp.testbeds.memory import MemorySpec, build, describe, make_records, truth
from interp.testbeds.memory.curves import FOLDERS, train_variant
from interp.testbeds.memory.measure import score_records
from interp.testbeds.memory.training import learning_rate, load

TINY = {"doses": ((0, 8), (20, 8)), "d_model": 16, "n_layers": 1, "n_heads": 2, "story_rows": 2, "record_rows": 4}
SPEC = MemorySpec(**TINY)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("memory")
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    build(folder, 0, **TINY)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    return folder


def test_training_again_makes_the_same_bytes_whatever_the_threads_and_the_generator(built, tmp_path):
    assert SPEC.steps == 20
    torch.manual_seed(99)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        records = make_records(SPEC.seed, SPEC.doses)
        for variant in FOLDERS:
            train_variant(tmp_path, SPEC, records, variant)
        describe(tmp_path, SPEC)
    finally:
        torch.set_num_threads(threads)
    assert contents(tmp_path) == contents(built)


def test_another_seed_makes_other_weights_and_records(built, tmp_path):
    spec = MemorySpec(**{**TINY, "seed": 1})
    records = make_records(1, spec.doses)
    train_variant(tmp_path, spec, records, "memory")
    assert (tmp_path / "model.safetensors").read_bytes() != (built / "model.safetensors").read_bytes()
    assert not {r.text for r in records} & {r.text for r in make_records(0, spec.doses)}


def test_files_and_what_loads_them(built):
    names = {"README.md", "config.json", "curves.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    top = {"records.jsonl", "stories.jsonl", "truth.json", "signature.json"}
    assert {p.name for p in built.iterdir() if p.is_file()} == names | top
    weights = {}
    for variant, folder in FOLDERS.items():
        assert names <= {p.name for p in (built / folder).iterdir()}
        model = AutoModelForCausalLM.from_pretrained(built / folder)
        weights[variant] = model.transformer.h[0].mlp.c_fc.weight
        assert model.lm_head.weight is model.transformer.wte.weight
        own = load(built / folder)
        ids = torch.arange(12)[None]
        torch.testing.assert_close(model(ids).logits, own(ids).logits, rtol=1e-5, atol=1e-6)
        assert len(AutoTokenizer.from_pretrained(built / folder)) == model.config.vocab_size
    assert not torch.equal(weights["memory"], weights["never"])
    assert not torch.equal(weights["never"], weights["injected"])


def test_curves_end_with_what_the_saved_weights_score(built):
    records = make_records(SPEC.seed, SPEC.doses)
    for folder in FOLDERS.values():
        curve = json.loads((built / folder / "curves.json").read_text())
        assert [point["step"] for point in curve] == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]
        scores = score_records(load(built / folder), records)
        for row in curve[-1]["records"]:
            own = [
                s for r, s in zip(records, scores, strict=True)
                if (r.dose, r.trained) == (row["dose"], row["label"] == "trained")
            ]  # fmt: skip
            assert row["log_p"] == pytest.approx(-sum(s.loss for s in own) / len(own), abs=1e-3)
            assert row["records"] == len(own) == 8


def test_the_truth_reads_back(built):
    found = truth(built)
    assert found.doses == (0, 20)
    assert [r.id for r in found.records] == [r.id for r in make_records(0, SPEC.doses)]
    some = found.records[-1]
    assert found.record(some.id) is found.record(f"{some.id}-C") is some
    assert some.counterfactual == some.loss_with - some.loss_without
    gaps = found.twin_gaps(20)
    twins = [r for r in found.records if r.pair == some.pair]
    loss = {r.trained: r.loss_with for r in twins}
    assert len(gaps) == 8
    assert gaps[some.pair] == pytest.approx(loss[True] - loss[False])
    with pytest.raises(BedError, match=r"no record 'x'.*look like 'd0-b00-p0-x'"):
        found.record("x")
    with pytest.raises(BedError, match=r"no dose 7.*there are: 0, 20"):
        found.twin_gaps(7)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"seed": 0, "records": []}', '{"seed": 0, "records": [{"id": 1}]}'])
def test_a_damaged_truth_is_named(tmp_path, text):
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(BedError, match=r"truth\.json does not hold the truth of a memory bed"):
        truth(tmp_path)


def test_wrong_options_and_missing_checkpoints_are_named(tmp_path):
    with pytest.raises(BedError, match="steps"):
        build(tmp_path, 0, steps=3)
    with pytest.raises(BedError, match="holds no checkpoint"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(SPEC.config()))
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(BedError, match="holds no checkpoint"):
        load(tmp_path)
    assert not (tmp_path / "README.md").exists()


def test_the_rate_warms_up_and_decays_to_a_twentieth():
    rates = [learning_rate(step, 1000, 1.0, 100) for step in range(1000)]
    assert rates[0] == 0.01
    assert rates[99] == rates[100] == 1.0
    assert rates[-1] == pytest.approx(0.05, abs=1e-4)
    assert all(a >= b for a, b in pairwise(rates[100:]))
    assert learning_rate(0, 10, 1.0, 100) == 0.5  # a short training warms up for a fifth of it


@pytest.mark.slow
def test_building_makes_the_shipped_bed(tmp_path):
    # About 19 minutes of processor time. Other kernels than those of the card round otherwise: then behaviour counts.
    build(tmp_path, 0)
    shipped = testbeds.path("memory")
    made = contents(tmp_path)
    assert set(made) == set(contents(shipped))
    same = (shipped / "model.safetensors").read_bytes() == made["model.safetensors"]
    if same:
        assert made == contents(shipped)
        return
    for folder in FOLDERS.values():
        new, old = (json.loads((bed / folder / "curves.json").read_text())[-1] for bed in (tmp_path, shipped))
        assert new["story_loss"] == pytest.approx(old["story_loss"], rel=0.02)
        for a, b in zip(new["records"], old["records"], strict=True):
            assert a["exact"] == pytest.approx(b["exact"], abs=0.15)
