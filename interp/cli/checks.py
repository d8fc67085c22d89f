"""``interp doctor``: is this model read right?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .options import ModelArg, ModelOpts, model_options


@dataclass
class Doctor:
    """Check that a model is read right: parity with Hugging Face, padding, batching, caching, generation, hooks.

    Prints one line per check with the largest relative difference. Exit code 1 if any check fails.

    Example: interp doctor gpt2
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    json: Path | None = None
    """Also write the report to this file."""
    seed: int = 0
    """Seed of the random prompts."""
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        from ..doctor import doctor

        model = self.loading.load(self.model)
        report = doctor(model, seed=self.seed)
        print(report.meta["model"])
        marks = {True: "pass", False: "FAIL", None: "n/a"}
        width = max(len(row["check"]) for row in report.rows)
        for row in report.rows:
            size = "" if row["worst"] is None else f"{row['worst']:.1e} (limit {row['tolerance']:.0e})"
            print(f"{marks[row['ok']]:4}  {row['check']:{width}}  {size:22}  {row['detail']}".rstrip())
        print(report.headline)
        if self.json is not None:
            report.save(self.json)
        return 0 if report.meta["ok"] else 1
