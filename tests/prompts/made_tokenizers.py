"""Small tokenizers and chat templates made on the spot: the shapes that real ones have, without any network."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

CONTROL = [
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|begin|>",
    "<|head|>",
    "<|end_head|>",
    "<|eot|>",
    "<turn>",
    "</turn>",
]
CORPUS = [
    "the cat sat on the mat and the dog ran to the park to play with a red ball",
    "tell me how to make a cake. what is a good name for a cat? you are a kind and helpful friend.",
    "user assistant system model question answer hello world sure here is how",
    "The teacher said that the friends have a plan, but the friend has none! 1 2 3 4 5 6 7 8 9 0",
]

# Each family's habits, in our own words: what is trimmed, where the BOS comes from, how roles are written.
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML_DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nyou are a kind friend<|im_end|>\n{% endif %}" + CHATML
)
# Trims messages, folds the system message into the first user message, writes the BOS for every turn.
INST = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set rest = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if loop.first and system %}{% set text = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + m['content'] %}"
    "{% else %}{% set text = m['content'] %}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + text.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
# Headers with names between control tokens, trimmed messages, one BOS at the very start.
HEADERS = (
    "{{ '<|begin|>' }}{% for m in messages %}<|head|>{{ m['role'] }}<|end_head|>\n\n{{ m['content'] | trim }}<|eot|>"
    "{% endfor %}{% if add_generation_prompt %}<|head|>assistant<|end_head|>\n\n{% endif %}"
)
# No system role; the assistant is called model.
TURNS = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role here') }}{% endif %}"
    "{% for m in messages %}<turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}</turn>\n{% endfor %}{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
# Keeps the reasoning of the last answer only, and writes an empty one where there is none.
THINKING = (
    "{% for m in messages %}{% set text = m['content'] %}{% set thought = '' %}"
    "{% if '</think>' in text %}{% set thought = text.split('</think>')[0].split('<think>')[-1].strip() %}"
    "{% set text = text.split('</think>')[-1].strip() %}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.last %}<think>\n{{ thought }}\n</think>\n\n{% endif %}"
    "{{ text }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "chatml_default_system": CHATML_DEFAULT_SYSTEM,
    "inst": INST,
    "headers": HEADERS,
    "turns": TURNS,
    "thinking": THINKING,
}


@cache
def _trained(add_bos: bool, add_eos: bool) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[AddedToken(c, special=True, normalized=False) for c in CONTROL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([c + "\n\n" + c for c in CORPUS], trainer)
    if add_bos or add_eos:
        ids = [(c, tokenizer.token_to_id(c)) for c in ("<s>", "</s>")]
        single = ("<s> " if add_bos else "") + "$A" + (" </s>" if add_eos else "")
        tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    return tokenizer.to_str()


def byte_level(
    *, template: str | None = None, bos: str | None = "<s>", add_bos: bool = False, add_eos: bool = False, **more: Any
) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with control tokens, as most chat models have."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained(add_bos, add_eos)),
        bos_token=bos,
        eos_token="</s>",
        **{"pad_token": "</s>", **more},
        chat_template=template,
    )


def merging(template: str | None = None) -> PreTrainedTokenizerFast:
    """Characters, and one merge that crosses from a sentence into the template: a full stop and a newline."""
    chars = sorted({c for t in [*TEMPLATES.values(), *CORPUS] for c in t} | {"\n", " "})
    vocab = {c: i for i, c in enumerate([*CONTROL, *chars, ".\n"])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[(".", "\n")]))
    tokenizer.add_special_tokens(CONTROL)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", chat_template=template
    )


class SlowTokenizer(PreTrainedTokenizer):
    """A tokenizer in Python, without character offsets; two letters 'ab' are one token, to be awkward."""

    vocab_files_names: ClassVar[dict[str, str]] = {}

    def __init__(self, **kwargs: Any) -> None:
        self._chars = ["ab", ".\n", *(chr(i) for i in range(32, 127)), "\n"]
        self._table = {c: i for i, c in enumerate(self._chars)}
        super().__init__(**kwargs)

    @property
    def vocab_size(self) -> int:
        return len(self._chars)

    def get_vocab(self) -> dict[str, int]:
        return {**self._table, **self.added_tokens_encoder}

    def _tokenize(self, text: str, **kwargs: Any) -> list[str]:
        out, i = [], 0
        while i < len(text):
            two = text[i : i + 2]
            out.append(two if two in ("ab", ".\n") else text[i])
            i += len(out[-1])
        return out

    def _convert_token_to_id(self, token: str) -> int:
        return self._table[token]

    def _convert_id_to_token(self, index: int) -> str:
        return self._chars[index]

    def build_inputs_with_special_tokens(self, token_ids_0: list[int], token_ids_1: Any = None) -> list[int]:
        return [self.bos_token_id, *token_ids_0]


def slow(template: str | None = None) -> SlowTokenizer:
    controls = [AddedToken(c, special=True, normalized=False) for c in CONTROL if c not in ("<s>", "</s>")]
    return SlowTokenizer(bos_token="<s>", eos_token="</s>", chat_template=template, additional_special_tokens=controls)
