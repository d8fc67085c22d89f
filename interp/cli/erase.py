"""``interp erase``: what an eraser takes out of a model, what a fresh attacker still reads, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .options import ModelArg, ModelOpts, command_line, model_options
from .paths import check_files, made_folder

if TYPE_CHECKING:
    from ..memorisation.erasure import Judgement
    from ..memorisation.records import Records
    from ..models import Model
    from ..prompts import PromptSet
    from ..report import Report

COLUMNS = (
    "method", "verdict", "rank", "in_sample_acc", "nested_auc", "fresh_auc", "attack_auc", "attack_p", "exact_after",
    "log_p_after", "loss_after", "kl",
)  # fmt: skip


@dataclass
class Erase:
    """Which eraser takes the signature of memorised records out of a model, and at what price?

    Every eraser is fitted on half of the groups of records and judged by the other half: probes of eight kinds are
    trained anew on what is left there, beside what they read from shuffled labels; recall of the records, and the loss
    on neutral text, are measured before and after. Then each eraser is fitted on all records and written.

    Writes report.html (one offline page), report.json, report.csv, figure.svg, figure.pdf, erasers/ (a safetensors file
    per eraser and block) and, with --save-model, the edited models. The same --out again replaces these files; where it
    holds a model, it is refused.

    Example: interp erase MODEL records.jsonl --method mean leace pga --neutral stories.jsonl --out erased
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    records: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECORDS")]
    """JSONL, JSON or CSV file, one row for each record and wording; `interp memorisation --help` lists its fields,
    and `interp inject` writes one."""
    neutral: str
    """Texts that have nothing to do with the records: half of them to train on, half to measure damage."""
    out: Path
    """Directory to write."""
    method: tuple[str, ...] = ("random", "mean", "leace", "probe", "inlp", "mdpga")
    """Erasers: random mean leace probe inlp mdpga edit activations after every block; mean-weights probe-weights
    change weights; pga pga-adversarial finetune train for minutes."""
    neutral_text: str | None = None
    """Field of --neutral that holds the text; guessed from common names if not given."""
    neutral_limit: int | None = 512
    """Read only the first so many neutral texts."""
    mark: str | None = None
    """Where activations are read: a mark, 'last', or 'recall' (the mean over recall_1, recall_2, ...). By default
    recall or last."""
    dose: int | None = None
    """Only records of this dose; by default the highest."""
    contrast: Literal["twins", "M-C"] | None = None
    """What is to become unreadable: trained against untrained twins, or wordings M against C. By default twins."""
    sites: str = "resid_post"
    """Where attackers look, comma-separated; by default after every block."""
    attackers: Literal["all", "quick"] = "all"
    """'quick' leaves the two networks out."""
    permutations: int = 39
    """Shuffled labels that the suite of attackers is trained on again, in each half; 0 for none."""
    epochs: int = 120
    """Epochs of training, for methods that train."""
    refit: int = 20
    """Epochs after which the probe's direction is fitted anew."""
    lr: float = 3e-4
    """Learning rate of methods that train."""
    align: float = 1.0
    """Weight of the alignment term of PGA."""
    lora: int | None = None
    """Train a low-rank change of this rank instead of the weights."""
    layers: tuple[int, ...] = ()
    """Blocks that are trained; by default the whole model."""
    save_model: bool = False
    """Also write the model that each method that changes weights makes of all records."""
    seed: int = 0
    """Seed of halves, folds, permutations, networks and training."""
    progress: bool | None = None
    """Draw progress bars; by default on a terminal only."""
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        from ..memorisation import load_records

        self._check()
        model = self.loading.load(self.model)
        records = load_records(self.records, model.tokenizer)
        print(records)
        neutral = self._neutral(model)
        found = self.judgement(model, records, neutral, command_line())
        _remove_erasers(self.out)
        write_report(found.report, self.out)
        print(found.report.headline)
        for warning in found.report.warnings:
            print(f"warning: {warning}")
        print()
        print(found.report.table([c for c in COLUMNS if c in found.report.columns]))
        for line in self._write_erasers(model, records, neutral, found):
            print(line)
        print(f"\nreport: {self.out / 'report.html'}")
        return 0

    def _check(self) -> None:
        """Refuse what cannot end well before the model is loaded."""
        from ..errors import ReportError
        from ..memorisation.erasure.methods import METHODS, check_permutations, checked_methods
        from ..memorisation.erasure.words import ALPHA

        checked_methods(self.method)
        check_permutations(self.permutations, ALPHA)
        check_files(self.records, self.neutral)
        made_folder(self.out)
        for name in METHODS:
            if (self.out / f"model-{name}").exists():
                raise ReportError(
                    f"{self.out} holds the model of an earlier run, model-{name}, which would lie beside results that "
                    "are not its own; delete it, or name another --out"
                )

    def judgement(self, model: Model, records: Records, neutral: PromptSet, command: str) -> Judgement:
        """The verdicts that the options describe."""
        from ..directions.erasers import SUITE
        from ..memorisation.erasure import QUICK, judge

        return judge(
            model, records, self.method, neutral=neutral, mark=self.mark, dose=self.dose, contrast=self.contrast,
            sites=[self.sites], suite=QUICK if self.attackers == "quick" else tuple(SUITE),
            attack_permutations=self.permutations, training=self._training(), seed=self.seed, progress=self.progress,
            command=command,
        )  # fmt: skip

    def _training(self) -> Any:
        from ..memorisation.erasure import PGASettings

        return PGASettings(
            epochs=self.epochs, refit=self.refit, lr=self.lr, align=self.align, lora=self.lora,
            layers=self.layers or None,
        )  # fmt: skip

    def _neutral(self, model: Model) -> PromptSet:
        from ..prompts import load_prompts

        prompts = load_prompts(
            self.neutral, model.tokenizer, text=self.neutral_text, label=False, group=False, limit=self.neutral_limit
        )
        return prompts if model.n_ctx is None else prompts.fit(model.n_ctx, truncate="right")

    def _write_erasers(self, model: Model, records: Records, neutral: PromptSet, found: Judgement) -> list[str]:
        """Fit each method on all records and write it; where to."""
        from ..memorisation.erasure import contrast_of, erase_every_depth, fold_everywhere
        from ..memorisation.erasure.methods import FOLDED, TRAINED, closed_form

        whole, mark = contrast_of(records, self.contrast, self.dose), found.report.meta["mark"]
        lines = []
        for name, (treatment, _) in found.treatments.items():
            if name in FOLDED:
                if self.save_model:
                    fit, [site] = closed_form(name), treatment.erasers
                    done = fold_everywhere(model, whole, fit, name, mark=mark, site=site)
                    lines.append(self._saved(done.model, name, f"an eraser at {site}, fitted on", len(whole)))
            elif treatment.erasers:
                fit = closed_form(name, rank=treatment.rank, seed=self.seed)
                made = erase_every_depth(model, whole, fit, name, mark=mark)
                about = found.report.provenance
                for site, eraser in made.erasers.items():
                    path = self.out / "erasers" / f"{name}.{site}.safetensors"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    eraser.made_with(about).save(path)
                lines.append(
                    f"erasers: {self.out / 'erasers'}/{name}.*.safetensors, fitted on all {len(whole)} prompts"
                )
            elif name in TRAINED and self.save_model:
                lines.append(self._save_model(model, whole, neutral, name, mark))
        return lines

    def _save_model(self, model: Model, whole: Any, neutral: PromptSet, name: str, mark: str) -> str:
        from ..memorisation.erasure import pga
        from ..memorisation.erasure.methods import training

        settings = training(name, self._training())
        done = pga(model, whole, neutral, settings, mark=mark, seed=self.seed, progress=self.progress)
        return self._saved(done.model, name, "trained on", len(whole))

    def _saved(self, model: Model, name: str, how: str, prompts: int) -> str:
        return f"model: {model.save(self.out / f'model-{name}')}, {how} all {prompts} prompts"


def _remove_erasers(out: Path) -> None:
    """Remove the erasers that an earlier run wrote, and nothing else: methods and blocks may have been others."""
    from ..errors import SiteError
    from ..memorisation.erasure.methods import METHODS
    from ..sites import Site

    for path in (out / "erasers").glob("*.safetensors"):
        method, _, site = path.stem.partition(".")
        try:
            Site.parse(site)
        except SiteError:
            continue
        if method in METHODS and path.is_file():
            path.unlink()


def write_report(report: Report, out: Path) -> None:
    """Write a report's page, data and figure into a directory that is there."""
    from .. import plots

    report.save(out / "report.json")
    report.to_csv(out / "report.csv")
    figure = plots.figure(report, theme="paper")
    plots.export(figure, out / "figure.svg")
    plots.export(figure, out / "figure.pdf")
    plots.write_html(report, out / "report.html")
