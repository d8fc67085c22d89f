"""``interp memorisation``: from a model and records to reports, figures and a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from .options import ModelArg, ModelOpts, command_line, model_options
from .tracking import track

if TYPE_CHECKING:
    from ..memorisation.study import MemorisationStudy
    from ..models import Model
    from ..prompts import PromptSet

RecordsArg = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECORDS")]
COLUMNS = ("claim", "value", "p", "verdict")
PAGE = ("recall", "signature", "gap", "transfer", "project-out")
"""Reports on the page, in order; the others are in files of their own."""


@dataclass
class Memorisation:
    """What has a model memorised of these records, and where can that be read, beside every null and control?

    RECORDS has a row for each record and wording: text; if known, record (its key), pool (M: the wording that was
    trained on; C and B: paraphrases), label (trained or untrained), pair (joins twins), group (what to leave out
    whole), dose, and marks, such as recall_1, as [start, stop] ranges of characters.

    Measures recall (greedy decoding, log p) by dose, then tells trained from never-seen twins, or memorised wordings
    from paraphrases, by a probe across records at every depth: groups left out whole, the depth chosen inside the
    folds, label permutations of the best depth, random weights, a never-trained model, a bag of tokens, and log p
    alone. Says what would have been found where nothing was.

    Writes report.html (one offline page), report.json (a row per claim), a JSON and a CSV file per report, records.csv
    (every record) and figures as SVG and PDF.

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
    neutral: str | None = None
    """Prompt file with other text, to see what projecting the probe's direction out costs it."""
    marks: str | None = None
    """Comma-separated marks to read at; 'recall' is the mean over recall_1, recall_2, ... By default recall or last."""
    doses: str | None = None
    """Comma-separated doses of the signature; by default all."""
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

        model = self.loading.load(self.model)
        records = load_records(self.records, model.tokenizer, prefixes=self._prefixes())
        print(records)
        return memorisation(
            model,
            records,
            never=None if self.never is None else self.loading.load(self.never),
            injected=None if self.injected is None else self.loading.load(self.injected),
            neutral=self._neutral(model),
            marks=_words(self.marks),
            doses=_doses(self.doses),
            untrained=self.untrained,
            permutations=self.permutations,
            seed=self.seed,
            progress=self.progress,
            command=command,
        )

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
    from ..errors import ReportError
    from ..plots.gallery import FIGURES

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"cannot write to {str(out)!r}: {error.strerror}") from error
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
