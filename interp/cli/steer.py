"""``interp steer``: what adding a direction does, by how much of it, beside random directions and side effects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .editing import EditingOpts, editing_options, load_direction, tell, write_reports
from .options import ModelArg, ModelOpts, PromptsArg, command_line, model_options

if TYPE_CHECKING:
    from ..directions import Direction
    from ..models import Model
    from ..report import Report
    from ..safety.gating import FittedCondition

COLUMNS = (
    "coeff", "verdict", "score", "effect", "random_effect", "p_max", "p_prompts", "kl", "ce_change", "nll",
)  # fmt: skip


@dataclass
class Steer:
    """Does adding a direction do what it is said to do, more than any direction of that length, and at what price?

    PROMPTS has a row per prompt: a text or messages (and, if there, group and split). A direction comes
    from `interp direction` or `interp probe`, and must have been made with MODEL. Each coefficient is measured on every
    prompt, beside random directions of the same length at the same tokens; with --neutral, so is what it does to other
    text. What is written is shown side by side.

    --gate FILE steers only prompts whose own activation has a cosine with that direction above a threshold: given
    by --gate-threshold, or calibrated on labelled prompts of its own, --gate-calibrate.

    Writes report.html (one offline page), report.json and report.csv (a row per coefficient), texts.json and .csv, and
    figures as SVG and PDF.

    Example: interp steer MODEL harmless.jsonl --direction refusal.safetensors --coeff 0 1 2 4 --at t_post
    --neutral neutral.jsonl --out steered
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    prompts: PromptsArg
    """JSONL, JSON, CSV or Parquet, a row per prompt."""
    direction: Path
    """The direction to add: a safetensors file of this model."""
    out: Path
    """Directory to write."""
    coeff: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0)
    """How much to add, in --unit; 0 is always among them."""
    unit: Literal["length", "norm", "absolute"] = "length"
    """1 is: the direction as long as it was found; as long as activations typically are there; or of length 1."""
    sites: tuple[str, ...] = ()
    """Where to add it, such as resid_post.10; by default where it was found."""
    gate: Path | None = None
    """Steer only prompts whose activation points along this direction (a file; it may be the same)."""
    gate_threshold: float | None = None
    """The least cosine that opens the gate."""
    gate_calibrate: tuple[str, ...] = ()
    """Labelled prompts that give the threshold; rows of split 'val' do, those of 'test' judge it, if there are any."""
    gate_label: str = "label"
    """Their column with the label: 1 where the gate should open."""
    gate_fpr: float = 0.05
    """The share of prompts labelled 0 for which it may open."""
    gate_mark: str | None = None
    """Where the gate reads a prompt: a mark or 'all'; by default where its direction was found."""
    study: EditingOpts = editing_options()
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        self._check()
        model = self.loading.load(self.model)
        direction = load_direction(self.direction, model)
        reports = self.reports(model, direction, command_line())
        page = write_reports(reports, self.out)
        tell(list(reports.values()), COLUMNS, page)
        return 0

    def _check(self) -> None:
        from ..errors import EditError

        self.study.check(self.out, self.prompts, self.direction, self.gate, *self.gate_calibrate)
        if self.gate is None and (self.gate_threshold is not None or self.gate_calibrate):
            raise EditError("--gate-threshold and --gate-calibrate belong to --gate FILE")
        if self.gate is not None and (self.gate_threshold is None) == (not self.gate_calibrate):
            raise EditError("a gate takes its threshold from --gate-threshold or from --gate-calibrate, one of the two")
        if self.study.n_random < 1:
            raise EditError("--n-random is 1 or more: an effect says little without random directions beside it")
        if not any(self.coeff):
            raise EditError("--coeff holds nothing but 0, so nothing would be steered")

    def reports(self, model: Model, direction: Direction, command: str) -> dict[str, Report]:
        """Every report by name, the dose-response first."""
        from ..safety.neutral import Arm
        from ..safety.steering import steer_dose_response, steering
        from ..safety.texts import side_by_side

        options = self.study
        prompts, neutral = options.prompts(self.prompts, model), options.neutral_prompts(model)
        print(prompts)
        fitted = self._condition(model, command)
        where = {
            "sites": list(self.sites) or None, "unit": self.unit, "at": options.tokens, "when": options.when,
            "condition": None if fitted is None else fitted.condition,
        }  # fmt: skip
        found = steer_dose_response(
            model, prompts, direction, self.coeff, options.metric, neutral=neutral, n_random=options.n_random,
            random=options.random, command=command, **where, **options.measured(),
        )  # fmt: skip
        reports = {"steering": found}
        if options.texts:
            how = steering(model, direction, reference=prompts if neutral is None else neutral, **where)
            moved = sorted({c for c in self.coeff if c})
            arms = [Arm("unsteered"), *(Arm(f"coefficient {c:g}", how.edits(c)) for c in moved)]
            reports["texts"] = side_by_side(
                model, prompts, arms, limit=options.texts, new_tokens=options.new_tokens,
                batch_tokens=options.batch_tokens, command=command,
            )  # fmt: skip
        if fitted is not None and fitted.report is not None:
            reports["condition"] = fitted.report
        return reports

    def _condition(self, model: Model, command: str) -> FittedCondition | None:
        """The gate, with a report on it where it was calibrated."""
        import numpy as np

        from ..edits import Condition
        from ..prompts import load_prompts
        from ..prompts.join import join
        from ..safety.gating import FittedCondition, fit_condition

        if self.gate is None:
            return None
        direction = load_direction(self.gate, model)
        if self.gate_threshold is not None:
            return FittedCondition(Condition.on(direction, self.gate_threshold, mark=self.gate_mark), None)
        template = self.study.template
        sets = [
            load_prompts(path, model.tokenizer, text=self.study.text, label=self.gate_label, pair=False,
                         template=template)
            for path in self.gate_calibrate
        ]  # fmt: skip
        every = sets[0] if len(sets) == 1 else join(sets)
        calibration, test = every, None
        split = every.columns.get("split")
        if split is not None and {"val", "test"} <= set(split.astype(str).tolist()):
            calibration, test = (every.select(np.flatnonzero(split.astype(str) == s)) for s in ("val", "test"))
        return fit_condition(
            model, calibration, direction, mark=self.gate_mark, fpr=self.gate_fpr, test=test, seed=self.study.seed,
            command=command,
        )  # fmt: skip
