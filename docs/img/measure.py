"""Measure again what the pictures of this folder show: ``python docs/img/measure.py WORK [NAME ...]``.

Every command runs in the folder WORK on the shipped models and writes to ``WORK/out/NAME``. The reports that have a
picture are then kept in ``docs/img/reports``, from where ``gallery.py`` draws without any model. About 15 minutes on
two cores; with names, only those are run.
"""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from interp import Report, add, capture, load_model, load_prompts, probe, testbeds
from interp.circuits import attention_report, token_attribution
from interp.directions import diff_means
from interp.directions.heads import iti
from interp.errors import InterpError
from interp.plots.gallery import FIGURES
from interp.probes import probe_grid, token_scores
from interp.prompts import PromptSet
from interp.prompts.join import join
from interp.prompts.post import mark_post
from interp.safety.boundary.diagnose import boundary
from interp.safety.side_effects import side_effects

HERE = Path(__file__).parent
REPORTS = HERE / "reports"
CHAT = "data/chat --positive data/chat/harmful.jsonl --negative data/chat/harmless.jsonl"
REQUESTS = (
    "--harmful data/chat/harmful.jsonl --harmless data/chat/harmless.jsonl --jailbroken data/chat/jailbroken.jsonl"
)
# Name -> what is run, without "interp" and "--out out/NAME"; those that need another's files stand behind it.
COMMANDS = {
    "probe": "probe data/induction data/induction/prompts.jsonl --label label --group group --limit 240",
    "demo": "demo",
    "direction": f"direction {CHAT} --method logistic --mark t_post --group group --limit 100",
    "selection": f"direction {CHAT} --method select --refusal Sorry Unfortunately",
    "steering": "steer data/chat data/chat/harmless.jsonl --direction out/selection/direction.safetensors "
    "--refusal Sorry Unfortunately --at t_post --neutral data/chat/neutral.jsonl --limit 48 --coeff 0 0.5 1 2 4",
    "gate": "steer data/chat data/chat/harmless.jsonl --direction out/selection/direction.safetensors "
    "--refusal Sorry Unfortunately --at t_post --limit 24 --coeff 0 1 --n-random 1 "
    "--gate out/direction/directions/resid_post.3.safetensors --gate-calibrate data/chat/harmful.jsonl "
    "data/chat/harmless.jsonl --gate-label harmful",
    "ablation": "ablate data/chat data/chat/harmful.jsonl --direction out/selection/direction.safetensors "
    "--refusal Sorry Unfortunately --neutral data/chat/neutral.jsonl --limit 48",
    "refusal": f"refusal data/chat {REQUESTS} --overrefused data/chat/overrefused.jsonl --question "
    "'would this cause harm ?' --compare data/chat/tuned --limit 64",
    "cliff": "cliff data/chat/think data/chat/cliff.jsonl --draws 40",
    "spread": "spread data/chat data/chat/harmful.jsonl",
    "circuit": "circuit data/induction data/induction/pairs.jsonl --top 12",
    "retrieval": "heads data/needle data/needle/haystacks.jsonl --draws 10 --shuffles 100 --limit 60",
    "conflict": "heads data/conflict data/conflict/conflicts.jsonl --kind conflict --how zero --draws 40",
    "lens": "lens data/memory data/memory/records.jsonl --limit 24 --train data/memory/stories.jsonl --steps 80",
    "direct": "lens data/conflict data/conflict/conflicts.jsonl --answer context --wrong memory --limit 60",
    "nodes": "circuit data/induction data/induction/pairs.jsonl --level node --top 4",
    "neurons": "circuit data/fraction data/fraction/pairs.jsonl --level neuron --top 8",
    "sae": "sae data/memory data/memory/stories.jsonl --site resid_post.2 --latents 256 --k 8 --steps 600 --batch 512",
    "doctor": "doctor data/chat --json out/doctor/doctor.json",
    "memorisation": "memorisation data/memory data/memory/records.jsonl --never data/memory/never "
    "--injected data/memory/injected --neutral data/memory/stories.jsonl --permutations 100",
}


# The sweep of docs/guides, as its page says.
SWEEP = "data/chat data/chat/contexts.jsonl --label harmful --group group --at t_inst t_post --C 0.01 1 --seeds 2"


def run(name: str, work: Path) -> Path:
    """Run one command in the folder, as a user would; where its reports are."""
    out = f"out/{name}"
    (work / out).mkdir(parents=True, exist_ok=True)
    if name == "sweep":
        script = [sys.executable, str(HERE.parent / "guides/sweep.py"), *shlex.split(SWEEP), "--permutations", "60"]
        subprocess.run([*script, "--out", out], cwd=work, check=True)
        return work / out
    words = ["interp", *shlex.split(COMMANDS[name]), *([] if name == "doctor" else ["--out", out])]
    with (work / f"{name}.log").open("w") as log:
        subprocess.run(words, cwd=work, check=True, stdout=log, stderr=subprocess.STDOUT)
    return work / out


def _requests(model: Any, name: str, part: str, n: int) -> PromptSet:
    """Plain requests of one file whose last words are the verb, "the" and the object."""
    found = load_prompts(testbeds.path("chat") / f"{name}.jsonl", model.tokenizer, group="group")
    keep = [s == part and m == "" for s, m in zip(found.columns["split"], found.columns["modifier"], strict=True)]
    return found.select(np.flatnonzero(keep)[:n])


def _both(model: Any, part: str, n: int) -> PromptSet:
    """Labels sort so that harmful is the class of positive scores."""
    files = {"harmful": "harmful", "benign": "harmless"}
    sets = [_requests(model, name, part, n) for name in files.values()]
    return join(sets, labels=[label for label in files for _ in range(n)])


def grid(about: str) -> list[Report]:
    """Where harm can be read: by layer and by token, from the verb on."""
    model = load_model(testbeds.path("chat"))
    prompts, post = mark_post(_both(model, "train", 60))
    end = prompts.marks["t_inst"]
    places = {"verb": end - 3, "the": end - 2, "object": end - 1, "?": end}
    marked = dataclasses.replace(prompts, marks={**prompts.marks, **places})
    return [probe_grid(model, marked, at=[*places, *post], permutations=100, command=about)]


def tokens(about: str) -> list[Report]:
    """A probe of harm, fitted at t_inst, read at every token of other requests."""
    model = load_model(testbeds.path("chat"))
    fitted = probe(
        model, _both(model, "train", 60), "resid_post.3", at="t_inst", permutations=19, untrained=False
    ).probe
    texts = join([_requests(model, "harmful", "test", 3), _requests(model, "harmless", "test", 1)])
    others = _requests(model, "harmless", "train", 99).select(range(60, 99))
    return [token_scores(model, fitted, texts, reference=others, command=about)]


def attribution(about: str) -> list[Report]:
    """What each token of a text adds to the answer of the induction bed."""
    model = load_model(testbeds.path("induction"))
    prompts = load_prompts(testbeds.path("induction") / "prompts.jsonl", model.tokenizer, label="label", group="group")
    return [token_attribution(model, prompts.select(range(0, 12, 2)), "answer", command=about)]


def attention(about: str) -> list[Report]:
    """Where the heads of the induction bed look."""
    model = load_model(testbeds.path("induction"))
    prompts = load_prompts(testbeds.path("induction") / "prompts.jsonl", model.tokenizer, label="label", group="group")
    short = prompts.select(np.flatnonzero(prompts.lengths <= 14)[:40])
    return [attention_report(model, short, patterns=2, command=about)]


def side(about: str) -> list[Report]:
    """What the refusal direction of the chat bed, added everywhere, does to neutral questions."""
    model = load_model(testbeds.path("chat"))
    neutral = load_prompts(testbeds.path("chat") / "neutral.jsonl", model.tokenizer)
    harmful, harmless = (_requests(model, kind, "train", 60) for kind in ("harmful", "harmless"))
    rows = [capture(model, one, "resid_post.3", at="t_post") for one in (harmful, harmless)]
    found = diff_means(*(acts["resid_post.3"].tensor() for acts in rows), site="resid_post.3", mark="t_post",
                       provenance=rows[0].provenance)  # fmt: skip
    edits = [add(found.site, found.unit * found.scale)]
    return [side_effects(model, edits, neutral, command=about)]


def heads(about: str) -> list[Report]:
    """The heads of the chat bed that tell harmful from harmless requests at t_post."""
    model = load_model(testbeds.path("chat"))
    found = iti(model, _both(model, "train", 60), at="t_post", top=4, command=about).report
    return [] if found is None else [found]


def edge(about: str) -> list[Report]:
    """How far apart harmful and harmless requests lie, depth by depth."""
    model = load_model(testbeds.path("chat"))
    harmful, harmless = (_requests(model, kind, "train", 60) for kind in ("harmful", "harmless"))
    return [boundary(model, harmful, harmless, "resid_post", at="t_inst", permutations=199, command=about)]


STUDIES = {f.__name__: f for f in (grid, tokens, attribution, attention, side, heads, edge)}

# Kind -> the columns that are kept of reports with a row for each of many examples.
COLUMNS = {
    "extraction": ("record", "label", "dose", "exact", "log_p", "min_k"),
    "cliff-judge": ("rank", "id", "selected", "drop", "plateau", "final", "refused"),
    "belief-map": ("id", "role", "category", "cell", "harm_belief", "refusal_belief", "refusal_score"),
}
# Kinds that several commands report -> the command whose report is shown.
FROM = {
    "curve": "demo",
    "recall": "demo",
    "signature": "demo",
    "gap": "demo",
    "project-out": "demo",
    "lens": "lens",
    "steering": "steering",
}


def keep(work: Path) -> list[Path]:
    """Copy the reports that have a figure, one for each kind, to where `gallery.py` looks."""
    found: dict[str, tuple[str, Report]] = {}
    for path in sorted((work / "out").glob("*/*.json")):
        try:
            report = Report.load(path)
        except InterpError:  # scores and lists of files lie beside the reports
            continue
        name = path.parent.name
        if report.kind in FIGURES and report.rows and (report.kind not in found or FROM.get(report.kind) == name):
            found[report.kind] = name, report
    REPORTS.mkdir(exist_ok=True)
    return [_small(report, name).save(REPORTS / f"{kind}.json") for kind, (name, report) in sorted(found.items())]


def _small(report: Report, name: str) -> Report:
    if report.provenance.command is None:  # the doctor does not say how it was called
        made = report.provenance.replace(command=f"interp {COMMANDS[name]}")
        report = dataclasses.replace(report, provenance=made)
    names = COLUMNS.get(report.kind)
    if names is None:
        return report
    rows = [{name: row[name] for name in names if name in row} for row in report.rows]
    return dataclasses.replace(report, rows=rows)


if __name__ == "__main__":
    work = Path(sys.argv[1])
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "data").exists():
        (work / "data").symlink_to(testbeds.path("chat").parent)
    chosen = sys.argv[2:] or [*COMMANDS, "sweep", *STUDIES]
    for name in chosen:
        if name in COMMANDS or name == "sweep":
            run(name, work)
            continue
        for report in STUDIES[name](f"python docs/img/measure.py WORK {name}"):
            (work / "out" / name).mkdir(parents=True, exist_ok=True)
            report.save(work / "out" / name / f"{report.kind}.json")
    for path in keep(work):
        sys.stdout.write(f"docs/img/reports/{path.name}\n")
