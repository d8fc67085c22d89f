"""``interp direction``: a direction between two sets of prompts, or the one that refusal hangs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .options import ModelArg, ModelOpts, PromptOpts, command_line, model_options, prompt_options
from .paths import check_files, made_folder

if TYPE_CHECKING:
    from ..directions.selection import Parts, Selection
    from ..directions.study import DirectionStudy
    from ..models import Model
    from ..prompts import PromptSet
    from ..report import Report

FITTED = ("site", "auc", "null_auc_hi", "p_max", "untrained_auc", "gap", "cos_mean", "cos_halves")
TRIED = ("site", "mark", "bypass", "induce", "kl", "cosine", "reason")


@dataclass
class Direction:
    """Which direction in the activations sets two kinds of prompts apart, and is it more than luck?

    diff_means, pca, logistic and lda fit a direction at every site and judge each by prompts that it was not fitted on,
    beside shuffled labels, an untrained twin of the model, and baselines that see no model. Prompts that belong
    together (a --group, or a --pair) are never on both sides of a split.

    select looks for the one direction that refusal hangs on, for chats: the difference of means at every token after
    the instruction and every layer, each taken out of the whole model and added back, as published. Give --positive
    harmful and --negative harmless requests, one file each, or three (train, val, test); or one with a column 'split'.
    Prompts that the model does not treat as expected are left out. The choice must prove itself on test prompts beside
    random directions of its length and beside shuffled labels; if it does not, or if the model does not refuse, the
    first sentence says that no direction was found.

    Writes report.html (one offline page), JSON, CSV and figures (SVG, PDF) per report, and safetensors files that load
    for this model only: directions/ with one per site, or direction.safetensors (select, if one was found).

    Example: interp direction MODEL --positive true.jsonl --negative false.jsonl --method lda --out truth

    Example: interp direction MODEL --positive harmful.jsonl --negative harmless.jsonl --method select --out refusal

    Example: interp direction MODEL --positive happy.txt --negative sad.txt --out mood
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    positive: tuple[str, ...]
    """Prompts that the direction points to; for select one file or three: train, val, test. FILE@FIELD=VALUE takes only
    the rows with that value."""
    negative: tuple[str, ...]
    """The other prompts, likewise."""
    out: Path
    """Directory for reports, figures and directions."""
    method: Literal["diff_means", "pca", "logistic", "lda", "select"] = "diff_means"
    """How to find it."""
    site: str = "resid_post"
    """Comma-separated sites: 'resid_post' (every layer), 'mlp_out.3', 'attn_out.-1'. select has sites of its own."""
    layer: tuple[int, ...] = ()
    """Only these layers of --site; negative ones count from the end."""
    mark: str = "last"
    """Which token: 'last', 't_inst' or 't_post' of a chat, or another mark. For select: all after the instruction."""
    group: str | None = None
    """Field whose values must not be on both sides of a split; 'F1,F2~REGEX' joins prompts that share any value."""
    paired: bool = False
    """Row i of --positive and row i of --negative are a pair."""
    C: float = 1.0
    """Of logistic regression: inverse strength of the L2 penalty on standardised features."""
    folds: int = 10
    """Folds of the cross-validation."""
    permutations: int = 200
    """Label permutations behind the null of fitted directions."""
    bootstrap: int = 2000
    """Resamples of groups or prompts behind each interval."""
    untrained: bool = True
    """Also fit in the same architecture with random weights."""
    shared: Literal["raise", "warn"] = "raise"
    """What to do when one and the same input occurs in two groups."""
    refusal: tuple[str, ...] = ()
    """select: how refusals begin; by default in the usual English ways."""
    train: int = 128
    """select: prompts of each kind that candidates are made of, at most."""
    val: int = 32
    """select: prompts of each kind that choose among them, at most."""
    test: int = 100
    """select: prompts of each kind that judge the choice, at most."""
    kl_limit: float = 0.1
    """select: largest KL, in nats, of harmless prompts' next token when the direction is taken out."""
    depth_limit: float = 0.8
    """select: share of the layers from which on none may be chosen."""
    shuffles: int = 19
    """select: choices among shuffled labels; 19 are needed for p = .05."""
    n_random: int = 8
    """select: random directions on the test prompts."""
    seed: int = 0
    """Seed of parts, folds, permutations, resamples, random directions and the untrained twin."""
    batch_tokens: int | None = None
    """Tokens per batch; chosen for the device if not given."""
    progress: bool | None = None
    """Draw progress bars; by default on a terminal only."""
    interactive: bool = False
    """Put interactive figures into the page (adds about 5 MB)."""
    prompt: PromptOpts = prompt_options()
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        self._check()
        if self.method == "select":
            chosen = self.selection(command_line())
            reports = [chosen.report, *([chosen.judgement] if chosen.judgement is not None else [])]
            table, columns = chosen.report, TRIED
            written = self._write_selection(chosen)
        else:
            study = self.study(command_line())
            reports, table, columns = [study.report], study.report, FITTED
            written = self._write_study(study)
        page = write_reports(reports, self.out, interactive=self.interactive)
        print(table.headline)
        for warning in table.warnings:
            print(f"warning: {warning}")
        print()
        print(table.table([c for c in columns if c in table.columns]))
        if len(reports) > 1:
            print(f"\n{reports[1].title}\n{reports[1].table(['prompts', 'act', 'direction', 'score', 'refused'])}")
        for line in written:
            print(line)
        print(f"\nreport: {page}")
        return 0

    def study(self, command: str) -> DirectionStudy:
        """Fitted directions, as the options describe them."""
        from ..directions.study import fit_directions
        from ..prompts.join import join

        model = self.loading.load(self.model)
        sides = [self._load(files, model) for files in (self.positive, self.negative)]
        if self.paired:
            sides = _paired(sides, named=self.group is not None)
        prompts = join(sides, labels=["positive", "negative"])
        if prompts.groups is None and prompts.pairs is not None:
            prompts = prompts.with_groups(prompts.pairs)
        print(prompts)
        return fit_directions(
            model, prompts, self._sites(model), at=self.mark, method=self.method, C=self.C, folds=self.folds,
            permutations=self.permutations, bootstrap=self.bootstrap, untrained=self.untrained, shared=self.shared,
            seed=self.seed, progress=self.progress, command=command,
        )  # fmt: skip

    def selection(self, command: str) -> Selection:
        """The selected direction, as the options describe it."""
        from ..directions.selection import select_direction
        from ..directions.selection.choice import Limits

        model = self.loading.load(self.model)
        harmful, harmless = (self._parts(files, model) for files in (self.positive, self.negative))
        template = None if self.prompt.template in (None, "chat") else self.prompt.template
        return select_direction(
            model, harmful, harmless, refusals=self.refusal or None, chat_template=template,
            marks=None if self.mark == "last" else self.mark.split(","), train=self.train, val=self.val, test=self.test,
            limits=Limits(kl=self.kl_limit, depth=self.depth_limit), shuffles=self.shuffles, random=self.n_random,
            bootstrap=self.bootstrap, batch_tokens=self.batch_tokens, seed=self.seed, progress=self.progress,
            command=command,
        )  # fmt: skip

    def _check(self) -> None:
        """Everything that can be wrong before the model is loaded."""
        from ..errors import PromptError, StatisticsError
        from ..safety.refusal.loading import source_of

        for name, files in (("--positive", self.positive), ("--negative", self.negative)):
            if len(files) not in ((1, 3) if self.method == "select" else (1,)):
                wanted = "one file, or three: train, val and test" if self.method == "select" else "one file"
                raise PromptError(f"{name} takes {wanted}, got {len(files)}")
        template = None if self.prompt.template in (None, "chat") else self.prompt.template
        check_files(*(source_of(name)[0] for name in (*self.positive, *self.negative)), template)
        if self.method == "select" and (self.paired or self.layer or self.site != "resid_post"):
            raise PromptError(
                "--method select looks at every layer and at no pairs; leave --site, --layer, --paired out"
            )
        if self.method != "select" and self.refusal:
            raise PromptError(f"--refusal is for --method select, not for {self.method}")
        if not 0 < self.depth_limit <= 1 or self.kl_limit < 0:
            raise StatisticsError(
                f"--depth-limit is a share and --kl-limit not negative, got {self.depth_limit}, {self.kl_limit}"
            )
        made_folder(self.out)

    def _load(self, files: Sequence[str], model: Model) -> PromptSet:
        import numpy as np

        from ..errors import PromptError
        from ..safety.refusal.loading import source_of

        [name] = files
        path, field, value = source_of(name)
        found = self.prompt.load(path, model, group=self.group).with_labels(None)
        if field is None:
            return found
        if field not in found.columns:
            raise PromptError(f"{path} has no field {field!r}; fields are: {', '.join(found.columns)}")
        chosen = np.flatnonzero(found.columns[field].astype(str) == value)
        if not len(chosen):
            there = ", ".join(sorted(set(found.columns[field].astype(str).tolist()))[:6])
            raise PromptError(f"no row of {path} has {field} {value!r}; there is: {there}")
        return found.select(chosen)

    def _parts(self, files: Sequence[str], model: Model) -> PromptSet | Parts:
        """One set to be dealt out, or the three parts, each cut to its number at random."""
        from ..directions.selection import Parts
        from ..directions.selection.parts import at_most

        made = [self._load([path], model) for path in files]
        if len(made) == 1:
            return made[0]
        sizes = (self.train, self.val, self.test)
        cut = [at_most(one, size, self.seed) for one, size in zip(made, sizes, strict=True)]
        return Parts(*cut)

    def _sites(self, model: Model) -> list[str]:
        """``--site`` at the layers that were asked for."""
        if not self.layer:
            return [self.site]
        kinds = [kind.strip() for kind in self.site.split(",")]
        return [f"{kind}.{layer}" for kind in kinds for layer in self.layer]

    def _write_study(self, study: DirectionStudy) -> list[str]:
        folder = self.out / "directions"
        for site, one in study.directions.items():
            folder.mkdir(exist_ok=True)
            one.save(folder / f"{site}.safetensors")
        return [f"\ndirections: {folder}/SITE.safetensors, fitted on all prompts"] if study.directions else []

    def _write_selection(self, chosen: Selection) -> list[str]:
        """The direction, if there is one; none from a former run stays behind."""
        path = self.out / "direction.safetensors"
        if chosen.direction is None:
            path.unlink(missing_ok=True)
            return []
        return [f"\ndirection: {chosen.direction.save(path)}"]


def _paired(sides: list[PromptSet], *, named: bool) -> list[PromptSet]:
    from ..errors import PromptError

    if len(sides[0]) != len(sides[1]):
        raise PromptError(f"--paired needs as many rows on both sides, got {len(sides[0])} and {len(sides[1])}")
    names = [str(i) for i in range(len(sides[0]))]
    return [one.with_pairs(names) if named else one.with_pairs(names).with_groups(names) for one in sides]


def write_reports(reports: Sequence[Report], out: Path, *, interactive: bool = False) -> Path:
    """Write reports with their data and figures, and a page of all of them, into a directory that is there."""
    from .. import plots
    from ..plots.gallery import FIGURES

    for report in reports:
        report.save(out / f"{report.kind}.json")
        report.to_csv(out / f"{report.kind}.csv")
        if report.kind not in FIGURES or not report.rows:
            continue
        for number, figure in enumerate(plots.figures(report, theme="paper"), 1):
            stem = report.kind if number == 1 else f"{report.kind}-{number}"
            plots.export(figure, out / f"{stem}.svg")
            plots.export(figure, out / f"{stem}.pdf")
    return plots.write_html(list(reports), out / "report.html", interactive=interactive, lead=True)
