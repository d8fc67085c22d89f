from __future__ import annotations

import stat

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from interp.directions import Direction, diff_means
from interp.errors import ActivationError, ArtefactError, NonFiniteError, ProvenanceError
from interp.probes import Probe
from interp.provenance import Provenance
from interp.sites import Site

MADE = Provenance(model="a1b2", model_id="tiny", prompts="cafe", seed=3)
AT = {"site": "resid_post.2", "mark": "last", "provenance": MADE}


def fitted(n=80, d=5, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.5
    x = rng.normal(size=(n, d)) * np.array([1, 10, 0.1, 1, 1]) + 40
    x[:, 0] += 2 * truth
    features = torch.from_numpy(x).float()
    return features, truth, Probe.fit(features, torch.from_numpy(truth), ("no", "yes"), "resid_post.2", "last", MADE)


def test_a_probe_is_scikit_learns_pipeline():
    x, truth, probe = fitted()
    model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10)).fit(x.double().numpy(), truth)
    assert probe(x).numpy() == pytest.approx(model.decision_function(x.double().numpy()), abs=1e-3)
    assert probe.predict(x) == ["yes" if p else "no" for p in model.predict(x.double().numpy())]
    assert (str(probe.site), probe.mark, probe.direction.method) == ("resid_post.2", "last", "logistic")
    assert float(probe.direction.unit.norm()) == pytest.approx(1)


def test_a_threshold_moves_the_classes():
    x, _, probe = fitted()
    strict = Probe(probe.direction, probe.bias, probe.mean, probe.scale, probe.classes, threshold=1e9)
    assert set(strict.predict(x)) == {"no"}


@pytest.mark.parametrize("classes", [("no", "yes"), (False, True), (0, 1), (0.5, 1.5)])
def test_files_bring_everything_back(tmp_path, classes):
    x, _, probe = fitted()
    probe = Probe(probe.direction, probe.bias, probe.mean, probe.scale, classes, 0.25)
    path = probe.save(tmp_path / "new" / "probe.safetensors")
    back = Probe.load(path, model_fingerprint="a1b2")
    assert torch.equal(back(x), probe(x))
    assert (back.classes, back.threshold, back.bias) == (classes, 0.25, probe.bias)
    assert torch.equal(back.mean, probe.mean)
    assert torch.equal(back.scale, probe.scale)
    assert back.direction.provenance == MADE
    assert back.site == Site.parse("resid_post.2")
    direction = Direction.load(path)
    assert torch.equal(direction.unit, probe.direction.unit)
    assert direction.fields() == probe.direction.fields()
    again = Direction.load(direction.save(tmp_path / "direction.safetensors"), "a1b2")
    assert torch.equal(again.unit, direction.unit)
    assert not stat.S_IMODE(path.stat().st_mode) & 0o111
    assert [p.name for p in path.parent.iterdir()] == ["probe.safetensors"]


def test_another_model_is_refused(tmp_path):
    _, _, probe = fitted()
    path = probe.save(tmp_path / "probe.safetensors")
    for kind in (Probe, Direction):
        with pytest.raises(
            ProvenanceError, match=r"probe\.safetensors was made with model a1b2 \('tiny'\), not with c3d4"
        ):
            kind.load(path, model_fingerprint="c3d4")


def test_files_that_are_none_are_named(tmp_path):
    _, _, probe = fitted()
    with pytest.raises(ArtefactError, match="absent"):
        Probe.load(tmp_path / "absent.safetensors")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ArtefactError, match="text"):
        Probe.load(tmp_path / "text")
    save_file({"unit": torch.ones(3)}, tmp_path / "foreign")
    with pytest.raises(ArtefactError, match="foreign' is not a saved direction or probe: its format is None"):
        Direction.load(tmp_path / "foreign")
    direction = probe.direction.save(tmp_path / "direction")
    with pytest.raises(ArtefactError, match=r"is not a saved probe: its format is 'interp\.direction'"):
        Probe.load(direction)
    header = {"format": "interp.probe", "version": "1", "fields": '{"site": "resid_post.2"}'}
    save_file({"unit": torch.ones(3)}, tmp_path / "partial", metadata=header)
    with pytest.raises(ArtefactError, match="partial' lacks or garbles a field: KeyError"):
        Probe.load(tmp_path / "partial")
    save_file({"unit": torch.ones(3)}, tmp_path / "newer", metadata={**header, "version": "2"})
    with pytest.raises(ArtefactError, match="version '2'"):
        Probe.load(tmp_path / "newer")
    save_file({"unit": torch.ones(3)}, tmp_path / "garbled", metadata={**header, "fields": "{"})
    with pytest.raises(ArtefactError, match="garbled"):
        Probe.load(tmp_path / "garbled")
    whole = (tmp_path / "direction").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-8])
    with pytest.raises(ArtefactError, match="cut"):
        Direction.load(tmp_path / "cut")


def test_the_difference_of_means():
    rng = np.random.default_rng(0)
    a, b = rng.normal([3, 0, 0, 0], size=(50, 4)), rng.normal(size=(70, 4))
    found = diff_means(torch.from_numpy(a), torch.from_numpy(b), **AT)
    expected = a.mean(0) - b.mean(0)
    assert found.vector.numpy() == pytest.approx(expected)
    assert found.scale == pytest.approx(np.linalg.norm(expected))
    means = diff_means(torch.from_numpy(a.mean(0)), torch.from_numpy(b.mean(0)), **AT)
    assert means.cosine(found) == pytest.approx(1)
    back = diff_means(torch.from_numpy(b), torch.from_numpy(a), **AT)
    assert back.cosine(found) == pytest.approx(-1)
    assert found(torch.from_numpy(a)).numpy() == pytest.approx(a @ expected / np.linalg.norm(expected))


def test_the_difference_of_means_of_many_half_precision_rows():
    # Summed in float16, 4,000 rows of about 100 overflow; in float32 the small difference would lose digits.
    rng = np.random.default_rng(0)
    a = torch.from_numpy(100 + rng.normal(size=(4000, 3))).half()
    b = torch.from_numpy(100 + rng.normal(size=(4000, 3))).half()
    expected = a.numpy().astype(np.float64).mean(0) - b.numpy().astype(np.float64).mean(0)
    assert diff_means(a, b, **AT).vector.numpy() == pytest.approx(expected, rel=1e-9)


def test_directions_that_are_none():
    with pytest.raises(ActivationError, match="is zero and has no direction"):
        diff_means(torch.ones(2, 3), torch.ones(4, 3), **AT)
    with pytest.raises(ActivationError, match="positive side has no rows"):
        diff_means(torch.ones(0, 3), torch.ones(4, 3), **AT)
    with pytest.raises(NonFiniteError, match=r"resid_post\.2 at 'last'"):
        diff_means(torch.full((2, 3), torch.nan), torch.ones(4, 3), **AT)
    with pytest.raises(ActivationError, match="norm 1, got 2"):
        Direction(Site.parse("embed"), "last", torch.tensor([2.0, 0.0]), 1.0, "by hand", MADE)
    direction = Direction.of(torch.tensor([2.0, 0.0]), "embed", "last", "by hand", MADE)
    with pytest.raises(ActivationError, match="at embed has 2 numbers, the activations 3"):
        direction(torch.ones(4, 3))
    assert repr(direction) == "Direction(embed at last, 2 numbers; by hand, length 2, of model 'tiny')"
