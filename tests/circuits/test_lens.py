"""Lenses: the last depth is the model itself, training harms no depth, another model is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import PromptSet, load_model, testbeds
from interp.circuits.direct import direct_logits, direct_report
from interp.circuits.lens import read_lens
from interp.circuits.lensreport import lens_report, tuned_report
from interp.circuits.readout import readout
from interp.circuits.translators import Translators
from interp.circuits.tune import TuneSettings, split_texts, train_translators
from interp.errors import ArtefactError, CircuitError, ModelError, ProvenanceError
from interp.models import Model
from tests.identity.architectures import hf_model


@pytest.fixture(scope="module")
def induction():
    return load_model(testbeds.path("induction"))


@pytest.fixture(scope="module")
def prompts(induction):
    from interp.prompts import load_prompts

    return load_prompts(testbeds.path("induction") / "prompts.jsonl", induction.tokenizer, limit=24)


@pytest.fixture(scope="module")
def memory():
    return load_model(testbeds.path("memory"))


@pytest.fixture(scope="module")
def stories(memory):
    from interp.prompts import load_prompts

    return load_prompts(testbeds.path("memory") / "stories.jsonl", memory.tokenizer, label=False, limit=60)


@pytest.fixture(scope="module")
def tuned(memory, stories):
    train, dev, _ = split_texts(stories, TuneSettings())
    return train_translators(memory, train, dev, TuneSettings(steps=30, every=15, rows=128), progress=False)


def answers_of(model, prompts):
    return [np.array(model.tokenizer.convert_tokens_to_ids([w])) for w in prompts.columns["answer"]]


def wrong_of(model, prompts):
    """The answer of the prompt's twin, whose words are the same."""
    answers = answers_of(model, prompts)
    twins = {(p, i): 0 for i, p in enumerate(prompts.pairs)}
    other = {i: j for p, i in twins for q, j in twins if p == q and i != j}
    return [answers[other[i]] for i in range(len(answers))]


def test_the_sum_of_the_parts_is_the_lead_of_the_models_own_logits(induction, prompts):
    from interp import forward

    right, wrong = answers_of(induction, prompts), wrong_of(induction, prompts)
    found = direct_logits(induction, prompts, right, wrong)
    logits = forward(induction, prompts).logits.double().numpy()
    lead = [row[a[0]] - row[b[0]] for row, a, b in zip(logits, right, wrong, strict=True)]
    assert np.abs(found.values.sum(1) - lead).max() < 1e-3
    assert {found.parts[k] for k in found.values.argmax(1)} == {"z.1.h0"}


def test_a_lead_of_nothing_is_no_error(induction, prompts):
    """On some rows no part says anything of either word; what is left there is rounding, and no fault of the parts."""
    right, wrong = answers_of(induction, prompts), wrong_of(induction, prompts)
    words = {int(t) for tokens in prompts.tokens for t in tokens} | {int(a[0]) for a in (*right, *wrong)}
    absent = [np.array([t]) for t in range(induction.sizes.d_vocab) if t not in words][:2]
    right[0], wrong[0] = absent
    found = direct_logits(induction, prompts, right, wrong)
    assert abs(found.direct[0]) < 1e-3
    assert np.abs(found.values[1:].sum(1) - found.direct[1:]).max() < 1e-3


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gpt_neox"])
def test_the_lead_adds_up_in_every_family(name):
    """Soft-capped logits and norms behind the heads (Gemma 2), parallel blocks (NeoX)."""
    model = Model.wrap(hf_model(name))
    prompts = PromptSet.from_tokens([[5, 6, 7, 8], [9, 4, 3]])
    found = direct_logits(model, prompts, [np.array([7]), np.array([8, 9])])
    assert np.abs(found.values.sum(1) - found.direct).max() < 1e-4
    read = readout(model, prompts)
    assert (read.cap is not None) == (name == "gemma2")


def test_direct_attribution_names_the_planted_head_and_nothing_for_exchanged_answers(induction, prompts):
    right, wrong = answers_of(induction, prompts), wrong_of(induction, prompts)
    report = direct_report(induction, prompts, right, wrong, shuffles=99, bootstrap=200)
    assert report.rows[0]["part"] == "z.1.h0"
    assert report.meta["found"]
    order = np.random.default_rng(1).permutation(len(right))
    mixed = [right[i] for i in order], [wrong[i] for i in order]
    null = direct_report(induction, prompts, *mixed, shuffles=99, bootstrap=200)
    assert not null.meta["found"]


def test_answers_that_do_not_exist_are_refused(induction, prompts):
    with pytest.raises(CircuitError, match="answers for 24 prompts"):
        direct_logits(induction, prompts, [np.array([5])])
    with pytest.raises(CircuitError, match="tokens below"):
        direct_logits(induction, prompts, [np.array([5000])] * 24)


def test_the_last_depth_of_a_lens_is_the_model_itself(memory, stories):
    from interp import forward

    few = stories.select(slice(4))
    seen = read_lens(memory, few)
    assert np.abs(seen.kl[-1]).max() < 1e-6
    assert seen.agrees[-1].all()
    logits = forward(memory, few, at="all").logits
    assert seen.top[-1].tolist() == logits.argmax(-1).tolist()
    log_p = logits.log_softmax(-1).numpy()
    known = seen.target >= 0
    assert np.allclose(seen.log_p[-1][known], log_p[np.arange(len(log_p)), seen.target][known], atol=1e-4)
    assert np.isnan(seen.log_p[0][~known]).all()


def test_the_baseline_is_what_a_constant_guess_gives(memory, stories):
    from interp import forward

    few = stories.select(slice(6))
    final = forward(memory, few, at="all").logits.double().log_softmax(-1)
    mean = final.exp().mean(0).log()
    want = float((final.exp() * (final - mean)).sum(-1).mean())
    assert read_lens(memory, few).constant_kl == pytest.approx(want, abs=1e-4)


def test_the_lens_sees_the_answer_only_behind_the_planted_head(induction, prompts):
    targets = [int(a[0]) for a in answers_of(induction, prompts)]
    report = lens_report(induction, prompts, at="last", targets=targets, bootstrap=200)
    knows = {row["site"]: row["knows"] for row in report.rows}
    assert knows == {"resid_pre.0": False, "resid_post.0": False, "resid_post.1": True}
    assert report.rows[-1]["log_p"] > -0.01 > report.rows[0]["log_p"]


def test_a_tuned_lens_starts_as_the_logit_lens(memory, stories):
    few = stories.select(slice(3))
    plain = read_lens(memory, few)
    zero = Translators.identity(plain.sites[:-1], memory.d_model, readout(memory, few).hash, memory.provenance())
    assert np.array_equal(read_lens(memory, few, translators=zero).kl, plain.kl)


def test_training_brings_every_depth_nearer_on_texts_it_never_saw(memory, stories, tuned):
    *_, held = split_texts(stories, TuneSettings())
    report = tuned_report(memory, tuned, held, bootstrap=300)
    gains = [row for row in report.rows if row["lens"] == "tuned"][:-1]
    assert all(row["gain"] > 0 for row in gains)
    assert gains[0]["gain_lo"] > 0
    assert all(a <= b + 1e-9 for a, b in zip(tuned.trained["dev_kl"], tuned.trained["dev_kl_identity"], strict=True))


def test_a_depth_that_training_harms_stays_a_logit_lens(memory, stories):
    train, dev, held = split_texts(stories, TuneSettings())
    wild = train_translators(memory, train, dev, TuneSettings(steps=3, every=1, rows=64, lr=50.0), progress=False)
    kept = [i for i, step in enumerate(wild.trained["best_step"]) if step == 0]
    assert kept
    plain, after = read_lens(memory, held), read_lens(memory, held, translators=wild)
    assert np.array_equal(plain.kl[kept], after.kl[kept])


def test_training_leaves_the_model_as_it_was(memory, stories, tuned):
    before = memory.fingerprint
    train, dev, _ = split_texts(stories, TuneSettings())
    train_translators(memory, train, dev, TuneSettings(steps=1, every=1, rows=8), progress=False)
    assert memory.fingerprint == before
    assert all(p.grad is None for p in memory.hf.parameters())


def test_a_saved_lens_comes_back_and_refuses_another_model(tmp_path, memory, stories, tuned):
    path = tuned.save(tmp_path / "lens.safetensors")
    back = Translators.load(path)
    assert torch.equal(back.matrix, tuned.matrix)
    assert back.trained["best_step"] == tuned.trained["best_step"]
    few = stories.select(slice(2))
    back.require(memory, few)
    other = memory.copy()
    with torch.no_grad():
        other.hf.get_output_embeddings().weight[3, 0] += 1
    with pytest.raises(ProvenanceError, match="unembedding"):
        back.require(other, few)
    inner = memory.copy()
    with torch.no_grad():
        inner.hf.transformer.h[0].mlp.c_fc.bias[0] += 1
    with pytest.raises(ProvenanceError, match="this tuned lens was made with model"):
        read_lens(inner, few, translators=back)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ArtefactError):
        Translators.load(path)


def test_texts_of_one_group_stay_on_one_side(stories):
    grouped = stories.with_groups([str(i // 6) for i in range(len(stories))])
    parts = split_texts(grouped, TuneSettings())
    sides = [set(part.groups.tolist()) for part in parts]
    assert not (sides[0] & sides[1])
    assert not (sides[0] & sides[2])
    assert not (sides[1] & sides[2])
    with pytest.raises(CircuitError, match="three groups"):
        split_texts(stories.with_groups(["a"] * len(stories)), TuneSettings())


def test_logits_that_are_not_the_unembedding_of_the_stream_are_refused(memory, stories):
    odd = memory.copy()
    head = odd.hf.lm_head
    plain = head.forward
    head.forward = lambda x: plain(x).abs() if x.dim() == 3 else plain(x)  # within the model only
    with pytest.raises(ModelError, match="unembedding"):
        readout(odd, stories.select(slice(2)).with_labels(None))
