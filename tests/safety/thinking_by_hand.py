"""A model written by hand that thinks: one head means to refuse, another takes that back, where and when it is told to.

Attention only, with an identity norm (the trick of the `induction` bed). Its stream holds ``refuse``, and what tokens
are. Head (0, 1) writes ``refuse`` at every token behind a harmful word. Head (1, 2) takes it back behind a trigger
word: at the tokens that end the thinking (``where="end"``: a cliff), or at all (``"everywhere"``: the model never means
to refuse, so there is nothing to fall). ``offset`` adds to ``refuse`` at every token of the thinking, whatever is
asked: a prober that was fitted at the end then sees all scores fall there. ``harm`` has the thinking show, behind a
harmful word, that it is harmful, and the end show it less: a prober that takes that for refusal sees it fall.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from interp.models import Model
from interp.prompts import PromptSet
from interp.safety.cliff.thinking import Thoughts

BOS, USER, TRIGGER, PLAIN, THINK, END, REPLY, REFUSE, COMPLY = range(9)
HARMFUL, HARMLESS, THOUGHT = range(10, 18), range(20, 28), range(30, 38)
VOCAB, D, HEADS, D_HEAD = 40, 48, 4, 12
FLAGS = ("one", "bos", "harm", "trigger", "end", "refuse", "thought", "shows")
SUPPRESSOR, MEANS_TO = (1, 2), (0, 1)


@cache
def model(where: str = "end", offset: float = 0.0, harm: float = 0.0, seed: int = 0) -> Model:
    """The model; ``where`` is ``end``, ``everywhere`` or ``nowhere``."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCAB, n_embd=D, n_layer=2, n_head=HEADS, n_inner=4, n_positions=64, layer_norm_epsilon=2.0**20,
        tie_word_embeddings=False, bos_token_id=BOS, eos_token_id=None,
    )  # fmt: skip
    hf = GPT2LMHeadModel(config).eval()
    rng = np.random.default_rng(seed)
    basis = _basis(rng)
    with torch.no_grad():
        for parameter in hf.parameters():
            parameter.zero_()
        for name, parameter in hf.named_parameters():
            if "ln_" in name and name.endswith("weight"):
                parameter.fill_(2.0**10)
        hf.transformer.wte.weight.copy_(_t(_embedding(rng, offset) @ basis.T))
        for layer in range(2):
            heads = [_idle(rng) for _ in range(HEADS)]
            if layer == MEANS_TO[0]:
                heads[MEANS_TO[1]] = _head("one", "harm", 1.0)
                if harm:
                    heads[2], heads[3] = (
                        _head("one", "harm", 0.5, "shows"),
                        _head("thought", "harm", harm, "shows"),
                    )
            if layer == SUPPRESSOR[0] and where != "nowhere":
                heads[SUPPRESSOR[1]] = _head("end" if where == "end" else "one", "trigger", -1.2)
            _write(hf.transformer.h[layer], heads, basis)
        unembed = 0.05 * rng.standard_normal((VOCAB, basis.shape[1]))
        unembed[REFUSE], unembed[COMPLY] = 0, 0
        unembed[REFUSE, FLAGS.index("refuse")] = 24.0
        unembed[COMPLY, FLAGS.index("one")] = 12.0
        hf.lm_head.weight.copy_(_t(unembed @ basis.T))
    return Model.wrap(hf, id=f"by-hand-{where}")


def thoughts(n: int = 40, seed: int = 0, *, template: int = 1, kinds: str = "HhTt") -> Thoughts:
    """``n`` prompts of each kind: H harmful, h harmless, T and t the same with the trigger word; ids say which."""
    rng = np.random.default_rng(seed)
    tokens, spans, ends, ids, harmful, groups = [], [], [], [], [], []
    for kind in kinds:
        for i in range(n):
            words = HARMFUL if kind in "HT" else HARMLESS
            prompt = [BOS, USER, *rng.choice(HARMLESS, 2), rng.choice(words), TRIGGER if kind in "Tt" else PLAIN, THINK]
            thought = rng.choice(THOUGHT, int(rng.integers(14, 24))).tolist()
            tokens.append([*map(int, prompt), *thought, END, *[REPLY] * template])
            spans.append((len(prompt), len(prompt) + len(thought)))
            ends.append(len(prompt) + len(thought))
            ids.append(f"{kind}{i}")
            harmful.append(int(kind in "HT"))
            groups.append(f"{'harmful' if kind in 'HT' else 'harmless'} {kind} {i // 2}")
    prompts = PromptSet.from_tokens(tokens, ids=ids, groups=groups, columns={"harmful": harmful})
    prompts = prompts.with_marks(think_start=[s for s, _ in spans], think_end=ends)
    return Thoughts(replace(prompts, spans={"thinking": np.array(spans)}))


def _basis(rng):
    """Orthonormal columns that each sum to zero: what is written in them passes the norm as it is."""
    return np.linalg.qr((np.eye(D) - 1 / D)[:, : D - 1])[0] @ np.linalg.qr(rng.standard_normal((D - 1, D - 1)))[0]


def _embedding(rng, offset):
    table = np.zeros((VOCAB, D - 1))
    table[:, len(FLAGS) :] = 0.3 * rng.standard_normal((VOCAB, D - 1 - len(FLAGS)))
    table[:, FLAGS.index("one")] = 1.0
    for flag, which in (
        ("bos", [BOS]),
        ("harm", list(HARMFUL)),
        ("thought", list(THOUGHT)),
        ("trigger", [TRIGGER]),
        ("end", [END, REPLY]),
    ):
        table[which, FLAGS.index(flag)] = 1.0
    table[list(THOUGHT), FLAGS.index("refuse")] = offset
    return table


def _head(query, key, write, into="refuse"):
    """Attends from tokens with one flag to those with another, else to the first; writes what the other is for."""
    q, k, v, o = (np.zeros((D - 1, D_HEAD)) for _ in range(4))
    q[FLAGS.index(query), 0] = 20.0
    k[FLAGS.index(key), 0] = 10.0
    q[FLAGS.index("one"), 1] = k[FLAGS.index("bos"), 1] = 7.0  # where nothing matches, the first token
    v[FLAGS.index(key), 0] = 1.0
    o[FLAGS.index(into), 0] = write
    return q, k, v, o


def _idle(rng):
    q, k, v, o = (rng.standard_normal((D - 1, D_HEAD)) * size for size in (0.3, 0.3, 0.3, 0.1))
    o[: len(FLAGS)] = 0
    v[FLAGS.index("shows")] = 0
    return q, k, v, o


def _write(block, heads, basis):
    for part, name in enumerate("qkv"):
        whole = np.concatenate([basis @ head[part] for head in heads], axis=1)
        block.attn.c_attn.weight[:, part * D : (part + 1) * D] = _t(whole)
        assert name
    block.attn.c_proj.weight.copy_(_t(np.concatenate([(basis @ head[3]).T for head in heads], axis=0)))


def _t(array):
    return torch.tensor(np.asarray(array), dtype=torch.float32)
