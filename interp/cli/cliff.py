"""``interp cliff``: does a model that means to refuse while it thinks stop meaning to as it begins to answer?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .options import ModelArg, ModelOpts, command_line, model_options
from .paths import check_files, made_folder

if TYPE_CHECKING:
    from ..models import Model
    from ..report import Report
    from ..safety.cliff.settings import Settings
    from ..safety.cliff.study import CliffStudy
    from ..safety.cliff.thinking import Thoughts

PAGE = ("cliff", "cliff-heads", "cliff-ablation", "cliff-judge")
COLUMNS = ("class", "plateau", "final", "drop", "n", "n_groups")


@dataclass
class Cliff:
    """Does the intention to refuse fall off a cliff between thinking and answer, and which heads take it away?

    PROMPTS are files with a row per request: a text or messages; harmful (0 or 1); if known, refused (0 or 1), group
    (rows that belong together) and split (train fits, the rest judges). The model thinks about each request,
    unless --given says that the rows hold its thinking already.

    A linear prober of refusal is fitted at the token that ends thinking and read all along it, on requests that it has
    not seen. What it says is called a cliff only if it falls further than on harmless requests with the same template
    and equally long thinking, and if a prober that cannot have learned to read harm sees it, too. Every head's share of
    the last reading is exact; the lowest heads are taken out on other requests, beside as many random ones.

    Writes report.html (one offline page), a JSON and a CSV file per report, figures as SVG and PDF, prober.safetensors.

    Example: interp cliff MODEL harmful.jsonl harmless.jsonl --refusal "I cannot" "Sorry" --out cliff
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    prompts: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PROMPTS")]
    """One file or more: JSONL, JSON, CSV or Parquet."""
    out: Path
    """Directory for reports and figures."""
    refusal: tuple[str, ...] = ()
    """How refusals begin; by default in the usual English ways. The model's first token says what is refused."""
    measured: bool = False
    """Go by what the model does even where the file says what is refused."""
    start: str = "<think>"
    """Marker that opens thinking."""
    end: str = "</think>"
    """Marker that closes it."""
    after: str = ""
    """What the chat template has between the closing marker and the answer."""
    given: bool = False
    """The rows hold the thinking already: do not generate it."""
    max_thinking: int = 512
    """Tokens of thinking; requests that take longer are left out."""
    site: str = "auto"
    """Where the prober reads: resid_post.L; 'auto' is the first block that shows at the end what the model will do."""
    norm: Literal["none", "final"] = "none"
    """Read the stream as it is, or through the model's final norm (the paper: resid_post.-1 and final)."""
    percent: tuple[float, ...] = (3.0, 1.0, 10.0)
    """Shares of all heads to take out, in percent; the first is judged."""
    rank: Literal["contribution", "contrast"] = "contribution"
    """Rank heads by what they add on harmful requests that are answered, or by the contrast to refused ones."""
    how: Literal["zero", "mean"] = "zero"
    """What a head's output is replaced with: zeros, or its mean over the other half of the requests."""
    everywhere: bool = False
    """Take heads out at every token, not only from the end of the thinking on."""
    draws: int = 100
    """Random sets of heads beside each."""
    share: float = 0.017
    """Share of the harmful requests that the judge selects."""
    permutations: int = 999
    """Exchanged labels behind each p-value."""
    template: str | None = None
    """Jinja file with a chat template, for tokenizers without one or instead of theirs."""
    limit: int | None = None
    """Read only the first so many rows of each file."""
    seed: int = 0
    """Seed of halves, permutations, resamples and random heads."""
    batch_tokens: int | None = None
    """Tokens per batch; chosen for the device if not given."""
    progress: bool | None = None
    """Draw progress bars; by default on a terminal only."""
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        from ..errors import PromptError

        if not self.prompts:
            raise PromptError("no prompts given: interp cliff MODEL PROMPTS --out DIR")
        check_files(*self.prompts, self.template)
        made_folder(self.out)
        study = self.study(command_line())
        study.save(self.out)
        write_page(list(study.reports.values()), PAGE, self.out)
        first = study.reports["cliff"]
        print(first.headline)
        for report in study.reports.values():
            for warning in report.warnings:
                print(f"warning: {warning}")
        print()
        print(first.table([c for c in COLUMNS if c in first.columns]))
        for report in list(study.reports.values())[1:]:
            print(f"\n{report.headline}")
        print(f"\nreport: {self.out / 'report.html'}")
        return 0

    def study(self, command: str) -> CliffStudy:
        """The study that the options describe."""
        from ..metrics import refusal_tokens_and_notes
        from ..safety.cliff.study import cliff

        model = self.loading.load(self.model)
        thoughts = self._thoughts(model)
        print(thoughts.prompts)
        refusals, notes = refusal_tokens_and_notes(
            model.tokenizer, self.refusal or None, chat_template=self.template
        )  # fmt: skip
        return cliff(
            model, thoughts, self._settings(), refusals=refusals, notes=notes, batch_tokens=self.batch_tokens,
            progress=self.progress, command=command,
        )  # fmt: skip

    def _settings(self) -> Settings:
        from ..safety.cliff.settings import Settings

        extra: dict[str, Any] = {"at": "all"} if self.everywhere else {}
        return Settings(
            site=self.site, norm=self.norm, percent=self.percent, rank=self.rank, how=self.how, draws=self.draws,
            share=self.share, permutations=self.permutations, measured=self.measured, seed=self.seed, **extra,
        )  # fmt: skip

    def _thoughts(self, model: Model) -> Thoughts:
        from ..prompts import load_prompts
        from ..prompts.join import join
        from ..safety.cliff.thinking import find_thinking, think

        template = None if self.given else self.template or "chat"
        sets = [
            load_prompts(path, model.tokenizer, label=False, pair=False, template=template, limit=self.limit)
            for path in self.prompts
        ]
        prompts = join(sets) if len(sets) > 1 else sets[0]
        if self.given:
            return find_thinking(prompts, model.tokenizer, start=self.start, end=self.end)
        return think(
            model, prompts, start=self.start, end=self.end, after=self.after, max_new_tokens=self.max_thinking,
            batch_tokens=self.batch_tokens, progress=self.progress,
        )  # fmt: skip


def write_page(reports: list[Report], order: tuple[str, ...], out: Path) -> None:
    """Write the reports' figures, and one page with those that are named, into a directory that is there."""
    from .. import plots
    from ..plots.gallery import FIGURES

    for report in reports:
        if report.kind not in FIGURES or not report.rows:
            continue
        for number, figure in enumerate(plots.figures(report, theme="paper"), 1):
            stem = report.kind if number == 1 else f"{report.kind}-{number}"
            plots.export(figure, out / f"{stem}.svg")
            plots.export(figure, out / f"{stem}.pdf")
    shown = [report for kind in order for report in reports if report.kind == kind]
    plots.write_html(shown, out / "report.html")
