"""The verdict: every eraser on the same footing, judged by records of groups that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...directions.erasers import SUITE
from ...prompts import PromptSet
from ...report import Report
from ...run.progress import Progress
from ...sites import Site
from ..records import Records
from ..signature.contrasts import planted_marks
from .contrast import Contrast
from .footing import Footing
from .methods import CHEAP, RANDOM, check_permutations, checked_methods
from .probe_alignment import PGASettings
from .treatment import Treatment
from .words import ALPHA, words

if TYPE_CHECKING:
    from ...models import Model


@dataclass(frozen=True, eq=False)
class Judgement:
    """The report, and what it is about: for each method the treatment that judged part 0, and that for part 1.

    Part ``k`` was judged by a treatment fitted on the other part.
    """

    report: Report
    parts: tuple[Contrast, Contrast]
    treatments: dict[str, tuple[Treatment, Treatment]]


def verdict(
    model: Model, records: Records, methods: Sequence[str] = CHEAP, *, neutral: PromptSet, **options: Any
) -> Report:
    """What each eraser removed, what it did not, and what it cost: see `judge`, whose options it takes.

    >>> import json
    >>> from interp import load_model, testbeds
    >>> from interp.memorisation import load_records
    >>> bed = testbeds.path("memory")
    >>> model = load_model(bed)
    >>> rows = map(json.loads, (bed / "records.jsonl").read_text().splitlines())
    >>> records = load_records([r for r in rows if r["dose"] == 512 and r["pool"] == "M"], model.tokenizer)
    >>> neutral = PromptSet.from_texts(["one day anna went to the barn ."] * 4, model.tokenizer)
    >>> found = verdict(model, records, ["mean"], neutral=neutral, suite=["logistic C=1"], attack_permutations=0)
    >>> found.column("method"), found.column("rank")
    (('none', 'mean'), (0, 1))
    """
    return judge(model, records, methods, neutral=neutral, **options).report


def judge(
    model: Model,
    records: Records,
    methods: Sequence[str] = CHEAP,
    *,
    neutral: PromptSet,
    mark: str | None = None,
    dose: Any = None,
    contrast: str | None = None,
    sites: Sequence[Site | str] | None = None,
    suite: Sequence[str] = tuple(SUITE),
    attack_permutations: int = 39,
    training: PGASettings | None = None,
    seed: int = 0,
    progress: bool | None = None,
    command: str | None = None,
) -> Judgement:
    """Fit every eraser on one half of the groups, judge it by the other, and the other way round.

    - Activations: at one site (where a probe reads the contrast best on the half that the eraser is fitted on),
      erasers fitted on everything (``in_sample``), inside each fold (``nested``) and on the other half (``other``).
    - Model: erasers fitted on a half at the output of every block, each on activations that those before have
      changed, and installed at all tokens; or a model that was trained on a half (`pga`). The other half is captured
      anew. ``fresh_auc`` is a logistic probe at the same site; ``attack_auc`` the best attacker of the suite over all
      ``sites``, with its permutation null.
    - Behaviour: recall of the planted wording before and after, for records of groups that the eraser did not see
      and (``_seen``) did see; loss and KL on every second neutral text (the others are for erasers that train).

    Args:
        methods: names in `METHODS`; ``none`` is added. By default those that train nothing. ``random`` has the
            largest rank of the other closed-form ones.
        neutral: texts that have nothing to do with the records.
        mark: where it is read, see `interp.memorisation.read`; by default the recall marks, else the last token.
        dose: of the records; by default the highest.
        contrast: ``"twins"`` or ``"M-C"``; by default what the records have.
        sites: that attackers look at; by default the output of every block.
        suite: attackers, names in `interp.directions.erasers.SUITE`.
        attack_permutations: of labels in each half, each of which trains the whole suite again.
        training: how ``pga``, ``pga-adversarial`` and ``finetune`` train, which takes minutes.
        seed: of halves, folds, permutations, networks and random directions.

    Raises:
        StatisticsError: a method that does not exist.
        PromptError: a contrast, dose or mark that the records lack; fewer than two neutral texts.
        SplitError: fewer than ten groups.
    """
    wanted = checked_methods(methods)
    check_permutations(attack_permutations, ALPHA)
    job = Footing.make(
        model,
        records,
        neutral,
        contrast,
        dose,
        planted_marks(records)[0] if mark is None else mark,
        sites,
        suite,
        attack_permutations,
        seed,
        training or PGASettings(),
    )
    made: dict[str, tuple[Treatment, Treatment]] = {}
    rows: dict[str, dict[str, Any]] = {}
    with Progress(len(wanted), "erasers", "verdict", progress) as bar:
        for name in sorted(wanted, key=lambda n: n == RANDOM):  # last, when the ranks of the others are known
            rank = max((t.rank for pair in made.values() for t in pair), default=1) or 1
            made[name] = (job.treat(name, 1, rank), job.treat(name, 0, rank))
            rows[name] = job.read(name, made[name])
            bar.advance(1, name)
    behaviour = job.behave(made)
    ordered = [{**rows[name], **behaviour[name]} for name in wanted]
    for row in ordered:
        row["verdict"] = words(row, ordered[0])
    return Judgement(job.report(ordered, made, command), job.parts, made)
