from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from interp.errors import PromptError, ProvenanceError, SplitError
from interp.probes import Probe, baselines, study
from interp.prompts import PromptSet
from interp.provenance import Provenance
from interp.report import Report
from interp.store import Activations, RowIndex
from interp.store.examples import Examples

FAST = {"permutations": 19, "bootstrap": 200, "folds": 5, "progress": False}


@dataclasses.dataclass
class FakeModel:
    """Stands for a model: its activations at site 0 are noise, at site 1 they know the label if it was trained."""

    fingerprint: str = "a1b2"
    trained: bool = True

    def untrained(self, seed):
        return FakeModel("fresh", False)


@pytest.fixture
def fake_capture(monkeypatch):
    """`capture` that gives what the fake model holds; a test sets how much the trained and the untrained one know."""
    knows = {"trained": 3.0, "untrained": 0.0, "at": []}

    def capture(model, prompts, sites, *, at, progress=None, command=None):
        knows["at"].append(at)
        rng = np.random.default_rng(0 if model.trained else 1)
        labels = np.asarray(prompts.labels) == sorted(set(prompts.labels.tolist()))[1]
        x = rng.normal(size=(2, len(prompts), 5))
        x[1, :, 0] += knows["trained" if model.trained else "untrained"] * labels
        order = rng.permutation(len(prompts))  # rows need not come in the order of the prompts
        index = RowIndex.build(order, prompts.marks[at][order], np.zeros(len(prompts)), marks=[at] * len(prompts))
        tensors = {f"resid_post.{k}": torch.from_numpy(x[k][order]).float() for k in range(2)}
        return Activations.from_tensors(tensors, index, Provenance(model.fingerprint, "fake"), Examples.of(prompts))

    monkeypatch.setattr(study, "capture", capture)
    return knows


def prompts(n_groups=40, tell=False, **changes):
    """Two prompts per group, one of each label; ``tell`` puts a token in front that gives the label away."""
    tokens, labels, groups = [], [], []
    for g in range(n_groups):
        for label in ("plural", "singular"):
            tokens.append([1, 2 + (label == "plural") * tell, 10 + g, 100 + 2 * g + (label == "plural"), 7])
            labels.append(label)
            groups.append(f"noun {g}")
    return PromptSet.from_tokens(tokens, **{"labels": labels, "groups": groups, **changes})


def test_knowledge_of_the_trained_model_is_reported_as_such(fake_capture, tmp_path):
    model = FakeModel()
    found = study.probe(model, prompts(), "resid_post", command="interp probe", seed=5, **FAST)
    report = found.report
    assert report.headline.startswith("'singular' against 'plural' can be read at last: AUC 0.9")
    assert "best at resid_post.1; beyond shuffled labels (p = 0.05), an untrained model (" in report.headline
    assert "but not beyond" not in report.headline
    assert report.column("site") == ("resid_post.0", "resid_post.1")
    row = report.rows[1]
    assert row["auc_lo"] < row["auc"] < row["auc_hi"]
    assert row["auc"] == pytest.approx(float(found.trained.auc.estimate[1]))
    assert row["gain_auc_lo"] > 0
    assert row["gain_auc"] == pytest.approx(row["auc"] - row["untrained_auc"])
    assert report.rows[0]["p_max"] > 0.05
    assert (row["n"], row["n_groups"], row["mark"]) == (80, 40, "last")
    assert row["null_auc_lo"] < row["null_auc_hi"] < report.meta["null_max_auc_95"] + 1e-9
    assert report.meta["best_site"] == "resid_post.1"
    assert report.meta["permutation_scheme"] == "labels swap within groups"
    assert report.meta["arrangements"] == "about 10^12"
    assert report.meta["baseline_last_token_auc"] == 0.5  # every prompt is read at the same token
    assert abs(report.meta["baseline_bow_auc"] - 0.5) < 0.2
    assert report.provenance == Provenance("a1b2", "fake", seed=5, command="interp probe")
    assert report.warnings == ()
    saved = Report.load(report.save(tmp_path / "report.json"))
    assert saved == report
    assert json.loads((tmp_path / "report.json").read_text())["kind"] == "probe"
    probe = Probe.load(found.probe.save(tmp_path / "probe.safetensors"), model.fingerprint)
    assert probe.classes == ("plural", "singular")
    with pytest.raises(ProvenanceError):
        Probe.load(tmp_path / "probe.safetensors", model.untrained(0).fingerprint)
    features = study.features_of(study.capture(model, prompts(), "", at="last"), 80)
    right = np.array(probe.predict(features[probe.site])) == np.asarray(prompts().labels)
    assert right.mean() > 0.85


def test_an_untrained_model_that_knows_as_much_is_said(fake_capture):
    fake_capture["untrained"] = 3.0
    found = study.probe(FakeModel(), prompts(), **FAST)
    assert "but not beyond an untrained model (0.9" in found.report.headline
    assert any(w.startswith("An untrained model does as well as the probe (AUC 0.9") for w in found.report.warnings)


def test_tokens_that_tell_are_said(fake_capture):
    found = study.probe(FakeModel(), prompts(tell=True), **FAST)
    assert "but not beyond a bag of tokens (1.00)" in found.report.headline
    assert found.report.meta["baseline_bow_auc"] == 1.0


def test_nothing_found_is_said(fake_capture):
    fake_capture["trained"] = 0.0
    found = study.probe(FakeModel(), prompts(), **FAST)
    assert found.report.headline.startswith("No site at last separates 'singular' from 'plural' better than shuffled")
    assert any(w.startswith("A bag of tokens does as well") for w in found.report.warnings)


def test_without_null_control_and_nested_choice(fake_capture):
    slim = {**FAST, "permutations": 0}
    found = study.probe(FakeModel(), prompts(), untrained=False, nested=False, title="Number", **slim)
    assert found.report.title == "Number"
    assert "without a label-permutation null this may be luck" in found.report.headline
    assert found.untrained is None
    assert "untrained_auc" not in found.report.columns
    assert "null_auc_hi" not in found.report.columns
    assert "null_max_auc_95" not in found.report.meta
    assert any("No nested choice of a site: it was not asked for" in w for w in found.report.warnings)
    assert fake_capture["at"] == ["last"]


def test_warnings_about_the_design(fake_capture):
    few = study.probe(FakeModel(), prompts(n_groups=5), **FAST)
    assert any(w.startswith("Few groups: 5 with 'singular', 5 with 'plural'") for w in few.report.warnings)
    assert any("allow 32 arrangements only" in w and "below 0.062" in w for w in few.report.warnings)
    made = prompts()
    pure = made.with_groups([f"{g} {y}" for g, y in zip(made.groups, made.labels, strict=True)])
    twice = PromptSet.from_tokens([*pure.tokens, *pure.tokens], labels=[*pure.labels] * 2, groups=[*pure.groups] * 2)
    found = study.probe(FakeModel(), twice, **FAST)
    assert any(
        w.startswith("Each group has one label, so the 160 examples are 80 independent") for w in found.report.warnings
    )
    assert any(w.startswith("80 of 160 prompts repeat another of their group") for w in found.report.warnings)
    none = study.probe(FakeModel(), prompts(groups=None), **FAST)
    assert any(w.startswith("No groups were given") for w in none.report.warnings)
    assert none.report.rows[0]["n_groups"] == 80


def test_prompts_without_groups_that_repeat_are_one_group(fake_capture):
    made = prompts(groups=None)
    twice = PromptSet.from_tokens([*made.tokens, *made.tokens], labels=[*made.labels] * 2)
    assert study.probe(FakeModel(), twice, **FAST).report.rows[0]["n_groups"] == 80


def test_the_same_input_in_two_groups_raises_or_warns(fake_capture):
    made = prompts()
    # Up to the mark, prompts 0 and 2 are equal, although they differ after it.
    marked = PromptSet.from_tokens(
        [[1, 2, 3, 4], *made.tokens[1:2], [1, 2, 3, 5], *made.tokens[3:]], labels=made.labels, groups=made.groups,
        marks={"early": [2] * len(made)},
    )  # fmt: skip
    with pytest.raises(SplitError, match="have the same tokens up to where they are read"):
        study.probe(FakeModel(), marked, at="early", **FAST)
    study.groups_of_inputs(marked, baselines.visible_tokens(marked.tokens, marked.marks["last"]), "raise")
    found = study.probe(FakeModel(), marked, at="early", shared="warn", **FAST)
    assert any(
        "have the same tokens, up to where they are read, as one of another group" in w for w in found.report.warnings
    )
    with pytest.raises(SplitError, match="'raise' or 'warn'"):
        study.probe(FakeModel(), marked, shared="ignore", **FAST)


def test_prompts_that_lack_the_mark_are_left_out_and_counted(fake_capture):
    made = prompts()
    marked = made.with_marks(noun=[-1, -1] + [3] * (len(made) - 2))
    found = study.probe(FakeModel(), marked, at="noun", **FAST)
    assert found.report.warnings[0] == "2 of 80 prompts lack the mark 'noun' and were left out."
    assert found.report.rows[0]["n"] == 78
    assert found.probe.mark == "noun"
    with pytest.raises(PromptError, match="no prompt has the mark 'verb'"):
        study.probe(FakeModel(), marked, at="verb", **FAST)
    with pytest.raises(PromptError, match="no prompt has the mark 'noun'"):
        study.probe(FakeModel(), made.with_marks(noun=[-1] * len(made)), at="noun", **FAST)


def test_labels_must_be_there_and_of_two_classes(fake_capture):
    with pytest.raises(PromptError, match="no labels"):
        study.probe(FakeModel(), prompts().with_labels(None), **FAST)
    with pytest.raises(SplitError, match="nothing to tell apart"):
        study.probe(FakeModel(), prompts().with_labels(["same"] * 80), **FAST)
    assert fake_capture["at"] == []  # found out before the model runs


def test_baselines_see_the_tokens_up_to_the_mark_only():
    tokens = [np.array([5, 6, 5, 9]), np.array([7, 6])]
    seen = baselines.visible_tokens(tokens, np.array([2, 1]))
    assert baselines.token_counts(seen).tolist() == [[2.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    assert baselines.last_token(seen).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_the_most_widespread_tokens_are_kept(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_TOKENS", 2)
    counts = baselines.token_counts([np.array([1, 2, 2]), np.array([2, 3]), np.array([3, 4])])
    assert counts.tolist() == [[2.0, 0.0], [1.0, 1.0], [0.0, 1.0]]


def test_the_number_of_a_noun_on_a_real_model(shared):
    import interp

    model = interp.load_model(shared / "models" / "stories260K")
    lines = (shared / "circuits/feature_circuits/data/simple_train.json").read_text().splitlines()
    other = {"singular": "plural", "plural": "singular"}
    number: dict[str, str] = {}
    for item in map(json.loads, lines):
        number |= {item["clean_prefix"]: item["case"], item["patch_prefix"]: other[item["case"]]}
    noun = {"men": "man", "women": "woman"}
    groups = [noun.get(t.split()[1], t.split()[1].rstrip("s")) for t in number]
    made = PromptSet.from_texts(number, model.tokenizer, labels=[*number.values()], groups=groups)
    found = interp.probe(model, made, "resid_post", permutations=49, bootstrap=500)
    assert len(found.report.rows) == model.n_layers
    assert min(found.report.column("auc")) > 0.85
    assert found.report.rows[found.trained.best]["p_max"] == pytest.approx(0.02)
    assert found.report.provenance.model == model.fingerprint
