"""A chat model written by hand that refuses along one known direction, and requests that it refuses or answers."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from interp.models import Model
from interp.prompts import PromptSet

CONTROL = ["<pad>", "<unk>", "<s>", "<user>", "<end>", "<bot>", "<says>"]
BAD = [f"bad{i}" for i in range(12)]
GOOD = [f"good{i}" for i in range(12)]
VERBS = [f"verb{i}" for i in range(12)]
WORDS = [*CONTROL, "sorry", "sure", "how", "to", *VERBS, *BAD, *GOOD]
TEMPLATE = (
    "<s> {% for m in messages %}<user> {{ m['content'] }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<bot> <says>{% endif %}"
)
D, LAYERS, PLANTED = 32, 5, 1  # behind block 1, so from resid_pre.2 on
REFUSALS, ACCEPTANCES = ["sorry"], ["sure"]


def tokenizer():
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="<end>", unk_token="<unk>", pad_token="<pad>",
        chat_template=TEMPLATE,
    )  # fmt: skip


def basis():
    """Orthonormal: harm (in the words), refusal (planted), and what every token has."""
    g = torch.Generator().manual_seed(5)
    return torch.linalg.qr(torch.randn(D, D, generator=g, dtype=torch.float64)).Q[:3]


@cache
def refusing(refuses: bool = True, *, deaf: bool = False) -> Model:
    """Bad words make it write the refusal direction at every later token; `sorry` reads it if it ``refuses``.

    ``deaf``: it says `sorry` to everything, whatever is asked.
    """
    harm, refusal, common = basis().float()
    config = LlamaConfig(
        vocab_size=len(WORDS), hidden_size=D, intermediate_size=16, num_hidden_layers=LAYERS, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=32, tie_word_embeddings=False, bos_token_id=None,
        eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        hf = LlamaForCausalLM(config).eval()
        for parameter in hf.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.02)
        others = torch.eye(D) - sum(torch.outer(v, v) for v in (harm, refusal, common))
        words = torch.randn(len(WORDS), D) @ others * 0.3 + common
        words[[WORDS.index(w) for w in BAD]] += 2 * harm
        hf.model.embed_tokens.weight.copy_(words)
        attn = hf.model.layers[PLANTED].self_attn
        attn.q_proj.weight.zero_()  # so that it looks everywhere alike
        attn.v_proj.weight[0] = harm
        attn.o_proj.weight.zero_()
        attn.o_proj.weight[:, 0] = 12 * refusal
        hf.lm_head.weight.mul_(0.1)
        hf.lm_head.weight[WORDS.index("sorry")] = 4 * (refusal if refuses else torch.zeros(D)) + (
            9 * common if deaf else 0
        )
        hf.lm_head.weight[WORDS.index("sure")] = 2 * common
    return Model.wrap(hf, tokenizer(), id="refusing" if refuses else "complying")


def requests(kind: str, n: int = 60, seed: int = 0) -> PromptSet:
    """Different requests about bad or good things."""
    nouns = {"harmful": BAD, "harmless": GOOD}[kind]
    rng = np.random.default_rng([seed, len(kind)])
    every = [f"how to {verb} {noun}" for verb in VERBS for noun in nouns]
    chosen = [every[i] for i in rng.permutation(len(every))[:n]]
    return PromptSet.from_chats([[{"role": "user", "content": text}] for text in chosen], tokenizer())
