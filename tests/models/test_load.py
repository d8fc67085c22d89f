"""`load_model`: what it reads, what it refuses, and that a local path touches no network."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path

import pytest
import torch

from interp import PromptSet, capture, generate, load_model
from interp.errors import ModelError, TokenizerMissingError
from tests.identity.architectures import assert_near, fresh
from tests.models.tiny import checkpoint


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("models") / "bare", "gpt2", tokenizer=False)


def test_a_directory(saved):
    model = load_model(saved)
    assert (model.n_layers, model.d_model, model.n_ctx, model.id) == (3, 32, 64, "tiny")
    assert model.tokenizer.pad_token_id == model.tokenizer.eos_token_id
    assert not model.hf.training
    assert load_model(str(saved)).fingerprint == model.fingerprint == fresh("llama").fingerprint
    assert (
        repr(model) == "Model('tiny', LlamaForCausalLM, 3 layers, d_model 32, 4 heads (2 KV), vocab 97, float32 on cpu)"
    )


def test_raw_hugging_face_numbers(saved):
    """No folding, no centring: the logits are those of plain transformers."""
    from transformers import AutoModelForCausalLM

    ids = [4, 3, 9, 6]
    hf = AutoModelForCausalLM.from_pretrained(saved)
    with torch.no_grad():
        want = hf(torch.tensor([ids])).logits[0]
    got = capture(load_model(saved), PromptSet.from_tokens([ids]), "logits")["logits"].tensor()
    assert_near(got, want, "logits", 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", torch.float64])
def test_dtypes(saved, dtype):
    model = load_model(saved, dtype=dtype)
    name = str(dtype).removeprefix("torch.")
    assert model.dtype == getattr(torch, name)
    acts = capture(model, PromptSet.from_tokens([[4, 5, 6]]), "resid_post.1")
    assert acts["resid_post.1"].dtype == model.dtype
    assert acts.provenance.dtype == name
    plain = capture(load_model(saved), PromptSet.from_tokens([[4, 5, 6]]), "resid_post.1")
    tolerance = {"float16": 2e-2, "bfloat16": 1e-1, "float64": 1e-5}[name]
    assert_near(acts["resid_post.1"].tensor().float(), plain["resid_post.1"].tensor(), name, tolerance)


def test_a_checkpoints_own_dtype_is_kept(saved, tmp_path):
    load_model(saved, dtype="bfloat16").hf.save_pretrained(tmp_path / "half")
    assert load_model(tmp_path / "half").dtype == torch.bfloat16


def test_without_a_tokenizer_raw_ids_work(bare):
    model = load_model(bare)
    assert model.tokenizer is None
    prompts = PromptSet.from_tokens([[4, 5, 6], [7]])
    assert capture(model, prompts, "resid_post.0", at="last").index.token.tolist() == [6, 7]
    assert generate(model, prompts, 2).texts is None
    with pytest.raises(TokenizerMissingError):
        PromptSet.from_texts(["the cat"], model.tokenizer)


def test_text_works_with_the_models_tokenizer(saved):
    model = load_model(saved)
    prompts = PromptSet.from_texts(["the cat", "a cat sits"], model.tokenizer)
    assert [t.tolist() for t in prompts.tokens] == [[0, 3, 4], [0, 9, 4, 6]]
    texts = generate(model, prompts, 3).texts
    assert all(isinstance(t, str) for t in texts)


def test_attention_implementations_agree(saved):
    prompts = PromptSet.from_tokens([[4, 5, 6, 9, 3], [7, 8]])
    sdpa, eager = (load_model(saved, attn=a) for a in ("sdpa", "eager"))
    assert (sdpa.cfg._attn_implementation, eager.cfg._attn_implementation) == ("sdpa", "eager")
    assert sdpa.fingerprint == eager.fingerprint
    assert_near(
        capture(sdpa, prompts, "logits")["logits"].tensor(), capture(eager, prompts, "logits")["logits"].tensor(), "a"
    )


def test_device_map(saved):
    pytest.importorskip("accelerate")
    model = load_model(saved, device_map="cpu")
    assert model.fingerprint == load_model(saved).fingerprint


# -- refusals --


def test_what_is_not_there(tmp_path, saved):
    with pytest.raises(ModelError, match=r"there is no directory '.*nowhere'"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"there is no directory '\./nowhere'"):
        load_model("./nowhere")
    with pytest.raises(ModelError, match=r"config.json' is a file; give the directory that holds config.json"):
        load_model(saved / "config.json")
    with pytest.raises(ModelError, match=r"is a directory, but has no config.json"):
        load_model(tmp_path)
    with pytest.raises(ModelError, match="could not load a causal LM from 'no-such-model-here'"):
        load_model("no-such-model-here")


def test_broken_checkpoints(saved, tmp_path):
    def broken(name, **files):
        path = tmp_path / name
        path.mkdir()
        for file in saved.iterdir():
            (path / file.name).write_bytes(file.read_bytes())
        for file, data in files.items():
            (path / file.replace("__", ".")).write_bytes(data)
        return path

    with pytest.raises(ModelError, match="could not load a causal LM"):
        load_model(broken("config", config__json=b"{"))
    with pytest.raises(ModelError, match="could not load a causal LM"):
        load_model(broken("type", config__json=b'{"model_type": "no-such-type"}'))
    with pytest.raises(ModelError, match="could not load a causal LM"):
        load_model(broken("weights", model__safetensors=b"not safetensors at all"))
    whole = (saved / "model.safetensors").read_bytes()
    with pytest.raises(ModelError, match="could not load a causal LM"):
        load_model(broken("short", model__safetensors=whole[: len(whole) // 2]))
    gone = broken("gone")
    (gone / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="could not load a causal LM"):
        load_model(gone)
    with pytest.raises(ModelError, match=r"the model .* loaded, but its tokenizer did not"):
        load_model(broken("tokenizer", tokenizer__json=b"{"))


def test_weights_that_are_missing_or_of_another_shape(saved, tmp_path):
    """transformers fills a missing tensor with random numbers and only logs it: not here."""
    from safetensors.torch import load_file, save_file

    for name, change in {
        "missing": lambda w: w.pop("model.layers.1.mlp.up_proj.weight"),
        "shape": lambda w: w.update({"model.norm.weight": torch.ones(31)}),
    }.items():
        path = checkpoint(tmp_path / name)
        weights = load_file(path / "model.safetensors")
        change(weights)
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match=r"model\.(layers\.1\.mlp\.up_proj|norm)\.weight"):
            load_model(path)


def test_a_model_that_is_no_causal_lm(tmp_path):
    from transformers import BertConfig, BertLMHeadModel, T5Config, T5ForConditionalGeneration

    size = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 20,
    }
    BertLMHeadModel(BertConfig(**size)).save_pretrained(tmp_path / "bert")
    t5 = T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=20)
    T5ForConditionalGeneration(t5).save_pretrained(tmp_path / "t5")
    with pytest.raises(ModelError, match=r"'bert' \(BertLMHeadModel\) is no causal LM: its last token changes"):
        load_model(tmp_path / "bert")
    with pytest.raises(ModelError, match=r"could not load a causal LM from .*T5Config"):
        load_model(tmp_path / "t5")


def test_options_that_contradict(saved):
    with pytest.raises(ModelError, match="either device= or device_map="):
        load_model(saved, device="cpu", device_map="auto")
    with pytest.raises(
        ModelError, match="trust_remote_code needs revision= to be a full 40-digit commit hash, got None"
    ):
        load_model("someone/model", trust_remote_code=True)
    with pytest.raises(ModelError, match="full 40-digit commit hash, got 'main'"):
        load_model("someone/model", trust_remote_code=True, revision="main")
    with pytest.raises(ModelError, match="revision='main' has no meaning for the local directory"):
        load_model(saved, revision="main")
    with pytest.raises(ModelError, match="unknown dtype 'float12'; one of: auto, float32"):
        load_model(saved, dtype="float12")
    with pytest.raises(ModelError, match="unknown device 'toaster'"):
        load_model(saved, device="toaster")
    with pytest.raises(ModelError, match="could not load"):
        load_model(saved, attn="telepathy")


def test_an_architecture_without_an_adapter():
    from transformers import AutoModelForCausalLM, RemBertConfig

    from interp import Model

    config = RemBertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=20,
        input_embedding_size=16, output_embedding_size=16, is_decoder=True,
    )  # fmt: skip
    with pytest.raises(ModelError, match="TransformerLens has no adapter for 'RemBertForCausalLM'"):
        Model.wrap(AutoModelForCausalLM.from_config(config))


# -- hygiene --


def test_a_model_can_be_forgotten():
    """Nothing keeps a model alive after its user: a GPU's memory would stay full."""
    model = fresh("gpt2")
    capture(model, PromptSet.from_tokens([[4, 5, 6]]), "q.1,pattern.1")
    hf = weakref.ref(model.hf)
    del model
    gc.collect()
    assert hf() is None


def test_weights_are_wrapped_in_place():
    from interp import Model
    from tests.identity.architectures import hf_model

    hf = hf_model("llama")
    before = [p.data_ptr() for p in hf.parameters()]
    assert Model.wrap(hf).hf is hf
    assert [p.data_ptr() for p in hf.parameters()] == before


def test_a_local_path_touches_no_network(saved):
    """In a process of its own, online as far as it knows, with every socket refused and reported."""
    code = """
        import socket, sys
        tried = []
        def refuse(*args, **kwargs):
            tried.append(args)
            raise OSError("no network")
        socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
        import interp
        model = interp.load_model(sys.argv[1])
        prompts = interp.PromptSet.from_texts(["the cat sits"], model.tokenizer)
        interp.capture(model, prompts, "resid_post")
        interp.generate(model, prompts, 2)
        model.fingerprint, model.untrained(), model.bridge
        assert not tried, tried
        class Tried(BaseException):  # no Exception, so that nobody tries again
            pass
        def tell(*args, **kwargs):
            raise Tried
        socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = tell
        try:
            interp.load_model("someone/no-such-model")
            raise SystemExit("the trap does not work: a name from the hub tried no connection")
        except Tried:
            pass
    """
    import os

    env = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")}
    env |= {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(saved)], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_config_on_disk_is_what_is_reported(saved):
    config = json.loads((saved / "config.json").read_text())
    sizes = load_model(saved).sizes
    assert (sizes.n_heads, sizes.n_kv_heads) == (config["num_attention_heads"], config["num_key_value_heads"])
    assert (sizes.d_mlp, sizes.d_vocab) == (config["intermediate_size"], config["vocab_size"])
