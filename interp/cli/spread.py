"""``interp spread``: does unlearning refusal in one domain spread to those that a model represents alike?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from .cliff import write_page
from .options import ModelArg, ModelOpts, command_line, model_options
from .paths import check_files, made_folder

if TYPE_CHECKING:
    from ..models import Model
    from ..prompts import PromptSet
    from ..safety.spread.study import SpreadStudy

PAGE = ("spread", "spread-pairs")
COLUMNS = ("mark", "third", "layers", "r", "p", "p_three", "r_pairs", "p_pairs_three")


@dataclass
class Spread:
    """Does unlearning refusal in one domain spread to those that the model represents alike?

    TOPICS has a row per harmful request: a text or messages; topic (its domain); if known, harmful (rows with 0 are
    left out), group (rows that belong together) and split (train is unlearned, the rest is measured).

    Concept vectors of the domains are compared behind every block, with what all share taken out. Then refusal is
    unlearned in one domain after the other, in copies of the model, and what each other domain loses is measured on
    requests that were not trained on. Whether early layers foretell it is tested by exchanging domains: with six of
    them all 720 ways, each third of depth corrected for the three.

    Writes report.html (one offline page), a JSON and a CSV file per report, figures as SVG and PDF.

    Example: interp spread MODEL harmful.jsonl --refusal "I cannot" "Sorry" --out spread
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    topics: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TOPICS")]
    """JSONL, JSON, CSV or Parquet file."""
    out: Path
    """Directory for reports and figures."""
    refusal: tuple[str, ...] = ()
    """How refusals begin; by default in the usual English ways."""
    topic: str = "topic"
    """Field that names the domain."""
    template: str | None = None
    """Jinja file with a chat template, for tokenizers without one or instead of theirs."""
    limit: int | None = None
    """Read only the first so many rows."""
    steps: int = 200
    """Steps of unlearning at most, per domain."""
    lr: float = 1e-3
    """Its learning rate."""
    rank: int = 4
    """Rank of the change of each matrix that is trained; 0 trains the weights themselves."""
    stop: float = 0.1
    """Unlearning ends when at most this share of the domain's training requests is refused."""
    repeats: int = 1
    """Trainings per domain with other seeds, averaged."""
    seed: int = 0
    """Seed of halves, training and resamples."""
    batch_tokens: int | None = None
    """Tokens per batch; chosen for the device if not given."""
    progress: bool | None = None
    """Draw progress bars; by default on a terminal only."""
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        check_files(self.topics, self.template)
        made_folder(self.out)
        study = self.study(command_line())
        study.save(self.out)
        write_page(list(study.reports.values()), PAGE, self.out)
        first = study.reports["spread"]
        print(first.headline)
        for warning in first.warnings:
            print(f"warning: {warning}")
        print()
        print(first.table([c for c in COLUMNS if c in first.columns]))
        print(f"\n{study.reports['spread-pairs'].headline}")
        print(f"\nreport: {self.out / 'report.html'}")
        return 0

    def study(self, command: str) -> SpreadStudy:
        """The study that the options describe."""
        from ..metrics import refusal_tokens_and_notes
        from ..safety.spread.study import spread
        from ..safety.spread.unlearn import UnlearnSettings

        unlearning = UnlearnSettings(steps=self.steps, lr=self.lr, rank=self.rank, stop=self.stop)
        model = self.loading.load(self.model)
        prompts = self._prompts(model)
        print(prompts)
        refusals, notes = refusal_tokens_and_notes(model.tokenizer, self.refusal or None, chat_template=self.template)
        return spread(
            model, prompts, refusals, unlearning=unlearning, repeats=self.repeats, seed=self.seed, notes=notes,
            batch_tokens=self.batch_tokens, progress=self.progress, command=command,
        )  # fmt: skip

    def _prompts(self, model: Model) -> PromptSet:
        import numpy as np

        from ..errors import PromptError
        from ..prompts import load_prompts
        from ..safety.cliff.kinds import flags

        prompts = load_prompts(
            self.topics, model.tokenizer, label=False, pair=False, template=self.template or "chat", limit=self.limit
        )
        if self.topic not in prompts.columns:
            raise PromptError(
                f"{self.topics} has no field {self.topic!r} for the domain; fields are: {', '.join(prompts.columns)}"
            )
        named = prompts.with_columns(topic=[str(t) for t in prompts.columns[self.topic]])
        harmful = flags(named, "harmful")
        return named if harmful is None else named.select(np.flatnonzero(harmful))
