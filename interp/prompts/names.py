"""Field names that say what a field is for."""

from __future__ import annotations

TOKEN_FIELDS = ("tokens", "input_ids", "token_ids")

# Names that say what a field is for. More than one of a kind in a table is ambiguous, and an error.
PROMPT_FIELDS = (
    *("text", "prompt", "instruction", "sentence", "clean_prefix", "clean", "question", "query", "input", "content"),
    *("messages", "conversation", "conversations", "chat"),
    *TOKEN_FIELDS,
)

# The first of these that is there plays the part, unless the caller says otherwise.
GUESSED = {"label": ("label",), "group": ("group",), "pair": ("pair", "pair_id"), "id": ("id", "example_id")}
