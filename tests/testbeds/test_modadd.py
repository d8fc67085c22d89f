"""The `modadd` bed: what was corrupted, which neurons hold it, and what is left without them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from interp import testbeds
from interp.errors import BedError
from interp.testbeds.modadd import ModAdd, ModAddSpec, accuracy, load, make_examples, participation

BED = testbeds.path("modadd")
TINY = {"modulus": 7, "neurons": 20, "steps": 30}


@pytest.fixture(scope="module")
def model():
    return load(BED)


@pytest.fixture(scope="module")
def truth():
    return testbeds.truth("modadd")


def test_the_answer_key_is_the_recipe(truth):
    examples = make_examples(ModAddSpec())
    assert np.array_equal(truth.examples.label, examples.label)
    assert np.array_equal(truth.examples.train, examples.train)
    assert len(truth.corrupted) == len(examples.part("corrupted")) == round(0.35 * examples.train.sum())
    assert examples.train[truth.corrupted].all()
    assert (examples.label[truth.corrupted] != examples.true[truth.corrupted]).all()
    assert examples.train.sum() == 97 * 97 // 2
    parts = np.concatenate([examples.part(name) for name in ("corrupted", "clean", "test")])
    assert sorted(parts) == list(range(97 * 97))
    # Wrong labels are spread evenly over the other 96 sums.
    offset = (examples.label - examples.true)[truth.corrupted] % 97
    assert np.abs(np.bincount(offset, minlength=97)[1:] - len(offset) / 96).max() < 5 * np.sqrt(len(offset) / 96)


def test_it_memorises_and_generalises_at_once(model, truth):
    found = accuracy(model, truth.examples)
    assert found["test"] > 0.98
    assert found["clean"] > 0.98
    assert found["memorised"] > 0.9
    assert found["memorised"] + found["corrected"] <= 1


def test_the_forward_pass_is_that_of_a_two_layer_network(model):
    a, b = torch.tensor([3, 96, 0]), torch.tensor([95, 96, 0])
    inputs = torch.cat([one_hot(a, 97), one_hot(b, 97)], dim=1).float()
    hidden = (inputs @ torch.cat([model.first, model.second])) ** 2
    torch.testing.assert_close(model(a, b), hidden @ model.out)
    keep = torch.zeros(500)
    keep[7] = 1
    torch.testing.assert_close(model(a, b, keep), hidden[:, 7:8] * model.out[7])


def test_neurons_of_low_participation_memorise_and_the_others_add(model, truth):
    examples = truth.examples
    only_periodic = accuracy(model, examples, torch.from_numpy(truth.periodic).float())
    without = accuracy(model, examples, torch.from_numpy(~truth.periodic).float())
    assert only_periodic["memorised"] < 0.02
    assert only_periodic["corrected"] > 0.98
    assert only_periodic["clean"] > 0.98
    assert only_periodic["test"] > 0.98
    assert without["test"] < 0.05
    assert without["memorised"] > 0.8


def test_it_is_the_kind_of_neuron_that_counts_and_not_their_number(model, truth):
    rng, count = np.random.default_rng(0), 200
    lowest = torch.ones(500)
    lowest[np.argsort(truth.ipr)[:count].copy()] = 0
    left = accuracy(model, truth.examples, lowest)["memorised"]
    for _ in range(5):
        keep = torch.ones(500)
        keep[rng.permutation(500)[:count]] = 0
        assert accuracy(model, truth.examples, keep)["memorised"] > left + 0.4


def test_participation_of_waves_and_noise():
    model, n = ModAdd(97, 2), torch.arange(97)
    with torch.no_grad():
        for rows in (model.first.T, model.second.T, model.out):
            rows[0] = torch.cos(2 * torch.pi * 5 * n / 97 + 0.3)
            rows[1] = torch.cos(2 * torch.pi * 3 * n / 97) + torch.sin(2 * torch.pi * 8 * n / 97) + 4
    ipr, frequency = participation(model)
    torch.testing.assert_close(ipr, torch.tensor([1.0, 0.5]).double(), atol=1e-6, rtol=0)
    assert frequency[0] == 5
    torch.manual_seed(0)
    noise, _ = participation(ModAdd(97, 200))
    assert noise.mean() == pytest.approx(2 / 49, abs=0.005)  # of 48 exponential shares


def test_the_answer_key_says_what_the_weights_are(model, truth):
    ipr, frequency = participation(model)
    assert np.allclose(truth.ipr, ipr, atol=1e-4)
    assert np.array_equal(truth.frequency[truth.periodic], frequency.numpy()[truth.periodic])
    # Few neurons lie near the threshold.
    assert ((truth.ipr > 0.4) & (truth.ipr < 0.6)).mean() < 0.05
    # What a neuron computes is one wave: its three weights agree on the frequency.
    periodic = torch.from_numpy(truth.periodic)
    best = [torch.fft.rfft(w)[:, 1:].abs().argmax(-1)[periodic] for w in (model.first.T, model.second.T, model.out)]
    assert (best[0] == best[1]).float().mean() > 0.95


def test_building_again_makes_the_same_bytes_whatever_the_threads(tmp_path):
    one = testbeds.build("modadd", tmp_path / "one", seed=3, **TINY)
    torch.manual_seed(8)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        two = testbeds.build("modadd", tmp_path / "two", seed=3, **TINY)
    finally:
        torch.set_num_threads(threads)
    other = testbeds.build("modadd", tmp_path / "other", seed=4, **TINY)
    names = {p.name for p in BED.iterdir()}
    assert {p.name for p in one.iterdir()} == names == {"README.md", "model.safetensors", "truth.json"}
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes()
        assert (one / name).read_bytes() != (other / name).read_bytes()
    assert testbeds.truth("modadd", one).seed == 3
    assert load(one).first.shape == (7, 20)


@pytest.mark.slow
def test_building_makes_the_shipped_modadd(tmp_path):
    made = testbeds.build("modadd", tmp_path / "bed", seed=0)
    for file in made.iterdir():
        assert file.read_bytes() == (BED / file.name).read_bytes(), f"{file.name} differs; build it anew"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modulus": 96}, "odd prime modulus, got 96"),
        ({"steps": 0}, "steps > 0, got 0"),
        ({"train": 1.0}, "0 < train < 1"),
        ({"corrupted": float("nan")}, "corrupted=nan"),
        ({"layers": 3}, "cannot be built with .*layers"),
    ],
)
def test_impossible_recipes_are_refused(tmp_path, options, message):
    with pytest.raises(BedError, match=message):
        testbeds.build("modadd", tmp_path / "bed", **options)


def test_damaged_files_are_named(tmp_path):
    for text in ("", "[]", '{"modulus": 97}'):
        (tmp_path / "truth.json").write_text(text)
        with pytest.raises(BedError, match=r"truth\.json does not hold the truth of a modadd bed"):
            testbeds.truth("modadd", tmp_path)
    fields = json.loads((BED / "truth.json").read_text())
    fields["corrupted"][0] = next(i for i in range(97 * 97) if i not in fields["train"])
    (tmp_path / "truth.json").write_text(json.dumps(fields))
    with pytest.raises(BedError, match="do not belong together"):
        testbeds.truth("modadd", tmp_path)
    with pytest.raises(BedError, match=r"model\.safetensors holds no network"):
        load(tmp_path)
    with pytest.raises(BedError, match="holds no network of the modadd bed"):
        load(testbeds.path("induction"))
