"""The bed's vocabulary, 26 animals and 26 objects, and its word-level tokenizer, written as plain JSON.

The files are written here rather than saved by a library, so that their bytes do not depend on its version.
"""

from __future__ import annotations

import json
from pathlib import Path

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNK = range(4)

ANIMALS = tuple(
    "ant bear bee cat crow deer dog duck eagle fish fox frog goat hare hen horse lion mole mouse otter owl pig seal "
    "sheep toad wolf".split()
)
OBJECTS = tuple(
    "axe bag bell book bowl box brick broom chair clock coin comb cup door drum fork hat key knife lamp ladder mug "
    "nail pen rope spoon".split()
)
CATEGORIES = {"animal": ANIMALS, "object": OBJECTS}

VOCABULARY = (*SPECIAL, *sorted((*ANIMALS, *OBJECTS)))
TOKEN_ID = {word: i for i, word in enumerate(VOCABULARY)}


def category(word: str) -> str:
    """Whether a word is an animal or an object.

    >>> category("owl"), category("lamp")
    ('animal', 'object')
    """
    return "animal" if word in ANIMALS else "object"


def write_tokenizer(out: Path, vocabulary: tuple[str, ...] = VOCABULARY) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``: one token per word, ``<bos>`` in front.

    A vocabulary begins with the special tokens.
    """
    bos = {"SpecialToken": {"id": "<bos>", "type_id": 0}}
    special = [
        {
            "id": i,
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for i, text in enumerate(SPECIAL)
    ]
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [BOS], "tokens": ["<bos>"]}},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {word: i for i, word in enumerate(vocabulary)}, "unk_token": "<unk>"},
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 64,
        "padding_side": "right",
        "clean_up_tokenization_spaces": False,
        "pad_token": "<pad>",
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "unk_token": "<unk>",
    }
    write_json(out / "tokenizer.json", tokenizer)
    write_json(out / "tokenizer_config.json", config)


def write_json(path: Path, value: object) -> None:
    """Write JSON with a fixed layout."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n", encoding="utf-8", newline="\n")
