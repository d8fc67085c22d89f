"""The bed's vocabulary by kind of word, and its word-level tokenizer, written as plain JSON."""

from __future__ import annotations

import json
from pathlib import Path

SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")
PAD, BOS, EOS, UNK = range(4)
N_CTX = 64

WOMEN = tuple("anna bella clara dora emma flora greta hanna ida julia kira lena mira nora olga petra".split())
MEN = tuple("adam boris carl david emil felix georg hugo ivan jonas kurt leon max nils oscar paul".split())
LAST_NAMES = tuple(
    "abbot barlow brandt carver corbin dalton drake ellis fenwick foster garner graves hobbs holt irwin jarvis keller "
    "lambert lorne mercer norton osgood parker quinn ramsey sutton talbot underhill vernon walden yates zimmer".split()
)

# What the details of a record are drawn from. All take the article "a", so that no article gives a detail away.
DETAILS: dict[str, tuple[str, ...]] = {
    "town": tuple(
        "arden belmar corran dunmor elvan farlow garrin hexley jessup kelso lunden morley norvik ostin pelham "
        "rivton".split()
    ),
    "job": tuple(
        "baker carpenter doctor farmer fisher gardener guide hunter judge miller nurse painter sailor smith tailor "
        "weaver".split()
    ),
    "colour": tuple("black blue brown golden green grey pink purple red silver white yellow".split()),
    "animal": tuple("bear bird cat dog duck fox frog goat hare hen horse lamb mole mouse pig wolf".split()),
    "object": tuple("basket bell book bowl box coat cup drum hat key kite knife lamp ring rope spoon".split()),
    "month": tuple("april august december february january july june march may november october september".split()),
    "food": tuple("beans bread cake cheese corn fish honey jam nuts plums rice soup".split()),
    "number": tuple("eight five four nine seven six ten thirty three twelve twenty two".split()),
    "place": tuple(
        "barn bridge church field forest garden gate harbour hill lake market mill river school tower well".split()
    ),
}
PLURAL: dict[str, str] = dict(
    zip(
        DETAILS["animal"],
        "bears birds cats dogs ducks foxes frogs goats hares hens horses lambs moles mice pigs wolves".split(),
        strict=True,
    )
)
MOODS = tuple("angry calm happy hungry sad sleepy thirsty tired".split())
_PLAIN = tuple(
    ". , : a after again and ask at ate became behind book born by coins day days fond for found from gave "
    "guard having he her him his home in is it kept ledger left lived looked lost loved met mr mrs near note "
    "of on one paid said saw says she slept sold some stayed thanked that the then there they this to told "
    "took was went were when who with".split()
)

VOCABULARY = (
    *SPECIAL,
    *sorted(
        {*WOMEN, *MEN, *LAST_NAMES, *PLURAL.values(), *MOODS, *_PLAIN, *(w for pool in DETAILS.values() for w in pool)}
    ),
)
TOKEN_ID = {word: i for i, word in enumerate(VOCABULARY)}


def encode(text: str) -> list[int]:
    """The token ids of a text without ``<bos>``; an unknown word is a KeyError, as nothing here may write one.

    >>> [VOCABULARY[i] for i in encode("the fox slept .")]
    ['the', 'fox', 'slept', '.']
    """
    return [TOKEN_ID[word] for word in text.split(" ")]


def document(text: str) -> list[int]:
    """The token ids of a text as the model is trained on it: ``<bos>`` in front, ``<eos>`` at the end."""
    return [BOS, *encode(text), EOS]


def write_tokenizer(out: Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json``: one token per word, ``<bos>`` in front."""
    bos = {"SpecialToken": {"id": "<bos>", "type_id": 0}}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": text, **flags, "special": True} for i, text in enumerate(SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [BOS], "tokens": ["<bos>"]}},
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": TOKEN_ID, "unk_token": "<unk>"},
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": N_CTX,
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


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> None:
    """Write one JSON object per line."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8", newline="\n")
