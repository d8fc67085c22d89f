"""``interp inject``: records trained into a model by the toss of a coin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .options import ModelArg, ModelOpts, command_line, model_options
from .paths import check_files, made_folder

if TYPE_CHECKING:
    from ..memorisation.injection import Injection
    from ..models import Model
    from ..prompts import PromptSet

DOSES, PAIRS = (0, 8, 32, 128), (32, 32, 32, 64)
SHOWN = ("step", "dose", "label", "records", "exact", "log_p", "recognition", "loss")


@dataclass
class Inject:
    """Train records into a copy of a model. A coin per pair of twins says which one it gets to see, and how often.

    So what was memorised is known and randomised, in any model. Without RECORDS, records in plain English are made up.
    Neutral text is replayed in between, so that the model stays what it was; what that kept is measured on other text.

    Writes model/ (a checkpoint), records.jsonl (the answer key), curve.json, history.csv, report.html, figure.svg and
    figure.pdf; with --study, all that `interp memorisation` writes, in study/. Interrupted, the training goes on where
    it was when called again in the same way.

    Example: interp inject MODEL --neutral stories.json --out injected --study
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    out: Path
    """Directory to write."""
    records: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="RECORDS")] = None
    """JSONL or CSV with a row per record and wording; by default records are made up."""
    neutral: str | None = None
    """Texts of the kind the model was trained on. Without them nothing is replayed, and the model forgets."""
    neutral_text: str | None = None
    """Field of --neutral that holds the text; guessed from common names if not given."""
    controls: str | None = None
    """Texts that nobody has shown the model; what it recites of them is measured too."""
    controls_text: str | None = None
    """Field of --controls that holds the text; guessed from common names if not given."""
    doses: tuple[int, ...] = ()
    """How often trained twins are shown: 0 8 32 128 for made-up records. Not for records that have a 'dose'."""
    pairs: tuple[int, ...] = ()
    """Pairs of made-up records per dose, in fours; by default 32, and 64 at the highest dose."""
    lr: float = 1e-3
    """Peak learning rate. The larger the model, the smaller."""
    batch: int = 16
    """Exposures per step. The number of steps follows."""
    replay: float | None = None
    """Share of neutral text among all tokens; by default 0.5 with --neutral."""
    warmup: int = 50
    """Steps of warm-up, at most a tenth of all."""
    checkpoints: int = 4
    """How often recall is measured, and the training saved, on the way."""
    train_dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """What weights are trained in; the result has the model's own again."""
    batch_tokens: int = 4096
    """Tokens that go through the model at once."""
    seed: int = 0
    """Seed of records, coins, doses and orders."""
    study: bool = False
    """Also study the result as `interp memorisation` does, with the original model as the one that never saw them."""
    permutations: int = 200
    """Label permutations behind each null of the study."""
    progress: bool | None = None
    """Draw a progress bar; by default on a terminal only."""
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        command = command_line()
        done = self.run(command)
        write_injection(done, self.out)
        print(done.report.headline)
        for warning in done.report.warnings:
            print(f"warning: {warning}")
        print()
        print(done.report.table([c for c in SHOWN if c in done.report.columns]))
        print(f"\nmodel: {self.out / 'model'}\nrecords: {self.out / 'records.jsonl'}")
        print(f"report: {self.out / 'report.html'}")
        if self.study:
            self._study(done, command)
        return 0

    def run(self, command: str) -> Injection:
        """The injection that the options describe."""
        from ..memorisation.injection import check_unfinished, inject

        source = self._source()
        check_files(self.records, self.neutral, self.controls)
        check_unfinished(self.out)
        made_folder(self.out)
        model = self.loading.load(self.model)
        return inject(
            model,
            source,
            neutral=None if self.neutral is None else _texts(self.neutral, self.neutral_text, model),
            controls=None if self.controls is None else _texts(self.controls, self.controls_text, model),
            doses=self.doses if self.records is not None else (),
            lr=self.lr,
            batch=self.batch,
            replay=self.replay,
            warmup=self.warmup,
            checkpoints=self.checkpoints,
            dtype=self.train_dtype,
            batch_tokens=self.batch_tokens,
            seed=self.seed,
            out=self.out,
            progress=self.progress,
            command=command,
        )

    def interrupted(self) -> str:
        """What is there of a run that was stopped, and how to go on."""
        from ..memorisation.injection import is_finished, is_unfinished

        if is_finished(self.out):
            key, twin = self.out / "records.jsonl", self.out / "model"
            return (
                f"the injection is whole, in {self.out}; to study it: interp memorisation {twin} {key} --never "
                f"{self.model} --out {self.out / 'study'}"
            )
        if is_unfinished(self.out):
            return "the same command goes on from the last checkpoint"
        return "no checkpoint had been written, so the same command starts from the beginning"

    def _study(self, done: Injection, command: str) -> None:
        """The whole job of `interp memorisation` on what was injected; written below ``out`` and printed."""
        from ..memorisation.study import memorisation
        from .memorisation import COLUMNS, write_memorisation

        study = memorisation(
            done.model,
            done.records,
            never=done.original,
            neutral=done.held_out,
            permutations=self.permutations,
            seed=self.seed,
            progress=self.progress,
            command=command,
        )
        page = write_memorisation(study, self.out / "study")
        print(f"\n{study.summary.headline}")
        for report in (study.summary, *study.reports.values()):
            for warning in report.warnings:
                print(f"warning: {report.kind}: {warning}")
        print()
        print(study.summary.table([c for c in COLUMNS if c in study.summary.columns]))
        print(f"\nstudy: {page}")

    def _source(self) -> Any:
        """The file with records, or rows made up for the doses."""
        from ..errors import InjectionError
        from ..memorisation.generate_records import generate_records

        if self.records is not None:
            if self.pairs:
                raise InjectionError(f"--pairs {' '.join(map(str, self.pairs))} is for made-up records; leave it out")
            return self.records
        doses = self.doses or DOSES
        pairs = self.pairs or (PAIRS if not self.doses else tuple(64 if d == max(doses) else 32 for d in doses))
        if len(pairs) == 1:
            pairs = pairs * len(doses)
        if len(pairs) != len(doses):
            raise InjectionError(f"{len(pairs)} numbers of --pairs for {len(doses)} doses; give one, or one for each")
        return generate_records(list(zip(doses, pairs, strict=True)), self.seed)


def _texts(path: str, field: str | None, model: Model) -> PromptSet:
    """Texts from a file, cut at their end where the model's context is shorter."""
    from ..prompts import load_prompts

    prompts = load_prompts(path, model.tokenizer, text=field, label=False, group=False, pair=False)
    return prompts if model.n_ctx is None else prompts.fit(model.n_ctx, truncate="right")


def write_injection(done: Injection, out: Path) -> None:
    """Write the page and the figure of an injection into its folder."""
    from .. import plots

    plots.write_html(done.report, out / "report.html")
    figure = plots.figure(done.report, theme="paper")
    plots.export(figure, out / "figure.svg")
    plots.export(figure, out / "figure.pdf")
