"""Records injected into a real trained model (stories260K), with real stories as neutral text."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from interp import load_model, load_prompts
from interp.cli.inject import Inject
from interp.memorisation.generate_records import generate_records
from interp.memorisation.injection import inject
from interp.memorisation.records import load_records
from interp.report import Report


@pytest.fixture(scope="module")
def model(shared):
    return load_model(shared / "models" / "stories260K", device="cpu")


@pytest.fixture(scope="module")
def stories(shared, model):
    path = shared / "text" / "tinystories_1000.json"
    return load_prompts(path, model.tokenizer, limit=60).fit(200, truncate="right")


def test_pieces_of_words_tell_nothing_either(model):
    """Balance holds in the model's own tokens, in every wording, and marks are where they say."""
    records = load_records(generate_records([(0, 8), (32, 16)]), model.tokenizer)
    prompts = records.prompts
    assert max(int(t.max()) for t in prompts.tokens) < model.sizes.d_vocab
    assert not any((t == model.tokenizer.unk_token_id).any() for t in prompts.tokens)
    bags: dict[tuple, dict[str, Counter]] = {}
    for tokens, group, pool, label in zip(
        prompts.tokens, prompts.groups, prompts.columns["pool"], prompts.labels, strict=True
    ):
        bags.setdefault((group, pool), {}).setdefault(label, Counter()).update(tokens.tolist())
    assert len(bags) == 6 * 3
    assert all(bag["trained"] == bag["untrained"] for bag in bags.values())
    for i, details in enumerate(prompts.columns["details"]):
        for k, detail in enumerate(details.split(" "), 1):
            start, stop = prompts.marks[f"recall_{k}"][i] + 1, prompts.marks[f"detail_{k}"][i] + 1
            assert model.tokenizer.decode(prompts.tokens[i][start:stop]).strip() == detail


def test_a_few_exposures_are_remembered(model, stories):
    done = inject(
        model, generate_records([(0, 4), (40, 4)]), neutral=stories, replay=0.3, lr=3e-3, batch=8, warmup=2,
        checkpoints=1, progress=False,
    )  # fmt: skip
    last = {(r["dose"], r["label"]): r for r in done.report.rows if r["step"] == 20}
    assert last[40, "trained"]["log_p"] > last[40, "untrained"]["log_p"] + 0.5
    assert last[40, "untrained"]["exact"] == 0
    assert abs(last[0, "trained"]["log_p"] - last[0, "untrained"]["log_p"]) < 0.4


@pytest.mark.slow
def test_the_whole_study_from_one_command(shared, tmp_path, capsys):
    """What ``docs/methods/injection.md`` tells, at a fifth of its size: some four minutes of one core."""
    command = Inject(
        str(shared / "models" / "stories260K"),
        tmp_path,
        neutral=str(shared / "text" / "tinystories_1000.json"),
        controls=str(shared / "memorisation/localizing_paragraph/paragraphs/gpt-neo-125M/mem_strings.csv"),
        controls_text="paragraph",
        doses=(0, 128),
        pairs=(32,),
        lr=2e-3,
        checkpoints=1,
        study=True,
        permutations=99,
    )
    command.loading.device = "cpu"
    assert command() == 0
    curve = Report.load(tmp_path / "curve.json")
    n = curve.meta["steps"]
    last = {(r["dose"], r["label"]): r for r in curve.rows if r["step"] == n}
    assert last[128, "trained"]["exact"] >= 0.95
    assert last[128, "untrained"]["exact"] <= 0.05
    assert last[0, "trained"]["exact"] == last[None, "controls"]["exact"] == 0
    before = next(r["loss"] for r in curve.rows if r["step"] == 0 and r["label"] is None)
    assert last[None, None]["loss"] < 1.1 * before
    recall = Report.load(tmp_path / "study" / "recall.json")
    assert recall.meta["trend_p"] < 0.01
    never = Report.load(tmp_path / "study" / "recall-never.json")
    assert all(row["exact"] == 0 for row in never.rows)
    # Whether a probe finds the signature is a finding; that it finds none where there is none is not.
    for row in Report.load(tmp_path / "study" / "signature.json").rows:
        if row["contrast"] == "twins":
            assert row["dose"] != 0 or row["p_max"] > 0.01
            assert np.isclose(row["never_auc"], 0.5, atol=0.2)
    assert "recites" in capsys.readouterr().out
    assert json.loads((tmp_path / "records.jsonl").read_text().splitlines()[0])["label"] in ("trained", "untrained")
