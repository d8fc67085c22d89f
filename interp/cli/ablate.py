"""``interp ablate``: what taking a direction, heads or sites out of a model does, beside others of the same kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .editing import EditingOpts, editing_options, load_direction, tell, write_reports
from .options import ModelArg, ModelOpts, PromptsArg, command_line, model_options

if TYPE_CHECKING:
    from ..models import Model
    from ..prompts import PromptSet
    from ..report import Report
    from ..safety.ablation import Removal

COLUMNS = ("arm", "verdict", "score", "effect", "p", "p_prompts", "kl", "ce_change", "nll")


@dataclass
class Ablate:
    """What does a model stop doing without a direction, some heads or some sites, more than without others?

    Give one of --direction FILE (projected out at every write to the residual stream, or at --sites), --heads 3.2,4.0
    (layer.head) or --sites mlp_out.3. What is taken out is compared with others of its kind: random directions, random
    heads, the same site at other depths. With --neutral, what it does to other text is measured as well.

    --weights folds the direction into the weights instead, saves the model as a Hugging Face checkpoint, and measures
    it beside the edits.

    Writes report.html (one offline page), report.json and report.csv (a row for what was taken out and for each
    control), texts.json and .csv, figures as SVG and PDF and, with --weights, model/.

    Example: interp ablate MODEL harmful.jsonl --direction refusal.safetensors --neutral neutral.jsonl --out ablated
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    prompts: PromptsArg
    """JSONL, JSON, CSV or Parquet, a row per prompt."""
    out: Path
    """Directory to write."""
    direction: Path | None = None
    """A safetensors file of this model."""
    heads: str | None = None
    """Attention heads as LAYER.HEAD, several as 3.2,4.0."""
    sites: tuple[str, ...] = ()
    """Whole sites, such as mlp_out.3; with --direction, where to project it out."""
    kind: Literal["zero", "mean", "resample", "direction"] | None = None
    """What comes in place: zero, the mean over --reference, a row of another prompt of it, or (with --direction) the
    activation without the direction. By default the mean, or direction."""
    reference: str | None = None
    """Prompts that mean and resample are taken from; by default PROMPTS."""
    weights: bool = False
    """With --direction: change the weights, and save the model."""
    study: EditingOpts = editing_options()
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        self._check()
        model = self.loading.load(self.model)
        reports, folded = self.reports(model, command_line())
        page = write_reports(reports, self.out)
        tell(list(reports.values()), COLUMNS, page, rows=5)
        if folded is not None:
            print(f"model: {folded.save(self.out / 'model')}, with the direction folded into its weights")
        return 0

    def _check(self) -> None:
        from ..edits import read_heads
        from ..errors import EditError

        given = [name for name in ("direction", "heads") if getattr(self, name) is not None]
        if len(given) == 2 or not (given or self.sites) or (self.heads is not None and self.sites):
            raise EditError("give one of --direction FILE, --heads 3.2,4.0 and --sites mlp_out.3")
        if self.heads is not None:
            read_heads(self.heads)
        if self.kind is not None and (self.kind == "direction") != (self.direction is not None):
            raise EditError(
                f"--kind {self.kind} does not fit: a --direction is projected out (--kind direction), heads and sites "
                "are replaced (zero, mean, resample)"
            )
        if self.reference is not None and (self.direction is not None or self.kind == "zero"):
            raise EditError("--reference is for --kind mean and resample of heads and sites")
        options = self.study
        if self.weights and (self.direction is None or self.sites or options.tokens != "all" or options.when != "both"):
            raise EditError("--weights changes the model everywhere: it goes with --direction, without --sites, --at "
                            "and --when")  # fmt: skip
        options.check(self.out, self.prompts, self.direction, self.reference)

    def reports(self, model: Model, command: str) -> tuple[dict[str, Report], Model | None]:
        """Every report by name, the effect first, and the model with changed weights if there is one."""
        from ..safety.ablation import ablation_effect
        from ..safety.neutral import Arm
        from ..safety.texts import side_by_side

        options = self.study
        folded = self._folded(model)
        prompts, neutral = options.prompts(self.prompts, model), options.neutral_prompts(model)
        print(prompts)
        removal = self._removal(model, prompts)
        found = ablation_effect(
            model, prompts, removal, options.metric, neutral=neutral, folded=folded, command=command,
            **options.measured(),
        )  # fmt: skip
        reports = {"ablation": found}
        if options.texts:
            arms = [Arm("unedited"), Arm("ablated", removal.edits)]
            arms += [] if folded is None else [Arm("folded into the weights", (), folded)]
            reports["texts"] = side_by_side(
                model, prompts, arms, limit=options.texts, new_tokens=options.new_tokens,
                batch_tokens=options.batch_tokens, command=command,
            )  # fmt: skip
        return reports, folded

    def _removal(self, model: Model, prompts: PromptSet) -> Removal:
        """What is taken out, and its controls."""
        from ..safety.ablation import remove_direction, remove_heads, remove_sites

        options = self.study
        shared: dict[str, Any] = {
            "at": options.tokens, "when": options.when, "n_random": options.n_random, "seed": options.seed,
        }  # fmt: skip
        if self.direction is not None:
            direction, sites = load_direction(self.direction, model), list(self.sites) or None
            return remove_direction(model, direction, sites=sites, random=options.random, reference=prompts, **shared)
        reference = prompts if self.reference is None else options.load(self.reference, model)
        how: Any = self.kind or "mean"
        if self.heads is not None:
            return remove_heads(model, self.heads, how, reference=reference, **shared)
        return remove_sites(model, list(self.sites), how, reference=reference, **shared)

    def _folded(self, model: Model) -> Model | None:
        """A copy of the model with the direction folded into its weights."""
        from ..directions.ablation import eraser_of
        from ..weights import fold

        if not self.weights or self.direction is None:
            return None
        changed = model.copy(id=f"{model.id} without a direction")
        fold(changed, eraser_of(load_direction(self.direction, model)))
        return changed
