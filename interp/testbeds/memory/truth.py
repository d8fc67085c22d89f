"""The answer key: which record was trained on, how often, and what that did to its loss."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BedError
from .measure import Score
from .records import Record
from .spec import MemorySpec
from .words import write_json


@dataclass(frozen=True)
class RecordTruth:
    """One record. Losses are mean nats per detail, in the planted wording.

    ``trained`` is the coin, ``exposures`` how often the training of `memory` showed the record. ``loss_with`` is under
    `memory`, ``loss_without`` under `never`, ``loss_injected`` under `injected`; ``recalled`` says that greedy decoding
    from before the first detail reproduces the rest.
    """

    id: str
    pair: str
    group: str
    dose: int
    trained: bool
    exposures: int
    loss_with: float
    loss_without: float
    loss_injected: float
    recalled: bool
    recalled_without: bool
    recalled_injected: bool

    @property
    def counterfactual(self) -> float:
        """Counterfactual memorisation: loss with minus loss without, in nats per detail; negative where remembered.

        `never` knows the form of records and not these, so its loss is that of chance. For an untrained twin this is
        positive where `memory` mistakes it for records that it remembers; `MemoryTruth.twin_gaps` compares twins.
        """
        return self.loss_with - self.loss_without


@dataclass(frozen=True)
class MemoryTruth:
    """What was planted: ``seed`` of the coins and everything else, and every record."""

    seed: int
    records: tuple[RecordTruth, ...]

    @property
    def doses(self) -> tuple[int, ...]:
        """All doses, rising."""
        return tuple(sorted({record.dose for record in self.records}))

    def record(self, id: str) -> RecordTruth:
        """One record by its id, with or without the pool behind it (``...-x`` or ``...-x-M``).

        Raises:
            BedError: there is no such record.
        """
        name = id[:-2] if id[-2:] in ("-M", "-C", "-B") else id
        for record in self.records:
            if record.id == name:
                return record
        raise BedError(f"no record {id!r} in the memory bed; ids look like {self.records[0].id!r}")

    def twin_gaps(self, dose: int) -> dict[str, float]:
        """Pair -> loss of the trained twin minus loss of the untrained one, under `memory`, in nats per detail.

        Raises:
            BedError: there is no such dose.
        """
        if dose not in self.doses:
            raise BedError(f"no dose {dose} in the memory bed; there are: {', '.join(map(str, self.doses))}")
        gaps: dict[str, float] = {}
        for record in self.records:
            if record.dose == dose:
                sign = 1 if record.trained else -1
                gaps[record.pair] = gaps.get(record.pair, 0.0) + sign * record.loss_with
        return gaps


def write_truth(out: Path, spec: MemorySpec, records: list[Record], scores: dict[str, list[Score]]) -> MemoryTruth:
    """Write ``truth.json`` from what was planted and the scores of the three models."""
    made = []
    columns = zip(records, scores["memory"], scores["never"], scores["injected"], strict=True)
    for record, memory, never, injected in columns:
        made.append(
            RecordTruth(
                id=record.id,
                pair=record.pair,
                group=record.group,
                dose=record.dose,
                trained=record.trained,
                exposures=record.exposures,
                loss_with=_rounded(memory),
                loss_without=_rounded(never),
                loss_injected=_rounded(injected),
                recalled=memory.exact,
                recalled_without=never.exact,
                recalled_injected=injected.exact,
            )
        )
    truth = MemoryTruth(spec.seed, tuple(made))
    recipe: dict[str, Any] = asdict(spec)
    write_json(out / "truth.json", {"seed": spec.seed, "recipe": recipe, "records": [asdict(r) for r in made]})
    return truth


def read_truth(folder: Path) -> MemoryTruth:
    """Read ``truth.json``.

    Raises:
        BedError: it is missing, or not what `write_truth` writes.
    """
    path = folder / "truth.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        records = tuple(RecordTruth(**record) for record in fields["records"])
        if not records:
            raise ValueError("it lists no records")
        return MemoryTruth(seed=fields["seed"], records=records)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BedError(f"{path} does not hold the truth of a memory bed: {error}") from error


def _rounded(score: Score) -> float:
    return round(float(np.float64(score.loss)), 4)
