"""Everything that the bytes of the `conflict` bed depend on, besides library versions and the kind of processor."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ...errors import BedError

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNK = range(4)
SUBJECTS = tuple(
    "adam anna bella boris carl clara david dora emil emma felix flora georg greta hanna hugo ida ivan jonas julia "
    "kurt lena leon mira".split()
)
VALUES = tuple("black blue brown gold green grey orange pink purple red silver white".split())
MOST = 4  # statements of a text
N_CTX = 8


@dataclass(frozen=True)
class ConflictSpec:
    """The recipe. ``subspaces`` are how many coordinates of the stream subjects, statements and positions get.

    The unembedding reads the coordinates that are left. ``memory_heads`` and ``context_heads`` say how many heads may
    take values from subjects, and from statements; the others may from positions only. A seeded draw says which.
    """

    seed: int = 0
    d_model: int = 128
    subspaces: tuple[int, int, int] = (32, 48, 8)
    n_heads: int = 8
    n_layers: int = 2
    memory_heads: int = 6
    context_heads: int = 6
    steps: int = 900
    rows: int = 192
    lr: float = 5e-3
    warmup: int = 50
    prompts: int = 192

    def __post_init__(self) -> None:
        """Refuse recipes that make nothing.

        Raises:
            BedError: sizes that do not fit.
        """
        sizes = ("n_heads", "n_layers", "memory_heads", "context_heads", "steps", "rows", "lr", "warmup", "prompts")
        for name in sizes:
            if not getattr(self, name) > 0:
                raise BedError(f"conflict needs {name} > 0, got {getattr(self, name)!r}")
        if sum(self.subspaces) >= self.d_model or self.d_model % self.n_heads or min(self.subspaces) < 1:
            raise BedError(f"subspaces {self.subspaces} do not fit d_model {self.d_model} with {self.n_heads} heads")
        if self.memory_heads + self.context_heads > self.n_heads * self.n_layers:
            raise BedError(f"{self.memory_heads} + {self.context_heads} heads are more than there are")

    @cached_property
    def coordinates(self) -> dict[str, slice]:
        """Where in the stream subjects, statements and positions lie, and what the unembedding reads."""
        s, t, p = self.subspaces
        ends = (0, s, s + t, s + t + p, self.d_model)
        names = ("memory", "context", "idle", "out")
        return {name: slice(ends[i], ends[i + 1]) for i, name in enumerate(names)}

    @cached_property
    def planted(self) -> dict[tuple[int, int], str]:
        """Head -> what it may take values from: memory (subjects), context (statements) or idle (positions)."""
        heads = [(layer, head) for layer in range(self.n_layers) for head in range(self.n_heads)]
        idle = len(heads) - self.memory_heads - self.context_heads
        roles = ["memory"] * self.memory_heads + ["context"] * self.context_heads + ["idle"] * idle
        random.Random(f"roles {self.seed}").shuffle(roles)
        return dict(zip(heads, roles, strict=True))

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """Special tokens, values, subjects, and one word for each statement: ``anna:red``."""
        return (*SPECIAL, *VALUES, *SUBJECTS, *(f"{s}:{v}" for s in SUBJECTS for v in VALUES))

    @cached_property
    def token_id(self) -> dict[str, int]:
        """Word -> token."""
        return {word: i for i, word in enumerate(self.vocabulary)}

    @cached_property
    def facts(self) -> dict[str, str]:
        """Subject -> the value that training says it has; every value as often as the others."""
        values = [VALUES[i % len(VALUES)] for i in range(len(SUBJECTS))]
        random.Random(f"facts {self.seed}").shuffle(values)
        return dict(zip(SUBJECTS, values, strict=True))

    def config(self) -> dict[str, Any]:
        """What goes into ``config.json``."""
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "activation_function": "gelu_pytorch_tanh",
            "attn_pdrop": 0.0,
            "bos_token_id": BOS,
            "dtype": "float32",
            "embd_pdrop": 0.0,
            "eos_token_id": EOS,
            "initializer_range": 0.05,
            "layer_norm_epsilon": 1e-5,
            "n_ctx": N_CTX,
            "n_embd": self.d_model,
            "n_head": self.n_heads,
            "n_inner": 4,
            "n_layer": self.n_layers,
            "n_positions": N_CTX,
            "pad_token_id": PAD,
            "resid_pdrop": 0.0,
            "tie_word_embeddings": False,
            "vocab_size": len(self.vocabulary),
        }
