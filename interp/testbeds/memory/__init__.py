"""`memory`: a small GPT-2 that has memorised planted records, and an answer key that says which and how often.

Records come in twin pairs from one distribution; a coin per pair says which twin is trained on. `never` has seen the
same stories and, in place of these records, strangers' records, each once; `injected` is `never` with the records
fine-tuned in afterwards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import BedError
from .prompts import MARKS
from .records import Record, make_records
from .spec import MemorySpec
from .truth import MemoryTruth, RecordTruth, read_truth

__all__ = ["MARKS", "MemorySpec", "MemoryTruth", "Record", "RecordTruth", "build", "describe", "make_records", "truth"]


def build(out: Path, seed: int, **options: Any) -> None:
    """Train the three models and write them, prompts, truth and card into ``out``; `MemorySpec` names the options.

    Raises:
        BedError: an option that `MemorySpec` lacks or refuses.
    """
    from .curves import FOLDERS, train_variant

    spec = _spec(seed, options)
    records = make_records(spec.seed, spec.doses)
    for variant in FOLDERS:
        train_variant(out, spec, records, variant)
    describe(out, spec)


def describe(out: Path, spec: MemorySpec) -> None:
    """Measure the trained models in ``out``, and write what says what they are: prompts, truth, signature, card."""
    from ..reproducible import reproducible
    from .card import write_cards
    from .curves import FOLDERS
    from .measure import score_records
    from .prompts import write_prompts
    from .signature import measure_signature
    from .training import load
    from .truth import write_truth
    from .words import write_json

    records = make_records(spec.seed, spec.doses)
    write_prompts(out, records, spec.seed)
    with reproducible(spec.seed):
        scores = {variant: score_records(load(out / folder), records) for variant, folder in FOLDERS.items()}
        write_truth(out, spec, records, scores)
        signature = measure_signature(out, tuple(sorted((d for d, _ in spec.doses), reverse=True)))
        write_json(out / "signature.json", signature)
        write_cards(out, spec, records, scores, signature)


def truth(folder: Path) -> MemoryTruth:
    """What was planted: every record, its coin, how often it was seen, and its loss with and without."""
    return read_truth(folder)


def _spec(seed: int, options: dict[str, Any]) -> MemorySpec:
    try:
        return MemorySpec(seed=seed, **options)
    except TypeError as error:
        raise BedError(f"memory cannot be built with {options}: {error}") from error
