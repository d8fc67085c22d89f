"""Hand-written GPT-2 weights from named axes: heads that look for a word and copy a bit, and one-neuron MLPs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..induction.weights import GRID, NORM_EPS, NORM_WEIGHT
from ..induction.words import BOS, EOS, PAD, write_json

D_MODEL, N_HEADS, D_HEAD, N_INNER, N_CTX = 32, 4, 8, 4, 32
BETA = 16.0  # score, in nats, of the word that a head looks for
GAIN = 48.0  # logits per unit of `out`
N_WORDS = 8  # axes of words that mean nothing
AXES = ("slot 0", "slot 1", "slot 2", "bit", "const", "sum", "out")
N_JUNK = 8


@dataclass(frozen=True)
class Axes:
    """Orthonormal directions that each sum to zero, turned at random: the named ones, meaningless words, junk."""

    columns: np.ndarray
    names: tuple[str, ...] = AXES

    @classmethod
    def draw(cls, random: np.random.RandomState) -> Axes:
        """The same for the same random state."""
        n = len(AXES) + N_WORDS + N_JUNK
        centred = (np.eye(D_MODEL) - 1 / D_MODEL)[:, : D_MODEL - 1]
        flat = np.linalg.qr(centred)[0] @ np.linalg.qr(random.standard_normal((D_MODEL - 1, D_MODEL - 1)))[0]
        return cls(flat[:, :n])

    def __getitem__(self, name: str) -> np.ndarray:
        """One named direction ``[d_model]``."""
        return self.columns[:, self.names.index(name)]

    @property
    def words(self) -> np.ndarray:
        """``[d_model, N_WORDS]``."""
        return self.columns[:, len(AXES) : len(AXES) + N_WORDS]

    @property
    def junk(self) -> np.ndarray:
        """``[d_model, N_JUNK]``."""
        return self.columns[:, len(AXES) + N_WORDS :]


@dataclass(frozen=True)
class Head:
    """``q k v``: ``[d_model, d_head]``; ``o``: ``[d_head, d_model]``; ``bias`` is added to every query."""

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    o: np.ndarray
    bias: np.ndarray = field(default_factory=lambda: np.zeros(D_HEAD))


@dataclass(frozen=True)
class Mlp:
    """One ReLU neuron: reads ``weight . x + bias``, writes ``write`` times its activation, and ``shift`` always."""

    weight: np.ndarray
    bias: float
    write: np.ndarray
    shift: np.ndarray = field(default_factory=lambda: np.zeros(D_MODEL))


def looking_head(looks_for: np.ndarray, reads: np.ndarray, writes: np.ndarray) -> Head:
    """Attends to tokens along ``looks_for`` from everywhere, and copies ``reads`` to ``writes``."""
    size = np.sqrt(BETA * np.sqrt(D_HEAD))
    bias = np.zeros(D_HEAD)
    bias[0] = size
    return Head(_zero(), _column(size * looks_for, 0), _column(reads, 1), _column(writes, 1).T, bias)


def averaging_head(reads: np.ndarray, writes: np.ndarray) -> Head:
    """Attends to all tokens alike, and copies the mean of ``reads`` to ``writes``."""
    return Head(_zero(), _zero(), _column(reads, 1), _column(writes, 1).T)


def idle_head(random: np.random.RandomState, axes: Axes) -> Head:
    """Attends at random over what it reads, and writes random values into junk."""
    q, k, v = (random.standard_normal((D_MODEL, D_HEAD)) / np.sqrt(D_HEAD) for _ in range(3))
    return Head(q, k, v, random.standard_normal((D_HEAD, N_JUNK)) / np.sqrt(D_HEAD) @ axes.junk.T)


def idle_mlp() -> Mlp:
    """Writes nothing."""
    return Mlp(np.zeros(D_MODEL), 0.0, np.zeros(D_MODEL))


def state_dict(
    embedding: np.ndarray, unembedding: np.ndarray, blocks: list[tuple[list[Head], Mlp]]
) -> dict[str, np.ndarray]:
    """GPT-2's names and shapes, on a grid so that another BLAS makes the same bytes."""
    norm, zero = np.full(D_MODEL, NORM_WEIGHT), np.zeros(D_MODEL)
    weights = {
        "transformer.wte.weight": embedding,
        "transformer.wpe.weight": np.zeros((N_CTX, D_MODEL)),
        "transformer.ln_f.weight": norm,
        "transformer.ln_f.bias": zero,
        "lm_head.weight": unembedding,
    }
    for layer, (heads, mlp) in enumerate(blocks):
        name = f"transformer.h.{layer}"
        fc, proj = np.zeros((D_MODEL, N_INNER)), np.zeros((N_INNER, D_MODEL))
        fc[:, 0], proj[0] = mlp.weight, mlp.write
        weights |= {
            f"{name}.attn.c_attn.weight": np.concatenate([getattr(h, p) for p in "qkv" for h in heads], axis=1),
            f"{name}.attn.c_attn.bias": np.concatenate([*(h.bias for h in heads), np.zeros(2 * D_MODEL)]),
            f"{name}.attn.c_proj.weight": np.concatenate([h.o for h in heads]),
            f"{name}.attn.c_proj.bias": zero,
            f"{name}.mlp.c_fc.weight": fc,
            f"{name}.mlp.c_fc.bias": np.eye(N_INNER)[0] * mlp.bias,
            f"{name}.mlp.c_proj.weight": proj,
            f"{name}.mlp.c_proj.bias": mlp.shift,
        }
        weights |= {f"{name}.{n}.weight": norm for n in ("ln_1", "ln_2")}
        weights |= {f"{name}.{n}.bias": zero for n in ("ln_1", "ln_2")}
    return {name: (np.round(w / GRID) * GRID).astype(np.float32) for name, w in weights.items()}


def write_checkpoint(out: Path, weights: dict[str, np.ndarray], about: dict[str, object]) -> None:
    """Write ``config.json`` and ``model.safetensors``."""
    from safetensors.numpy import save

    n_layers = sum(name.endswith("ln_1.weight") for name in weights)
    config = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "relu",
        "attn_pdrop": 0.0, "bos_token_id": BOS, "dtype": "float32", "embd_pdrop": 0.0, "eos_token_id": EOS,
        "initializer_range": 1.0, "layer_norm_epsilon": NORM_EPS, "n_ctx": N_CTX, "n_embd": D_MODEL,
        "n_head": N_HEADS, "n_inner": N_INNER, "n_layer": n_layers, "n_positions": N_CTX, "pad_token_id": PAD,
        "resid_pdrop": 0.0, "tie_word_embeddings": False, "vocab_size": len(weights["transformer.wte.weight"]),
        "interp_testbed": about,
    }  # fmt: skip
    write_json(out / "config.json", config)
    path = out / "model.safetensors"
    path.write_bytes(save({name: weights[name] for name in sorted(weights)}, metadata={"format": "pt"}))
    os.chmod(path, 0o644)


def _column(vector: np.ndarray, at: int) -> np.ndarray:
    """``[d_model, d_head]`` with one column filled."""
    matrix = _zero()
    matrix[:, at] = vector
    return matrix


def _zero() -> np.ndarray:
    return np.zeros((D_MODEL, D_HEAD))
