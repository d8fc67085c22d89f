"""Tiny checkpoints on disk, with and without a tokenizer."""

from __future__ import annotations

from pathlib import Path

from tests.identity.architectures import hf_model

WORDS = ["<s>", "</s>", "<unk>", "the", "cat", "cats", "sits", "sit", "on", "a", "mat"]


def checkpoint(path: Path, name: str = "llama", *, tokenizer: bool = True, **changes: object) -> Path:
    """Save a tiny random model, and a word-level tokenizer whose padding token is its end token."""
    hf_model(name, **changes).save_pretrained(path)
    if tokenizer:
        word_tokenizer().save_pretrained(path)
    return path


def word_tokenizer():
    """Words become ids; a text begins with ``<s>``; the padding token is the end token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )
