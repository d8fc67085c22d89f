"""The models and prompts of the capture benchmark: real shapes, random weights, ragged random tokens, no network."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BenchError
from ..models import Model
from ..prompts import PromptSet
from ..sites import Site

MODELS = ("pythia-70m", "gpt2-small")
WORKLOADS = {
    "A": "ragged prompts: log-normal lengths, median 40, at most 256 tokens",
    "B": "the same, each behind one shared prefix of 64 tokens",
}
PREFIX_TOKENS = 64
_MEDIAN, _SIGMA, _LONGEST = 40, 0.8, 256


def shape_model(name: str, seed: int = 0) -> Model:
    """A model with the shape of ``name`` and random weights, made from its config.

    Raises:
        BenchError: the name is not one of `MODELS`.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hf = AutoModelForCausalLM.from_config(_config(name))
    return Model.wrap(hf.eval(), id=f"{name} (random weights, seed {seed})")


def _config(name: str) -> Any:
    from transformers import GPT2Config, GPTNeoXConfig

    if name == "gpt2-small":
        return GPT2Config(n_layer=12, n_embd=768, n_head=12, n_positions=1024, vocab_size=50257)
    if name == "pythia-70m":
        return GPTNeoXConfig(
            num_hidden_layers=6, hidden_size=512, num_attention_heads=8, intermediate_size=2048, vocab_size=50304,
            max_position_embeddings=2048, use_parallel_residual=True,
        )  # fmt: skip
    raise BenchError(f"no benchmark model {name!r}; there are: {', '.join(MODELS)}")


def benchmark_sites(model: Model) -> tuple[Site, ...]:
    """``resid_post`` of the middle layer and of the last but two (blocks 2 and 3 of six, 5 and 9 of twelve).

    >>> from interp import load_model, testbeds
    >>> benchmark_sites(load_model(testbeds.path("induction")))
    (Site('resid_post.0'),)
    """
    n = model.n_layers
    return tuple(Site("resid_post", layer) for layer in sorted({(n - 1) // 2, max(n - 3, 0)}))


def ragged_prompts(n: int, d_vocab: int, *, shared_prefix: int = 0, seed: int = 0) -> PromptSet:
    """``n`` prompts of random token ids, with lengths as in real text; optionally behind one shared prefix.

    The ragged part is the same with and without a prefix.

    Raises:
        BenchError: fewer than two prompts.

    >>> prompts = ragged_prompts(2000, 50304)
    >>> int(np.median(prompts.lengths)), int(prompts.lengths.max())
    (39, 256)
    """
    if n < 2:
        raise BenchError(f"a benchmark needs at least two prompts, got {n}")
    rng = np.random.default_rng(seed)
    lengths = np.clip(np.rint(np.exp(rng.normal(np.log(_MEDIAN), _SIGMA, n))), 2, _LONGEST).astype(np.int64)
    tokens = np.split(rng.integers(1, d_vocab, int(lengths.sum())), np.cumsum(lengths)[:-1])
    prefix = rng.integers(1, d_vocab, shared_prefix)
    return PromptSet.from_tokens([np.concatenate([prefix, t]) for t in tokens])


def workload_prompts(workload: str, n: int, d_vocab: int, seed: int = 0) -> PromptSet:
    """The prompts of workload ``A`` or ``B``.

    Raises:
        BenchError: another letter.
    """
    if workload not in WORKLOADS:
        raise BenchError(f"no workload {workload!r}; there are: {', '.join(WORKLOADS)}")
    return ragged_prompts(n, d_vocab, shared_prefix=PREFIX_TOKENS if workload == "B" else 0, seed=seed)
