"""The whole study: which reports there are, what they claim, and the sentence that sums it up."""

from __future__ import annotations

import json

import pytest

import interp
from interp import testbeds
from interp.errors import PromptError, PromptTooLongError
from interp.memorisation import load_records
from interp.memorisation.claims import claims, headline
from interp.memorisation.project_out import headline as project_out_headline
from interp.memorisation.signature.contrasts import contrast
from interp.memorisation.signature.findings import warnings_of
from interp.memorisation.study import memorisation
from interp.provenance import Provenance
from interp.report import Report

BED = testbeds.path("memory")


@pytest.fixture(scope="module")
def model():
    return interp.load_model(BED)


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in (BED / "records.jsonl").read_text().splitlines()]


def small(rows, dose=8, groups=4):
    """Rows of a few groups of one dose."""
    own = [dict(r) for r in rows if r["dose"] == dose]
    kept = sorted({r["group"] for r in own})[:groups]
    return [r for r in own if r["group"] in kept]


@pytest.fixture(scope="module")
def study(model, rows):
    records = load_records([r for r in rows if r["dose"] in (8, 32)], model.tokenizer)
    never, injected = (interp.load_model(testbeds.path(f"memory-{name}")) for name in ("never", "injected"))
    neutral = interp.load_prompts(BED / "stories.jsonl", model.tokenizer).select(range(8))
    return memorisation(
        model, records, never=never, injected=injected, neutral=neutral, permutations=19, command="interp memorisation"
    )


def test_every_report_is_there_and_says_where_it_came_from(study, model):
    kinds = {name: report.kind for name, report in study.reports.items()}
    assert kinds == {
        "extraction": "extraction", "recall": "recall", "recall-never": "recall", "signature": "signature",
        "gap": "gap", "gap-never": "gap", "gap-twins": "gap", "transfer": "transfer", "project-out": "project-out",
    }  # fmt: skip
    assert study.summary.kind == "memorisation"
    assert len({report.title for report in study.reports.values()}) == len(kinds)
    for name, report in study.reports.items():
        assert report.provenance.command == "interp memorisation", name
        assert report.provenance.seed == 0, name
        assert (report.provenance.model == model.fingerprint) == (not name.endswith("-never")), name


def test_a_row_per_claim_with_its_null_and_verdict(study):
    assert set(study.summary.columns) == {"claim", "value", "value_lo", "value_hi", "null", "p", "verdict", "holds"}
    said = {row["claim"]: row for row in study.summary.rows}
    recited = said["Records are recited word for word (shown 32 times)"]
    assert recited["value"] > 0.9
    assert recited["verdict"] == "recited"
    assert said["The never-trained model recites them (shown 32 times)"]["verdict"] == "nothing, as it should be"
    for start in (
        "A probe tells trained and never-seen twins apart at recall at dose 8", "Memorised wordings are told from",
        "The same with the never-trained model: wordings", "A probe of the natural model reads the injected one",
        "Projecting the probe's direction out makes", "Accuracy falls below chance after in-sample erasure",
    ):  # fmt: skip
        assert any(text.startswith(start) for text in said), start
    assert study.summary.headline.startswith("'memory' recites ")
    assert "of the records that it was shown 32 times word for word, and 0 % of their never-seen twins" in (
        study.summary.headline
    )


def test_saved_and_read_again(study, tmp_path):
    folder = study.save(tmp_path / "new" / "out")
    assert Report.load(folder / "report.json") == study.summary
    for name, report in study.reports.items():
        assert Report.load(folder / f"{name}.json") == report
    assert (folder / "records.csv").read_text().count("\n") == 1 + len(study.reports["extraction"])
    assert not (folder / "extraction.csv").exists()
    assert repr(study) == repr(study.summary)


def test_records_without_twins_and_wordings_have_recall_only(model, rows):
    plain = [{"text": r["text"]} for r in rows if r["dose"] == 8 and r["pool"] == "M"]
    found = memorisation(model, load_records(plain, model.tokenizer), permutations=9)
    assert list(found.reports) == ["extraction", "recall"]
    assert found.summary.warnings
    assert "No record has a twin that was never seen" in found.summary.warnings[0]
    assert "recites" in found.summary.headline


def test_labels_without_pairs_are_no_twins(model, rows):
    keep = ("text", "label", "recall_1", "recall_2")
    some = [{k: r[k] for k in keep} for r in small(rows, 32) if r["pool"] == "M"]
    records = load_records(some, model.tokenizer)
    assert repr(records) == "Records(32 records in wordings M, trained and untrained)"
    found = memorisation(model, records, permutations=19, untrained=False)
    cells = found.reports["signature"].meta["cells"]
    assert {(c["units"], c["unit"]) for c in cells} == {(32, "records")}
    assert found.reports["signature"].rows[0]["pairs"] is None
    assert any("nothing says that a coin decided" in w for w in found.summary.warnings)
    said = [found.summary.headline, *(r.headline for r in found.reports.values())]
    said += [text for row in found.summary.rows for text in (row["claim"], row["null"], row["verdict"])]
    assert not any("twin" in text for text in said)
    assert any("trained and untrained records" in text for text in said)


def test_groups_of_unpaired_records_are_counted_as_groups(model, rows):
    keep = ("text", "label", "group", "recall_1", "dose")
    some = [{k: r[k] for k in keep} for r in rows if r["dose"] == 32 and r["pool"] == "M"]
    one = contrast(load_records(some, model.tokenizer), "twins", 32)
    assert (one.n_units, one.unit) == (6, "groups")
    pairs = contrast(load_records([r for r in rows if r["dose"] == 32], model.tokenizer), "twins", 32)
    assert (pairs.n_units, pairs.unit) == (24, "pairs")


def test_without_recall_marks_the_last_token_is_read_and_that_is_said(model, rows):
    keep = ("text", "label", "pair", "group", "dose")
    some = [{k: r[k] for k in keep} for r in small(rows) if r["pool"] == "M"]
    found = memorisation(model, load_records(some, model.tokenizer), permutations=0, untrained=False)
    assert {row["mark"] for row in found.reports["signature"].rows} == {"last"}
    assert any("no recall marks" in w and "read at the last token" in w for w in found.summary.warnings)


def test_what_some_records_do_not_allow_is_left_out_and_said(model, rows):
    some = small(rows)
    lacking = next(i for i, r in enumerate(some) if r["pool"] == "B" and r["label"] == "trained")
    group = some.pop(lacking)["group"]
    some = [r for r in some if r["group"] != group or r["pool"] != "B"]
    records = load_records(some, model.tokenizer)
    found = memorisation(model, records, permutations=0, untrained=False, marks=["recall"])
    assert "gap" not in found.reports
    assert {"recall", "signature", "gap-twins", "project-out"} <= set(found.reports)
    assert found.summary.meta["left_out"].keys() == {"gap"}
    (said,) = [w for w in found.summary.warnings if "left out" in w]
    assert said.startswith(f"The gap was left out: group {group!r} lacks a wording")


def test_one_group_is_no_group_to_leave_out(model, rows):
    some = [{**r, "group": "all"} for r in rows if r["dose"] == 8 and r["pool"] == "M"]
    found = memorisation(model, load_records(some, model.tokenizer), untrained=False, permutations=0)
    assert list(found.reports) == ["extraction", "recall"]
    assert found.summary.headline.endswith("; whether a probe can tell it was not measured (see the warnings).")
    assert any("'all'" in w and "all 48 examples are in one group" in w for w in found.summary.warnings)


def test_records_of_which_nothing_can_be_measured(model):
    with pytest.raises(PromptError, match="no wording M"):
        memorisation(model, load_records([{"text": "anna went home .", "pool": "B"}], model.tokenizer))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"marks": ["recall", "verb"]}, "no record has a mark 'verb'; there are: recall, last, key, recall_1"),
        ({"doses": [7]}, "no record has dose 7"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_measured(model, rows, options, message, monkeypatch):
    monkeypatch.setattr("interp.memorisation.study.extract", None)
    some = load_records([r for r in rows if r["dose"] == 8], model.tokenizer)
    with pytest.raises(PromptError, match=message):
        memorisation(model, some, **options)


def test_a_long_row_is_refused_whatever_its_wording_and_label(model, rows):
    some = [dict(r) for r in rows if r["dose"] == 8]
    long = next(r for r in some if r["pool"] == "B" and r["label"] == "untrained")
    long["text"] += " anna" * 200
    with pytest.raises(PromptTooLongError, match="1 of 144 rows of the records are longer"):
        memorisation(model, load_records(some, model.tokenizer))


def test_tokens_that_the_tokenizer_does_not_know_are_counted(model, rows, study):
    some = [dict(r) for r in rows if r["dose"] == 8 and r["pool"] == "M"]
    some[0]["text"] += " qwertz asdf"
    plain = [{"text": r["text"]} for r in some]
    found = memorisation(model, load_records(plain, model.tokenizer), permutations=0)
    (said,) = [w for w in found.summary.warnings if "unknown" in w]
    assert said.startswith("0.18 % of the records' tokens, in 1 of 48 rows, are unknown to the tokenizer (<unk>)")
    assert not any("unknown" in w for w in study.summary.warnings)


def test_doses_are_those_of_every_part(model, rows):
    both = [*small(rows), *small(rows, 32)]
    some = load_records([r for r in both if r["pool"] == "M"], model.tokenizer)
    found = memorisation(model, some, doses=[8], permutations=0, untrained=False)
    assert {row["dose"] for row in found.reports["signature"].rows} == {8}
    assert {row["dose"] for row in found.reports["project-out"].rows} == {8}
    assert {row["dose"] for row in found.reports["recall"].rows} == {8, 32}
    assert "shown 8 times" in found.summary.headline
    assert "32" not in found.summary.headline
    assert not any("32" in row["claim"] for row in found.summary.rows)


def test_wordings_without_twins(model, rows):
    keep = ("text", "record", "pool", "group", "recall_1", "recall_2")
    some = [{k: r[k] for k in keep} for r in rows if r["dose"] == 32 and r["label"] == "trained"]
    found = memorisation(model, load_records(some, model.tokenizer), permutations=9, untrained=False)
    assert {"signature", "gap", "project-out"} <= set(found.reports)
    assert "gap-twins" not in found.reports
    assert {row["contrast"] for row in found.reports["signature"].rows} == {"M-C", "C-B"}
    assert found.reports["project-out"].rows[0]["contrast"] == "M-C"
    assert "twin_change" not in found.reports["project-out"].columns


# --- sentences, from made-up numbers ----------------------------------------------------------------------------------


def cell(**changes):
    made = {
        "contrast": "twins", "dose": 512, "mark": "recall", "peak_site": "resid_post.3", "peak_auc": 0.7,
        "p_max": 0.005, "p_family": 0.005, "nested_auc": 0.68, "nested_auc_lo": 0.6, "nested_auc_hi": 0.75,
        "null_max_auc_95": 0.58, "highest_auc_hi": 0.75, "units": 64, "unit": "pairs", "detectable": 0.61,
        "groups": 16, "min_p": 0.005, "never_p_max": 0.4, "never_peak_auc": 0.51, "untrained_p_max": 0.7,
        "untrained_peak_auc": 0.5, "bow_auc": 0.5, "bow_auc_lo": 0.4, "bow_auc_hi": 0.6, "log_p_auc": 1.0,
        "log_p_auc_lo": 0.8, "log_p_auc_hi": 1.0,
    }  # fmt: skip
    made |= changes
    return {**made, "p_family": max(made["p_max"], made["p_family"])}  # the whole table holds this part of it


def signature_of(*cells, trend=()):
    row = {"contrast": "twins", "dose": 512, "mark": "recall", "depth": 0, "auc": 0.5, "auc_lo": 0.45, "auc_hi": 0.55}
    meta = {"cells": list(cells), "dose_trend": list(trend)}
    return Report("signature", "Signature", "It is read.", [{**row, "p_max": 1.0}], Provenance("a1", "tiny"), meta=meta)


def verdicts(*cells):
    return {row["claim"]: row["verdict"] for row in claims({"signature": signature_of(*cells)})}


def test_found_and_clean():
    nothing = cell(dose=0, p_max=0.5, peak_auc=0.52, nested_auc=0.5, never_p_max=None, untrained_p_max=None)
    said = headline({"signature": signature_of(nothing, cell())}, "tiny")
    assert said == (
        "A linear probe tells trained and never-seen twins apart at recall at dose 512 (AUC 0.68, p = 0.005), and "
        "finds nothing with the never-trained model, random weights and dose 0."
    )
    found = verdicts(nothing, cell())
    assert found["A probe tells trained and never-seen twins apart at recall at dose 512 (AUC)"] == "found"
    assert found["A probe tells trained and never-seen twins apart at recall at dose 0 (AUC)"].startswith("nothing")
    for who in ("with the never-trained model", "with random weights"):
        assert found[f"The same {who} at recall at dose 512 (peak AUC)"] == "nothing, as it should be"
    assert found["The same from each record's log p alone at recall at dose 512 (AUC)"] == "the output shows it too"


def test_controls_stand_beside_what_they_control():
    told = [row["claim"] for row in claims({"signature": signature_of(cell(), cell(contrast="M-C", unit="records"))})]
    assert told[0].startswith("A probe tells trained and never-seen twins apart")
    assert all(text.startswith("The same") for text in told[1:-1])
    assert told[-1].startswith("A probe tells memorised wordings")


def test_a_trend_of_records_that_nothing_pairs():
    trend = {"contrast": "twins", "mark": "recall", "slope": 0.03, "p": 0.001}
    for unit, words in (("pairs", "trained and never-seen twins"), ("records", "trained and untrained records")):
        rows = claims({"signature": signature_of(cell(unit=unit), trend=[trend])})
        (row,) = [r for r in rows if r["verdict"] == "rises"]
        assert row["claim"] == f"The AUC rises with the dose at recall ({words}; per step)"


def test_not_found_with_power():
    weak = cell(p_max=0.3, peak_auc=0.55, nested_auc=0.52)
    said = headline({"signature": signature_of(weak)}, "tiny")
    assert said == (
        "No depth tells trained and never-seen twins apart better than permuted labels do (with 64 pairs an AUC of "
        "0.61 would have been found 4 times in 5)."
    )
    assert "not found; with 64 pairs an AUC of 0.61 would have been found 4 times in 5" in verdicts(weak).values()
    assert not any("The same" in text for text in verdicts(weak))  # there is nothing to explain


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"never_p_max": 0.005}, "the never-trained model"),
        ({"untrained_p_max": 0.01}, "a model with random weights"),
    ],
)
def test_a_control_that_shows_it_too(changes, words):
    said = headline({"signature": signature_of(cell(**changes))}, "tiny")
    assert said.endswith(f"but so it does with {words}: it need not be memory.")
    assert "something, which needs another explanation" in verdicts(cell(**changes)).values()


def test_many_findings_excuse_no_control():
    cells = [cell(dose=d) for d in (8, 32, 128)] + [cell(never_p_max=0.03)]
    said = headline({"signature": signature_of(*cells)}, "tiny")
    assert said.endswith("but so it does with the never-trained model: it need not be memory.")
    (row,) = [r for r in claims({"signature": signature_of(*cells)}) if "with the never-trained model" in r["claim"]]
    assert (row["p"], row["holds"], row["verdict"]) == (0.03, True, "something, which needs another explanation")
    assert row["null"] == "the model: 0.70; the lowest p of 4 parts of the table"


def test_a_placebo_that_shows_it_too():
    said = headline({"signature": signature_of(cell(dose=0), cell())}, "tiny")
    assert said.endswith("but so it does with dose 0, where neither twin was seen: it need not be memory.")


def recall_of(*rows, gaps=(), **meta):
    made = [
        {"dose": d, "label": label, "exact": x, "exact_lo": low, "exact_hi": high} for d, label, x, low, high in rows
    ]
    gaps = [{"dose": d, "p": p, "min_p": least, "groups": n, "gap": 0.5} for d, p, least, n in gaps]
    return Report("recall", "Recall", "R.", made, Provenance("a1", "tiny"), meta={"exact_gaps": gaps, **meta})


def recited(report, **options):
    return claims({"recall": report}, **options)[0]


def test_recital_is_tested_on_the_gap_between_twins():
    rows = [(8, "trained", 1.0, 0.6, 1.0), (8, "untrained", 0.1, 0.0, 0.65)]
    found = recited(recall_of(*rows, gaps=[(8, 0.01, 0.01, 7)]))
    assert (found["verdict"], found["p"], found["holds"]) == ("recited", 0.01, True)
    luck = recited(recall_of(*rows, gaps=[(8, 0.3, 0.01, 7)]))
    assert (luck["verdict"], luck["holds"]) == ("not recited more than never-seen twins", False)
    few = recited(recall_of(*rows, gaps=[(8, 0.25, 0.25, 2)]))
    assert few["holds"] is None
    assert few["verdict"] == ("recited; cannot be tested: with 2 groups no p-value is below 0.25")
    none = recited(recall_of((8, "trained", 0.0, 0.0, 0.3), rows[1], gaps=[(8, 1.0, 0.01, 7)]))
    assert (none["verdict"], none["holds"]) == ("not recited", False)
    other = recall_of(*rows, gaps=[(8, 0.3, 0.01, 7)], twins=False)
    assert recited(other)["verdict"] == "not recited more than untrained records"
    assert recited(other)["null"] == "untrained records: 10 %"


def test_few_groups_without_permutations_have_no_p():
    bare = cell(groups=6) | {"p_max": None, "p_family": None, "min_p": 1.0}
    assert "intervals are rough." in warnings_of([bare])[0]
    assert "no p-value there can be below 0.016" in warnings_of([cell(groups=6, min_p=0.0156)])[0]


def test_only_doses_that_were_analysed_are_quoted():
    rows = [(d, label, x, 0.0, 1.0) for d in (8, 512) for label, x in (("trained", d / 512), ("untrained", 0.0))]
    report = recall_of(*rows, gaps=[(8, 0.3, 0.01, 7), (512, 0.001, 0.01, 7)])
    assert recited(report)["claim"].endswith("(shown 512 times)")
    assert recited(report, doses=[8])["claim"].endswith("(shown 8 times)")
    assert recited(report, doses=[8])["value"] == 8 / 512
    assert headline({"recall": report}, "tiny", [8]).startswith(
        "'tiny' recites 2 % of the records that it was shown 8 times"
    )


def projected(change, low, high, beyond):
    row = {
        "site": "resid_post.1", "log_p_change": change, "log_p_change_lo": low, "log_p_change_hi": high,
        "beyond_random_hi": beyond, "random_change": 0.01, "in_sample_acc": 0.2, "nested_acc": 0.5, "fresh_auc": None,
    }  # fmt: skip
    made = Report("project-out", "P", "H.", [row], Provenance("a1", "tiny"))
    found = claims({"project-out": made})[0]
    return found["verdict"], found["holds"], project_out_headline([row], "details")


def test_a_direction_costs_something_only_if_it_costs_more_than_nothing():
    verdict, holds, said = projected(-0.1, -0.2, -0.05, -0.01)
    assert (verdict, holds) == ("more than random directions", True)
    assert said.startswith("Projecting the probe's direction out costs memorised records 0.1 nats per token")
    verdict, holds, said = projected(-0.1, -0.2, -0.05, 0.01)
    assert (verdict, holds) == ("no more than random directions", False)
    verdict, holds, said = projected(-0.0001, -0.002, 0.001, -0.01)  # random directions happen to raise it
    assert (verdict, holds) == ("no change that can be told from none", False)
    assert "costs memorised records nothing that can be told from none (-0.0001 [-0.002, +0.001] nats" in said


def test_what_was_not_tested_is_not_called_nothing():
    bare = {"p_max": None, "p_family": None, "null_max_auc_95": None, "detectable": None, "min_p": 1.0}
    cells = [cell(dose=0) | bare, cell() | bare]
    assert headline({"signature": signature_of(*cells)}, "tiny") == (
        "Whether a linear probe tells trained and never-seen twins apart: not tested (no permutations)."
    )
    rows = claims({"signature": signature_of(*cells)})
    assert {(row["verdict"], row["holds"]) for row in rows} == {("not tested (no permutations)", None)}
    few = cell(p_max=0.25, min_p=0.25, groups=3, detectable=None)
    assert headline({"signature": signature_of(few)}, "tiny").endswith(
        "cannot be tested: with 3 groups no p-value is below 0.25."
    )
    assert {row["holds"] for row in claims({"signature": signature_of(few)})} == {None}


def test_a_study_without_permutations_claims_nothing(model, rows):
    parts = small(rows)
    found = memorisation(model, load_records(parts, model.tokenizer), injected=model, untrained=False, permutations=0)
    silent = [r for r in found.summary.rows if r["verdict"].startswith("not tested (no permutations)")]
    assert {r["claim"].split()[0] for r in silent} == {"A", "Memorised"}
    assert len(silent) == 3 + 2 + 2  # signature: twins, M-C, C-B; gap, gap-twins; transfer there and back
    assert {r["holds"] for r in silent} == {None}
    assert "not tested (no permutations)" in found.summary.headline


def test_one_dose_of_many_and_groups_that_lean():
    assert "a hint: p = 0.005, 0.2 over the whole table" in verdicts(cell(p_family=0.2)).values()
    assert "a hint: p = 0.03, 0.2 over the whole table" in verdicts(cell(dose=0, p_max=0.03, p_family=0.2)).values()
    leaning = cell(contrast="C-B", p_max=1.0, highest_auc_hi=0.4)
    assert "below chance: the groups lean against each other" in verdicts(cell(), leaning).values()
    bow = cell(bow_auc=0.9, bow_auc_lo=0.8)
    assert verdicts(bow)["The same from a bag of tokens at recall at dose 512 (AUC)"].startswith("something")


def test_nothing_measured():
    assert headline({}, "tiny") == "Nothing was measured on 'tiny'."
    assert claims({}) == []
