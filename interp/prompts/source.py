"""``Source``: where prompts came from, and what was decided on the way to token ids."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

# What can happen to the beginning-of-sequence token of one prompt; the `bos` column holds one of these per prompt.
BOS_DECISIONS: dict[str, str] = {
    "tokenizer": "the tokenizer puts one in front",
    "text": "the text begins with one, so none was added",
    "template": "the chat template writes one, so none was added",
    "requested": "added because of bos='always'",
    "removed": "taken away because of bos='never'",
    "none": "there is none, and nothing asked for one",
    "given": "raw token ids, left as they are",
}


@dataclass(frozen=True)
class Source:
    """Where prompts came from: name, format, BOS policy and what it decided, hashes, and what was done since.

    ``fields`` says which column of the input played which part; ``history`` has one sentence for each step that
    changed or dropped prompts. No path is kept, only the file's name.

    >>> Source("a.jsonl", "jsonl", bos="auto", bos_counts={"tokenizer": 3}).bos_summary
    'auto (tokenizer 3)'
    """

    name: str = "memory"
    format: str = "tokens"
    bos: str = "given"
    bos_counts: dict[str, int] = field(default_factory=dict)
    tokenizer: str | None = None
    chat_template: str | None = None
    template_options: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    history: tuple[str, ...] = ()

    @property
    def bos_summary(self) -> str:
        """The policy and how often it decided what, in one phrase; this is what `Provenance.bos` records."""
        counts = ", ".join(f"{what} {n}" for what, n in sorted(self.bos_counts.items()))
        return f"{self.bos} ({counts})" if counts else self.bos

    def replace(self, **changes: Any) -> Source:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def then(self, step: str) -> Source:
        """A copy whose history ends with ``step``."""
        return self.replace(history=(*self.history, step))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**dataclasses.asdict(self), "history": list(self.history)}
