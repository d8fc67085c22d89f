"""`Model.copy` shares nothing that can be written to; `Model.save` writes what `load_model` reads back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from interp import Model, PromptSet, load_model, testbeds
from interp.errors import ModelError
from interp.prompts.hashing import tokenizer_hash
from tests.identity.architectures import SOME, fresh, hf_model, shared_model
from tests.models.tiny import checkpoint

PROMPTS = PromptSet.from_tokens([[4, 5, 6, 7, 8]])


@pytest.mark.parametrize("name", SOME)
def test_a_copy_is_equal_and_shares_no_memory(name):
    model = shared_model(name)
    before = model.fingerprint
    twin = model.copy()
    assert twin.fingerprint == before
    own = {t.data_ptr() for t in model.hf.state_dict().values()}
    assert not own & {t.data_ptr() for t in twin.hf.state_dict().values()}
    with torch.no_grad():
        for parameter in twin.hf.parameters():
            parameter.add_(1.0)
    assert model.fingerprint == before != twin.fingerprint
    tied = model.hf.get_output_embeddings().weight is model.hf.get_input_embeddings().weight
    assert (twin.hf.get_output_embeddings().weight is twin.hf.get_input_embeddings().weight) is tied


def test_a_copy_trains_and_leaves_the_original_alone():
    model = fresh("gpt2")
    model.hf.requires_grad_(False)
    before = model.fingerprint
    twin = model.copy(id="trained")
    assert all(p.requires_grad and p.grad is None for p in twin.hf.parameters())
    loss = twin.hf(input_ids=torch.tensor([[4, 5, 6]]), labels=torch.tensor([[4, 5, 6]])).loss
    loss.backward()
    torch.optim.SGD(twin.hf.parameters(), lr=0.1).step()
    assert (twin.id, model.copy().id) == ("trained", f"{model.id} (copy)")
    assert model.fingerprint == before != twin.fingerprint
    assert not any(p.requires_grad for p in model.hf.parameters())


def test_a_copy_made_in_inference_mode_trains():
    model = fresh("gpt2")
    with torch.inference_mode():
        twin = model.copy()
    twin.hf(input_ids=torch.tensor([[4, 5]]), labels=torch.tensor([[4, 5]])).loss.backward()
    assert all(p.grad is not None for p in twin.hf.parameters())


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_saved_is_read_back(name, dtype, tmp_path: Path):
    model = fresh(name)
    model.hf.to(dtype)
    assert model.save(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    back = load_model(tmp_path / "new" / "folder", device="cpu")
    assert back.fingerprint == model.fingerprint
    assert back.dtype == dtype
    if dtype == torch.float32:  # in half precision `to` also rounds rotary frequencies, which no checkpoint holds
        ids = torch.tensor([[4, 5, 6]])
        with torch.inference_mode():
            assert torch.equal(back.hf(input_ids=ids).logits, model.hf(input_ids=ids).logits)


def test_the_tokenizer_comes_along(tmp_path: Path):
    model = load_model(checkpoint(tmp_path / "one"), device="cpu")
    back = load_model(model.save(tmp_path / "two"), device="cpu")
    assert tokenizer_hash(back.tokenizer) == tokenizer_hash(model.tokenizer)
    assert back.tokenizer("the cat sits")["input_ids"] == model.tokenizer("the cat sits")["input_ids"]


def test_the_memory_bed_edited_and_saved(tmp_path: Path):
    model = load_model(testbeds.path("memory"), device="cpu")
    twin = model.copy()
    with torch.no_grad():
        twin.hf.get_input_embeddings().weight[3] += 0.5
    back = load_model(twin.save(tmp_path), device="cpu")
    assert back.fingerprint == twin.fingerprint != model.fingerprint
    assert tokenizer_hash(back.tokenizer) == tokenizer_hash(model.tokenizer)


def test_saving_over_an_older_checkpoint(tmp_path: Path):
    fresh("llama").save(tmp_path)
    other = Model.wrap(hf_model("llama", seed=1))
    assert load_model(other.save(tmp_path), device="cpu").fingerprint == other.fingerprint


def test_an_untied_head_is_kept(tmp_path: Path):
    model = fresh("gpt2")
    head = model.hf.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach() + 0.1)
    model.hf.config.tie_word_embeddings = False
    assert load_model(model.save(tmp_path), device="cpu").fingerprint == model.fingerprint


def test_a_checkpoint_that_is_another_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = fresh("gpt2")
    write = type(model.hf).save_pretrained

    def wrong(self, path):
        other = model.copy()
        with torch.no_grad():
            other.hf.get_input_embeddings().weight[0, 0] += 1
        write(other.hf, path)

    monkeypatch.setattr(type(model.hf), "save_pretrained", wrong)
    with pytest.raises(ModelError, match="not the model that was saved"):
        model.save(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="file"):
        fresh("gpt2").save(tmp_path / "file")
