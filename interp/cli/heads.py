"""``interp heads``: which heads copy from the text, and which speak for memory or for the text when these disagree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .cliff import write_page
from .options import (
    ModelArg,
    ModelOpts,
    PromptOpts,
    PromptsArg,
    RunOpts,
    command_line,
    model_options,
    prompt_options,
    run_options,
)
from .paths import check_files, made_folder

if TYPE_CHECKING:
    from ..models import Model
    from ..prompts import PromptSet
    from ..report import Report

PAGE = ("retrieval-heads", "retrieval-masks", "conflict-heads", "conflict-pruned")
COLUMNS = (
    "part", "role", "score", "shuffled", "p_max", "in_needle", "memory", "context", "lean_direct", "lean_full", "mask",
    "pruned", "heads", "before", "after", "effect", "random", "p",
)  # fmt: skip


@dataclass
class Heads:
    """Which heads copy from the text, and which speak for memory or for the text when these disagree?

    --kind retrieval: PROMPTS have a text and a needle (a part of the text that the model is to write next). Each head's
    score is the share of the needle that it looks at just as it is written; needles with their words shuffled are the
    null. The best heads are then masked, in four ways, beside as many random ones, on the other half of the prompts.

    --kind conflict: PROMPTS have a text, what the weights say comes next (memory) and what the text says (context).
    Every head is taken out, on the path to the logits alone and at all, and what that does to either answer's log
    probability says for which it speaks. Sets chosen on one half are pruned on the other, beside random ones.

    Writes report.html (one offline page), a JSON and a CSV file per report, figures as SVG and PDF.

    Example: interp heads MODEL haystacks.jsonl --kind retrieval --out heads
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    prompts: PromptsArg
    """JSONL, JSON, CSV or Parquet."""
    out: Path
    """Directory for reports and figures."""
    kind: Literal["retrieval", "conflict"] = "retrieval"
    """What the heads are looked for."""
    group: str | None = None
    """Field of prompts that belong together; guessed from common names if not given."""
    needle: str = "needle"
    """Retrieval: field with the part of the text that is to be copied."""
    masks: tuple[Literal["zero_z", "mean_z", "uniform_causal", "true_mask"], ...] = (
        "zero_z", "mean_z", "uniform_causal", "true_mask",
    )  # fmt: skip
    """Retrieval: ways to mask heads."""
    top: int | None = None
    """Retrieval: heads to mask; by default all that are beyond chance. Conflict: most heads to prune."""
    shuffles: int = 200
    """Retrieval: shuffled needles behind each p-value."""
    max_new_tokens: int | None = None
    """Retrieval: tokens to write; by default as many as the longest needle has."""
    memory: str = "memory"
    """Conflict: field with what the weights say."""
    context: str = "context"
    """Conflict: field with what the text says."""
    by: Literal["direct", "full"] = "direct"
    """Conflict: rank heads by path patching or by full ablation."""
    how: Literal["zero", "mean"] = "mean"
    """Conflict: what a head's output is replaced with."""
    freeze_mlp: bool = False
    """Conflict: MLPs keep what they wrote, too, when a path is patched."""
    draws: int = 20
    """Random sets of heads beside each chosen one."""
    seed: int = 0
    """Seed of halves, shuffles, random heads and resamples."""
    options: PromptOpts = prompt_options()
    run: RunOpts = run_options()
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        check_files(self.prompts)
        made_folder(self.out)
        model = self.loading.load(self.model)
        prompts = self.options.load(self.prompts, model, group=self.group)
        print(prompts)
        reports = self._retrieval(model, prompts) if self.kind == "retrieval" else self._conflict(model, prompts)
        for name, report in reports.items():
            report.save(self.out / f"{name}.json")
            report.to_csv(self.out / f"{name}.csv")
        write_page(list(reports.values()), PAGE, self.out)
        for report in reports.values():
            print(report.headline)
            for warning in report.warnings:
                print(f"warning: {warning}")
            print()
            print(report.table([c for c in COLUMNS if c in report.columns], max_rows=12))
            print()
        print(f"report: {self.out / 'report.html'}")
        return 0

    def _retrieval(self, model: Model, prompts: PromptSet) -> dict[str, Report]:
        from ..circuits.headtokens import with_span
        from ..circuits.retrieval_report import RetrievalSettings, retrieval_reports

        use = RetrievalSettings(
            top=self.top, masks=self.masks, shuffles=self.shuffles, draws=self.draws, seed=self.seed,
            max_new_tokens=self.max_new_tokens,
        )  # fmt: skip
        return retrieval_reports(model, with_span(model, prompts, self.needle, use.span), use, **self._run())

    def _conflict(self, model: Model, prompts: PromptSet) -> dict[str, Report]:
        from ..circuits.conflict_report import ConflictSettings, conflict_reports
        from ..circuits.headtokens import answer_tokens

        use = ConflictSettings(
            by=self.by, how=self.how, freeze_mlp=self.freeze_mlp, most=self.top, draws=self.draws, seed=self.seed
        )
        memory, context = (answer_tokens(model, prompts, field) for field in (self.memory, self.context))
        return conflict_reports(model, prompts, memory, context, use, **self._run())

    def _run(self) -> dict[str, Any]:
        return {"command": command_line(), **vars(self.run)}
