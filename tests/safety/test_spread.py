"""Entanglement of domains, unlearning refusal in one, and the exact test over domains; on the chat bed, by its Gram."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from interp import load_model, testbeds
from interp.cli import main
from interp.errors import PromptError, StatisticsError
from interp.plots import figures
from interp.prompts import load_prompts
from interp.report import Report
from interp.safety.spread.entanglement import THIRDS, Entanglement, concept_entanglement, entangle
from interp.safety.spread.mantel import arrangements, mantel, pairs_alone
from interp.safety.spread.study import spread
from interp.safety.spread.unlearn import UnlearnSettings, compliance_loss, refusal_of, unlearn_refusal
from interp.sites import Site
from interp.weights import weights_changed

OFF = ~np.eye(6, dtype=bool)


# ---- the test over domains ----


def random_tables(rng, n=6, count=1):
    """Symmetric tables such as cosines are: of random vectors, their mean taken out."""
    return np.stack([entangle(torch.from_numpy(rng.normal(size=(n, 4)))).numpy() for _ in range(count)])


def test_all_720_orders_of_six_domains_are_taken_once():
    orders, exact = arrangements(6)
    assert exact
    assert len({tuple(o) for o in orders.tolist()}) == 719
    assert tuple(range(6)) not in {tuple(o) for o in orders.tolist()}
    assert not arrangements(8, count=50)[1]


@pytest.mark.parametrize("trap", ["none", "domains differ"])
def test_likeness_without_spread_is_called_one_once_in_twenty_at_most(trap):
    """By itself and over three thirds, also where some domains lose and spread more than others."""
    rng = np.random.default_rng(0)
    seeds, p, p_three = 300, [], []
    for _ in range(seeds):
        alike, loss = random_tables(rng, count=3), rng.normal(size=(6, 6))
        if trap != "none":
            loss += 2 * (rng.normal(size=6)[:, None] + rng.normal(size=6))
        found = mantel(alike, loss)
        p.append(found.p[0])
        p_three.append(found.p_max.min())
    limit = 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / seeds)
    assert np.mean(np.array(p) < 0.05) <= limit
    assert np.mean(np.array(p_three) < 0.05) <= limit
    assert abs(np.mean(p) - 0.5) < 0.06


def test_a_planted_relation_is_found_and_its_p_is_exact():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(20):
        alike = random_tables(rng)
        found = mantel(alike, 3 * alike[0] + rng.normal(size=(6, 6)))
        hits += found.p[0] < 0.05
        assert found.exact
        assert found.p[0] * 720 == pytest.approx(round(found.p[0] * 720))
    assert hits >= 17
    alike = random_tables(rng)
    assert mantel(alike, alike[0]).p[0] <= 2 / 720  # a second order may give the same table
    assert mantel(alike, -alike[0]).p[0] > 0.99


def test_what_domains_have_by_themselves_is_no_matter_of_pairs():
    rng = np.random.default_rng(2)
    row, column = rng.normal(size=6)[:, None], rng.normal(size=6)
    alone = pairs_alone(np.stack([row + column, rng.normal(size=(6, 6))]))
    assert np.abs(alone[0]).max() < 1e-12
    for axis in (0, 1):
        np.testing.assert_allclose(alone[1].sum(axis), 0, atol=1e-12)
    order = rng.permutation(6)
    table = rng.normal(size=(1, 6, 6))
    moved = table[:, order][:, :, order]
    np.testing.assert_allclose(pairs_alone(moved), pairs_alone(table)[:, order][:, :, order], atol=1e-12)


def test_tables_that_cannot_be_correlated_are_refused():
    with pytest.raises(StatisticsError, match="three domains or more"):
        mantel(np.zeros((1, 2, 2)), np.zeros((2, 2)))
    with pytest.raises(StatisticsError, match="the same value"):
        mantel(np.zeros((1, 4, 4)), np.random.default_rng(0).normal(size=(4, 4)))


# ---- entanglement ----


def test_what_all_domains_share_does_not_make_them_alike():
    rng = torch.Generator().manual_seed(0)
    own = torch.randn(6, 16, generator=rng).double()
    shared = 100 * torch.randn(16, generator=rng).double()
    torch.testing.assert_close(entangle(own + shared), entangle(own))
    cosines = torch.nn.functional.cosine_similarity((own + shared)[0], (own + shared)[1], dim=0)
    assert cosines > 0.99 > float(entangle(own + shared)[0, 1]) + 0.3
    with pytest.raises(PromptError, match="no direction"):
        entangle(torch.ones(3, 4))


def test_thirds_cover_every_layer_once():
    sites = tuple(Site("resid_post", k) for k in range(8))
    matrix = np.arange(8.0)[:, None, None] * np.ones((8, 3, 3))
    found = Entanglement(("a", "b", "c"), sites, {"t_inst": matrix})
    assert [len(found.layers(name)) for name in THIRDS] == [3, 3, 2]
    assert [float(found.third("t_inst", name)[0, 0]) for name in THIRDS] == [1.0, 4.0, 6.5]


# ---- the chat bed ----


@pytest.fixture(scope="module")
def chat():
    folder = testbeds.path("chat")
    model = load_model(folder)
    return model, load_prompts(folder / "harmful.jsonl", model.tokenizer), testbeds.truth("chat")


@pytest.fixture(scope="module")
def study(chat):
    model, prompts, truth = chat
    return spread(model, prompts, truth.refusal_ids, progress=False, bootstrap=200)


def gram(truth, domains):
    order = [truth.topics.index(name) for name in domains]
    return np.array(truth.gram)[np.ix_(order, order)]


def test_early_likeness_is_the_planted_gram(chat):
    model, prompts, truth = chat
    found = concept_entanglement(model, prompts, prompts.columns["topic"], progress=False)
    early = found.third("t_inst", "early")
    assert np.corrcoef(early[OFF], gram(truth, found.domains)[OFF])[0, 1] > 0.9


def test_spread_follows_the_planted_gram_and_early_layers_foretell_it(chat, study):
    _, _, truth = chat
    planted = mantel(gram(truth, study.entanglement.domains)[None], study.loss)
    assert planted.r[0] > 0.5
    assert planted.p[0] < 0.05
    report = study.reports["spread"]
    assert report.meta["found"], report.headline
    first = report.rows[0]
    assert (first["mark"], first["third"]) == ("t_inst", "early")
    assert first["p"] <= first["p_three"] < 0.05
    assert first["p_pairs_three"] < 0.05
    assert report.meta["arrangements"] == 720
    assert report.meta["own_loss"] > report.meta["other_loss"] + 1 > 1


def test_unlearning_ends_refusal_where_it_is_aimed_and_leaves_the_model_as_it_was(chat):
    model, prompts, truth = chat
    before = model.fingerprint
    mine = prompts.select(np.flatnonzero((prompts.columns["topic"] == "money") & (prompts.columns["split"] == "train")))
    loss = compliance_loss(model, mine, truth.refusal_ids)
    assert loss.requires_grad
    score = refusal_of(model, mine, truth.refusal_ids)
    assert float(loss.detach()) == pytest.approx(np.logaddexp(0, score).mean(), rel=1e-4)
    done = unlearn_refusal(model, mine, truth.refusal_ids)
    again = unlearn_refusal(model, mine, truth.refusal_ids)
    assert done.refused <= 0.1
    assert model.fingerprint == before
    assert weights_changed(model, done.model) > 0
    assert done.model.fingerprint == again.model.fingerprint
    with pytest.raises(StatisticsError, match="out of range"):
        UnlearnSettings(stop=1.0)


def test_a_model_that_refuses_nothing_has_nothing_to_unlearn(chat):
    model, prompts, truth = chat
    with pytest.raises(PromptError, match="refuses none of these prompts"):
        spread(model, prompts, truth.acceptance_ids, progress=False)


def test_too_few_domains_or_prompts_are_named(chat):
    model, prompts, truth = chat
    with pytest.raises(PromptError, match="no column 'topic'"):
        spread(model, load_prompts([{"tokens": [5, 6]}]), truth.refusal_ids)
    money = np.flatnonzero(prompts.columns["topic"] == "money")
    few = prompts.select(np.setdiff1d(np.arange(len(prompts)), money[1:]))
    with pytest.raises(PromptError, match="domain 'money' has"):
        spread(model, few, truth.refusal_ids)


def test_reports_come_back_and_are_drawn(study, tmp_path):
    study.save(tmp_path)
    for name, report in study.reports.items():
        assert Report.load(tmp_path / f"{name}.json") == report
        for theme in ("paper", "screen"):
            assert figures(report, theme=theme)
    pairs = study.reports["spread-pairs"]
    assert len(pairs) == 36
    for row in pairs.rows:
        assert row["loss_lo"] <= row["loss"] <= row["loss_hi"]


def test_the_command_writes_its_page(chat, capsys, tmp_path):
    folder, out = testbeds.path("chat"), tmp_path / "out"
    rows = [json.loads(line) for line in (folder / "harmful.jsonl").read_text().splitlines()]
    some = [{**row, "domain": row["topic"]} for row in rows if row["topic"] in ("money", "people", "biology")]
    harmless = {**some[0], "id": "harmless", "harmful": 0, "domain": "elsewhere"}
    (tmp_path / "topics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*some, harmless]))
    options = ["--topic", "domain", "--steps", "4", "--lr", "0.003", "--progress", "False", "--out", str(out)]
    code = main(["spread", str(folder), str(tmp_path / "topics.jsonl"), *options])
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "Refusal loses" in said.out
    assert "no p-value can be below 0.17" in said.out  # three domains have six orders
    for kind in ("spread", "spread-pairs"):
        assert Report.load(out / f"{kind}.json").provenance.command.startswith("interp")
    assert {"report.html", "spread.svg", "spread-pairs.pdf"} <= {path.name for path in out.iterdir()}
    assert main(["spread", str(folder), str(folder / "harmful.jsonl"), "--topic", "nowhere", "--out", str(out)]) == 2
    assert "has no field 'nowhere'" in capsys.readouterr().err
    assert main(["spread", "nowhere", "nothing.jsonl", "--out", str(out)]) == 2
