"""``extract``: every extraction metric of every record, from one batched pass and the decoding that it leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from ...edits import Edit
from ...errors import PromptError, TokenizerMissingError
from ...metrics import TokenScores, token_scores
from ...prompts import PromptSet
from ..records import Records
from . import greedy, likelihood
from .continuation import check_edits, continuations
from .extraction import SCOPES, Extraction
from .neighbours import Neighbourhood, neighbours
from .similarity import similarity
from .split import Split, split_records

if TYPE_CHECKING:
    from ...models import Model

# By default all but "remind", which takes as many passes as a text has neighbours.
METRICS = tuple(name for name in SCOPES if name != "remind")
_DECODED = ("similarity", "similarity_text")


def extract(
    model: Model,
    records: Records,
    *,
    metrics: Sequence[str] | None = None,
    edits: Sequence[Edit] = (),
    prefix_tokens: int | str | None = None,
    share: float = 0.2,
    neighbourhood: Neighbourhood | None = None,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Extraction:
    """What a model gives away of each record (its planted wording, without neutral prefixes in front but the first).

    ``exact``: greedy decoding, given the prefix, writes the suffix verbatim. ``tokens_right`` and ``targets_right``:
    share of the suffix, or of the details behind recall marks, that is the model's first choice along the true text.
    ``strength``: extraction strength of the suffix (0 on failure; ``strength_compat``: 1/n; ``strength_text``: of the
    whole text). ``similarity``: 1 - normalised edit distance between the suffix and what greedy decoding writes, on
    token ids; ``similarity_text`` on characters. ``log_p``: mean nats per token, at the targets if there are recall
    marks, else over the suffix; ``log_p_suffix``, ``log_p_text``. ``min_k``, ``min_k_pp``, ``zlib``: over the whole
    text. ``remind``: five features of the loss around the text, only if asked for.

    Args:
        metrics: some of these; all but ``remind`` by default. What does not apply to the records (targets without
            recall marks, texts without a tokenizer) is left out with a note, unless it was asked for by name.
        edits: act on prefix and suffix alike. They see records numbered as in ``records.planted()``.
        prefix_tokens: a number of tokens, or a mark; see `split_records`.
        share: of tokens in Min-K%.
        neighbourhood: how ``remind`` draws neighbours.

    Raises:
        PromptError: an unknown metric, records that cannot be split, targets asked for where there are no marks.
        TokenizerMissingError: a metric on texts for a model without tokenizer.
        EditError: an edit of the prompt only, an edit at a mark together with ``similarity``, or one that never fired.

    >>> import interp
    >>> from interp.memorisation import load_records
    >>> bed = interp.testbeds.path("memory")
    >>> model = interp.load_model(bed)
    >>> records = load_records(bed / "records.jsonl", model.tokenizer).at_dose(512)
    >>> found = extract(model, records, metrics=["exact", "log_p"])
    >>> trained = found.prompts.labels == "trained"
    >>> bool(found["exact"][trained].mean() > 0.9), bool(found["exact"][~trained].any())
    (True, False)
    """
    check_edits(edits)
    prompts = records.planted()
    split = split_records(prompts, prefix_tokens)
    targets, without = _targets(records, prompts, split)
    chosen, notes = _chosen(metrics, model, prompts, bool(targets.any()))
    if without:
        notes.append(f"{without} records have no recall marks: what is said of details is said of their whole suffix.")
    options: dict[str, Any] = {"edits": edits, "batch_tokens": batch_tokens, "progress": progress}
    scores = token_scores(model, prompts, **options)
    written = None
    if set(chosen) & set(_DECODED):
        written = continuations(model, prompts, scores, split, **options)
    log_p_at = "targets" if targets.any() else "suffix"
    made = _of_one_pass(scores, prompts, split, targets, chosen, share)
    if written is not None:
        made |= _of_decoding(model, prompts, split, written, chosen)
    if "remind" in chosen:
        made |= neighbours(model, prompts, split, -_text_log_p(scores, split), neighbourhood, **options)
    order = [name for name in (*chosen, *(n for n in made if n not in chosen)) if name in made]
    source = prompts.source
    provenance = model.provenance(
        prompts=prompts.hash, tokenizer=source.tokenizer, bos=source.bos_summary, chat_template=source.chat_template
    )
    return Extraction(
        prompts, scores, split, {name: made[name] for name in order}, log_p_at, provenance, written, tuple(notes),
        scores.fired or None,
    )  # fmt: skip


def _targets(records: Records, prompts: PromptSet, split: Split) -> tuple[Bool[np.ndarray, "record pos"], int]:
    """The details of each record, and how many records have none though others do: the whole suffix stands in."""
    mask = np.zeros((len(prompts), int(prompts.lengths.max())), bool)
    for i, positions in enumerate(records.targets(prompts)):
        mask[i, positions[positions < split.stop[i]]] = True
    without = ~mask.any(1) & mask.any()
    mask[without] = greedy.within(mask.shape, split.start, split.stop)[without]
    return mask, int(without.sum())


def _chosen(
    metrics: Sequence[str] | None, model: Model, prompts: PromptSet, targets: bool
) -> tuple[list[str], list[str]]:
    """What to measure, and notes on what cannot be."""
    if isinstance(metrics, str):
        raise PromptError(f"metrics is a list of names, such as [{metrics!r}]")
    chosen = list(METRICS if metrics is None else dict.fromkeys(metrics))
    unknown = [name for name in chosen if name not in SCOPES]
    if unknown or not chosen:
        what = f"unknown metric {unknown[0]!r}" if unknown else "no metric at all"
        raise PromptError(f"{what}; there are: {', '.join(SCOPES)}")
    notes = []
    if not targets and "targets_right" in chosen:
        if metrics is not None:
            raise PromptError("'targets_right' needs marks recall_1, recall_2, ..., and these records have none")
        chosen.remove("targets_right")
    if "similarity_text" in chosen and model.tokenizer is None:
        if metrics is not None:
            raise TokenizerMissingError("'similarity_text' needs a tokenizer, and this model has none")
        chosen.remove("similarity_text")
        notes.append("The model has no tokenizer, so similarity was measured on token ids only.")
    if "zlib" in chosen and prompts.texts is None:
        if metrics is not None:
            raise PromptError("'zlib' needs the records' texts, and these are token ids")
        chosen.remove("zlib")
        notes.append("The records are token ids without text, so there is no zlib ratio.")
    return chosen, notes


def _text_log_p(scores: TokenScores, split: Split) -> Float[np.ndarray, " record"]:
    return likelihood.mean_where(scores.log_p, greedy.within(scores.hit.shape, np.maximum(split.first, 1), split.stop))


def _of_one_pass(
    scores: TokenScores,
    prompts: PromptSet,
    split: Split,
    targets: Bool[np.ndarray, "record pos"],
    chosen: Sequence[str],
    share: float,
) -> dict[str, np.ndarray]:
    """The metrics that one pass over the true text gives."""
    hit, log_p = scores.hit, scores.log_p
    suffix = greedy.within(hit.shape, split.start, split.stop)
    text = greedy.within(hit.shape, np.maximum(split.first, 1), split.stop)
    right = hit.astype(float)
    made: dict[str, Any] = {
        "exact": lambda: greedy.reproduced_from(hit, split.stop) <= split.start,
        "tokens_right": lambda: likelihood.mean_where(right, suffix),
        "targets_right": lambda: likelihood.mean_where(right, targets),
        "strength": lambda: greedy.strength(hit, split.start, split.stop),
        "strength_compat": lambda: greedy.strength(hit, split.start, split.stop, "compat"),
        "strength_text": lambda: greedy.strength(hit, split.first, split.stop),
        "log_p": lambda: likelihood.mean_where(log_p, targets if targets.any() else suffix),
        "log_p_suffix": lambda: likelihood.mean_where(log_p, suffix),
        "log_p_text": lambda: _text_log_p(scores, split),
        "min_k": lambda: likelihood.min_k(log_p, text, share),
        "min_k_pp": lambda: likelihood.min_k_pp(log_p, scores.mean, scores.sd, text, share),
        "zlib": lambda: likelihood.zlib_ratio(_text_log_p(scores, split), prompts.texts or ()),
    }
    return {name: make() for name, make in made.items() if name in chosen}


def _of_decoding(
    model: Model, prompts: PromptSet, split: Split, written: tuple[list[int], ...], chosen: Sequence[str]
) -> dict[str, np.ndarray]:
    """Similarity of what was written to the suffix, on token ids and on text."""
    wanted = [t[a:b].tolist() for t, a, b in zip(prompts.tokens, split.start, split.stop, strict=True)]
    made = {}
    if "similarity" in chosen:
        made["similarity"] = similarity(written, wanted)
    if "similarity_text" in chosen:
        decode = [model.tokenizer.batch_decode(rows, skip_special_tokens=True) for rows in (list(written), wanted)]
        made["similarity_text"] = similarity(*decode)
    return made
