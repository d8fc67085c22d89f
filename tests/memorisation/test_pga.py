"""PGA: the loss it follows, the weights it may touch, what it refuses, and a planted difference that it removes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from interp import PromptSet, load_model, testbeds
from interp.errors import ModelError, NonFiniteError, PromptError, StatisticsError
from interp.memorisation import load_records, read
from interp.memorisation.erasure import Contrast, PGASettings, contrast_of, pga
from interp.memorisation.erasure.probe_alignment import _append, _probe
from interp.run.training import live_rows, text_loss
from interp.weights import weights_changed
from tests.identity.architectures import fresh

BED = testbeds.path("memory")
SHORT = PGASettings(epochs=4, refit=2, lr=1e-3, texts_per_step=4)
TEXTS = PromptSet.from_tokens([[7, 8, 9, 10], [11, 12, 13], [14, 15, 16, 17]])


def _contrast(groups: int = 8, seed: int = 0) -> Contrast:
    """Twins whose third token tells the class: something for a tiny random model to read."""
    rng = np.random.default_rng(seed)
    rows, truth = [], []
    for _ in range(groups):
        for trained in (True, False):
            body = rng.integers(20, 60, 4).tolist()
            rows.append([1, *body[:2], 5 if trained else 6, *body[2:]])
            truth.append(trained)
    names = np.repeat(np.arange(groups), 2)
    columns = {
        "record": np.arange(len(rows)).astype(str),
        "pool": np.full(len(rows), "M"),
        "prefix": np.zeros(len(rows), int),
    }
    prompts = PromptSet.from_tokens(rows, pairs=names.astype(str)).with_columns(**columns)
    return Contrast("twins", prompts, np.array(truth), names)


@pytest.fixture(scope="module")
def model():
    return fresh("gpt2")


# -- forward passes with gradients ------------------------------------------------------------------------------------


def test_live_rows_are_those_of_capture_and_carry_gradients(model):
    prompts = _contrast().prompts
    sites = model.expand("resid_post")
    positions = np.stack([prompts.lengths - 1, np.full(len(prompts), 2)], 1)
    positions[0, 1] = -1
    live = live_rows(model, prompts, sites, positions)
    last = read(model, prompts, sites, "last")
    both = read(model, prompts.with_marks(two=np.full(len(prompts), 2)), sites, "two")
    for site in sites:
        wanted = (last[site] + both[site]) / 2
        wanted[0] = last[site][0]
        assert torch.allclose(live[site], wanted, atol=1e-5)
    live[sites[0]].sum().backward()
    touched = {n for n, p in model.hf.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    model.hf.zero_grad(set_to_none=True)
    assert any(".h.0." in n for n in touched)
    assert not any(".h.1." in n for n in touched), "later blocks have no part in the first site"


def test_text_loss_is_the_mean_over_tokens_whatever_the_padding(model):
    losses = [text_loss(model, TEXTS.select([i])).item() * (len(TEXTS.tokens[i]) - 1) for i in range(3)]
    assert text_loss(model, TEXTS).item() == pytest.approx(sum(losses) / 8, rel=1e-5)
    with pytest.raises(PromptError, match="predict nothing"):
        text_loss(model, PromptSet.from_tokens([[3]]))


def test_positions_must_be_there(model):
    with pytest.raises(PromptError, match="position"):
        live_rows(model, TEXTS, model.expand("resid_post.0"), np.full((3, 1), -1))


# -- training ---------------------------------------------------------------------------------------------------------


def test_it_pulls_pairs_together_along_the_direction_and_leaves_the_original_alone(model):
    contrast, before = _contrast(), model.fingerprint
    done = pga(model, contrast, TEXTS, PGASettings(epochs=12, refit=12, lr=2e-3), mark="last")
    assert model.fingerprint == before != done.model.fingerprint
    first, last = done.history[0], done.history[-1]
    assert last["align"] < 0.1 * first["align"]
    assert [row["epoch"] for row in done.history] == list(range(12))
    for row in done.history:
        assert row["loss"] == pytest.approx(row["align"] + row["text"], rel=1e-5)
    # The loss of the first epoch, by hand: before any step, with the directions fitted then.
    sites = model.expand("resid_post")
    acts = read(model, contrast.prompts, sites, "last")
    terms = []
    for site in sites:
        one, other = contrast.pairs.T
        along = (acts[site][one] - acts[site][other]).double() @ done.directions[site].T
        terms.append(float(along.square().mean()))
        assert float(done.directions[site].norm()) == pytest.approx(1)
    assert first["align"] == pytest.approx(np.mean(terms), rel=1e-4)
    assert done.weights_changed == weights_changed(model, done.model) > 0
    assert done.about()["epochs_run"] == 12


def test_the_seed_decides_and_nothing_else(model):
    contrast = _contrast()
    settings = PGASettings(epochs=3, refit=2, pairs_per_step=3, texts_per_step=2, lora=2)
    one, again, other = (pga(model, contrast, TEXTS, settings, mark="last", seed=s) for s in (0, 0, 1))
    assert one.model.fingerprint == again.model.fingerprint != other.model.fingerprint
    assert one.history == again.history


@pytest.mark.parametrize("lora", [None, 2])
def test_only_the_chosen_layers_change(model, lora):
    done = pga(model, _contrast(), TEXTS, PGASettings(epochs=2, refit=2, lora=lora, layers=(1,)), mark="last")
    old, new = model.hf.state_dict(), done.model.hf.state_dict()
    changed = {n for n in old if not torch.equal(old[n], new[n])}
    assert changed
    assert all(".h.1." in n for n in changed)
    assert any(n.endswith("bias") for n in changed) == (lora is None)


def test_without_alignment_it_is_plain_fine_tuning(model):
    done = pga(model, _contrast(), TEXTS, PGASettings(epochs=8, refit=8, lr=1e-3, align=0.0), mark="last")
    assert done.history[-1]["text"] < done.history[0]["text"]
    assert done.history[0]["loss"] == pytest.approx(done.history[0]["text"])


def test_adversarial_directions_pile_up_and_stay_orthogonal(model):
    settings = PGASettings(epochs=9, refit=3, adversarial=True, stop=0.0)
    done = pga(model, _contrast(), TEXTS, settings, mark="last")
    assert [row["directions"] for row in done.history] == [1] * 3 + [2] * 3 + [3] * 3
    for basis in done.directions.values():
        assert torch.allclose(basis @ basis.T, torch.eye(3, dtype=basis.dtype), atol=1e-9)
    assert [row["epoch"] for row in done.looked] == [0, 3, 6]
    assert all(0 <= row["auc"] <= 1 for row in done.looked)


def test_adversarial_stops_when_nothing_is_read_any_more(model):
    settings = PGASettings(epochs=9, refit=3, adversarial=True, stop=1.1)
    done = pga(model, _contrast(), TEXTS, settings, mark="last")
    assert len(done.history) == 3, "one round of training comes before the first decision"
    assert len(done.looked) == 2


def test_gram_schmidt_drops_what_is_there_already():
    basis = _append(None, torch.tensor([3.0, 0.0, 0.0], dtype=torch.float64))
    assert torch.equal(_append(basis, torch.tensor([-2.0, 0.0, 0.0], dtype=torch.float64)), basis)
    both = _append(basis, torch.tensor([5.0, 0.0, 1e-3], dtype=torch.float64))
    assert torch.allclose(both, torch.tensor([[1.0, 0, 0], [0, 0, 1]], dtype=torch.float64))


def test_the_probe_is_in_the_units_of_the_activations():
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 100.0, 0.01])
    truth = (x[:, 0] > 0).numpy()
    weights, bias = _probe(x, truth)
    scores = x.double() @ weights + bias
    assert ((scores > 0).numpy() == truth).mean() > 0.95
    assert abs(weights[0]) > 10 * abs(weights[1])


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_is_refused(model):
    broken = model.copy()
    with torch.no_grad():
        broken.hf.get_output_embeddings().weight[3] = float("inf")
    with pytest.raises(NonFiniteError, match="epoch 0"):
        pga(broken, _contrast(), TEXTS, SHORT, mark="last")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epochs": 0}, "epochs"), ({"refit": 0}, "refit"), ({"lr": 0.0}, "lr"), ({"lora": 0}, "lora"),
        ({"align": -1.0}, "align"), ({"align": 0.0, "text": 0.0}, "nothing to train"),
    ],
)  # fmt: skip
def test_settings_that_train_nothing_are_refused(settings, said):
    with pytest.raises(StatisticsError, match=said):
        PGASettings(**settings)


def test_inputs_that_cannot_be_trained_on_are_refused(model):
    contrast = _contrast()
    with pytest.raises(ModelError, match="layer 7"):
        pga(model, contrast, TEXTS, PGASettings(layers=(7,)), mark="last")
    with pytest.raises(PromptError, match="no mark 'recall'"):
        pga(model, contrast, TEXTS, SHORT)
    odd = contrast.select(np.arange(len(contrast) - 1))
    with pytest.raises(PromptError, match="not one prompt of each class"):
        pga(model, odd, TEXTS, SHORT, mark="last")


def test_pairs_of_the_memory_bed():
    model = load_model(BED, device="cpu")
    lines = [json.loads(line) for line in (BED / "records.jsonl").read_text().splitlines()]
    found = contrast_of(load_records([row for row in lines if row["dose"] == 8], model.tokenizer), "M-C")
    assert len(found) == 48
    first, second = found.pairs.T
    assert (found.prompts.columns["record"][first] == found.prompts.columns["record"][second]).all()
    assert set(found.prompts.columns["pool"][first]) == {"M"}
    assert set(found.prompts.columns["pool"][second]) == {"C"}
