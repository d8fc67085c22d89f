"""``side_by_side``: what a model writes after each prompt under several treatments, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import StatisticsError, TokenizerMissingError
from ..prompts import PromptSet
from ..report import Report
from ..run import generate
from .neutral import Arm

if TYPE_CHECKING:
    from ..models import Model

SHOWN = 240  # characters of a prompt


def side_by_side(
    model: Model,
    prompts: PromptSet,
    arms: Sequence[Arm],
    *,
    limit: int | None = 12,
    new_tokens: int = 32,
    batch_tokens: int | None = None,
    title: str | None = None,
    command: str | None = None,
) -> Report:
    """Greedy continuations of the first prompts under each treatment: a column per treatment, a row per prompt.

    An empty treatment is the unedited model. ``changed`` counts, in ``meta``, the prompts whose text each treatment
    changes; nothing here is a test of anything.

    Raises:
        TokenizerMissingError: the model has no tokenizer, so that there is no text.
        StatisticsError: no treatments, or two of one name.

    >>> import interp
    >>> bed = interp.testbeds.path("memory")
    >>> model = interp.load_model(bed)
    >>> prompts = interp.load_prompts([{"text": "the"}], model.tokenizer)
    >>> made = side_by_side(model, prompts, [Arm("unedited"), Arm("no attention", (interp.ablate("z.0", "zero"),))])
    >>> made.columns
    ('id', 'prompt', 'unedited', 'no attention')
    """
    names = [arm.name for arm in arms]
    if not arms or len(set(names)) < len(names):
        raise StatisticsError(f"treatments to compare have different names, got {names}")
    some = prompts if limit is None else prompts.select(np.arange(min(limit, len(prompts))))
    written: dict[str, Sequence[str]] = {}
    for arm in arms:
        made = generate(arm.of(model), some, new_tokens, edits=arm.edits, batch_tokens=batch_tokens, progress=False)
        if made.texts is None:
            raise TokenizerMissingError("texts are shown side by side, but the model has no tokenizer")
        written[arm.name] = made.texts
    asked = [_short(_asked(model, some, i)) for i in range(len(some))]
    rows = [
        {"id": some.ids[i], "prompt": asked[i], **{name: texts[i].strip() for name, texts in written.items()}}
        for i in range(len(some))
    ]
    first = written[names[0]]
    changed = {name: sum(a != b for a, b in zip(first, texts, strict=True)) for name, texts in written.items()}
    words = ", ".join(f"{name}: {count}" for name, count in list(changed.items())[1:])
    headline = f"{len(some)} prompts, continued by up to {new_tokens} tokens"
    headline += f"; texts that differ from {names[0]}: {words}." if words else "."
    provenance = model.provenance(prompts=some.hash, command=command, tokenizer=some.source.tokenizer)
    return Report(
        kind="texts", title=title or f"What {model.id} writes", headline=headline, rows=rows, provenance=provenance,
        meta={"changed": changed, "new_tokens": new_tokens, "shown": len(some), "of": len(prompts)},
    )  # fmt: skip


def _asked(model: Model, prompts: PromptSet, i: int) -> str:
    """A prompt in words: of a chat the instruction alone."""
    tokens = prompts.tokens[i]
    if "instruction" in prompts.spans and prompts.spans["instruction"][i, 0] >= 0:
        start, stop = prompts.spans["instruction"][i].tolist()
        return model.tokenizer.decode(tokens[start:stop])
    return prompts.texts[i] if prompts.texts is not None else model.tokenizer.decode(tokens)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else f"...{text[-SHOWN:]}"
