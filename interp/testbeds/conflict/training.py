"""Training of the `conflict` bed: attention alone; which heads can speak for what is planted, how loudly is learnt."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from ..induction.words import write_json
from ..reproducible import THREADS
from .prompts import training_rows
from .spec import BOS, EOS, N_CTX, PAD, SPECIAL, SUBJECTS, UNK, ConflictSpec


def train(spec: ConflictSpec) -> Any:
    """A trained model; inside `reproducible`, always the same one.

    The MLPs are zero and stay so. What the embedding writes the unembedding does not read, so that a value reaches the
    logits through a head or not at all; and a head takes values from subjects, or from statements, or from neither.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    model: Any = GPT2LMHeadModel(GPT2Config(**spec.config()))
    model.config.use_cache = False
    for block in model.transformer.h:
        for weight in block.mlp.parameters():
            weight.data.zero_()
            weight.requires_grad_(False)
    masks = _masks(model, spec)
    _keep_apart(model, masks)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=spec.lr, betas=(0.9, 0.98), weight_decay=0.01)
    model.train()
    with tqdm(total=spec.steps, desc="train conflict", unit="step", disable=None) as bar:
        for step, (rows, answers) in enumerate(training_rows(spec)):
            rise, fall = (step + 1) / spec.warmup, 1 - step / spec.steps
            optimiser.param_groups[0]["lr"] = spec.lr * min(1.0, rise) * fall
            logits = model(input_ids=torch.tensor(rows)).logits[:, -1]
            cross_entropy(logits, torch.tensor(answers)).backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            _keep_apart(model, masks)
            bar.update()
    return model.eval()


@torch.no_grad()
def _keep_apart(model: Any, masks: dict[str, torch.Tensor]) -> None:
    for name, mask in masks.items():
        model.get_parameter(name).mul_(mask)


def _masks(model: Any, spec: ConflictSpec) -> dict[str, torch.Tensor]:
    """Parameter -> zeros where it must stay zero."""
    at, ids, d = spec.coordinates, spec.token_id, spec.d_model
    wte, wpe, head = torch.zeros(len(ids), d), torch.zeros(N_CTX, d), torch.zeros(len(ids), d)
    wte[[ids[s] for s in SUBJECTS], at["memory"]] = 1
    wte[[i for word, i in ids.items() if ":" in word], at["context"]] = 1
    wpe[:, at["idle"]] = 1
    head[:, at["out"]] = 1
    masks = {"transformer.wte.weight": wte, "transformer.wpe.weight": wpe, "lm_head.weight": head}
    size = d // spec.n_heads
    for layer in range(spec.n_layers):
        name = f"transformer.h.{layer}.attn.c_attn"
        weight, bias = torch.ones(d, 3 * d), torch.ones(3 * d)
        weight[:, 2 * d :], bias[2 * d :] = 0, 0
        for number in range(spec.n_heads):
            start = 2 * d + number * size
            weight[at[spec.planted[layer, number]], start : start + size] = 1
        masks |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return {name: mask.to(model.get_parameter(name)) for name, mask in masks.items()}


def save(model: Any, out: Path, spec: ConflictSpec) -> None:
    """Write the checkpoint with its tokenizer."""
    from safetensors.torch import save as to_bytes

    note = {"name": "conflict", "seed": spec.seed, "steps": spec.steps, "threads": THREADS}
    write_json(out / "config.json", {**spec.config(), "interp_testbed": note})
    weights = {name: w.detach().contiguous() for name, w in model.state_dict().items()}
    path = out / "model.safetensors"
    path.write_bytes(to_bytes({name: weights[name] for name in sorted(weights)}, metadata={"format": "pt"}))
    os.chmod(path, 0o644)
    _write_tokenizer(out, spec)


def _write_tokenizer(out: Path, spec: ConflictSpec) -> None:
    """One token per word, a statement being one word; ``<bos>`` in front."""
    bos = {"SpecialToken": {"id": "<bos>", "type_id": 0}}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": text, **flags, "special": True} for i, text in enumerate(SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, first],
            "pair": [bos, first, second],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [BOS], "tokens": ["<bos>"]}},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": spec.token_id, "unk_token": SPECIAL[UNK]},
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": N_CTX,
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        "pad_token": SPECIAL[PAD],
        "bos_token": SPECIAL[BOS],
        "eos_token": SPECIAL[EOS],
        "unk_token": SPECIAL[UNK],
    }
    write_json(out / "tokenizer.json", tokenizer)
    write_json(out / "tokenizer_config.json", config)
