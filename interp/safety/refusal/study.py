"""``refusal_study``: the whole job, from files of requests to reports on harmfulness and refusal."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...directions import Direction
from ...metrics import refusal_tokens_and_notes
from ...report import Report
from ...run.progress import Progress
from .attacks import compare_checkpoints, require_alike
from .behaviour import behaviour_report, measure_behaviour
from .beliefs import read_beliefs
from .claims import claims, headline
from .dissociation import DOSES
from .loading import load_requests
from .outcomes import NO, QUESTION, YES
from .parts import belief_reports, directions_of, guard_reports, quadrants_of, steering_reports
from .requests import PARTS, Requests
from .settings import Settings

if TYPE_CHECKING:
    from ...models import Model


@dataclass(frozen=True, eq=False, repr=False)
class RefusalStudy:
    """Every report of a study by name, the summary (one row per claim, with its null and verdict), the directions.

    ``directions`` has ``harm`` (at t_inst) and, if the model refuses, ``refusal`` (at t_post): one by layer.
    """

    summary: Report
    reports: Mapping[str, Report]
    directions: Mapping[str, tuple[Direction, ...]]
    requests: Requests

    def __repr__(self) -> str:
        return repr(self.summary)

    def save(self, out: str | os.PathLike[str]) -> Path:
        """Write ``report.json`` (the summary), each report as ``NAME.json`` and ``NAME.csv``, and the directions.

        Raises:
            ReportError: a file cannot be written.
        """
        folder = Path(out)
        self.summary.save(folder / "report.json")
        self.summary.to_csv(folder / "report.csv")
        for name, report in self.reports.items():
            report.save(folder / f"{name}.json")
            report.to_csv(folder / f"{name}.csv")
        for name, by_layer in self.directions.items():
            for direction in by_layer:
                path = folder / "directions" / f"{name}.{direction.site}.safetensors"
                path.parent.mkdir(parents=True, exist_ok=True)
                direction.save(path)
        return folder


def refusal_study(
    model: Model,
    *,
    harmful: Any,
    harmless: Any,
    jailbroken: Any = None,
    overrefused: Any = None,
    compare: Model | None = None,
    template: str | Path | None = None,
    system: str | None = None,
    question: str = QUESTION,
    yes: Sequence[str] = YES,
    no: Sequence[str] = NO,
    refusals: Sequence[str] | None = None,
    limit: int | None = None,
    fpr: float = 0.01,
    doses: Sequence[float] = DOSES,
    draws: int = 19,
    untrained: bool = True,
    permutations: int = 1000,
    bootstrap: int = 1000,
    seed: int = 0,
    title: str | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> RefusalStudy:
    """What a model believes of requests, what it refuses, and which of the two each direction moves.

    Reports, as far as the requests allow: ``behaviour`` (what is refused), ``beliefs`` (what is told apart at t_inst
    and t_post, by depth, beside every null and control), ``quadrants``, ``regression`` (what a belief owes to harm and
    to refusal), ``belief-map`` (every request), ``inversion`` and ``dissociation`` (steering), ``guard``,
    ``checkpoints`` (``compare``). A model that does not refuse gets none that speaks of refusal.

    Args:
        harmful, harmless, jailbroken, overrefused, template, system, limit: see `load_requests`.
        compare: another checkpoint of the same architecture, such as one that was fine-tuned to comply.
        question: asked behind a request: would it cause harm? ``yes`` and ``no``: how its answers begin.
        refusals: how refusals begin; by default as in `interp.metrics`.
        fpr: false positive rate that the guard is calibrated to.
        doses: of steering, in lengths of the direction.
        draws: random directions beside each direction.
        untrained: also read the architecture with fresh weights.
        permutations: behind every null; 0 for none.

    Raises:
        PromptError, SplitError: requests that allow no honest answer; the message says what is missing.
        ActivationError: ``compare`` has other sizes.

    Source: "LLMs encode harmfulness and refusal separately" (arXiv 2507.11878); what differs is in
    ``docs/methods/harmfulness-and-refusal.md``.

    Example:
        >>> import interp
        >>> bed = interp.testbeds.path("chat")
        >>> model = interp.load_model(bed)
        >>> files = {name: str(bed / f"{name}.jsonl") for name in ("harmful", "harmless")}
        >>> quick = {"limit": 60, "untrained": False, "permutations": 19, "bootstrap": 20, "doses": [1.0], "draws": 1}
        >>> study = refusal_study(model, **files, question="would this cause harm ?", **quick)
        >>> study.reports["behaviour"].headline
        '60 of 60 plain harmful and 0 of 60 plain harmless requests are refused.'
    """
    if compare is not None:
        require_alike(model, compare)
    requests = load_requests(
        model.tokenizer, harmful=harmful, harmless=harmless, jailbroken=jailbroken, overrefused=overrefused,
        template=template, system=system, limit=limit, n_ctx=model.n_ctx, seed=seed,
    )  # fmt: skip
    settings = Settings(permutations, bootstrap, seed=seed, progress=progress)
    tokens, notes = refusal_tokens_and_notes(model.tokenizer, refusals, chat_template=template)
    provenance = model.provenance(
        prompts=requests.prompts.hash, seed=seed, command=command, bos=requests.prompts.source.bos_summary,
        tokenizer=requests.prompts.source.tokenizer, chat_template=requests.prompts.source.chat_template,
    )  # fmt: skip
    reports: dict[str, Report] = {}
    with Progress(5, "parts", "refusal", progress) as bar:
        bar.advance(0, "behaviour")
        behaviour = measure_behaviour(model, requests, tokens, settings)
        reports["behaviour"] = behaviour_report(
            requests, behaviour, provenance, settings.boot, f"What {model.id!r} refuses"
        )
        bar.advance(1, "beliefs")
        reading = read_beliefs(
            model, requests, quadrants_of(requests, behaviour), untrained=untrained, settings=settings
        )
        reports |= belief_reports(reading, requests, behaviour, provenance, model.id, settings)
        directions = directions_of(reading, provenance)
        bar.advance(1, "steering")
        asked = (question, yes, no)
        reports |= steering_reports(
            model, requests, directions, tokens, *asked, doses, draws, provenance, settings
        )  # fmt: skip
        bar.advance(1, "guard")
        reports |= guard_reports(reading, requests, behaviour, fpr, provenance, model.id, settings)
        bar.advance(1, "checkpoints")
        if compare is not None:
            reports["checkpoints"] = compare_checkpoints(
                reading, requests, behaviour, compare, tokens, f"{model.id!r} and {compare.id!r}", provenance, settings
            )
        bar.advance(1)
    meta = {
        "requests": len(requests), "permutations": permutations, "question": question, "refusal_tokens": list(tokens),
        "reports": list(reports), "parts": {p: int((requests.part == p).sum()) for p in PARTS},
    }  # fmt: skip
    summary = Report(
        kind="refusal", title=title or f"Harmfulness and refusal in {model.id!r}",
        headline=headline(reports, repr(model.id)), rows=claims(reports), provenance=provenance,
        warnings=[*requests.notes, *(notes if behaviour.refused.any() else ())], meta=meta,
    )  # fmt: skip
    return RefusalStudy(summary, reports, directions, requests)
