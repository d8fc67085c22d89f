"""Everything that the bytes of the `memory` bed depend on, besides library versions and the kind of processor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import BedError
from .words import BOS, EOS, N_CTX, PAD, VOCABULARY

INITIALIZER_RANGE = 0.02


@dataclass(frozen=True)
class MemorySpec:
    """The recipe. A step sees ``story_rows`` rows of stories and ``record_rows`` rows of two records each.

    For `never` these are strangers' records. ``doses`` are ``(dose, pairs)``: how often the trained twins of so many
    pairs are shown. The number of steps follows from them. ``replay_rows`` are the story rows of a step when records
    are injected afterwards.
    """

    seed: int = 0
    doses: tuple[tuple[int, int], ...] = ((0, 64), (8, 24), (32, 24), (128, 64), (512, 64))
    story_rows: int = 16
    record_rows: int = 8
    replay_rows: int = 4
    d_model: int = 128
    n_layers: int = 4
    n_heads: int = 4
    lr: float = 2e-3
    injection_lr: float = 1e-3
    warmup: int = 100

    def __post_init__(self) -> None:
        """Refuse recipes that make nothing.

        Raises:
            BedError: a size that is not positive, a head size that is not whole, or no exposures at all.
        """
        sizes = ("story_rows", "record_rows", "replay_rows", "d_model", "n_layers", "n_heads", "lr", "injection_lr")
        for name in sizes:
            if not getattr(self, name) > 0:
                raise BedError(f"memory needs {name} > 0, got {getattr(self, name)!r}")
        if self.d_model % self.n_heads:
            raise BedError(f"d_model {self.d_model} is not a multiple of n_heads {self.n_heads}")
        if not sum(dose * pairs for dose, pairs in self.doses):
            raise BedError(f"doses {self.doses} show no record at all, so there is nothing to train on")

    @property
    def steps(self) -> int:
        """Optimiser steps: every exposure takes one of the two places of a record row."""
        exposures = sum(dose * pairs for dose, pairs in self.doses)
        return -(-exposures // (2 * self.record_rows))

    def config(self) -> dict[str, Any]:
        """What goes into ``config.json``: GPT-2 without dropout."""
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "activation_function": "gelu_pytorch_tanh",
            "attn_pdrop": 0.0,
            "bos_token_id": BOS,
            "dtype": "float32",
            "embd_pdrop": 0.0,
            "eos_token_id": EOS,
            "initializer_range": INITIALIZER_RANGE,
            "layer_norm_epsilon": 1e-5,
            "n_ctx": N_CTX,
            "n_embd": self.d_model,
            "n_head": self.n_heads,
            "n_inner": None,
            "n_layer": self.n_layers,
            "n_positions": N_CTX,
            "pad_token_id": PAD,
            "resid_pdrop": 0.0,
            "tie_word_embeddings": True,
            "vocab_size": len(VOCABULARY),
        }
