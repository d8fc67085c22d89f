"""``interp circuit``: from pairs of prompts to a circuit, its figure and everything that speaks for and against it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from .options import ModelArg, ModelOpts, command_line, model_options
from .paths import check_files, made_folder

if TYPE_CHECKING:
    from ..circuits.study import CircuitStudy
    from ..models import Model
    from ..sae import Sae

PairsArg = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PAIRS")]
COLUMNS = ("claim", "value", "verdict")
PAGE = (
    "circuit-edges", "circuit-nodes", "circuit-neurons", "circuit-latents", "circuit", "verification", "circuit-null",
    "minimality", "completeness", "task",
)  # fmt: skip
"""Reports on the page, in order."""


@dataclass
class Circuit:
    """Which edges, nodes or neurons of a model carry a behaviour, and do they do so on their own?

    PAIRS has a clean and a corrupted prompt per row, with the right and the wrong answer, for instance:

    {"clean": "The boys near the car", "corrupted": "The boy near the car", "answer": " are", "wrong_answer": " is",
    "clean_spans": {"subject": "boys"}, "corrupted_spans": {"subject": "boy"}, "group": "boy"}

    Prompts and answers may be token ids. wrong_answer is needed by metrics that compare. Spans name parts of the
    prompt: they tell the circuit's edges apart by token, and join prompts of different length. group: pairs that are
    not independent; without it, pairs that differ in the same words. The files of EAP-IG and of feature-circuits are
    read as they are, BLiMP's with --ablation mean or zero, as they have no corrupted prompts.

    Says first on how many pairs the model gives the right answer, and goes on with those. Edges are scored by
    attribution on one half of them and judged on the other: what the strongest keep of the metric alone
    (faithfulness), what is left without them, CPR and CMD, which of them are needed. The strongest, and random ones
    below them, are measured exactly. Beside it stand random edges, shuffled corrupted prompts and an untrained copy.
    --level node does the same for the input, heads and MLPs, --level neuron for MLP neurons,
    --level latent --sae DIR for the latents of SAEs.

    Writes report.html (one offline page), report.json (a row per claim), a JSON and a CSV file per report, the figures
    as SVG and PDF, scores.safetensors, and of edges circuit.mib.json (the schema of the MIB benchmark; of nodes, too)
    and circuit.graphml.

    Example: interp circuit MODEL pairs.jsonl --metric logit_diff --method eap-ig --top 50 --out circuit
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    pairs: PairsArg
    """JSONL, JSON or CSV file, one pair of prompts per row."""
    out: Path
    """Directory for the page, reports, figures and the circuit."""
    metric: Literal["logit_diff", "prob_diff", "answer_logp", "kl"] = "logit_diff"
    """What the circuit is of: right minus wrong in logits or probability, log p of the answer, or KL to the model."""
    method: Literal["eap", "eap-ig", "eap-ig-act", "clean-corrupted", "atp*", "relp", "relp-qk"] = "eap-ig"
    """How edges are scored."""
    level: Literal["edge", "node", "neuron", "latent"] = "edge"
    """What is scored: edges, with query, key and value apart; the input, heads and MLPs; MLP neurons; SAE latents."""
    sae: tuple[Path, ...] = ()
    """For --level latent: directories with SAEs or transcoders of this model, in the format of sae-lens."""
    expand_kv: bool = False
    """With grouped queries: give every query head a key and a value of its own, as the MIB benchmark has it."""
    ablation: Literal["resample", "zero", "mean", "mean-position", "mean-span"] = "resample"
    """What stands in for an ablated edge; resample takes the corrupted prompt's value."""
    top: int | None = None
    """How many edges (nodes, neurons) the circuit has; by default 50 (10, 50)."""
    select: Literal["top", "greedy"] = "top"
    """The strongest edges, or the strongest that hang together with the logits."""
    ranking: Literal["absolute", "signed"] = "absolute"
    """By size, or what supports the metric first."""
    steps: int = 5
    """Steps of integrated gradients."""
    keep: Literal["solved", "all"] = "solved"
    """Go on with the pairs that the model gets right, or with all."""
    answers: Literal["one", "first"] = "first"
    """one: every answer must be one token. first: the first token in which right and wrong answers differ."""
    align: bool = True
    """Match prompts of unequal length by what they begin and end with; without it such pairs are left out."""
    strict: bool = False
    """Stop at a pair that cannot be used instead of leaving it out."""
    corrupted: str | None = None
    """Another field that holds the corrupted prompt."""
    group: str | None = None
    """Field whose value pairs that are not independent share; 'each' for none. By default 'group', or else the words in
    which the two prompts differ."""
    limit: int | None = None
    """Read only the first so many pairs."""
    check: int = 20
    """How many of the strongest edges are measured exactly."""
    sample: int = 40
    """How many random edges below them are measured exactly."""
    shuffles: int = 3
    """Searches with shuffled corrupted prompts; 0 for none."""
    untrained: bool = True
    """Also search a copy with random weights."""
    replicates: int = 200
    """Bootstrap replicates behind intervals and stability."""
    seed: int = 0
    """Seed of halves, replicates, samples and random weights."""
    max_bytes: int | None = None
    """How much memory to use besides the weights."""
    progress: bool | None = None
    """Draw progress bars; by default on a terminal only."""
    interactive: bool = False
    """Put interactive figures into the page (adds about 5 MB)."""
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        study = self.study(command_line())
        page = write_circuit(study, self.out, interactive=self.interactive)
        print(study.summary.headline)
        for report in (study.summary, *study.reports.values()):
            for warning in report.warnings:
                print(f"warning: {report.kind}: {warning}")
        print()
        print(study.summary.table([c for c in COLUMNS if c in study.summary.columns]))
        print(f"\nreport: {page}")
        return 0

    def _saes(self, model: Model) -> list[Sae]:
        from ..sae import load_sae

        return [load_sae(path, model) for path in self.sae]

    def study(self, command: str) -> CircuitStudy:
        """The study that the options describe."""
        from ..circuits import load_pairs
        from ..circuits.study import circuit_study
        from ..errors import CircuitError

        if bool(self.sae) != (self.level == "latent"):
            raise CircuitError("--level latent and --sae go together: an SAE's directory for its latents")
        check_files(self.pairs, *self.sae)
        made_folder(self.out)
        model = self.loading.load(self.model)
        pairs = load_pairs(
            self.pairs,
            model.tokenizer,
            corrupted=self.corrupted,
            answers=self.answers,
            unusable="raise" if self.strict else "drop",
            align=self.align,
            group=self.group,
            limit=self.limit,
        )
        print(pairs)
        return circuit_study(
            model,
            pairs,
            level=self.level,
            saes=self._saes(model),
            expand_kv=self.expand_kv,
            metric=self.metric,
            method=self.method,
            ablation=self.ablation,
            steps=self.steps,
            ranking=self.ranking,
            select=self.select,
            top=self.top,
            keep=self.keep,
            check=self.check,
            sample=self.sample,
            shuffles=self.shuffles,
            untrained=self.untrained,
            replicates=self.replicates,
            seed=self.seed,
            max_bytes=self.max_bytes,
            progress=self.progress,
            command=command,
        )


def write_circuit(study: CircuitStudy, out: Path, *, interactive: bool = False) -> Path:
    """Write a study's reports, circuit, figures and page into a directory; the page."""
    from .. import plots
    from ..plots.gallery import FIGURES

    made_folder(out)
    study.save(out)
    shown = {name: study.reports[name] for name in PAGE if name in study.reports}
    for name, report in shown.items():
        if report.kind not in FIGURES:
            continue
        for number, figure in enumerate(plots.figures(report, theme="paper"), 1):
            stem = name if number == 1 else f"{name}-{number}"
            plots.export(figure, out / f"{stem}.svg")
            plots.export(figure, out / f"{stem}.pdf")
    return plots.write_html([study.summary, *shown.values()], out / "report.html", interactive=interactive)
