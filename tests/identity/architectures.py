"""Tiny random models, one per architecture, built from config: no network, no checkpoint, a second for all of them.

Weights are drawn large enough that attention is far from uniform and every norm, bias and router matters: with the
usual small initialisation a wrong rotary position or a swapped q and k would hardly show.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
import transformers

from interp.models import Model
from interp.prompts import PromptSet

VOCAB = 97
WINDOW = 8
_BASE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": VOCAB,
    "max_position_embeddings": 64,
}
_GQA = {**_BASE, "num_key_value_heads": 2}
_WIDE = {**_GQA, "head_dim": 12}  # heads x d_head is not d_model, so that mixing the two up shows
_GPT = {"n_embd": 32, "n_layer": 3, "n_head": 4, "vocab_size": VOCAB}
_NO_ENDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


@dataclass(frozen=True)
class Architecture:
    """How to build one, where its parts are (known here, not asked from an adapter), and what it cannot do."""

    config: str
    options: dict[str, Any] = field(default_factory=dict)
    blocks: str = "model.layers"
    final_norm: str = "model.norm"
    parallel: bool = False  # attention and MLP read the same residual: no resid_mid
    pattern: bool = True  # attention goes through transformers' attention interface
    packs: bool = True  # positions that restart keep packed prompts apart
    hidden: tuple[str, ...] = ("mlp_pre", "mlp_post")
    window: int | None = None
    normed: bool = True  # a norm stands before the MLP, whose input is a tensor of its own then

    @property
    def missing(self) -> set[str]:
        """Site kinds that it lacks."""
        lacks = {"mlp_pre", "mlp_post"} - set(self.hidden)
        lacks |= set() if self.normed else {"mlp_in"}
        return lacks | ({"resid_mid"} if self.parallel else set()) | (set() if self.pattern else {"pattern"})


def _gpt(config: str, options: dict[str, Any], **more: Any) -> Architecture:
    return Architecture(config, options, "transformer.h", "transformer.ln_f", **more)


def _neox(**options: Any) -> Architecture:
    parallel = options.get("use_parallel_residual", True)
    norm = "gpt_neox.final_layer_norm"
    return Architecture("GPTNeoXConfig", {**_BASE, **options}, "gpt_neox.layers", norm, parallel=parallel)


_MOE = {"num_local_experts": 4, "num_experts_per_tok": 2}
ARCHITECTURES: dict[str, Architecture] = {
    "gpt2": _gpt("GPT2Config", {**_GPT, "n_positions": 64, "n_inner": 48}),
    "gpt_neox": _neox(),
    "gpt_neox_seq": _neox(use_parallel_residual=False),
    "llama": Architecture("LlamaConfig", _GQA),
    "mistral": Architecture("MistralConfig", {**_GQA, "sliding_window": WINDOW}, window=WINDOW),
    "qwen2": Architecture("Qwen2Config", _GQA),
    "qwen3": Architecture("Qwen3Config", _WIDE),
    "gemma2": Architecture("Gemma2Config", {**_WIDE, "sliding_window": WINDOW}, window=WINDOW),
    "gemma3": Architecture("Gemma3TextConfig", {**_WIDE, "sliding_window": WINDOW}, window=WINDOW),
    "phi": Architecture("PhiConfig", _BASE, final_norm="model.final_layernorm", parallel=True),
    "phi3": Architecture("Phi3Config", {**_GQA, "pad_token_id": 0}, hidden=("mlp_post",)),
    "olmo": Architecture("OlmoConfig", _GQA),
    "olmo2": Architecture("Olmo2Config", _GQA, normed=False),
    "mixtral": Architecture("MixtralConfig", {**_GQA, **_MOE}, hidden=()),
    "qwen3_moe": Architecture(
        "Qwen3MoeConfig",
        {**_WIDE, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
        hidden=(),
    ),
    "gptj": _gpt(
        "GPTJConfig", {**_GPT, "n_positions": 64, "n_inner": 48, "rotary_dim": 4}, parallel=True, pattern=False
    ),
    "opt": Architecture(
        "OPTConfig",
        {
            "hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": VOCAB,
            "max_position_embeddings": 64, "word_embed_proj_dim": 32,
        },
        "model.decoder.layers", "model.decoder.final_layer_norm", packs=False,
    ),
    "gpt_neo": _gpt(
        "GPTNeoConfig",
        {
            "hidden_size": 32, "num_layers": 4, "num_heads": 4, "vocab_size": VOCAB, "max_position_embeddings": 64,
            "intermediate_size": 48,
            "attention_types": [[["global", "local"], 2]], "window_size": WINDOW,
        },
        pattern=False,
    ),
    "bloom": _gpt(
        "BloomConfig", {"hidden_size": 32, "n_layer": 3, "n_head": 4, "vocab_size": VOCAB}, pattern=False, packs=False
    ),
    "falcon": _gpt(
        "FalconConfig",
        {
            "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": VOCAB,
            "ffn_hidden_size": 48,
        },
        parallel=True, pattern=False, packs=False,
    ),
    "gpt_oss": Architecture(
        "GptOssConfig", {**_WIDE, **_MOE, "sliding_window": WINDOW}, packs=False, hidden=(), window=WINDOW
    ),
}  # fmt: skip
NAMES = tuple(ARCHITECTURES)
# One of each kind of attention, for tests that need not run on all: learned positions, parallel with a fused QKV,
# GQA with rotary, sliding window, post-norms with two kinds of window, and a mixture of experts.
SOME = ("gpt2", "gpt_neox", "llama", "mistral", "gemma3", "mixtral")


def hf_model(name: str, seed: int = 0, **changes: Any) -> Any:
    """A fresh Hugging Face model of this architecture, with config entries changed."""
    arch = ARCHITECTURES[name]
    ends = _NO_ENDS | arch.options | changes
    config = getattr(transformers, arch.config)(**ends)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.3)
                else:
                    parameter.normal_(std=1.5 * parameter.shape[-1] ** -0.5)
    return model


def fresh(name: str, **changes: Any) -> Model:
    """A model of this architecture that a test may change."""
    return Model.wrap(hf_model(name, **changes), id=name)


@cache
def shared_model(name: str) -> Model:
    """One model per architecture, shared by all tests, which leave it as it is."""
    return fresh(name)


def ragged(lengths: tuple[int, ...] = (4, 11, 20, 7), *, prefix: int = 0, seed: int = 0) -> list[np.ndarray]:
    """Random token sequences; each begins with the same ``prefix`` tokens, which its length does not count."""
    rng = np.random.default_rng(seed)
    head = rng.integers(3, VOCAB, prefix)
    return [np.concatenate([head, rng.integers(3, VOCAB, n)]) for n in lengths]


@cache
def prompts() -> PromptSet:
    """Ragged prompts: five that share 12 tokens (more than a window), four others, and one twice."""
    tokens = [*ragged((3, 5, 1, 9, 4), prefix=12), *ragged(seed=1)]
    tokens.append(tokens[0])
    return PromptSet.from_tokens(tokens)


@cache
def reference(name: str) -> tuple[Any, ...]:
    """What plain Hugging Face gives for each of `prompts` alone: logits and hidden states, no padding, no cache."""
    hf = shared_model(name).hf
    with torch.no_grad():
        return tuple(hf(torch.tensor(t)[None], output_hidden_states=True, use_cache=False) for t in prompts().tokens)


def assert_near(got: torch.Tensor, want: torch.Tensor, what: str, tolerance: float = 3e-5) -> None:
    """Equal up to rounding: ``tolerance`` times the largest entry. NaN is never near."""
    assert got.shape == want.shape, f"{what}: shape {tuple(got.shape)} instead of {tuple(want.shape)}"
    got, want = got.double(), want.double()
    scale = max(1e-3, float(want.abs().max()))
    error = float((got - want).abs().max())
    assert error <= tolerance * scale, f"{what}: off by {error:.2g}, with entries up to {scale:.2g}"
