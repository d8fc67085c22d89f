"""What `interp steer` and `interp ablate` have in common: prompts, metric, neutral text, and what is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from .paths import check_files, made_folder

if TYPE_CHECKING:
    from ..directions import Direction
    from ..edits import At
    from ..models import Model
    from ..prompts import PromptSet
    from ..report import Report


@dataclass
class EditingOptions:
    """What is measured, on what, and beside what."""

    metric: Literal["refusal", "log_p", "logit_diff", "says"] = "refusal"
    """refusal: log odds of a refusal as first token. log_p: of --answer. logit_diff: --answer less --wrong. says: does
    the text hold --answer?"""
    answer: str | None = None
    """A text, or the column of PROMPTS that holds one per row."""
    wrong: str | None = None
    """The other answer of logit_diff, likewise."""
    refusal: tuple[str, ...] = ()
    """How refusals begin; by default in the usual English ways."""
    acceptance: tuple[str, ...] = ()
    """How other answers begin, to warn of first tokens that both share."""
    neutral: str | None = None
    """Texts or chats that should stay as they are: KL, loss and fluency are measured on them."""
    neutral_limit: int | None = 256
    """Read only the first so many neutral rows."""
    at: tuple[str, ...] = ("all",)
    """Tokens to edit: all, a mark (last, t_inst, t_post), or two marks, from the first to the second."""
    when: Literal["prompt", "generated", "both"] = "both"
    """Edit tokens of the prompt, those that are generated, or both."""
    n_random: int = 19
    """Random controls; 19 are needed for p = .05."""
    random: Literal["isotropic", "natural"] = "isotropic"
    """Random directions point anywhere, or vary as the model's own activations do (harder to beat)."""
    text: str | None = None
    """Field that holds the prompt; guessed from common names if not given."""
    template: str | None = None
    """'chat' puts each text into the tokenizer's chat template; or a Jinja file to use instead."""
    split: str | None = None
    """Only rows of PROMPTS whose column 'split' has this value, such as test."""
    limit: int | None = None
    """Only the first so many of them."""
    texts: int = 8
    """Prompts whose answers are shown side by side; 0 for none."""
    new_tokens: int = 32
    """Tokens to generate where texts are shown or measured."""
    alpha: float = 0.05
    """The largest p that counts."""
    kl_limit: float = 0.1
    """KL on neutral text, nats per token, above which an effect has its price named."""
    seed: int = 0
    """Seed of random directions, sets of heads, permutations and resamples."""
    batch_tokens: int | None = None
    """Tokens per batch; chosen for the device if not given."""
    progress: bool | None = None
    """Draw progress bars; by default on a terminal only."""

    def check(self, out: Path, *files: str | Path | None) -> None:
        """Refuse what cannot end well before the model is loaded."""
        from ..errors import EditError, PromptError, StatisticsError

        if len(self.at) > 2:
            raise EditError(f"--at takes one mark or two, got {' '.join(self.at)}")
        if len(self.at) < 1 or (len(self.at) == 2 and "all" in self.at):
            raise EditError("--at takes 'all', one mark, or two marks")
        needed = {"log_p": ["answer"], "says": ["answer"], "logit_diff": ["answer", "wrong"]}.get(self.metric, [])
        missing = [f"--{name}" for name in needed if getattr(self, name) is None]
        if missing:
            raise PromptError(f"--metric {self.metric} needs {' and '.join(missing)}: a text, or a column of PROMPTS")
        unused = [name for name in ("answer", "wrong") if getattr(self, name) is not None and name not in needed]
        if unused:
            raise PromptError(f"--{unused[0]} means nothing to --metric {self.metric}; leave it out")
        if self.n_random < 0 or not 0 < self.alpha < 1:
            raise StatisticsError(f"--n-random is 0 or more and --alpha a share, got {self.n_random} and {self.alpha}")
        template = None if self.template in (None, "chat") else self.template
        check_files(*files, self.neutral, template)
        made_folder(out)

    @property
    def tokens(self) -> At:
        """``at`` as edits take it."""
        return self.at[0] if len(self.at) == 1 else (self.at[0], self.at[1])

    def load(self, path: str, model: Model, *, split: str | None = None, limit: int | None = None) -> PromptSet:
        """Prompts of a file, of one split, fitted to the model's context."""
        import numpy as np

        from ..errors import PromptError
        from ..prompts import load_prompts

        found = load_prompts(path, model.tokenizer, text=self.text, label=False, pair=False, template=self.template)
        if split is not None:
            if "split" not in found.columns:
                raise PromptError(f"{path} has no column 'split', so --split {split} selects nothing")
            chosen = np.flatnonzero(found.columns["split"].astype(str) == split)
            if not len(chosen):
                there = ", ".join(sorted(set(found.columns["split"].astype(str).tolist())))
                raise PromptError(f"no row of {path} has split {split!r}; splits there: {there}")
            found = found.select(chosen)
        if limit is not None:
            found = found.select(np.arange(min(limit, len(found))))
        return found if model.n_ctx is None else found.fit(model.n_ctx)

    def prompts(self, path: str, model: Model) -> PromptSet:
        """The rows of PROMPTS that are asked for."""
        return self.load(path, model, split=self.split, limit=self.limit)

    def neutral_prompts(self, model: Model) -> PromptSet | None:
        """The neutral texts; as chats where PROMPTS become chats."""
        return None if self.neutral is None else self.load(self.neutral, model, limit=self.neutral_limit)

    def measured(self) -> dict[str, Any]:
        """Options that every measurement takes."""
        answers = {"answer": self.answer, "wrong": self.wrong, "refusals": self.refusal or None,
                   "acceptances": self.acceptance or None}  # fmt: skip
        template = None if self.template in (None, "chat") else self.template
        return {
            **{name: value for name, value in answers.items() if value is not None}, "chat_template": template,
            "new_tokens": self.new_tokens, "alpha": self.alpha, "kl_limit": self.kl_limit, "seed": self.seed,
            "batch_tokens": self.batch_tokens, "progress": self.progress,
        }  # fmt: skip


EditingOpts = Annotated[EditingOptions, tyro.conf.OmitArgPrefixes]


def editing_options() -> Any:
    """A fresh group of these options, as a dataclass default."""
    return field(default_factory=EditingOptions)


def load_direction(path: Path, model: Model) -> Direction:
    """A direction that was made with this very model.

    Raises:
        ProvenanceError: it was made with another.
    """
    from ..directions import Direction

    return Direction.load(path, model.fingerprint)


def write_reports(reports: Mapping[str, Report], out: Path, title: str | None = None) -> Path:
    """Write reports (the first as ``report``), their figures, and one page with all of them; the page."""
    from .. import plots
    from ..plots.gallery import FIGURES

    for number, (name, report) in enumerate(reports.items()):
        stem = name if number else "report"
        report.save(out / f"{stem}.json")
        report.to_csv(out / f"{stem}.csv")
        if report.kind in FIGURES and report.rows:
            figure = plots.figure(report, theme="paper")
            plots.export(figure, out / f"{name if number else 'figure'}.svg")
            plots.export(figure, out / f"{name if number else 'figure'}.pdf")
    shown = list(reports.values())
    return plots.write_html(shown, out / "report.html", title=title, lead=True)


def tell(reports: Sequence[Report], columns: Sequence[str], page: Path, rows: int = 24) -> None:
    """Print what was found, warnings, the first report's rows, and where the page is."""
    first = reports[0]
    print(first.headline)
    for report in reports:
        for warning in report.warnings:
            print(f"warning: {warning}")
    print()
    print(first.table([c for c in columns if c in first.columns], max_rows=rows))
    for report in reports[1:]:
        print(f"\n{report.headline}")
    print(f"\nreport: {page}")
