"""The weights of the `induction` bed, written by hand into an ordinary GPT-2 checkpoint.

Three things make GPT-2 into the plain attention-only model that is wanted:

- **No norm.** LayerNorm is ``(x - mean) / sqrt(var + eps) * w``. With ``eps = 2**20`` and ``w = 2**10`` the variance
  (below .1) changes the result by less than one rounding of float32, and every vector that is ever written sums to
  zero, so that the mean is zero too: the norm is the identity.
- **No MLP.** Its weights are zero.
- **No tie.** The unembedding reads ``out``, the embedding writes ``tok`` and ``pos``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .words import ANIMALS, BOS, EOS, OBJECTS, PAD, SPECIAL, VOCABULARY, category, write_json

N_LAYERS, N_HEADS, D_HEAD, N_CTX = 2, 4, 32, 64
D_MODEL = N_HEADS * D_HEAD
N_IDENTITY = (len(ANIMALS) + len(OBJECTS)) // 2  # a word is plus or minus one of these axes

# Subspace -> dimensions. Each takes one coordinate more than it has dimensions, so that its vectors sum to zero.
SUBSPACES = {"tok": N_IDENTITY + 1, "pos": N_CTX // 2 + 1, "prev": N_IDENTITY + 1, "out": N_IDENTITY + 1, "junk": 9}

NORM_EPS, NORM_WEIGHT = 2.0**20, 2.0**10
CATEGORY = 1.0  # how far the two categories lie from the middle, in units of a word's identity
UNEMBED_GAIN = 12.0  # logits per unit of a word's code in `out`
GRID = 2.0**-22  # weights are rounded to multiples of it, so that another BLAS makes the same bytes

# Random weights of this standard deviation mix positions about as strongly as they do in a GPT-2 with its own norm:
# attention adds about half of what the embedding wrote. `model.untrained()` takes it from the config.
UNTRAINED_STD = 2.8


@dataclass(frozen=True)
class InductionSpec:
    """Everything that the weights depend on."""

    seed: int = 0
    beta: float = 12.0
    epsilon: float = 0.0


def make_weights(spec: InductionSpec) -> dict[str, np.ndarray]:
    """The state dict as float32 arrays, under GPT-2's names.

    >>> weights = make_weights(InductionSpec())
    >>> weights["transformer.h.0.attn.c_attn.weight"].shape
    (128, 384)
    """
    random = np.random.RandomState(spec.seed)  # the one numpy generator whose numbers never change
    basis = _subspaces(random)
    codes = _word_codes(random)
    weights = {
        "transformer.wte.weight": codes @ basis["tok"].T,
        "transformer.wpe.weight": _position_codes() @ basis["pos"].T,
        "transformer.ln_f.weight": np.full(D_MODEL, NORM_WEIGHT),
        "transformer.ln_f.bias": np.zeros(D_MODEL),
        "lm_head.weight": UNEMBED_GAIN * codes @ basis["out"].T,
    }
    for layer in range(N_LAYERS):
        heads = [_idle_head(random, basis, spec.epsilon) for _ in range(N_HEADS)]
        heads[0] = _previous_token_head(basis, spec.beta) if layer == 0 else _induction_head(basis, spec.beta)
        weights |= _block(f"transformer.h.{layer}", heads)
    return {name: (np.round(w / GRID) * GRID).astype(np.float32) for name, w in weights.items()}


def write_model(out: Path, spec: InductionSpec, weights: dict[str, np.ndarray]) -> None:
    """Write ``config.json`` and ``model.safetensors`` as Hugging Face lays them out."""
    from safetensors.numpy import save

    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "attn_pdrop": 0.0,
        "bos_token_id": BOS,
        "dtype": "float32",
        "embd_pdrop": 0.0,
        "eos_token_id": EOS,
        "initializer_range": UNTRAINED_STD,
        "layer_norm_epsilon": NORM_EPS,
        "n_ctx": N_CTX,
        "n_embd": D_MODEL,
        "n_head": N_HEADS,
        "n_inner": 4,
        "n_layer": N_LAYERS,
        "n_positions": N_CTX,
        "pad_token_id": PAD,
        "resid_pdrop": 0.0,
        "tie_word_embeddings": False,
        "vocab_size": len(VOCABULARY),
        "interp_testbed": {"name": "induction", "seed": spec.seed, "beta": spec.beta, "epsilon": spec.epsilon},
    }
    write_json(out / "config.json", config)
    path = out / "model.safetensors"
    path.write_bytes(save({name: weights[name] for name in sorted(weights)}, metadata={"format": "pt"}))
    os.chmod(path, 0o644)


def _subspaces(random: np.random.RandomState) -> dict[str, np.ndarray]:
    """Subspace -> ``[d_model, dims]``, orthonormal columns that each sum to zero, turned at random inside it."""
    basis, start = {}, 0
    for name, dims in SUBSPACES.items():
        # Subtract the mean from the unit vectors and orthonormalise: a basis of what sums to zero.
        centred = (np.eye(dims + 1) - 1 / (dims + 1))[:, :dims]
        flat = np.linalg.qr(centred)[0] @ np.linalg.qr(random.standard_normal((dims, dims)))[0]
        basis[name] = np.zeros((D_MODEL, dims))
        basis[name][start : start + dims + 1] = flat
        start += dims + 1
    assert start == D_MODEL
    return basis


def _word_codes(random: np.random.RandomState) -> np.ndarray:
    """``[vocab, dims of tok]``: plus or minus a unit vector for the word, then its category; zero for special tokens.

    Which words share an axis is drawn at random over both categories, so that an axis says nothing about category.
    """
    codes = np.zeros((len(VOCABULARY), SUBSPACES["tok"]))
    words = VOCABULARY[len(SPECIAL) :]
    for slot, index in enumerate(random.permutation(len(words))):
        row = codes[len(SPECIAL) + index]
        row[slot % N_IDENTITY] = 1.0 if slot < N_IDENTITY else -1.0
        row[-1] = CATEGORY if category(words[index]) == "animal" else -CATEGORY
    return codes


def _position_codes() -> np.ndarray:
    """``[n_ctx, dims of pos]``: p is unit vector p, and p + n_ctx / 2 its negative; then a flag for the first."""
    half = np.eye(N_CTX // 2)
    return np.column_stack([np.concatenate([half, -half]), np.arange(N_CTX) == 0])


@dataclass(frozen=True)
class _Head:
    """``q k v``: ``[d_model, d_head]``; ``o``: ``[d_head, d_model]``; what is added to every query: ``[d_head]``."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    o: np.ndarray
    q_bias: np.ndarray = field(default_factory=lambda: np.zeros(D_HEAD))


def _narrow(columns: np.ndarray) -> np.ndarray:
    """Fill up to d_head columns with zeros."""
    return np.pad(columns, ((0, 0), (0, D_HEAD - columns.shape[1])))


def _previous_token_head(basis: dict[str, np.ndarray], beta: float) -> _Head:
    # Shifting the codes by one turns position p into p - 1; the last axis comes in with its sign changed.
    half = N_CTX // 2
    shift = np.roll(np.eye(half), 1, axis=0)
    shift[0, -1] = -1.0
    positions, size = basis["pos"][:, :half], _query_and_key_size(beta)
    q, k = size * _narrow(positions @ shift), size * _narrow(positions)
    return _Head(q, k, _narrow(basis["tok"]), _narrow(basis["prev"]).T)


def _induction_head(basis: dict[str, np.ndarray], beta: float) -> _Head:
    # Words are matched by identity alone, without their category. The first position has no token before it, so that
    # its own stands in its `prev`; every query turns away from it by twice what a match is worth.
    size = _query_and_key_size(beta)
    q = size * _narrow(basis["tok"][:, :N_IDENTITY])
    k = size * _narrow(np.column_stack([basis["prev"][:, :N_IDENTITY], basis["pos"][:, -1]]))
    q_bias = -2 * size * np.eye(D_HEAD)[N_IDENTITY]
    return _Head(q, k, _narrow(basis["tok"]), _narrow(basis["out"]).T, q_bias)


def _query_and_key_size(beta: float) -> float:
    """Queries and keys of this length have a scaled score of beta."""
    return np.sqrt(beta * np.sqrt(D_HEAD))


def _idle_head(random: np.random.RandomState, basis: dict[str, np.ndarray], epsilon: float) -> _Head:
    """Random attention over the whole stream; writes random values into junk, and epsilon of that elsewhere."""
    q, k, v = (random.standard_normal((D_MODEL, D_HEAD)) / np.sqrt(D_HEAD) for _ in range(3))
    write = {name: random.standard_normal((D_HEAD, dims)) / np.sqrt(D_HEAD) for name, dims in SUBSPACES.items()}
    o = write["junk"] @ basis["junk"].T
    for name in ("tok", "pos", "prev", "out"):
        o = o + epsilon * write[name] @ basis[name].T
    return _Head(q, k, v, o)


def _block(name: str, heads: list[_Head]) -> dict[str, np.ndarray]:
    """One GPT-2 block: these heads, an identity norm, an MLP of zeros."""
    c_attn = np.concatenate([np.concatenate([getattr(h, part) for h in heads], axis=1) for part in "qkv"], axis=1)
    weights = {
        f"{name}.attn.c_attn.weight": c_attn,
        f"{name}.attn.c_attn.bias": np.concatenate([*(h.q_bias for h in heads), np.zeros(2 * D_MODEL)]),
        f"{name}.attn.c_proj.weight": np.concatenate([h.o for h in heads], axis=0),
        f"{name}.attn.c_proj.bias": np.zeros(D_MODEL),
        f"{name}.mlp.c_fc.weight": np.zeros((D_MODEL, 4)),
        f"{name}.mlp.c_fc.bias": np.zeros(4),
        f"{name}.mlp.c_proj.weight": np.zeros((4, D_MODEL)),
        f"{name}.mlp.c_proj.bias": np.zeros(D_MODEL),
    }
    for norm in ("ln_1", "ln_2"):
        weights |= {f"{name}.{norm}.weight": np.full(D_MODEL, NORM_WEIGHT), f"{name}.{norm}.bias": np.zeros(D_MODEL)}
    return weights
