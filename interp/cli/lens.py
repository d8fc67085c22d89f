"""``interp lens``: what would the model say if it ended at each layer, and which parts write the answer?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from ..circuits.translators import Translators
    from ..models import Model
    from ..prompts import PromptSet
    from ..report import Report

PAGE = ("lens", "lens-held-out", "direct-logits")
FILE = "tuned-lens.safetensors"
COLUMNS = ("lens", "site", "kl", "agrees", "log_p", "gain", "knows", "n")


@dataclass
class Lens:
    """What would the model say if it ended at each layer?

    PROMPTS is a file of texts. At every depth the stream is read with the model's own norm and unembedding (logit
    lens), and, with --tuned or --train, after an affine map trained for that depth (tuned lens). How far each reading
    lies from the model's output is set beside the best constant guess. A tuned lens that comes from --train is judged
    on texts of its file that it has not seen, and PROMPTS are read with it as well.

    With a field of answers (--answer, and --wrong) the log probability of the answer is followed at the last token, and
    the answer's lead in logits is shared out exactly over embedding, heads, MLPs and biases.

    Writes report.html (one offline page), a JSON and a CSV file per report, figures as SVG and PDF, and the lens that
    was trained as tuned-lens.safetensors, which refuses to read another model.

    Example: interp lens MODEL prompts.jsonl --train texts.jsonl --answer answer --out lens
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    prompts: PromptsArg
    """JSONL, JSON, CSV, Parquet or text, one prompt a line."""
    out: Path
    """Directory for reports and figures."""
    tuned: Path | None = None
    """A tuned lens of this model, from an earlier --train."""
    train: str | None = None
    """File with texts to train a tuned lens on."""
    train_limit: int | None = 2000
    """Read only the first so many of these texts."""
    steps: int = 400
    """Steps of training."""
    lr: float = 2e-3
    """Peak rate of training."""
    at: str = "all"
    """Tokens to read at: all, last, or another mark. With --answer it is the last."""
    answer: str | None = None
    """Field with the answer: the word whose first token comes next."""
    wrong: str | None = None
    """Field with a wrong answer, which the answer leads over; the mean of the vocabulary if not given."""
    seed: int = 0
    """Seed of the split, the training, exchanged answers and resamples."""
    options: PromptOpts = prompt_options()
    run: RunOpts = run_options()
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        from ..errors import PromptError

        check_files(self.prompts, self.train, self.tuned)
        if self.tuned is not None and self.train is not None:
            raise PromptError("give --tuned FILE or --train TEXTS, not both: one reads a tuned lens, one makes it")
        if self.wrong is not None and self.answer is None:
            raise PromptError("--wrong needs --answer: the lead is that of an answer over a wrong one")
        made_folder(self.out)
        reports = self.reports()
        for name, report in reports.items():
            report.save(self.out / f"{name}.json")
            report.to_csv(self.out / f"{name}.csv")
        write_page(list(reports.values()), PAGE, self.out)
        for report in reports.values():
            print(report.headline)
            for warning in report.warnings:
                print(f"warning: {warning}")
        print()
        first = next(iter(reports.values()))
        print(first.table([c for c in COLUMNS if c in first.columns]))
        print(f"\nreport: {self.out / 'report.html'}")
        return 0

    def reports(self) -> dict[str, Report]:
        """The reports that the options describe, by the names of their files."""
        from ..circuits.direct import direct_report
        from ..circuits.headtokens import answer_tokens
        from ..circuits.lensreport import lens_report, tuned_report

        model = self.loading.load(self.model)
        prompts = self.options.load(self.prompts, model)
        print(prompts)
        answers = None if self.answer is None else answer_tokens(model, prompts, self.answer)
        wrong = None if self.wrong is None else answer_tokens(model, prompts, self.wrong)
        translators, held = self._translators(model)
        options: dict[str, Any] = {"seed": self.seed, "command": command_line(), **vars(self.run)}
        targets = None if answers is None else [int(a[0]) for a in answers]
        at = "last" if answers is not None else self.at
        known = False if translators is None else None
        first = lens_report(model, prompts, at=at, translators=translators, targets=targets, held_out=known, **options)
        reports = {"lens": first}
        if held is not None and translators is not None:
            reports["lens-held-out"] = tuned_report(model, translators, held, **options)
        if answers is not None:
            reports["direct-logits"] = direct_report(model, prompts, answers, wrong, **options)
        return reports

    def _translators(self, model: Model) -> tuple[Translators | None, PromptSet | None]:
        """The tuned lens that was given or is trained now, and texts that it has not seen."""
        from ..circuits.translators import Translators
        from ..circuits.tune import TuneSettings, split_texts, train_translators
        from ..prompts import load_prompts

        if self.tuned is not None:
            return Translators.load(self.tuned), None
        if self.train is None:
            return None, None
        texts = load_prompts(self.train, model.tokenizer, label=False, limit=self.train_limit)
        texts = texts if model.n_ctx is None else texts.fit(model.n_ctx, truncate="right")
        use = TuneSettings(steps=self.steps, lr=self.lr, seed=self.seed)
        train, dev, held = split_texts(texts, use)
        made = train_translators(model, train, dev, use, progress=self.run.progress)
        made.save(self.out / FILE)
        return made, held
