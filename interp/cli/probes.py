"""``interp probe``: from prompts to a probe, a figure and a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .options import (
    ModelArg,
    ModelOpts,
    PromptOpts,
    PromptsArg,
    command_line,
    model_options,
    prompt_options,
)
from .tracking import track

if TYPE_CHECKING:
    from ..probes.study import ProbeStudy


HEADLINE_COLUMNS = ("site", "auc", "acc", "null_auc_hi", "p_max", "untrained_auc")


@dataclass
class Probe:
    """Can a label be read off the activations? Grouped cross-validation at every site, with its nulls and controls.

    Prompts that share a group are never on both sides of a split. Beside every number stand: an interval from resampled
    groups, the label-permutation null of the best of all sites, the same probe on an untrained twin of the model, and
    what the bag of tokens alone can do.

    Writes report.html (one offline page), report.json, report.csv, figure.svg, figure.pdf and probe.safetensors.

    Example: interp probe MODEL pairs.jsonl --label 'case~^(singular|plural)' --group noun --out number
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    prompts: PromptsArg
    """JSONL, JSON, CSV, Parquet or text file, or a saved Hugging Face dataset."""
    out: Path
    """Directory for the report, the figure and the probe."""
    label: str | None = None
    """Field with the two classes, or FIELD~REGEX for its first capture group. Guessed if not given."""
    group: str | None = None
    """Field whose values must not be on both sides of a split; 'F1,F2~REGEX' joins prompts that share any value."""
    sites: str = "resid_post"
    """Comma-separated: 'resid_post' (every layer), 'embed,resid_post', 'z.5.h3', 'mlp_out.-1' (the last layer)."""
    at: str = "last"
    """Which token: a mark such as 'last', 't_inst' or 't_post'."""
    C: float = 1.0
    """Inverse strength of the L2 penalty on standardised features, as in scikit-learn."""
    folds: int = 10
    """Folds of the cross-validation."""
    permutations: int = 200
    """Label permutations behind the null."""
    bootstrap: int = 2000
    """Resamples of groups behind each interval."""
    seed: int = 0
    """Seed of folds, permutations, resamples and the untrained twin."""
    untrained: bool = True
    """Also probe the same architecture with random weights."""
    shared: Literal["raise", "warn"] = "raise"
    """What to do when one and the same input occurs in two groups."""
    progress: bool | None = None
    """Draw progress bars; by default on a terminal only."""
    interactive: bool = False
    """Put an interactive figure into the page as well (adds about 5 MB)."""
    wandb: str | None = None
    """Also log the result to this Weights & Biases project (WANDB_MODE=offline works)."""
    prompt: PromptOpts = prompt_options()
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        study = self.study(command_line())
        write_study(study, self.out, interactive=self.interactive)
        print(study.report.headline)
        for warning in study.report.warnings:
            print(f"warning: {warning}")
        print()
        print(study.report.table([c for c in HEADLINE_COLUMNS if c in study.report.columns]))
        if self.wandb is not None:
            print(f"logged to {track(study.report, self.wandb)}")
        print(f"\nreport: {self.out / 'report.html'}")
        return 0

    def study(self, command: str) -> ProbeStudy:
        """The study that the options describe."""
        from ..errors import PromptError
        from ..probes.study import probe

        model = self.loading.load(self.model)
        prompts = self.prompt.load(self.prompts, model, label=self.label, group=self.group)
        print(prompts)
        if prompts.labels is None:
            fields = ", ".join(sorted(prompts.columns.keys() - {"bos"}))
            has = f"its fields besides the text: {fields}" if fields else "it has no fields besides the text"
            raise PromptError(f"{self.prompts} has no label to probe; name its field with --label ({has})")
        return probe(
            model,
            prompts,
            self.sites,
            at=self.at,
            C=self.C,
            folds=self.folds,
            permutations=self.permutations,
            bootstrap=self.bootstrap,
            seed=self.seed,
            untrained=self.untrained,
            shared=self.shared,
            progress=self.progress,
            command=command,
        )


def write_study(study: ProbeStudy, out: Path, *, interactive: bool = False) -> None:
    """Write a study's page, data, figure and probe into a directory."""
    from .. import plots
    from ..errors import ReportError

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"cannot write to {str(out)!r}: {error.strerror}") from error
    study.report.save(out / "report.json")
    study.report.to_csv(out / "report.csv")
    figure = plots.figure(study.report, theme="paper")
    plots.export(figure, out / "figure.svg")
    plots.export(figure, out / "figure.pdf")
    plots.write_html(study.report, out / "report.html", interactive=interactive)
    study.probe.save(out / "probe.safetensors")
