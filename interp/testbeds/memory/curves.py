"""Train a variant and keep what was measured on the way, at ten points: ``curves.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..reproducible import reproducible
from .measure import by_dose, held_out_stories, score_records, story_loss
from .records import Record
from .spec import MemorySpec
from .training import load, new_model, save, train
from .words import write_json

CHECKPOINTS = 10

# Variant -> its folder below the bed's, in the order in which they can be made.
FOLDERS = {"memory": ".", "never": "never", "injected": "injected"}


def train_variant(out: Path, spec: MemorySpec, records: list[Record], variant: str) -> None:
    """Train and save `memory` or `never` from the same fresh weights, or `injected` from the saved `never`."""
    texts = held_out_stories(spec.seed)
    marks = {round(spec.steps * k / CHECKPOINTS) for k in range(1, CHECKPOINTS + 1)} - {0}
    curve: list[dict[str, Any]] = []
    with reproducible(spec.seed):
        model = new_model(spec) if variant != "injected" else load(out / FOLDERS["never"])

        def watch(step: int) -> None:
            if step in marks:
                model.eval()
                scores, stories = score_records(model, records), round(story_loss(model, texts), 4)
                curve.append(
                    {"step": step, "of": spec.steps, "story_loss": stories, "records": by_dose(records, scores)}
                )
                model.train()

        train(model, spec, records, variant, watch)
    folder = out / FOLDERS[variant]
    save(model, folder, spec, variant)
    write_json(folder / "curves.json", curve)
