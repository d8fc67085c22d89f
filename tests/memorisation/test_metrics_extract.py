"""`token_scores` and `extract` on models: against plain transformers, against real decoding, and under edits."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch

import interp
from interp import PromptSet, testbeds
from interp.errors import EditError, NonFiniteError, PromptError, ReportError, StatisticsError, TokenizerMissingError
from interp.memorisation import Records, load_records
from interp.memorisation.metrics import (
    METRICS,
    Neighbourhood,
    extract,
    extraction,
    read_open_unlearning,
    to_open_unlearning,
)
from interp.metrics import token_scores
from interp.prompts.columns import column_array
from tests.memorisation.planted import bed, never_trained, planted
from tests.unchecked import unchecked  # noqa: F401


@pytest.fixture(scope="module")
def model():
    return bed()


@pytest.fixture(scope="module")
def records():
    return planted()


@pytest.fixture(scope="module")
def found(model, records):
    return extract(model, records)


def bare(tokens, special_ids=(), **about):
    """Records of raw token ids."""
    names = [str(i) for i in range(len(tokens))]
    prompts = PromptSet.from_tokens(
        tokens,
        special_ids=special_ids,
        columns={
            "record": column_array(names, len(names), "record"),
            "pool": ["M"] * len(names),
            "prefix": [0] * len(names),
        },
        **about,
    )
    return Records(prompts)


# ---- one pass ------------------------------------------------------------------------------------------------------


def test_token_scores_are_those_of_plain_transformers(model, records):
    prompts = records.planted().select(range(0, 480, 37))
    scores = token_scores(model, prompts, batch_tokens=64)
    for i, tokens in enumerate(prompts.tokens):
        ids = torch.tensor(tokens)
        with torch.no_grad():
            log_p = model.hf(input_ids=ids[None]).logits[0, :-1].double().log_softmax(-1)
        n, p = len(tokens), log_p.exp()
        own = log_p.gather(-1, ids[1:, None])[:, 0]
        mean = (p * log_p).sum(-1)
        np.testing.assert_allclose(scores.log_p[i, 1:n], own.numpy(), atol=2e-4)
        np.testing.assert_allclose(scores.mean[i, 1:n], mean.numpy(), atol=2e-4)
        np.testing.assert_allclose(scores.sd[i, 1:n], ((p * log_p**2).sum(-1) - mean**2).sqrt().numpy(), atol=1e-3)
        assert scores.choice[i, 1:n].tolist() == log_p.argmax(-1).tolist()
        assert scores.hit[i, 1:n].tolist() == (log_p.argmax(-1) == ids[1:]).tolist()
        assert np.isnan(scores.log_p[i, [0, *range(n, scores.log_p.shape[1])]]).all()
        assert not scores.hit[i, n:].any()


def test_one_token_predicts_nothing(model):
    scores = token_scores(model, PromptSet.from_tokens([[1], [1, 9]]))
    assert np.isnan(scores.log_p[0]).all()
    assert np.isfinite(scores.log_p[1, 1])


def test_nan_is_refused(model, records):
    broken = interp.Edit(interp.Site.parse("resid_post.3"), lambda rows, _: rows * torch.nan)
    with pytest.raises(NonFiniteError, match=r"NaN in the logits of example 'd0-b00-p0-x.*', position 0"):
        token_scores(model, records.planted().select([0, 1]), edits=[broken])


# ---- against the answer key and real decoding ------------------------------------------------------------------------


def test_the_answer_key(found):
    truth = testbeds.truth("memory")
    by_name = {r.id: r for r in truth.records}
    keys = [by_name[name] for name in found.records]
    assert found["exact"].tolist() == [k.recalled for k in keys]
    np.testing.assert_allclose(found["log_p"], [-k.loss_with for k in keys], atol=2e-3)
    assert found.log_p_at == "targets"
    dose, trained = found.prompts.columns["dose"], found.prompts.labels == "trained"
    assert found["exact"][(dose >= 128) & trained].mean() >= 0.95
    assert not found["exact"][~trained].any()
    assert set(found.metrics) == set(METRICS)


def test_real_greedy_decoding_says_the_same(model, found):
    prompts, split = found.prompts, found.split
    cut = PromptSet.from_tokens([t[:a] for t, a in zip(prompts.tokens, split.start, strict=True)])
    made = interp.generate(model, cut, int(split.suffix.max()))
    for i, tokens in enumerate(made.tokens):
        wanted = prompts.tokens[i][split.start[i] : split.stop[i]].tolist()
        assert (tokens[: len(wanted)].tolist() == wanted) == found["exact"][i]
        assert found.written[i] == tokens[: len(wanted)].tolist()
    assert (found["similarity"] == 1).tolist() == found["exact"].tolist()


def test_every_prefix_from_one_pass(model, records, found):
    chosen = np.arange(5, 480, 23)
    prompts = found.prompts.select(chosen)
    for k in (2, 7, 12):
        cut = PromptSet.from_tokens([t[: 1 + k] for t in prompts.tokens])
        made = interp.generate(model, cut, int(prompts.lengths.max()) - 1 - k)
        real = [
            w[: len(t) - 1 - k].tolist() == t[1 + k :].tolist()
            for w, t in zip(made.tokens, prompts.tokens, strict=True)
        ]
        assert found.extractible(k)[chosen].tolist() == real
        assert extract(model, records, metrics=["exact"], prefix_tokens=k)["exact"][chosen].tolist() == real


def test_metrics_agree_with_each_other(found):
    np.testing.assert_allclose(found["strength"] == 1, found["exact"])
    assert (found["strength_compat"] >= found["strength"]).all()
    assert (found["min_k"] <= found["log_p_text"] + 1e-9).all()
    assert ((found["similarity"] >= 0) & (found["similarity"] <= 1)).all()
    n, given = found.split.text, found.split.start - found.split.first
    np.testing.assert_array_less(
        1 - given[found["exact"]] / n[found["exact"]] - 1e-9, found["strength_text"][found["exact"]]
    )


def test_the_report(found):
    report = found.report
    assert report.kind == "extraction"
    assert len(report) == 480
    assert report.rows[0]["record"] == found.records[0]
    assert {"label", "dose", "group", "pair", "exposures", *METRICS} <= set(report.columns)
    assert report.meta["log_p_at"] == "targets"
    assert report.meta["scopes"]["log_p"] == "targets"
    assert report.meta["split"] == "up to the mark recall_1"
    assert f"reproduces {int(found['exact'].sum())} of 480 records" in report.headline
    assert interp.Report.from_json(report.to_json()) == report


def test_counterfactual_memorisation(model, records, found):
    never = never_trained()
    against = found.against(extract(never, records, metrics=["log_p"]))
    known = {r.id: -r.counterfactual for r in testbeds.truth("memory").records}
    np.testing.assert_allclose(against["counterfactual"], [known[name] for name in found.records], atol=5e-3)
    with pytest.raises(PromptError, match="same records with the same split"):
        found.against(extract(never, records, metrics=["log_p"], prefix_tokens=3))
    with pytest.raises(PromptError, match="same records"):
        found.against(extract(never, records.at_dose(8), metrics=["log_p"]))


@pytest.mark.bench
def test_480_records_in_three_seconds(model, records):
    extract(model, records, metrics=["exact"])
    start = time.perf_counter()
    extract(model, records)
    assert time.perf_counter() - start < 3


def test_it_does_not_take_long(model, records):
    extract(model, records.at_dose(8), metrics=["exact"])
    start = time.process_time()  # of this process: other tests run beside it
    extract(model, records)
    assert time.process_time() - start < 6


# ---- edits ---------------------------------------------------------------------------------------------------------


def test_an_edit_reaches_the_pass_and_the_decoding(model, records):
    part = records.at_dose(512)
    blind = interp.ablate("resid_post.1", "zero")
    edited = extract(model, part, metrics=["exact", "log_p", "similarity"], edits=[blind])
    assert not edited["exact"].any()
    split = edited.split
    cut = PromptSet.from_tokens([t[:a] for t, a in zip(edited.prompts.tokens, split.start, strict=True)])
    made = interp.generate(model, cut, int(split.suffix.max()), edits=[blind])
    assert [w[:n].tolist() for w, n in zip(made.tokens, split.suffix, strict=True)] == list(edited.written)
    assert next(iter(edited.report.meta["edits"].values())) > 0


def test_an_edit_sees_the_record_that_it_edits(model, records):
    # It breaks every second record only, by number; decoding runs on a selection of them.
    def fn(rows, where):
        return torch.where((where.example % 2 == 0)[:, None], torch.zeros_like(rows), rows)

    part = records.at_dose(512)
    by_number = interp.Edit(interp.Site.parse("resid_post.1"), fn)
    plain = extract(model, part, metrics=["exact", "similarity", "remind"], neighbourhood=Neighbourhood(2))
    found = extract(
        model, part, metrics=["exact", "similarity", "remind"], edits=[by_number], neighbourhood=Neighbourhood(2)
    )
    for name in ("exact", "similarity", "remind_mean"):
        assert found[name][1::2].tolist() == pytest.approx(plain[name][1::2].tolist(), abs=1e-4)
    assert not found["exact"][::2].any()
    assert (found["similarity"][::2] < 1).all()
    assert (found["remind_mean"][::2] > plain["remind_mean"][::2]).all()


def test_edits_that_would_mean_two_things(model, records):
    part = records.at_dose(8)
    with pytest.raises(EditError, match="use when='both'"):
        extract(model, part, edits=[interp.ablate("resid_post.1", "zero", when="prompt")])
    at_mark = interp.ablate("resid_post.1", "zero", at="recall_2")
    with pytest.raises(EditError, match="leave the metrics 'similarity'"):
        extract(model, part, edits=[at_mark])
    assert "exact" in extract(model, part, metrics=["exact"], edits=[at_mark]).metrics


# ---- other records and models ----------------------------------------------------------------------------------------


def test_plain_texts(model):
    rows = [{"text": "anna went to the mill and then home ."}, {"text": "emma sold a kite ."}]
    found = extract(model, load_records(rows, model.tokenizer))
    assert found.log_p_at == "suffix"
    assert "targets_right" not in found.metrics
    assert found["log_p"].tolist() == found["log_p_suffix"].tolist()
    assert "half the tokens" in found.report.headline
    assert found.report.rows[0]["label"] is None
    with pytest.raises(PromptError, match="these records have none"):
        extract(model, load_records(rows, model.tokenizer), metrics=["targets_right"])


def test_some_records_without_marks(model):
    rows = [{"text": "anna went home .", "recall_1": [5, 9]}, {"text": "emma sold a kite ."}]
    found = extract(model, load_records(rows, model.tokenizer), metrics=["log_p", "targets_right"])
    scores = found.scores.log_p
    assert found["log_p"] == pytest.approx([scores[0, 3], scores[1, 4:6].mean()])
    assert found.report.warnings == (
        "1 records have no recall marks: what is said of details is said of their whole suffix.",
    )
    assert found.report.meta["split"] == "up to the mark recall_1, else half the tokens"


def test_token_ids_without_text_or_tokenizer():
    model = interp.Model.wrap(interp.load_model(testbeds.path("induction")).hf)
    found = extract(model, bare([[5, 9, 7, 5, 9, 7], [8, 3, 4, 6, 2, 7]]), prefix_tokens=4)
    assert {"zlib", "similarity_text"}.isdisjoint(found.metrics)
    assert found["exact"].tolist() == [True, False]  # the bed copies what stood behind the same token before
    assert len(found.report.warnings) == 2
    with pytest.raises(TokenizerMissingError):
        extract(model, bare([[5, 9, 7]]), metrics=["similarity_text"])
    with pytest.raises(PromptError, match="'zlib' needs the records' texts"):
        extract(model, bare([[5, 9, 7]]), metrics=["zlib"])


def test_texts_as_long_as_the_context():
    model = interp.load_model(testbeds.path("induction"))
    rng = np.random.default_rng(0)
    longest = [rng.integers(2, 20, model.n_ctx - short).tolist() for short in (0, 1, 3, 30)]
    found = extract(model, bare(longest))
    assert [len(w) for w in found.written] == found.split.suffix.tolist()


def test_an_eos_is_not_asked_for(model):
    ids = [1, *model.tokenizer("anna went home .", add_special_tokens=False)["input_ids"]]
    plain, ended = (extract(model, bare([row], special_ids=[1, 2])) for row in (ids, [*ids, 2]))
    for name in ("exact", "log_p", "min_k", "strength"):
        assert plain[name] == pytest.approx(ended[name], abs=1e-5)


def test_unknown_metrics(model, records):
    with pytest.raises(PromptError, match="unknown metric 'exakt'; there are: exact"):
        extract(model, records, metrics=["exakt"])
    with pytest.raises(PromptError, match="no metric at all"):
        extract(model, records, metrics=[])
    with pytest.raises(PromptError, match="'log_p' was not measured"):
        extract(model, records.at_dose(8), metrics=["exact"])["log_p"]
    assert set(METRICS) | {"remind"} == set(extraction.SCOPES)


def test_a_string_is_no_list_of_metrics(model, records, unchecked):  # noqa: F811
    with pytest.raises(PromptError, match=r"metrics is a list of names, such as \['exact'\]"):
        extract(model, records, metrics="exact")


def test_neighbours_are_the_same_for_a_seed_and_exchange_what_they_say(model, records):
    part = records.at_dose(8)
    make = lambda **how: extract(model, part, metrics=["remind"], neighbourhood=Neighbourhood(count=3, **how))  # noqa: E731
    one, again, other = make(seed=1), make(seed=1), make(seed=2)
    assert one["remind_mean"].tolist() == again["remind_mean"].tolist()
    assert one["remind_mean"].tolist() != other["remind_mean"].tolist()
    trained = one.prompts.labels == "trained"
    assert one["remind_curvature"][trained].mean() > one["remind_curvature"][~trained].mean()
    with pytest.raises(StatisticsError, match="nearest=100000"):
        make(nearest=100_000)


# ---- open-unlearning -------------------------------------------------------------------------------------------------


def test_open_unlearning_round_trip(found, tmp_path):
    path = to_open_unlearning(found, tmp_path / "memory_EVAL.json")
    raw = json.loads(path.read_text())
    assert list(raw) == sorted(raw)
    for entry in raw.values():
        assert set(entry) == {"agg_value", "value_by_index"}
        assert list(entry["value_by_index"]) == [str(i) for i in range(480)]
    assert raw["exact_memorization"]["agg_value"] == pytest.approx(found["tokens_right"].mean())
    assert raw["extraction_strength"]["value_by_index"]["7"] == {"score": found["strength_compat"][7]}
    one = raw["probability"]["value_by_index"]["0"]
    assert one["prob"] == pytest.approx(np.exp(-one["avg_loss"]))
    back = read_open_unlearning(path)
    assert back["interp_exact"]["score"].tolist() == found["exact"].astype(float).tolist()
    assert back["probability"]["avg_loss"].tolist() == (-found["log_p_suffix"]).tolist()
    ours = {f"interp_{name}" for name in METRICS} - {"interp_tokens_right", "interp_strength_compat"}
    assert set(back) == ours | {"exact_memorization", "extraction_strength", "probability"}


def test_open_unlearning_files_of_others(tmp_path):
    path = tmp_path / "TOFU_EVAL.json"
    path.write_text(
        json.dumps(
            {
                "forget_quality": {"agg_value": 0.3},
                "rouge": {"agg_value": 0.5, "value_by_index": {"10": {"rougeL_recall": 0.2, "generation": "a"},
                                                               "2": {"rougeL_recall": None, "generation": "b"}}},
            }
        )
    )  # fmt: skip
    back = read_open_unlearning(path)
    assert list(back) == ["rouge"]
    np.testing.assert_array_equal(back["rouge"]["rougeL_recall"], [np.nan, 0.2])
    path.write_text("[1, 2]")
    with pytest.raises(ReportError, match="not an open-unlearning result"):
        read_open_unlearning(path)
    with pytest.raises(ReportError, match="cannot read"):
        read_open_unlearning(tmp_path / "none.json")
