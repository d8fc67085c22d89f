"""Curves: checkpoints that are models, logged points, forgetting with a known law, and a run that forgets."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

import interp
from interp import PromptSet, testbeds
from interp.errors import ReportError, StatisticsError
from interp.memorisation import load_records
from interp.memorisation.curves import (
    checkpoint_folders,
    injection_curve,
    logged_curve,
    retention_curve,
    training_curve,
)
from interp.memorisation.metrics import extract
from interp.memorisation.metrics.injection import effectivity, peaks, retainability, retained
from interp.provenance import Provenance
from tests.memorisation.planted import bed, never_trained, planted

FROM = Provenance("a1", "made")


@pytest.fixture(scope="module")
def model():
    return bed()


@pytest.fixture(scope="module")
def records():
    return planted()


@pytest.fixture(scope="module")
def never():
    return never_trained()


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def test_folders_of_a_run(tmp_path):
    for name in ("checkpoint-20", "step_3", "global_step100", "step5x", "logs"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-7").write_text("a file")
    assert {k: v.name for k, v in checkpoint_folders(tmp_path).items()} == {
        3: "step_3", 20: "checkpoint-20", 100: "global_step100",
    }  # fmt: skip
    (tmp_path / "step20").mkdir()
    with pytest.raises(ReportError, match="both of step 20"):
        checkpoint_folders(tmp_path)
    with pytest.raises(ReportError, match="no folders named like"):
        checkpoint_folders(tmp_path / "nowhere")


def test_a_curve_through_models(model, never, records):
    part = records.select(np.isin(records.column("dose"), [0, 512]))
    stories = interp.load_prompts(testbeds.path("memory") / "stories.jsonl", model.tokenizer, id="id")
    opened = []

    def load():
        opened.append(1)
        return never

    curve = training_curve({2620: model, 0: load}, part, neutral=stories.select(range(40)), replicates=200)
    assert curve.kind == "curve"
    assert len(opened) == 1
    assert [row["step"] for row in curve.rows] == [0] * 5 + [2620] * 5
    found = {(r["step"], r["dose"], r["label"]): r for r in curve.rows}
    assert found[0, 512, "trained"]["exact"] < 0.05
    assert found[2620, 512, "trained"]["exact"] >= 0.95
    assert found[2620, 512, "untrained"]["exact"] == 0
    assert found[2620, 512, "trained"]["recognition"] >= 0.95
    assert 0.25 < found[0, 512, "trained"]["recognition"] < 0.75
    assert "recognition" not in found[0, 512, "untrained"]
    assert found[2620, 512, "trained"]["recognition_lo"] > 0.5
    assert 0 < found[2620, None, None]["loss"] < 2
    assert set(curve.meta["models"]) == {"0", "2620"}
    assert curve.meta["models"]["0"] != curve.meta["models"]["2620"]
    assert "Exact recall of records shown 512 times passes one half by step 2620" in curve.headline


def test_recognition_is_the_comparison_of_twins(model, records):
    part = records.at_dose(8)
    curve = training_curve({1: model}, part, metrics=["exact"], replicates=200)
    loss = -extract(model, part, metrics=["log_p_text"])["log_p_text"]
    prompts = part.planted()
    seen = {p: x for p, x, y in zip(prompts.pairs, loss, prompts.labels, strict=True) if y == "trained"}
    foil = {p: x for p, x, y in zip(prompts.pairs, loss, prompts.labels, strict=True) if y == "untrained"}
    wanted = np.mean([seen[p] < foil[p] for p in seen])
    assert next(r for r in curve.rows if r["label"] == "trained")["recognition"] == pytest.approx(wanted)


def test_a_curve_without_twins(model):
    rows = [{"text": "anna went to the mill and then home ."}, {"text": "emma sold a kite ."}]
    curve = training_curve({5: model}, load_records(rows, model.tokenizer), replicates=200)
    assert [r["label"] for r in curve.rows] == [None]
    assert "recognition" not in curve.columns
    assert any("no untrained twins" in w for w in curve.warnings)
    with pytest.raises(ReportError, match="no checkpoints"):
        training_curve({}, load_records(rows, model.tokenizer))


# ---- logged points ---------------------------------------------------------------------------------------------------


def test_points_that_the_bed_has_logged(model):
    path = testbeds.path("memory") / "curves.json"
    curve, raw = logged_curve(path, model.provenance()), json.loads(path.read_text())
    assert curve == logged_curve(raw, model.provenance())
    assert len(curve) == sum(len(point["records"]) + 1 for point in raw)
    one = next(r for r in curve.rows if r["step"] == raw[3]["step"] and r["label"] == "trained" and r["dose"] == 512)
    assert one["exact"] == next(r for r in raw[3]["records"] if r["dose"] == 512 and r["label"] == "trained")["exact"]
    beside = [r for r in curve.rows if r["dose"] is None]
    assert [r["story_loss"] for r in beside] == [point["story_loss"] for point in raw]
    assert "ends at" in curve.headline
    assert any("no intervals" in w for w in curve.warnings)


@pytest.mark.parametrize("text", ["{", "[1]", '[{"records": []}]', '{"a": 1}'])
def test_logged_points_that_are_none(tmp_path, text):
    path = tmp_path / "curves.json"
    path.write_text(text)
    with pytest.raises(ReportError, match="list of points with 'step' and 'records'"):
        logged_curve(path, FROM)


def test_no_logged_points_at_all(tmp_path):
    with pytest.raises(ReportError, match="holds no points"):
        logged_curve([], FROM)
    with pytest.raises(ReportError, match="cannot read"):
        logged_curve(tmp_path / "none.json", FROM)


# ---- retention -------------------------------------------------------------------------------------------------------


def curve_of(values, untrained=0.0):
    rows = [
        {"step": step, "dose": dose, "label": label, "exact": x if label == "trained" else untrained}
        for dose, xs in values.items()
        for step, x in xs.items()
        for label in ("trained", "untrained")
    ]
    return interp.Report("curve", "Training", "Made up.", rows, FROM)


def test_retention_by_hand():
    curve = curve_of({8: {50: 0.9, 100: 0.5, 200: 0.3, 300: 0.1}, 64: {50: 1.0, 100: 0.9, 200: 0.9, 300: 0.5}}, 0.1)
    kept = retention_curve(curve, shown_until=60)
    table = {(r["dose"], r["step"]): r["retained"] for r in kept.rows}
    assert table == pytest.approx({(8, 0): 1, (8, 100): 0.5, (8, 200): 0, (64, 0): 1, (64, 100): 1, (64, 200): 0.5})
    assert kept.headline == "200 steps after records were last shown, 50 % of the gap in exact is left at dose 64."


def test_retention_of_nothing():
    curve = curve_of({8: {50: 0.0, 100: 0.0}})
    with pytest.raises(ReportError, match="nothing to retain"):
        retention_curve(curve, 50)
    with pytest.raises(ReportError, match="no checkpoint at step 500 or later"):
        retention_curve(curve, 500)
    with pytest.raises(ReportError, match="kind 'curve', not 'recall'"):
        retention_curve(interp.Report("recall", "a", "b", [], FROM), 0)


# ---- injection -------------------------------------------------------------------------------------------------------


def forgetting(steps, exposed, gain, tau, delay=0):
    """Each exposure adds ``gain`` after ``delay`` steps; what was added decays with time constant ``tau``."""
    out = []
    for s in steps:
        ages = [s - (t + 1 + delay) for t in exposed]
        out.append(-8 + sum(gain * math.exp(-a / tau) for a in ages if a >= 0))
    return np.array(out)


def test_a_law_of_forgetting_comes_back():
    steps, exposed = np.arange(60), [5, 20]
    log_p = np.stack([forgetting(steps, exposed, g, 10.0, delay=2) for g in (1.0, 3.0)])
    assert steps[peaks(log_p, steps, exposed, 8)].tolist() == [[8, 23], [8, 23]]
    left = math.exp(-15 / 10)
    # Right before the second exposure the first has decayed for 12 steps; at its peak, for 15.
    second = 1 + left - math.exp(-12 / 10)
    np.testing.assert_allclose(effectivity(log_p, steps, exposed, 8), [[1.0, second], [3.0, 3 * second]])
    np.testing.assert_allclose(retainability(log_p, steps, exposed, 8, [0, 5, 20])[0], np.exp([0.0, -0.5, -2.0]))
    curve = injection_curve(log_p, steps, exposed, FROM, window=8, replicates=200)
    assert curve.column("step") == tuple(range(60 - 23))
    np.testing.assert_allclose(curve.column("retainability"), np.exp(-np.arange(37) / 10))
    assert [e["effectivity"] for e in curve.meta["effectivity"]] == pytest.approx([2.0, 2 * second])
    assert curve.headline.startswith("The first exposure adds 2.00 nats; 36 steps after")
    assert curve.headline.endswith("3 % of what 2 exposures added is left.")


def test_a_window_of_one_sees_one_step():
    log_p, steps = np.array([[-5.0, -4.0, -3.0]]), np.arange(3)
    assert effectivity(log_p, steps, [0], 1).tolist() == [[1.0]]
    assert effectivity(log_p, steps, [0], 2).tolist() == [[2.0]]


def test_steps_that_were_not_measured_are_nan_and_the_idle_have_no_share():
    log_p, steps = np.array([[-5.0, -3.0, -4.0], [-5.0, -6.0, -5.5]]), np.array([0, 1, 4])
    left, gain = retained(log_p, steps, [0], 1, [0, 1, 3])
    np.testing.assert_array_equal(left, [[2.0, np.nan, 1.0], [-1.0, np.nan, -0.5]])
    assert gain.tolist() == [2.0, -1.0]
    np.testing.assert_array_equal(retainability(log_p, steps, [0], 1, [0, 3]), [[1.0, 0.5], [np.nan, np.nan]])


def test_exposures_that_cannot_be_judged():
    log_p, steps = np.zeros((2, 3)), np.array([0, 10, 20])
    for exposed, window, message in (
        ([5], 10, "exposure at update 5 needs a measurement at step 5 and one by step 15"),
        ([10], 5, "one by step 15; measured steps: 0, 10, 20"),
        ([], 5, "exposures must rise"),
        ([10, 0], 10, "exposures must rise"),
        ([0], 0, "window be 1 or more"),
    ):
        with pytest.raises(StatisticsError, match=message):
            peaks(log_p, steps, exposed, window)
    with pytest.raises(StatisticsError, match="which must rise"):
        peaks(log_p, np.array([0, 20, 10]), [0], 5)
    with pytest.raises(StatisticsError, match="lags are steps after the peak"):
        retained(log_p, steps, [0], 10, [-1])
    with pytest.raises(StatisticsError, match="gained 0 nats"):
        injection_curve(log_p, steps, [0], FROM, window=10)
    with pytest.raises(StatisticsError, match="must be finite"):
        injection_curve(log_p * np.nan, steps, [0], FROM)


def test_a_model_that_is_taught_and_then_forgets(never, records):
    model, rng = never.copy(), np.random.default_rng(0)
    prompts = records.planted()
    taught = [torch.tensor(t) for t in prompts.tokens[200:212]]
    stories = interp.load_prompts(testbeds.path("memory") / "stories.jsonl", never.tokenizer, id="id")
    other = [torch.tensor(t) for t in stories.tokens[:100]]
    optimiser = torch.optim.SGD(model.hf.parameters(), lr=0.1)

    def loss_of(texts):
        ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
        targets = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=-100)[:, 1:]
        logits = model.hf(input_ids=ids).logits[:, :-1]
        lost = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-100, reduction="none")
        return lost.sum(1) / (targets >= 0).sum(1)

    def measure():
        with torch.no_grad():
            return -loss_of(taught).numpy()

    exposed, log_p = [2, 6], [measure()]
    for update in range(20):
        batch = taught if update in exposed else [other[i] for i in rng.choice(100, 12, replace=False)]
        optimiser.zero_grad()
        loss_of(batch).mean().backward()
        torch.nn.utils.clip_grad_norm_(model.hf.parameters(), 1.0)
        optimiser.step()
        log_p.append(measure())
    curve = injection_curve(np.stack(log_p, 1), np.arange(21), exposed, model.provenance(), window=1, replicates=200)
    first, second = curve.meta["effectivity"]
    assert first["effectivity_lo"] > 0.02
    assert second["effectivity_lo"] > 0.02
    mean = np.mean(log_p, 1)
    np.testing.assert_allclose(curve.column("retainability"), (mean[7:] - mean[2]) / (mean[7] - mean[2]), rtol=1e-5)
    assert [r["records"] for r in curve.rows] == [12] * 14
    print(curve, first, second, sep="\n")
    assert curve.rows[-1]["retainability_hi"] < 0.9


def test_neutral_loss_is_that_of_transformers(model, records):
    texts = PromptSet.from_texts(["anna went home .", "emma sold a kite ."], model.tokenizer)
    curve = training_curve({1: model}, records.at_dose(8), metrics=["exact"], neutral=texts, replicates=200)
    row = next(r for r in curve.rows if r["label"] is None)
    with torch.no_grad():
        lost = [
            float(model.hf(input_ids=torch.tensor(t[None]), labels=torch.tensor(t[None])).loss) for t in texts.tokens
        ]
    assert row["loss"] == pytest.approx(np.mean(lost), abs=1e-4)
