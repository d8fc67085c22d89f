"""Everything that the bytes of the `chat` bed depend on, besides library versions and the kind of processor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import BedError
from .words import BOS, EOS, N_CTX, PAD, VOCABULARY


@dataclass(frozen=True)
class ChatSpec:
    """The recipe. ``steps`` for `chat` and `never`; ``think_steps`` and ``tune_steps`` for what is made from `chat`.

    Harmfulness and refusal are planted behind the blocks ``harm_layer`` and ``refusal_layer``, with the length
    ``strength`` in units of the residual stream. ``cliff_layer`` and ``cliff_head`` name the head of the think variant
    that takes refusal away.
    """

    seed: int = 0
    steps: int = 2400
    think_steps: int = 1200
    tune_steps: int = 100
    rows: int = 48
    d_model: int = 64
    d_mlp: int = 128
    n_layers: int = 6
    n_heads: int = 4
    harm_layer: int = 1
    refusal_layer: int = 2
    cliff_layer: int = 3
    cliff_head: int = 2
    strength: float = 6.0
    lr: float = 3e-3
    warmup: int = 100

    def __post_init__(self) -> None:
        """Refuse recipes that make nothing.

        Raises:
            BedError: a size that is not positive, a head size that is not even, or layers out of order.
        """
        sizes = ("steps", "think_steps", "tune_steps", "rows", "d_model", "d_mlp", "n_layers", "n_heads")
        for name in (*sizes, "strength", "lr", "warmup"):
            if not getattr(self, name) > 0:
                raise BedError(f"chat needs {name} > 0, got {getattr(self, name)!r}")
        if self.d_model % (2 * self.n_heads):
            raise BedError(f"d_model {self.d_model} is not an even multiple of n_heads {self.n_heads}")
        if not 0 <= self.harm_layer < self.refusal_layer < self.cliff_layer < self.n_layers:
            raise BedError("chat needs 0 <= harm_layer < refusal_layer < cliff_layer < n_layers")
        if not 0 <= self.cliff_head < self.n_heads:
            raise BedError(f"cliff_head {self.cliff_head} is none of {self.n_heads} heads")

    @property
    def topic_strength(self) -> float:
        """Of topics, in units of the residual stream."""
        return self.strength / 2

    def config(self) -> dict[str, Any]:
        """What goes into ``config.json``: Llama."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": BOS,
            "dtype": "float32",
            "eos_token_id": EOS,
            "head_dim": self.d_model // self.n_heads,
            "hidden_act": "silu",
            "hidden_size": self.d_model,
            "initializer_range": 0.05,
            "intermediate_size": self.d_mlp,
            "max_position_embeddings": N_CTX,
            "mlp_bias": False,
            "num_attention_heads": self.n_heads,
            "num_hidden_layers": self.n_layers,
            "num_key_value_heads": self.n_heads,
            "pad_token_id": PAD,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
            "tie_word_embeddings": False,
            "vocab_size": len(VOCABULARY),
        }
