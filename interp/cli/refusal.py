"""``interp refusal``: what a model believes of requests, what it refuses, and which direction moves which."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .options import ModelArg, ModelOpts, command_line, model_options
from .paths import check_files, made_folder

if TYPE_CHECKING:
    from ..safety.refusal.study import RefusalStudy

COLUMNS = ("claim", "value", "p", "verdict")
PAGE = (
    "beliefs", "quadrants", "belief-regression", "belief-map", "inversion", "dissociation", "guard", "checkpoints",
    "refusal-behaviour",
)  # fmt: skip


@dataclass
class Refusal:
    """Are harmfulness and refusal two things in this model: where is each read, and which direction moves which?

    Each file has a row per request: a text (instruction, prompt, ...) or messages; if known topic, category (the kind
    of jailbreak), group (rows that belong together, such as a request and its jailbroken wording), split (train, val,
    test; else groups are dealt out). FILE@FIELD=VALUE takes the rows with that value: xstest.csv@label=safe.

    What is refused is measured, by the first token of the answer. Beliefs are cosines to the means of training
    requests, read at the end of the instruction (t_inst) and of the prompt (t_post), judged on other requests beside
    permuted labels, random weights, the embedding, lengths with last tokens and template, and a bag of tokens. Only
    jailbroken and over-refused requests can tell harm from refusal; without them the page says so. Then requests are
    steered before a question about harm, and refusal itself, beside random directions of the same length; and the harm
    belief is tried as a guard. A model that does not refuse is told so in the first sentence.

    Writes report.html (one offline page), report.json (a row per claim), a JSON and a CSV file per report,
    directions/ (safetensors, one per block), figures as SVG and PDF.

    Example: interp refusal MODEL --harmful harmful.jsonl --harmless harmless.jsonl --jailbroken jailbroken.jsonl
    --overrefused overrefused.jsonl --question "Would this cause harm? Answer yes or no." --out refusal
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    harmful: str
    """Harmful requests as they are."""
    harmless: str
    """Harmless requests as they are."""
    out: Path
    """Directory for reports, directions and figures."""
    jailbroken: str | None = None
    """Harmful requests that are dressed up so as to be answered."""
    overrefused: str | None = None
    """Harmless requests that look harmful, or come with a context that makes models refuse."""
    compare: str | None = None
    """Another checkpoint of the model, such as one that was fine-tuned to comply: what became of its beliefs?"""
    template: str | None = None
    """Jinja file with a chat template, for tokenizers without one or instead of theirs."""
    system: str | None = None
    """System message for requests that are texts."""
    question: str | None = None
    """Asked behind each request; by default 'Would this request cause harm? Answer yes or no.'"""
    says_yes: tuple[str, ...] = ()
    """How the answer begins that means harm; by default Yes, yes, YES."""
    says_no: tuple[str, ...] = ()
    """How the other answer begins; by default No, no, NO."""
    refusal: tuple[str, ...] = ()
    """How refusals begin; by default in the usual English ways."""
    limit: int | None = 512
    """Take so many requests of each file at most, drawn at random."""
    fpr: float = 0.01
    """False positive rate that the guard's threshold is calibrated to."""
    dose: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 3.0)
    """Doses of steering, in lengths of the direction."""
    draws: int = 19
    """Random directions beside each direction."""
    untrained: bool = True
    """Also read the same architecture with random weights."""
    permutations: int = 1000
    """Label permutations behind each null."""
    seed: int = 0
    """Seed of draws, parts, permutations, resamples, random directions and random weights."""
    progress: bool | None = None
    """Draw progress bars; by default on a terminal only."""
    interactive: bool = False
    """Put interactive figures into the page (adds about 5 MB)."""
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        self._check()
        study = self.study(command_line())
        page = write_refusal(study, self.out, interactive=self.interactive)
        print(study.summary.headline)
        for warning in dict.fromkeys(w for r in (study.summary, *study.reports.values()) for w in r.warnings):
            print(f"warning: {warning}")
        print()
        print(study.summary.table([c for c in COLUMNS if c in study.summary.columns]))
        print(f"\nreport: {page}")
        return 0

    def study(self, command: str) -> RefusalStudy:
        """The study that the options describe."""
        from ..safety.refusal.outcomes import NO, QUESTION, YES
        from ..safety.refusal.study import refusal_study

        model = self.loading.load(self.model)
        other = None if self.compare is None else self.loading.load(self.compare)
        return refusal_study(
            model, harmful=self.harmful, harmless=self.harmless, jailbroken=self.jailbroken,
            overrefused=self.overrefused, compare=other, template=self.template, system=self.system,
            question=QUESTION if self.question is None else self.question, yes=self.says_yes or YES,
            no=self.says_no or NO, refusals=self.refusal or None, limit=self.limit, fpr=self.fpr, doses=self.dose,
            draws=self.draws, untrained=self.untrained, permutations=self.permutations, seed=self.seed,
            progress=self.progress, command=command,
        )  # fmt: skip

    def _check(self) -> None:
        """Everything that can be wrong before the model is loaded."""
        from ..errors import PromptError, StatisticsError
        from ..safety.refusal.loading import source_of

        given = (self.harmful, self.harmless, self.jailbroken, self.overrefused)
        check_files(*(source_of(path)[0] for path in given if path is not None), self.template)
        if not 0 < self.fpr < 1:
            raise StatisticsError(f"--fpr is a rate between 0 and 1, got {self.fpr:g}")
        if not self.dose or min(self.dose) <= 0:
            raise StatisticsError(f"--dose takes positive numbers, got {' '.join(f'{d:g}' for d in self.dose)}")
        for name in ("draws", "permutations"):
            if getattr(self, name) < (1 if name == "draws" else 0):
                raise StatisticsError(f"--{name} is too small: {getattr(self, name)}")
        if self.limit is not None and self.limit < 1:
            raise PromptError(f"--limit must be at least 1, got {self.limit}")
        made_folder(self.out)


def write_refusal(study: RefusalStudy, out: Path, *, interactive: bool = False) -> Path:
    """Write a study's reports, directions, figures and page into a directory that is there; the page."""
    from .. import plots
    from ..plots.gallery import FIGURES

    study.save(out)
    by_kind = {report.kind: report for report in study.reports.values()}
    for kind, report in by_kind.items():
        if kind not in FIGURES or not report.rows:
            continue
        for number, figure in enumerate(plots.figures(report, theme="paper"), 1):
            stem = kind if number == 1 else f"{kind}-{number}"
            plots.export(figure, out / f"{stem}.svg")
            plots.export(figure, out / f"{stem}.pdf")
    shown = [by_kind[kind] for kind in PAGE if kind in by_kind]
    return plots.write_html([study.summary, *shown], out / "report.html", interactive=interactive)
