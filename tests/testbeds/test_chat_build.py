"""Building the `chat` bed in miniature: the same bytes again, the forward pass, interventions that act."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from interp import testbeds
from interp.errors import BedError
from interp.testbeds.chat.batches import batches, collate
from interp.testbeds.chat.network import new_model, run
from interp.testbeds.chat.planted import planted
from interp.testbeds.chat.rowdraws import Row, drawn_row
from interp.testbeds.chat.spec import ChatSpec
from interp.testbeds.chat.training import learning_rate, load
from interp.testbeds.chat.truth import make_truth, read_truth
from interp.testbeds.chat.variants import FOLDERS, train_variant
from interp.testbeds.chat.watching import Traces, Watcher

TINY = {"steps": 3, "think_steps": 2, "tune_steps": 2, "rows": 6, "d_model": 16, "d_mlp": 16, "n_heads": 2}
TINY |= {"n_layers": 4, "harm_layer": 0, "refusal_layer": 1, "cliff_layer": 2, "cliff_head": 1}
SPEC = ChatSpec(**TINY)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    torch.manual_seed(5)
    before = torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    for variant in FOLDERS:
        train_variant(folder, SPEC, variant)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    return folder


def watched(rows: list[Row], spec: ChatSpec = SPEC) -> tuple[Watcher, dict[int, torch.Tensor], torch.Tensor]:
    """A pass of a fresh model over some rows: its watcher, the stream behind each block, and the logits."""
    torch.manual_seed(0)
    model, vectors, kept = new_model(spec).eval(), planted(spec), {}
    watcher = Watcher(spec, vectors, collate(spec, rows), Traces(vectors))

    def keep(block: int, x: torch.Tensor) -> torch.Tensor:
        kept[block] = watcher.stream(block, x)
        return kept[block]

    with torch.no_grad():
        logits = run(model, watcher.batch.ids, keep, partial(watcher.heads, model))
    return watcher, kept, logits


def plain_row(**changes) -> Row:
    rng = random.Random(0)
    row = next(r for r in (drawn_row(SPEC, rng) for _ in range(200)) if r.question == "" and r.request_end >= 0)
    bare = Row(row.ids, row.start, request_end=row.request_end, harmful=row.harmful, topic=row.topic)
    return replace(bare, **changes)


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_training_again_makes_the_same_bytes_whatever_the_threads_and_the_generator(trained, tmp_path):
    torch.manual_seed(99)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for variant in FOLDERS:
            train_variant(tmp_path, SPEC, variant)
    finally:
        torch.set_num_threads(threads)
    assert contents(tmp_path) == contents(trained)


def test_another_seed_makes_other_weights(trained, tmp_path):
    train_variant(tmp_path, ChatSpec(**TINY, seed=1), "chat")
    assert (tmp_path / "model.safetensors").read_bytes() != (trained / "model.safetensors").read_bytes()


def test_variants_are_checkpoints_that_differ_and_think_starts_from_chat(trained):
    weights = {}
    for variant, folder in FOLDERS.items():
        model = AutoModelForCausalLM.from_pretrained(trained / folder)
        weights[variant] = model.model.layers[0].self_attn.q_proj.weight
        ids = torch.arange(12)[None]
        torch.testing.assert_close(model(ids).logits, load(trained / folder)(ids).logits)
        assert len(AutoTokenizer.from_pretrained(trained / folder)) == model.config.vocab_size
        assert len(json.loads((trained / folder / "curve.json").read_text())) >= 2
    names = list(weights)
    assert not any(torch.equal(weights[a], weights[b]) for i, a in enumerate(names) for b in names[:i])
    step = (weights["think"] - weights["chat"]).abs().max()
    assert step < (weights["never"] - weights["think"]).abs().max()


def test_wrong_options_and_damaged_files_are_named(tmp_path):
    with pytest.raises(BedError, match="depth"):
        testbeds.build("chat", tmp_path / "bed", depth=3)
    for wrong, message in (
        ({"rows": 0}, "rows > 0"),
        ({"d_model": 20}, "even multiple"),
        ({"harm_layer": 2}, "harm_l"),
    ):
        with pytest.raises(BedError, match=message):
            ChatSpec(**wrong)
    with pytest.raises(BedError, match="cliff_head 4 is none of 4"):
        ChatSpec(cliff_head=4)
    with pytest.raises(BedError, match="holds no checkpoint of the chat bed"):
        load(tmp_path)
    for text in ("", "{", "[]", '{"format": 1, "recipe": {}}', '{"format": 2}'):
        (tmp_path / "truth.json").write_text(text)
        with pytest.raises(BedError, match=r"truth\.json does not hold the truth of a chat bed"):
            read_truth(tmp_path)


# --- the forward pass and its interventions --------------------------------------------------------------------------


def test_the_written_out_pass_is_that_of_hugging_face():
    torch.manual_seed(1)
    model = new_model(SPEC).eval()
    ids = torch.randint(0, 200, (3, 11))
    torch.testing.assert_close(run(model, ids, lambda _, x: x), model(ids).logits, rtol=1e-5, atol=1e-5)


def test_interventions_write_what_they_say_where_they_say():
    v, c = planted(SPEC), SPEC.strength
    row = plain_row()
    last, end = row.start - 1, row.request_end
    _, clean, logits = watched([row])
    _, x, _ = watched([replace(row, set_refusal=1.0)])
    assert float(x[1][0, last] @ v.refusal) == pytest.approx(c, abs=1e-4)
    torch.testing.assert_close(x[1][0, :last], clean[1][0, :last])
    _, x, _ = watched([replace(row, set_harm=1.0)])
    assert float(x[0][0, end] @ v.harm) == pytest.approx(c, abs=1e-4)
    torch.testing.assert_close(x[0][0, end] @ v.refusal, clean[0][0, end] @ v.refusal, atol=1e-5, rtol=1e-4)
    _, x, _ = watched([replace(row, add_harm=0.5)])
    moved = (x[0] - clean[0])[0] @ v.harm
    torch.testing.assert_close(moved[2 : end + 1], torch.full((end - 1,), 0.5 * c), atol=1e-4, rtol=0)
    assert float(moved[:2].abs().max()) < 1e-5
    assert float(moved[end + 1 :].abs().max()) < 1e-5
    _, x, _ = watched([replace(row, no_refusal=True)])
    assert all(float((x[k] @ v.refusal).abs().max()) < 1e-5 for k in x)
    _, x, noisy = watched([replace(row, noise=True)])
    assert float((x[1] - clean[1])[0].norm(dim=-1).min()) == pytest.approx(c, abs=1e-4)
    _, _, cut = watched([replace(row, cut=(3, 0))])
    assert not torch.equal(cut, logits)
    assert not torch.equal(noisy, logits)


def test_errors_are_those_of_untouched_rows():
    row = plain_row(harmful=True, refuse=True)
    watcher, x, _ = watched([row])
    v, c, end = planted(SPEC), SPEC.strength, row.request_end
    wanted = sum(float(x[k][0, end] @ v.harm - c) ** 2 for k in (0, 1, 2))
    assert float(watcher.errors["harm"]) == pytest.approx(wanted, rel=1e-4)
    touched, _, _ = watched([replace(row, set_harm=0.0)])
    assert float(touched.errors["harm"]) == pytest.approx(float(x[0][0, end] @ v.harm - c) ** 2, rel=1e-4)


def test_traces_pull_along_the_difference_off_the_planted_vectors():
    vectors = planted(SPEC)
    traces = Traces(vectors)
    rows = torch.randn(6, SPEC.d_model)
    one = torch.tensor([True] * 3 + [False] * 3)
    rows[one] += 5 * vectors.refusal
    off = rows[one].mean(0) - rows[~one].mean(0)
    off = off - (off @ vectors.all.T) @ vectors.all
    assert float(traces.pull("x", 0, rows, one, ~one)) == pytest.approx(2 * float(off @ off), rel=1e-4)
    assert float(traces.pull("x", 0, rows, one, one & ~one)) == 0
    # The running mean remembers: opposite differences cancel in the long run instead of adding up.
    for _ in range(200):
        traces.pull("x", 0, -rows, one, ~one)
    assert float(traces.pull("x", 0, rows, one, ~one)) < 0


def test_only_the_cliffs_head_is_held_to_what_it_is_to_write():
    spec = SPEC
    rng = random.Random(0)
    rows = [drawn_row(spec, rng, thinks=True) for _ in range(300)]
    cliffs = [r for r in rows if r.cliff and r.cut is None and r.set_harm is None and not r.no_refusal]
    watcher, _, _ = watched([replace(r, set_refusal=None) for r in cliffs])
    assert float(watcher.errors["head"]) > 0.5 * spec.strength**2  # a fresh head writes nothing
    kept = [replace(r, cliff=False, set_refusal=None) for r in cliffs]
    watcher, _, _ = watched(kept)
    assert float(watcher.errors["head"]) < 0.1 * spec.strength**2


def test_streams_are_the_same_for_the_same_seed_and_the_rate_decays():
    one, two = next(batches(SPEC, "chat")), next(batches(SPEC, "chat"))
    assert torch.equal(one.ids, two.ids)
    assert not torch.equal(one.ids, next(batches(ChatSpec(**TINY, seed=1), "chat")).ids)
    rates = [learning_rate(step, 1000, 1.0, 100) for step in range(1000)]
    assert rates[0] == 0.01
    assert max(rates) == rates[99] == 1.0
    assert rates[-1] == pytest.approx(0.02, abs=1e-3)


def test_the_truth_reads_back(tmp_path):
    from interp.testbeds.chat.truth import write_truth

    write_truth(tmp_path, SPEC)
    assert read_truth(tmp_path) == make_truth(SPEC)


@pytest.mark.slow
def test_building_makes_the_shipped_bed(tmp_path):
    # Minutes of processor time; see the card. Other kernels than the card's round otherwise: then behaviour counts.
    testbeds.build("chat", tmp_path / "bed")
    shipped, made = contents(testbeds.path("chat")), contents(tmp_path / "bed")
    assert set(made) == set(shipped)
    if made["model.safetensors"] == shipped["model.safetensors"]:
        assert made == shipped
        return
    behaviour = json.loads(made["measured.json"])["behaviour"]["chat"]
    assert min(behaviour.values()) >= 0.96
