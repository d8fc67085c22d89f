"""Records trained into tiny models: what it does, that it is exact, that it resumes, and what it refuses."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from interp import PromptSet, load_model
from interp.cli import main
from interp.cli.inject import Inject
from interp.cli.options import ModelOptions
from interp.errors import InjectionError, PromptTooLongError
from interp.memorisation.generate_records import DETAILS, FIRST, LAST, REGISTERS, generate_records
from interp.memorisation.injection import inject, is_finished, training
from interp.memorisation.records import load_records
from interp.memorisation.tokens import unknown_words
from interp.models import Model
from interp.report import Report

ROWS = generate_records([(0, 4), (120, 4)], seed=1)
FEW = generate_records([(0, 4), (12, 4)], seed=1)
FAST = {"batch": 4, "lr": 1e-2, "warmup": 5, "progress": False}


def tokenizer():
    """Words and marks of punctuation, each a token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    texts = [w for ws in REGISTERS.values() for w in ws] + [" ".join(FIRST[0] + FIRST[1] + LAST)]
    texts += [" ".join(words) for words in DETAILS.values()]
    split = pre_tokenizers.Whitespace()
    words = {word for text in texts for word, _ in split.pre_tokenize_str(text)} | {
        "he",
        "He",
        "She",
        "his",
        "His",
        "her",
    }
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<s>", "<unk>", *sorted(words)])}, unk_token="<unk>"))
    raw.pre_tokenizer = split
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", unk_token="<unk>")


@pytest.fixture(scope="module")
def model():
    words = tokenizer()
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    return Model.wrap(LlamaForCausalLM(config), words, id="tiny")


@pytest.fixture(scope="module")
def neutral(model):
    rows = generate_records([(1, 24)], seed=9)
    return PromptSet.from_texts([row["text"] for row in rows if row["pool"] == "C"], model.tokenizer)


@pytest.fixture(scope="module")
def done(model, neutral):
    before = model.fingerprint
    made = inject(model, ROWS, neutral=neutral, controls=neutral.select([0, 1, 2]), replay=0.2, **FAST)
    assert model.fingerprint == before
    return made


def rows_at(report: Report, step: int, **want) -> list[dict]:
    return [r for r in report.rows if r["step"] == step and all(r[k] == v for k, v in want.items())]


def test_trained_twins_are_recited_and_untrained_ones_are_not(done, model):
    n = len(done.history)
    assert n == -(-120 * 4 // 4)
    (trained,) = rows_at(done.report, n, dose=120, label="trained")
    assert trained["exact"] == 1.0
    assert trained["log_p"] > -0.2
    for row in rows_at(done.report, n, label="untrained") + rows_at(done.report, n, dose=0):
        assert row["exact"] == 0.0
        assert row["log_p"] < trained["log_p"] - 1
    assert all(row.get("exact", 0.0) == 0.0 for row in rows_at(done.report, 0))
    (controls,) = rows_at(done.report, n, label="controls")
    assert controls["records"] == 3
    assert "100% of trained records, 0% of untrained twins" in done.report.headline
    assert done.model.fingerprint != model.fingerprint
    assert done.provenance.model == model.fingerprint
    assert done.report.meta["injected"] == done.model.fingerprint
    assert done.report.title == "Records injected into 'tiny'"


def test_the_curve_has_every_checkpoint(done):
    assert sorted({row["step"] for row in done.report.rows}) == [0, 30, 60, 90, 120]
    losses = [row["loss"] for row in done.report.rows if "loss" in row]
    assert len(losses) == 5
    assert losses[-1] < losses[0]  # text of the same kind
    assert done.report.rows[0]["records"] == 4


def test_history_is_the_loss_before_each_step(done, model):
    assert [one.step for one in done.history] == list(range(1, 121))
    first = training.summed_loss(model, done_texts := injection_texts(done)[:4]).item()
    assert done.history[0].records == pytest.approx(first / sum(len(t) - 1 for t in done_texts), rel=1e-5)
    assert done.history[-1].records < 0.5 * done.history[0].records
    assert done.history[-1].lr == pytest.approx(1e-2 * 0.05, rel=0.2)


def injection_texts(done) -> list[np.ndarray]:
    from interp.memorisation.injection.plan import exposure_order

    planted = done.records.planted()
    order = exposure_order(planted.columns["exposures"].tolist(), done.recipe.seed)
    return [planted.tokens[i] for i in order]


def test_only_planted_wordings_of_trained_twins_are_shown(done):
    shown = {tuple(tokens.tolist()) for tokens in injection_texts(done)}
    prompts = done.records.prompts
    for tokens, label, pool, dose in zip(
        prompts.tokens, prompts.labels, prompts.columns["pool"], prompts.columns["dose"], strict=True
    ):
        assert (tuple(tokens.tolist()) in shown) == (label == "trained" and pool == "M" and dose > 0)


@pytest.fixture(scope="module")
def brief(model, neutral):
    """Twelve steps."""
    return inject(model, FEW, neutral=neutral, replay=0.2, **FAST)


def test_the_same_seed_gives_the_same_weights(brief, model, neutral):
    again = inject(model, FEW, neutral=neutral, replay=0.2, checkpoints=1, **FAST)
    assert again.model.fingerprint == brief.model.fingerprint
    other = inject(model, FEW, neutral=neutral, replay=0.2, checkpoints=1, seed=1, **FAST)
    assert other.model.fingerprint != brief.model.fingerprint


def test_a_step_is_the_same_however_it_is_cut(model):
    texts = list(load_records(ROWS, model.tokenizer).prompts.tokens[:6])
    whole, parts = model.copy(), model.copy()
    for one, budget in ((whole, 4096), (parts, 40)):
        recipe = training.Recipe(batch=6, batch_tokens=budget)
        step = training.Step(texts[:4], texts[4:])
        training.train(one, training.optimiser_of(one, recipe), [step], 1, recipe)
    for a, b in zip(whole.hf.parameters(), parts.hf.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-5)
    assert not torch.equal(next(iter(whole.hf.parameters())), next(iter(model.hf.parameters())))


def test_padding_changes_no_loss(model):
    texts = sorted(load_records(ROWS, model.tokenizer).prompts.tokens, key=len)
    apart = sum(training.summed_loss(model, [t]).item() for t in (texts[0], texts[-1]))
    assert training.summed_loss(model, [texts[0], texts[-1]]).item() == pytest.approx(apart, rel=1e-5)


# ---- interrupted ---------------------------------------------------------------------------------------------------


def test_an_interrupted_training_goes_on(brief, model, neutral, tmp_path, monkeypatch):
    options = {
        "neutral": neutral,
        "replay": 0.2,
        "out": tmp_path / "out",
        **FAST,
    }
    take, taken = training._take, []

    def interrupted(*args):
        taken.append(args[3])
        if args[3] == 8:
            raise KeyboardInterrupt
        return take(*args)

    monkeypatch.setattr(training, "_take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        inject(model, FEW, **options)
    assert not (tmp_path / "out" / "records.jsonl").exists()
    monkeypatch.setattr(training, "_take", lambda *args: taken.append(args[3]) or take(*args))
    with pytest.raises(InjectionError, match="unfinished injection of other records"):
        inject(model, FEW, **options | {"lr": 2e-2})
    taken.clear()
    again = inject(model, FEW, **options)
    assert taken == list(range(7, 13))  # from the checkpoint at 6
    assert again.model.fingerprint == brief.model.fingerprint
    assert again.report.rows == brief.report.rows
    assert again.history == brief.history
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "curve.json", "history.csv", "model", "records.jsonl",
    ]  # fmt: skip
    with pytest.raises(InjectionError, match="finished injection"):
        inject(model, FEW, **options)


def test_an_interrupted_command_says_how_to_go_on(model, tmp_path, monkeypatch, capsys):
    model.save(tmp_path / "tiny")
    out = tmp_path / "out"
    take, stop_at = training._take, [2]

    def interrupted(*args):
        if args[3] == stop_at[0]:
            raise KeyboardInterrupt
        return take(*args)

    def said():
        given = [tmp_path / "tiny", "--out", out, "--doses", 0, 4, "--pairs", 4, "--batch", 4, "--checkpoints", 2]
        assert main(["inject", *map(str, given), "--study", "--device", "cpu"]) == 130
        return capsys.readouterr().err

    monkeypatch.setattr(training, "_take", interrupted)
    assert "no checkpoint had been written, so the same command starts from the beginning" in said()
    stop_at[0] = 3
    assert "the same command goes on from the last checkpoint" in said()
    stop_at[0] = 0

    def stop(self, *_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Inject, "_study", stop)
    again = f"interp memorisation {out}/model {out}/records.jsonl --never {tmp_path}/tiny --out {out}/study"
    assert f"the injection is whole, in {out}; to study it: {again}" in said()
    assert (out / "report.html").exists()
    assert main(["inject", str(tmp_path / "tiny"), "--out", str(out)]) == 2
    assert "holds a finished injection" in capsys.readouterr().err


def test_an_answer_key_is_written_last(brief, tmp_path, monkeypatch):
    def full(self, path=None):
        raise OSError("no space left")

    monkeypatch.setattr(Report, "to_csv", full)
    with pytest.raises(OSError, match="no space"):
        brief.save(tmp_path)
    assert not is_finished(tmp_path)


def test_what_cannot_end_well_is_refused_before_the_model_is_loaded(tmp_path, monkeypatch, capsys):
    def load(self, name):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(ModelOptions, "load", load)
    key = tmp_path / "facts.jsonl"
    key.write_text('{"text": "anna is here"}\n')
    (tmp_path / "file").write_text("")
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "records.jsonl").write_text("")
    out = tmp_path / "out"
    for given, message in (
        ((tmp_path / "none.jsonl", "--out", out), "none.jsonl"),
        (("--neutral", tmp_path / "no.txt", "--out", out), "no.txt"),
        ((key, "--controls", tmp_path / "other.txt", "--out", out), "other.txt"),
        (("--out", tmp_path / "file"), "cannot write to"),
        (("--out", tmp_path / "done"), "holds a finished injection"),
        (("--doses", 0, 2, 4, "--pairs", 4, 4, "--out", out), "2 numbers of --pairs"),
    ):
        assert main(["inject", "model", *map(str, given)]) == 2
        assert message in capsys.readouterr().err
        assert not out.exists()


def test_words_that_the_tokenizer_does_not_know_are_told(model):
    rows = [{"id": name, "text": f"{name} is the zzyzx .", "pair": "p"} for name in FIRST[0][:2]]
    options = {"neutral": None, "doses": [2], "batch": 2, "progress": False}
    done = inject(model, rows, **options)
    share = np.mean(np.concatenate(done.records.prompts.tokens) == model.tokenizer.unk_token_id)
    assert 0 < share < 1
    told = f"{100 * share:.2g} % of the records' tokens, in 2 of 2 rows, are unknown to the tokenizer (<unk>)"
    assert any(w.startswith(told) for w in done.report.warnings)
    assert unknown_words(model, load_records(FEW, model.tokenizer).prompts) == []
    same = [{"id": n, "text": f"{n} is here .", "pair": "p"} for n in ("zzyzx", "qqxyz")]
    with pytest.raises(InjectionError, match=r"'(zzyzx|qqxyz)', which is not to be seen, .* are the same tokens"):
        inject(model, same, **options)


def test_a_token_that_also_begins_texts_is_not_called_unknown(model):
    prompts = load_records(FEW, model.tokenizer).prompts
    bytewise = copy.deepcopy(model.tokenizer)
    bytewise.unk_token = bytewise.bos_token
    twin = Model.wrap(model.hf, bytewise, id="tiny")
    assert (prompts.tokens[0] == bytewise.unk_token_id).any()
    assert unknown_words(twin, prompts) == []


def test_a_broken_state_is_refused(model, neutral, tmp_path, monkeypatch):
    (tmp_path / "unfinished.json").write_text('{"plan": "')
    with pytest.raises(InjectionError, match="cannot be read"):
        inject(model, ROWS, neutral=neutral, out=tmp_path, **FAST)


# ---- settings ------------------------------------------------------------------------------------------------------


def test_other_dtypes_train_in_single_precision(model):
    half = model.copy()
    half.hf.to(torch.bfloat16)
    made = inject(half, ROWS, neutral=None, checkpoints=1, **FAST)
    assert made.model.dtype == torch.bfloat16
    assert half.dtype == torch.bfloat16
    (trained,) = rows_at(made.report, 120, dose=120, label="trained")
    assert trained["exact"] >= 0.75
    assert "No neutral text" in made.report.warnings[0]


def test_a_loss_that_is_not_finite_is_refused(model):
    with pytest.raises(InjectionError, match=r"step \d+: .*(nan|inf).*learning rate below 1e\+20"):
        inject(model, ROWS, neutral=None, **FAST | {"lr": 1e20})
    assert all(bool(p.isfinite().all()) for p in model.hf.parameters())


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"replay": 0.5}, "needs neutral texts"),
        ({"replay": 1.0}, "below 1"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"batch": 0}, "batch must be above 0"),
        ({"warmup": -1}, "warmup"),
        ({"dtype": "float16"}, "cannot train in 'float16'"),
        ({"checkpoints": 0}, "checkpoints"),
        ({"doses": [3]}, "would be ignored"),
    ],
)
def test_settings_that_cannot_be(model, neutral, options, fault):
    given = {"neutral": None if options.get("replay") == 0.5 else neutral, **options}
    with pytest.raises(InjectionError, match=fault):
        inject(model, ROWS, **given)


def test_texts_beyond_the_context_are_refused(model):
    long = PromptSet.from_tokens([[1] * 65, [1] * 4])
    with pytest.raises(PromptTooLongError):
        inject(model, ROWS, neutral=long)


# ---- the command ---------------------------------------------------------------------------------------------------


def test_the_command_writes_a_model_and_its_answer_key(model, neutral, tmp_path, capsys):
    model.save(tmp_path / "tiny")
    texts = tmp_path / "neutral.json"
    texts.write_text(json.dumps(list(neutral.texts)))
    command = Inject(
        str(tmp_path / "tiny"), tmp_path / "out", neutral=str(texts), doses=(0, 6), pairs=(4,), batch=4, checkpoints=2,
    )  # fmt: skip
    assert command() == 0
    said = capsys.readouterr().out
    assert "Recited at dose 6" in said
    out = tmp_path / "out"
    report = Report.load(out / "curve.json")
    edited = load_model(out / "model", device="cpu")
    assert edited.fingerprint == report.meta["injected"]
    records = load_records(out / "records.jsonl", edited.tokenizer)
    assert records.has_twins
    assert records.doses == (0, 6)
    assert {p.name for p in out.iterdir()} >= {"report.html", "figure.svg", "figure.pdf", "history.csv"}
    assert (out / "history.csv").read_text().count("\n") == 1 + 6


def test_the_command_takes_records_without_labels(model, tmp_path):
    model.save(tmp_path / "tiny")
    source = tmp_path / "facts.jsonl"
    lines = [{"id": row["id"], "text": row["text"], "pair": row["pair"]} for row in ROWS if row["pool"] == "M"]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = {"neutral": None, "batch": 4, "checkpoints": 1}
    Inject(str(tmp_path / "tiny"), tmp_path / "out", str(source), doses=(2,), **options)()
    rows = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()]
    assert sorted(row["label"] for row in rows) == ["trained"] * 8 + ["untrained"] * 8
    assert sum(row["exposures"] for row in rows) == 16
    with pytest.raises(InjectionError, match="made-up records"):
        Inject(str(tmp_path / "tiny"), tmp_path / "other", str(source), pairs=(4,))()
    with pytest.raises(InjectionError, match="2 numbers of --pairs for 3 doses"):
        Inject(str(tmp_path / "tiny"), tmp_path / "other", doses=(0, 2, 4), pairs=(4, 4))()
