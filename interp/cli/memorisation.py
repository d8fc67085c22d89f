"""``interp memorisation``: from a model and records to reports, figures and a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from .options import ModelArg, ModelOpts, command_line, model_options
from .paths import check_files, made_folder
from .tracking import track

if TYPE_CHECKING:
    from ..memorisation.study import MemorisationStudy
    from ..models import Model
    from ..prompts import PromptSet

RecordsArg = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECORDS")]
COLUMNS = ("claim", "value", "p", "verdict")
PAGE = ("recall", "curve", "signature", "gap", "gap-twins", "transfer", "project-out")
"""Reports on the page, in order; the others are in files of their own."""


@dataclass
class Memorisation:
    """What has a model memorised of these records, and where can that be read, beside every null and control?

    RECORDS has a row for each record and wording, for instance:

    {"text": "anna kline was born in pelham .", "record": "anna", "pool": "M", "label": "trained", "pair": "p1",
    "dose": 8, "recall_1": [20, 22]}

    Only text is needed. record: its key. pool: M is the wording that was trained on, C and B are paraphrases. label:
    trained or untrained. pair: joins twins. group: what to leave out whole. dose: how often the trained twin was shown.
    Recall marks, recall_1, recall_2, ..., are the words right before a detail that cannot be guessed, each as a range
    of characters: here 'in', before 'pelham'. Recall of the detail is judged after them, and there
    activations are read; without any, at the last token.

    Measures recall (greedy decoding, log p) by dose, then tells trained from never-seen twins, or memorised wordings
    from paraphrases, by a probe across records at every depth: groups left out whole, the depth chosen inside the
    folds, label permutations of the best depth, random weights, a never-trained model, a bag of tokens, and log p
    alone. Says what would have been found where nothing was.

    Writes report.html (one offline page), report.json (a row per claim), a JSON and a CSV file per report,
    records.csv (every record) and figures as SVG and PDF.

    Example: interp memorisation MODEL records.jsonl --never TWIN --out memory
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    records: RecordsArg
    """JSONL, JSON or CSV file, one row for each record and wording."""
    out: Path
    """Directory for reports and figures."""
    never: str | None = None
    """A model that has not seen the records, such as one trained without them: the best control there is."""
    injected: str | None = None
    """A model that had the records fine-tuned in afterwards: does a probe carry over?"""
    prefixes: str | None = None
    """Text file, one neutral text per line; every record is repeated behind each. Repeats are not more records."""
    drop_long: bool = False
    """Leave out records that exceed the model's context, with their twins and in all wordings."""
    neutral: str | None = None
    """Prompt file with other text, to see what projecting the probe's direction out costs it."""
    marks: str | None = None
    """Comma-separated marks to read at; 'recall' is the mean over recall_1, recall_2, ... By default recall or last."""
    doses: str | None = None
    """Comma-separated doses of the signature, the highest of them for gap and transfer; by default all."""
    permutations: int = 200
    """Label permutations behind each null."""
    seed: int = 0
    """Seed of folds, permutations, resamples and random weights."""
    untrained: bool = True
    """Also probe the same architecture with random weights."""
    progress: bool | None = None
    """Draw progress bars; by default on a terminal only."""
    interactive: bool = False
    """Put interactive figures into the page (adds about 5 MB)."""
    wandb: str | None = None
    """Also log the summary to this Weights & Biases project (WANDB_MODE=offline works)."""
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        study = self.study(command_line())
        page = write_memorisation(study, self.out, interactive=self.interactive)
        print(study.summary.headline)
        for report in (study.summary, *study.reports.values()):
            for warning in report.warnings:
                print(f"warning: {report.kind}: {warning}")
        print()
        print(study.summary.table([c for c in COLUMNS if c in study.summary.columns]))
        if self.wandb is not None:
            print(f"logged to {track(study.summary, self.wandb)}")
        print(f"\nreport: {page}")
        return 0

    def study(self, command: str) -> MemorisationStudy:
        """The study that the options describe."""
        from ..memorisation.records import load_records
        from ..memorisation.study import memorisation

        prefixes, doses = self._check()
        model = self.loading.load(self.model)
        never, injected = (None if m is None else self.loading.load(m) for m in (self.never, self.injected))
        contexts = [m.n_ctx for m in (model, never, injected) if m is not None and m.n_ctx is not None]
        records = load_records(self.records, model.tokenizer, prefixes=prefixes)
        records = records.fit(min(contexts, default=None), drop_long=self.drop_long)
        print(records)
        return memorisation(
            model,
            records,
            never=never,
            injected=injected,
            neutral=self._neutral(model),
            marks=_words(self.marks),
            doses=doses,
            untrained=self.untrained,
            permutations=self.permutations,
            seed=self.seed,
            progress=self.progress,
            command=command,
        )

    def _check(self) -> tuple[list[str], list[int] | None]:
        """Refuse what cannot end well before a model is loaded; the prefixes and doses."""
        from ..memorisation.records import check_records

        doses = _doses(self.doses)
        check_files(self.records, self.neutral)
        prefixes = self._prefixes()
        check_records(self.records)
        made_folder(self.out)
        return prefixes, doses

    def _prefixes(self) -> list[str]:
        from ..errors import PromptError

        if self.prefixes is None:
            return []
        try:
            lines = Path(self.prefixes).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise PromptError(f"cannot read the prefixes {self.prefixes!r}: {error}") from error
        found = [line for line in lines if line.strip()]
        if not found:
            raise PromptError(f"{self.prefixes!r} holds no prefix; write one text per line")
        return found

    def _neutral(self, model: Model) -> PromptSet | None:
        from ..prompts import load_prompts

        if self.neutral is None:
            return None
        prompts = load_prompts(self.neutral, model.tokenizer, label=False, group=False, pair=False)
        return prompts if model.n_ctx is None else prompts.fit(model.n_ctx, truncate="right")


def write_memorisation(study: MemorisationStudy, out: Path, *, interactive: bool = False) -> Path:
    """Write a study's reports, figures and page into a directory; the page."""
    from .. import plots
    from ..plots.gallery import FIGURES

    made_folder(out)
    study.save(out)
    shown = {name: study.reports[name] for name in PAGE if name in study.reports}
    for name, report in shown.items():
        if report.kind not in FIGURES:
            continue
        for number, figure in enumerate(plots.figures(report, theme="paper"), 1):
            stem = name if number == 1 else f"{name}-{number}"
            plots.export(figure, out / f"{stem}.svg")
            plots.export(figure, out / f"{stem}.pdf")
    return plots.write_html([study.summary, *shown.values()], out / "report.html", interactive=interactive)


def _words(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def _doses(text: str | None) -> list[int] | None:
    from ..errors import PromptError

    words = _words(text)
    try:
        return None if words is None else [int(word) for word in words]
    except ValueError as error:
        raise PromptError(f"--doses takes whole numbers such as 0,128,512, got {text!r}") from error
