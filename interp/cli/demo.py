"""``interp demo``: what the shipped model has memorised, where that shows, and what erasing it takes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .options import command_line

if TYPE_CHECKING:
    from ..report import Report

# What fits into a minute and a half on two cores; `interp memorisation` and `interp erase` do all of it.
PERMUTATIONS, ATTACK_PERMUTATIONS = 199, 39
ERASERS = ("random", "mean", "leace", "inlp", "mdpga")
ATTACKERS = ("logistic C=1", "kernel ridge")
NEUTRAL_TEXTS = 64
# Sections of the page in their order; the other reports are files beside it.
SHOWN = ("recall", "training", "signature", "gap", "project-out", "erasure")
FIGURES = ("recall", "signature", "erasure")


@dataclass
class Demo:
    """What has a model memorised? Answered on a shipped model whose memory is known; about a minute, no network.

    The model is `memory`, which saw planted records a known number of times among generated stories; a coin decided
    which of two twin records it saw. The demo asks what it recites, where a probe can tell seen from unseen, whether
    a model that never saw the records shows the same, and what erasing the signature does to the memory.

    Writes report.html (one offline page), the figures as SVG, and every report as JSON and CSV.

    Example: interp demo --out demo
    """

    out: Path = Path("demo")
    """Directory for the page, the figures and the reports."""
    seed: int = 0
    """Seed of permutations, resamples and random directions."""

    def __call__(self) -> int:
        """Run the command; its exit code."""
        # The model is tiny: threads cost more than they bring, and much more on a busy machine.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        from .. import plots

        reports = self.reports(command_line())
        summary = reports.pop("summary")
        for name, report in reports.items():
            report.save(self.out / f"{name}.json")
            report.to_csv(self.out / f"{name}.csv")
        summary.save(self.out / "report.json")
        summary.to_csv(self.out / "report.csv")
        for name in FIGURES:
            plots.export(plots.figure(reports[name], theme="paper"), self.out / f"{name}.svg")
        shown = [summary, *(reports[name] for name in SHOWN if name in reports)]
        page = plots.write_html(shown, self.out / "report.html", title="What the memory model has memorised")
        print(f"{summary.headline}\n{reports['erasure'].headline}\n")
        print(reports["recall"].table(["dose", "label", "exact", "log_p"]))
        print(f"\nreport: {page}")
        return 0

    def reports(self, command: str) -> dict[str, Report]:
        """Everything that is measured, by name; the summary of the study is ``"summary"``."""
        from dataclasses import replace

        from .. import testbeds
        from ..memorisation import load_records
        from ..memorisation.curves import logged_curve
        from ..memorisation.erasure import verdict
        from ..memorisation.study import memorisation
        from ..models import load_model
        from ..prompts import load_prompts

        bed = testbeds.path("memory")
        model, never = load_model(bed), load_model(testbeds.path("memory-never"))
        records = load_records(bed / "records.jsonl", model.tokenizer)
        neutral = load_prompts(bed / "stories.jsonl", model.tokenizer, limit=NEUTRAL_TEXTS)
        shared = {"seed": self.seed, "command": command}
        study = memorisation(model, records, never=never, neutral=neutral, permutations=PERMUTATIONS, **shared)
        erased = verdict(
            model, records, list(ERASERS), neutral=neutral, suite=list(ATTACKERS),
            attack_permutations=ATTACK_PERMUTATIONS, **shared,
        )  # fmt: skip
        source = model.provenance(command=command)
        training = replace(logged_curve(bed / "curves.json", source), title="Recall over the training")
        return {"summary": study.summary, **study.reports, "training": training, "erasure": erased}
