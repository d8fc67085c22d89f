"""On the chat bed: the planted direction steers and ablates, conditions leave others alone; the two commands."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import interp
from interp import Direction, forward, generate, load_model, testbeds
from interp.cli import main
from interp.edits import gate
from interp.errors import EditError, SplitError, StatisticsError
from interp.metrics import refusal_score
from interp.plots import figure
from interp.prompts.join import join
from interp.report import Report
from interp.safety.ablation import (
    ablation_effect,
    head_values,
    remove_direction,
    remove_heads,
    remove_sites,
    site_values,
)  # fmt: skip
from interp.safety.gating import fit_condition
from interp.safety.neutral import Arm
from interp.safety.outcomes import outcome
from interp.safety.steering import steering
from interp.safety.texts import side_by_side
from interp.sites import Site
from tests.plots.looks import assert_offline, assert_tidy, page_of

BED = testbeds.path("chat")
TRUTH = testbeds.truth("chat")
FIRST = {"refusals": list(TRUTH.refusal_first), "acceptances": list(TRUTH.acceptance_first)}


@pytest.fixture(scope="module")
def model():
    return load_model(BED, device="cpu")


@cache
def whole(kind):
    tokenizer = load_model(BED, device="cpu").tokenizer
    return interp.load_prompts(BED / f"{kind}.jsonl", tokenizer, label="harmful")


def rows(model, kind, split="test", limit=None):
    found = whole(kind)
    chosen = np.flatnonzero(found.columns["split"].astype(str) == split)[:limit]
    return found.select(chosen)


@pytest.fixture(scope="module")
def refusal(model):
    """The planted direction, as long as the difference of the two classes' means along it."""
    unit = torch.as_tensor(TRUTH.refusal_unit, dtype=torch.float64)
    means = [
        interp.capture(model, rows(model, kind, "train", 64), TRUTH.refusal_site, at=TRUTH.refusal_mark)[
            TRUTH.refusal_site
        ].tensor().double().mean(0)
        for kind in ("harmful", "harmless")
    ]  # fmt: skip
    length = float((means[0] - means[1]) @ unit)
    source = model.provenance(prompts="train")
    return Direction.of(length * unit, TRUTH.refusal_site, TRUTH.refusal_mark, "planted", source)


@pytest.fixture(scope="module")
def harm(model):
    both = join([rows(model, "harmful", "train", 96), rows(model, "harmless", "train", 96)])
    x = interp.capture(model, both, TRUTH.harm_site, at=TRUTH.harm_mark)[TRUTH.harm_site].tensor()
    is_harm = torch.from_numpy(both.labels.astype(bool))
    vector = x[is_harm].double().mean(0) - x[~is_harm].double().mean(0)
    return Direction.of(vector, TRUTH.harm_site, TRUTH.harm_mark, "diff_means", model.provenance(prompts=both.hash))


@pytest.fixture(scope="module")
def files(model, refusal, harm, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("directions")
    refusal.save(folder / "refusal.safetensors")
    harm.save(folder / "harm.safetensors")
    other = load_model(testbeds.path("induction"), device="cpu")
    Direction.of(torch.ones(64), TRUTH.refusal_site, "last", "x", other.provenance()).save(folder / "other.safetensors")
    for kind, wanted in (("harmful", {"val": 24, "test": 10}), ("harmless", {"val": 24, "test": 10}),
                         ("jailbroken", {"test": 10})):  # fmt: skip
        lines = (BED / f"{kind}.jsonl").read_text().splitlines()
        some = [line for s, n in wanted.items() for line in [x for x in lines if json.loads(x)["split"] == s][:n]]
        (folder / f"{kind}.jsonl").write_text("\n".join(some))
    return folder


def share_refused(model, prompts, edits=(), ids=TRUTH.refusal_ids):
    return float((refusal_score(forward(model, prompts, edits=edits).logits, ids) > 0).double().mean())


# -- conditions --


def test_a_calibrated_condition_steers_the_harmful_and_leaves_the_harmless_alone(model, refusal, harm):
    calibration = join([rows(model, "harmful", "val"), rows(model, "harmless", "val")])
    test = join([rows(model, "jailbroken"), rows(model, "overrefused")])
    found = fit_condition(model, calibration, harm, test=test)
    own, new = found.report.rows
    assert own["fpr"] <= 0.05
    assert new["tpr"] >= 0.9
    assert new["fpr"] <= 0.15
    assert new["tpr_lo"] <= new["tpr"] <= new["tpr_hi"]
    assert "opens for" in found.report.headline
    [edit] = steering(model, refusal, at="t_post").edits(1.0)
    both = join([rows(model, "jailbroken", limit=24), rows(model, "harmless", limit=24)])
    accepted = share_refused(model, both)
    assert accepted <= 0.1
    made = generate(model, both, 3, edits=[gate(edit, found.condition)])
    [opened] = made.opened.values()
    want = generate(model, both, 3, edits=[edit])
    plain = generate(model, both, 3)
    for i, open_ in enumerate(opened):
        assert made.tokens[i].tolist() == (want if open_ else plain).tokens[i].tolist()
    assert opened[:24].mean() >= 0.9
    assert opened[24:].mean() <= 0.1
    ids = set(TRUTH.refusal_ids)
    refused = np.array([int(t[0]) in ids for t in made.tokens])
    assert refused[:24].mean() >= 0.9
    assert refused[24:].mean() <= 0.1


def test_a_threshold_holds_its_promise_on_labels_that_mean_nothing(model, harm):
    """With labels dealt at random, about the promised share of new prompts is let in, whatever their label."""
    every = join([rows(model, "harmful", "train"), rows(model, "harmless", "train")])
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(8):
        order = rng.permutation(len(every))
        half = len(every) // 2
        one, other = (every.select(part).with_labels(rng.integers(0, 2, len(part))) for part in (
            order[:half], order[half:]))  # fmt: skip
        found = fit_condition(model, one, harm, fpr=0.1, test=other, bootstrap=10)
        shares.append([found.report.rows[1]["fpr"], found.report.rows[1]["tpr"]])
    fpr, tpr = np.mean(shares, 0)
    assert 0.03 <= fpr <= 0.14
    assert abs(fpr - tpr) < 0.06


def test_conditions_are_not_calibrated_on_what_the_direction_has_seen(model, harm):
    seen = join([rows(model, "harmful", "train", 96), rows(model, "harmless", "train", 96)])
    with pytest.raises(SplitError, match="fitted on these very prompts"):
        fit_condition(model, seen, harm)
    with pytest.raises(StatisticsError, match=r"cannot promise a share of 0.01 of false alarms; 99 or more"):
        fit_condition(
            model, join([rows(model, "harmful", "val", 9), rows(model, "harmless", "val", 9)]), harm, fpr=0.01
        )
    with pytest.raises(SplitError, match="labelled prompts"):
        fit_condition(model, seen.with_labels(None).select(range(9)), harm)


# -- ablation --


def test_ablating_the_planted_direction_stops_refusals_and_random_ones_do_not(model, refusal):
    prompts, neutral = rows(model, "harmful", limit=24), rows(model, "neutral")
    from interp.directions.ablation import eraser_of
    from interp.weights import fold

    folded = model.copy()
    fold(folded, eraser_of(refusal))
    found = ablation_effect(
        model, prompts, remove_direction(model, refusal), neutral=neutral, folded=folded, stories=4, new_tokens=8,
        **FIRST,
    )  # fmt: skip
    base, row, weights = found.rows[:3]
    assert base["positive"] == 1.0
    assert row["positive"] <= 0.1
    assert row["verdict"].startswith("beyond controls")
    assert (row["p"], len(found.rows)) == (0.05, 3 + 19)
    assert max(abs(r["effect"]) for r in found.rows[3:]) < abs(row["effect"]) / 2
    for name in ("score", "kl", "ce_change"):
        assert weights[name] == pytest.approx(row[name], abs=2e-4)
    assert "beyond 19 controls (p = 0.05)" in found.headline
    for theme in ("paper", "screen"):
        assert_tidy(figure(found, theme=theme))


def test_one_head_of_many_is_not_beyond_other_heads(model):
    prompts = rows(model, "harmful", limit=24)
    found = ablation_effect(model, prompts, remove_heads(model, "2.1", "mean", reference=prompts), **FIRST)
    assert found.rows[1]["verdict"] == "not beyond controls"
    assert any("says nothing about what was ablated" in text for text in found.warnings)
    assert found.meta["controls"] == "other heads"
    few = ablation_effect(model, prompts, remove_sites(model, ["mlp_out.2"], "zero"), **FIRST)
    assert few.meta["n_random"] == model.n_layers - 1
    assert any("5 controls allow no p below 0.17" in text for text in few.warnings)
    none = ablation_effect(model, prompts, remove_heads(model, "2.1", "zero", n_random=0), **FIRST)
    assert "nothing to compare it with" in none.headline


def test_what_replaces_heads_comes_from_the_reference(model):
    reference = rows(model, "harmless", limit=6)
    sites = [Site("z", 2)]
    acts = interp.capture(model, reference, "z.2")["z.2"].tensor()
    d = model.sizes.d_head
    mean = head_values(model, "mean", reference)
    assert torch.allclose(mean[Site("z", 2, 1)].float(), acts[:, d : 2 * d].mean(0), atol=1e-5)
    pool = site_values(model, sites, "resample", reference, seed=3)[Site("z", 2)]
    assert pool.shape == (6, model.sizes.n_heads * d)
    assert all((acts == row).all(-1).any() for row in pool)
    removal = remove_heads(model, "2.1", "resample", reference=reference, n_random=3, seed=3)
    prompts = rows(model, "harmful", limit=8)
    got = interp.capture(model, prompts, "z.2.h1", edits=removal.edits)
    example = torch.from_numpy(got.index.example.astype("int64"))
    assert torch.equal(got["z.2.h1"].tensor(), pool[(example + 1) % 6, d : 2 * d])
    with pytest.raises(StatisticsError, match="give reference="):
        remove_heads(model, "2.1", "mean")


# -- outcomes and texts --


def test_outcomes_by_name(model):
    prompts = rows(model, "harmful", limit=8).with_columns(word=["Sorry"] * 8, other=["Sure"] * 8)
    logits = forward(model, prompts).logits
    sorry, sure = (model.tokenizer.convert_tokens_to_ids(w) for w in ("Sorry", "Sure"))
    made = outcome("refusal", model, prompts, **FIRST)
    assert np.allclose(made.measure(model, prompts), refusal_score(logits, TRUTH.refusal_ids).numpy())
    for answer, wrong in (("Sorry", "Sure"), ("word", "other")):
        made = outcome("logit_diff", model, prompts, answer=answer, wrong=wrong)
        assert np.allclose(made.measure(model, prompts), (logits[:, sorry] - logits[:, sure]).numpy(), atol=1e-5)
        made = outcome("log_p", model, prompts, answer=answer)
        assert np.allclose(made.measure(model, prompts), logits.log_softmax(-1)[:, sorry].numpy(), atol=1e-5)
    said = outcome("says", model, prompts, answer="i cannot", new_tokens=8).measure(model, prompts)
    texts = generate(model, prompts, 8).texts
    assert said.tolist() == ["i cannot" in text.casefold() for text in texts]
    with pytest.raises(interp.errors.PromptError, match="begin with the same token"):
        outcome("logit_diff", model, prompts, answer="Sorry", wrong="word")
    with pytest.raises(interp.errors.PromptError, match="no first token for the answer 'zebra'"):
        outcome("log_p", model, prompts, answer="zebra")


def test_texts_stand_side_by_side(model, refusal):
    prompts = rows(model, "harmless", limit=5)
    arms = [Arm("unsteered"), Arm("steered", steering(model, refusal, at="t_post").edits(1.0))]
    made = side_by_side(model, prompts, arms, limit=4, new_tokens=6)
    assert made.columns == ("id", "prompt", "unsteered", "steered")
    assert made.column("unsteered") == tuple(t.strip() for t in generate(model, prompts.select(range(4)), 6).texts)
    assert made.column("prompt")[0] in prompts.texts[0]
    assert made.meta["changed"] == {"unsteered": 0, "steered": 4}
    with pytest.raises(StatisticsError, match="different names"):
        side_by_side(model, prompts, [arms[0], arms[0]])


# -- commands --


def run(*args: object) -> int:
    return main([str(a) for a in args])


SHARED = (
    "--split", "test", "--limit", 10, "--neutral", BED / "neutral.jsonl", "--neutral-limit", 6, "--refusal",
    *TRUTH.refusal_first, "--acceptance", *TRUTH.acceptance_first, "--new-tokens", 6, "--texts", 3, "--device", "cpu",
)  # fmt: skip


def test_steer_as_a_user_types_it(files, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--coeff", 0.5, 1, "--at", "t_post", "--n-random", 19, "--gate", files / "harm.safetensors"]
    options += ["--gate-calibrate", files / "harmful.jsonl", files / "harmless.jsonl", "--gate-label", "harmful"]
    direction = files / "refusal.safetensors"
    assert run("steer", BED, files / "jailbroken.jsonl", "--direction", direction, "--out", out, *options, *SHARED) == 0
    text = capsys.readouterr().out
    assert "the refusal score goes from" in text
    assert "The condition (cosine at" in text
    report = Report.load(out / "report.json")
    assert report.column("coeff") == (0.0, 0.5, 1.0)
    assert report.rows[2]["verdict"] == "beyond random"
    assert report.meta["condition_met"] >= 0.9
    assert report.rows[2]["kl"] < 1e-3  # harmless questions are left alone
    assert report.provenance.command is not None
    for name in ("report.csv", "texts.json", "texts.csv", "condition.json", "figure.svg", "figure.pdf"):
        assert (out / name).stat().st_size > 0
    page = page_of([Report.load(out / f"{n}.json") for n in ("report", "texts")], tmp_path, lead=True)
    assert_offline(page)
    assert page.text.index(report.headline[:40]) < page.text.index("What chat writes")
    for theme in ("paper", "screen"):
        assert_tidy(figure(report, theme=theme))


def test_ablate_as_a_user_types_it(model, files, tmp_path, capsys):
    out = tmp_path / "out"
    direction = files / "refusal.safetensors"
    assert (
        run(
            "ablate",
            BED,
            files / "harmful.jsonl",
            "--direction",
            direction,
            "--weights",
            "--n-random",
            2,
            "--out",
            out,
            *SHARED,
        )
        == 0
    )
    assert "folded into its weights" in capsys.readouterr().out
    report = Report.load(out / "report.json")
    assert report.column("arm")[:3] == ("unedited", "ablated", "folded into the weights")
    saved = load_model(out / "model", device="cpu")
    prompts = rows(model, "harmful", limit=10)
    assert share_refused(saved, prompts) <= 0.1
    assert saved.fingerprint != model.fingerprint
    heads = ["--heads", "2.1", "--kind", "resample", "--n-random", 1]
    assert (
        run(
            "ablate",
            BED,
            files / "harmful.jsonl",
            *heads,
            "--out",
            tmp_path / "heads",
            *SHARED[:4],
            *SHARED[8:],
            "--texts",
            0,
        )
        == 0
    )
    assert json.loads((tmp_path / "heads" / "report.json").read_text())["meta"]["what"] == "head 2.1 (resample)"


@pytest.mark.parametrize(
    ("command", "options", "why"),
    [
        ("steer", ["--direction", "missing.safetensors"], "missing.safetensors"),
        ("steer", ["--direction", "other.safetensors"], "was made with model"),
        ("steer", ["--direction", "refusal.safetensors", "--coeff", 0], "nothing but 0"),
        ("steer", ["--direction", "refusal.safetensors", "--gate-threshold", 0.1], "belong to --gate"),
        ("steer", ["--direction", "refusal.safetensors", "--gate", "harm.safetensors"], "one of the two"),
        ("steer", ["--direction", "refusal.safetensors", "--metric", "log_p"], "--metric log_p needs --answer"),
        ("steer", ["--direction", "refusal.safetensors", "--answer", "Sure"], "--answer means nothing to"),
        ("steer", ["--direction", "refusal.safetensors", "--split", "dev"], "no row of"),
        ("steer", ["--direction", "refusal.safetensors", "--n-random", 0], "--n-random is 1 or more"),
        ("ablate", [], "give one of --direction"),
        ("ablate", ["--heads", "3"], "cannot read head '3'"),
        ("ablate", ["--heads", "3.1", "--kind", "direction"], "does not fit"),
        ("ablate", ["--heads", "3.1", "--weights"], "--weights changes the model everywhere"),
        ("ablate", ["--direction", "refusal.safetensors", "--reference", "refusal.safetensors"], "--reference is for"),
        ("ablate", ["--heads", "9.1"], "this model has layers 0 to 5"),
    ],
)
def test_mistakes_are_named(command, options, why, files, tmp_path, capsys):
    given = [files / o if isinstance(o, str) and o.endswith(".safetensors") else o for o in options]
    code = run(command, BED, files / "harmless.jsonl", *given, "--out", tmp_path / "out", "--device", "cpu")
    assert code == 2
    assert why in capsys.readouterr().err


def test_head_edits_that_make_no_sense(model):
    with pytest.raises(EditError, match="cannot read head"):
        remove_heads(model, "two.one")
