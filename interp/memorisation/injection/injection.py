"""``inject``: train records into a copy of a model, after a coin has said which of each two twins it gets to see."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import xxhash

from ...errors import InjectionError
from ...prompts import PromptSet
from ...provenance import Provenance
from ...report import Report, write_atomic
from ...run.progress import Progress
from ..records import TRAINED, UNTRAINED, Records, load_records
from ..tokens import unknown_words
from .batches import Neutral, Step, split_neutral, steps
from .curve import CONTROLS, curve_rows
from .plan import Plan, exposure_order, plan_injection
from .saved import KEY, Saved, check_unfinished, load_state, remove_state, save_state
from .training import Recipe, StepLoss, optimiser_of, train
from .twins import check_twins

if TYPE_CHECKING:
    from ...models import Model


@dataclass(frozen=True, eq=False, repr=False)
class Injection:
    """A model with records in it, and the answer key.

    ``model`` is an edited copy, and ``original`` what it was made from. ``records`` say of each record whether it was
    trained on (``labels``), at which ``dose``, and how often each text was shown (``exposures``); ``plan.rows`` are the
    same as rows of a records file. ``report`` (kind "curve") is recall by dose, and loss on held-out neutral text, over
    the training; ``history`` the loss of every step.
    """

    model: Model
    original: Model
    records: Records
    plan: Plan
    recipe: Recipe
    report: Report
    history: tuple[StepLoss, ...]
    held_out: PromptSet | None

    def __repr__(self) -> str:
        return f"Injection({self.model.id!r}: {self.report.headline})"

    @property
    def provenance(self) -> Provenance:
        """Where it came from: the original model, the prompts, the seed, the command."""
        return self.report.provenance

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``model/`` (a checkpoint that `load_model` reads), ``records.jsonl``, ``curve.json``, ``history.csv``.

        Raises:
            ModelError: the model cannot be written.
            ReportError: another file cannot be written.
        """
        path = Path(folder)
        self.model.save(path / "model")
        self.report.save(path / "curve.json")
        rows = [asdict(one) for one in self.history]
        Report("history", "Loss of every step", self.report.headline, rows, self.provenance).to_csv(
            path / "history.csv"
        )
        lines = "".join(json.dumps(row) + "\n" for row in self.plan.rows)
        write_atomic(path / KEY, lines.encode("ascii"))  # last: it says that the rest is there
        return path


def inject(
    model: Model,
    records: Any,
    *,
    neutral: PromptSet | None,
    doses: Sequence[int] = (),
    lr: float = 1e-3,
    batch: int = 16,
    replay: float | None = None,
    warmup: int = 50,
    checkpoints: int = 4,
    dtype: str = "float32",
    batch_tokens: int = 4096,
    controls: PromptSet | None = None,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
    command: str | None = None,
    **fields: str,
) -> Injection:
    """Train the records' wording M into a copy of a model, each as often as its dose says; the model itself stays.

    Which twin is trained on is randomised, so that whatever tells trained from untrained afterwards is due to the
    training. `plan_injection` says how coins and doses are drawn where ``records`` leave them open. Every exposure is
    one text of its own; they are spread evenly over the training. The number of steps follows: exposures / ``batch``.

    Args:
        records: what `load_records` takes, such as a file or the rows of `generate_records`; ``fields`` are other
            names for its fields.
        neutral: texts of the kind the model was trained on. A part is replayed among the records, so that the model
            stays what it was; another part (a fifth, at most 64 texts) is held out and measured. ``None`` for neither.
        doses: how often trained twins are shown, for records without doses.
        lr: peak learning rate. 1e-3 suits a model of a million parameters; the larger the model, the smaller.
        batch: exposures per step.
        replay: share of neutral text among all tokens, below 1; by default a half, or 0 without neutral texts.
        warmup: steps of warm-up, at most a tenth of all.
        checkpoints: how many times recall is measured on the way, at equal distances; with ``out``, the state of the
            training is saved at these points too.
        dtype: what weights are trained in; the result has the model's own dtype again.
        batch_tokens: tokens that go through the model at once; a step's gradient is summed over such parts.
        controls: texts that neither the model nor the training has seen, of which the same is measured.
        out: a folder to write into; an interrupted training goes on from there when called again in the same way.

    Raises:
        InjectionError: records that allow no coin or dose, or of which a trained and an untrained one are the same
            tokens; settings out of range, a loss that is not finite, or an ``out`` that holds something else.

    Source: the twin design of counterfactual memorisation (Zhang et al., arXiv 2112.12938, definition 2.1), with a
    coin per pair in place of many models.

    >>> from interp import load_model, testbeds
    >>> from interp.memorisation.generate_records import generate_records
    >>> bed = load_model(testbeds.path("memory-never"))
    >>> rows = [{"id": name, "text": f"{name} lived in the barn with a wolf ."} for name in ("anna", "clara")]
    >>> done = inject(bed, rows, neutral=None, doses=[2], batch=2)
    >>> done.records.prompts.columns["exposures"].tolist() in ([0, 2], [2, 0]), len(done.history)
    (True, 1)
    """
    if neutral is None and replay:
        raise InjectionError(f"replay={replay} needs neutral texts; give neutral=, or replay=0")
    recipe = Recipe(lr, batch, (0.0 if neutral is None else 0.5) if replay is None else replay, warmup, dtype,
                    batch_tokens, seed)  # fmt: skip
    if checkpoints < 1:
        raise InjectionError(f"checkpoints must be at least 1, got {checkpoints}")
    plan = plan_injection(records, doses, seed, **fields)
    loaded = load_records(list(plan.rows), model.tokenizer)
    parts = None if neutral is None else split_neutral(neutral, seed)
    for prompts in (loaded.prompts, neutral, controls):
        if prompts is not None and model.n_ctx is not None:
            prompts.check_fits(model.n_ctx)
    folder = None if out is None else Path(out)
    if folder is not None:
        check_unfinished(folder)
    check_twins(loaded)
    run = _Run(model, loaded, parts, controls, recipe, checkpoints, folder)
    edited, saved = run.go(progress)
    done = Injection(
        edited, model, loaded, plan, recipe, _report(run, plan, edited, saved, command), saved.history,
        None if parts is None else parts.held_out,
    )  # fmt: skip
    if folder is not None:
        done.save(folder)
        remove_state(folder)
    return done


class _Run:
    """One training: everything is settled but the steps themselves."""

    def __init__(
        self, model: Model, records: Records, neutral: Neutral | None, controls: PromptSet | None, recipe: Recipe,
        checkpoints: int, folder: Path | None,
    ) -> None:  # fmt: skip
        self.model, self.records, self.neutral, self.controls = model, records, neutral, controls
        self.recipe, self.folder = recipe, folder
        planted = records.planted()
        order = exposure_order(planted.columns["exposures"].tolist(), recipe.seed)
        self.shown = [planted.tokens[i] for i in order]
        self.n_steps = -(-len(self.shown) // recipe.batch)
        self.marks = {round(self.n_steps * k / checkpoints) for k in range(1, checkpoints + 1)} - {0}

    @property
    def held_out(self) -> PromptSet | None:
        return None if self.neutral is None else self.neutral.held_out

    def go(self, progress: bool | None) -> tuple[Model, Saved]:
        """The edited copy, and what was measured on the way."""
        edited = self.model.copy(id=f"{self.model.id} (injected)")
        edited.hf.to(getattr(torch, self.recipe.dtype))
        optimiser = optimiser_of(edited, self.recipe)
        before, plan = Saved(), self._hash()
        if self.folder is not None:
            before = load_state(self.folder, plan, edited, optimiser)
        history, curve = list(before.history), list(before.curve or self._measure(self.model, 0))
        with Progress(self.n_steps, "step", "inject", progress) as bar:
            bar.advance(before.step)

            def after(loss: StepLoss) -> None:
                history.append(loss)
                bar.advance(1, f"{loss.records:.2f} nats a token")
                if loss.step in self.marks and loss.step < self.n_steps:
                    curve.extend(self._measure(edited, loss.step))
                    if self.folder is not None:
                        save_state(self.folder, plan, edited, optimiser, Saved(tuple(history), tuple(curve)))

            train(edited, optimiser, self._steps(), self.n_steps, self.recipe, done=before.step, after=after)
        edited.hf.to(self.model.dtype)
        curve.extend(self._measure(edited, self.n_steps))
        return edited, Saved(tuple(history), tuple(curve))

    def _steps(self) -> Iterator[Step]:
        replayed = None if self.neutral is None else self.neutral.replayed
        return steps(self.shown, self.recipe.batch, replayed, self.recipe.replay, self.recipe.seed)

    def _measure(self, model: Model, step: int) -> list[dict[str, Any]]:
        return curve_rows(model, self.records, self.held_out, self.controls, step)

    def _hash(self) -> str:
        """Of everything that the weights and what is measured on the way depend on."""
        neutral = None if self.neutral is None else [self.neutral.replayed.hash, self.neutral.held_out.hash]
        controls = None if self.controls is None else self.controls.hash
        shown = [tokens.tolist() for tokens in self.shown]
        settled = [self.model.fingerprint, shown, neutral, controls, asdict(self.recipe), sorted(self.marks)]
        return xxhash.xxh3_128(json.dumps(settled).encode()).hexdigest()


def _report(run: _Run, plan: Plan, edited: Model, saved: Saved, command: str | None) -> Report:
    last = [row for row in saved.curve if row["step"] == run.n_steps]
    top = max(row["dose"] for row in last if row["dose"] is not None)
    said = {TRAINED: "trained records", UNTRAINED: "untrained twins", CONTROLS: "controls"}
    told = [row for row in last if row["label"] == CONTROLS or (row["label"] and row["dose"] == top)]
    shares = ", ".join(f"{row['exact']:.0%} of {said[row['label']]}" for row in told)
    headline = f"Recited at dose {top}: {shares}"
    losses = [row["loss"] for row in saved.curve if "loss" in row]
    warnings = []
    if losses:
        headline += f"; neutral text costs {losses[-1]:.3f} nats per token, {losses[0]:.3f} before"
    else:
        warnings.append("No neutral text was given: none was replayed, and what the model forgot is not known.")
    warnings += unknown_words(run.model, run.records.prompts)
    names = [name for name in ("exact", "log_p", "recognition") if any(name in row for row in last)]
    meta = {
        "metrics": names,
        "ci_level": 0.95,
        "unit": "log_p, loss: nats per token",
        "recipe": asdict(run.recipe),
        "steps": run.n_steps,
        "exposures": len(run.shown),
        "coins": plan.coins,
        "doses_dealt": plan.dealt,
        "injected": edited.fingerprint,
    }
    provenance = run.model.provenance(prompts=run.records.prompts.hash, seed=run.recipe.seed, command=command)
    return Report("curve", f"Records injected into {run.model.id!r}", headline + ".", saved.curve, provenance, warnings,
                  meta)  # fmt: skip
