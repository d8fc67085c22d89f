"""``interp sae``: train a sparse autoencoder from a store or from prompts, and say what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from .cliff import write_page
from .options import (
    ModelArg,
    ModelOpts,
    PromptOpts,
    RunOpts,
    command_line,
    model_options,
    prompt_options,
    run_options,
)
from .paths import check_files, made_folder

if TYPE_CHECKING:
    from ..models import Model
    from ..prompts import PromptSet
    from ..report import Report
    from ..sae.study import SaeStudy
    from ..store import Activations

SourceArg = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="STORE|PROMPTS")]
COLUMNS = {
    "sae": ("dictionary", "explained", "l0", "dead", "recovered", "loss"),
    "latents": ("latent", "group", "score", "exact"),
}


@dataclass
class Sae:
    """Train a sparse autoencoder on a site's activations (needs pip install 'interp[sae]').

    STORE is a directory that interp capture wrote with every token of the site, or PROMPTS a file of texts, whose
    activations are then captured first. Groups of texts are held out whole, and on them the dictionary is measured:
    variance explained, active and dead latents, and, from PROMPTS, the loss that survives when the site is replaced by
    its reconstruction. Beside it stand PCA with as many numbers per token, the same training on shuffled coordinates,
    and, from PROMPTS, on a copy of the model with random weights.

    With --pairs the new latents are also scored on a behaviour: how much of the metric is lost when each alone is
    ablated, the strongest and random ones checked exactly, beside what the SAE leaves out.

    Writes cfg.json and sae_weights.safetensors in sae-lens' format (sae_lens.SAE.load_from_disk reads the directory),
    report.html (one offline page), report.json, report.csv and a figure as SVG and PDF.

    Example: interp sae MODEL stories.jsonl --site resid_post.2 --latents 512 --k 16 --out sae
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    source: SourceArg
    """A store of activations, or a file of texts: JSONL, JSON, CSV, Parquet or text."""
    out: Path
    """Directory for the SAE, reports and figures."""
    site: str = "resid_post.-1"
    """Where: 'resid_post.2', 'mlp_out.0', 'z.1'; -1 is the last layer."""
    latents: int = 512
    """Size of the dictionary."""
    k: int | None = None
    """Active latents per token (TopK); 16 if neither this nor --l1 is given."""
    l1: float | None = None
    """Instead of --k: a penalty on the sum of the latents (ReLU)."""
    steps: int = 2000
    """Steps of training."""
    batch: int = 1024
    """Tokens per step."""
    lr: float = 1e-3
    """Rate of Adam; it falls to zero over the last fifth."""
    held_out: float = 0.1
    """Share of the groups of texts that is kept for measuring."""
    special: bool = False
    """Also train on special tokens, such as a BOS."""
    controls: bool = True
    """Also train on shuffled coordinates and on a copy with random weights."""
    pairs: str | None = None
    """Also score the latents on this file of clean and corrupted prompts with answers (see interp circuit)."""
    metric: Literal["logit_diff", "prob_diff", "answer_logp", "kl"] = "logit_diff"
    """What --pairs are judged by."""
    method: str = "eap-ig-act"
    """How latents are scored: eap, eap-ig, eap-ig-act, clean-corrupted, atp*, relp."""
    pairs_limit: int | None = 100
    """Read only the first so many pairs."""
    seed: int = 0
    """Seed of the split, the weights and the order of tokens."""
    options: PromptOpts = prompt_options()
    run: RunOpts = run_options()
    loading: ModelOpts = model_options()

    def __call__(self) -> int:
        """Run the command; its exit code."""
        from ..sae.library import library

        check_files(self.source, self.pairs)
        made_folder(self.out)
        library()
        model = self.loading.load(self.model)
        study = self.study(model, command_line())
        study.save(self.out)
        reports = [study.report]
        if self.pairs is not None:
            reports.append(self.scores(model, study, command_line()))
        write_page(reports, ("sae", "latents"), self.out)
        for report in reports:
            print(report.headline)
            for warning in report.warnings:
                print(f"warning: {warning}")
            print(f"\n{report.table([c for c in COLUMNS[report.kind] if c in report.columns])}\n")
        print(f"SAE: {self.out}\nreport: {self.out / 'report.html'}")
        return 0

    def study(self, model: Model, command: str) -> SaeStudy:
        """The study that the options describe."""
        from ..errors import SiteError
        from ..sae.study import sae_study

        sites = model.expand(self.site)
        if len(sites) != 1:
            raise SiteError(f"--site {self.site!r} names {len(sites)} sites; an SAE belongs to one, such as {sites[0]}")
        site = str(sites[0])
        acts, prompts = self._activations(model, site)
        return sae_study(
            acts,
            site,
            model=model,
            prompts=prompts,
            untrained=self.controls,
            shuffle=self.controls,
            n_latents=self.latents,
            k=16 if self.k is None and self.l1 is None else self.k,
            l1=self.l1,
            steps=self.steps,
            batch=self.batch,
            lr=self.lr,
            held_out=self.held_out,
            special=self.special,
            device=model.device,
            seed=self.seed,
            progress=self.run.progress,
            command=command,
        )

    def scores(self, model: Model, study: SaeStudy, command: str) -> Report:
        """Latents on pairs of prompts, the strongest ablated exactly; also written to the directory."""
        from ..circuits import attribute, latent_report, load_pairs
        from ..circuits.latentscores import LatentScores

        pairs = load_pairs(self.pairs or "", model.tokenizer, limit=self.pairs_limit, unusable="drop")
        print(pairs)
        saes, progress = [study.training.sae], self.run.progress
        scores = attribute(
            model,
            pairs,
            self.metric,
            level="latent",
            saes=saes,
            method=self.method,
            seed=self.seed,
            progress=progress,
        )
        assert isinstance(scores, LatentScores)
        scores.save(self.out / "latent-scores.safetensors")
        report = latent_report(model, pairs, scores, saes, seed=self.seed, progress=progress, command=command)
        report.save(self.out / "latents.json")
        report.to_csv(self.out / "latents.csv")
        return report

    def _activations(self, model: Model, site: str) -> tuple[Activations, PromptSet | None]:
        """From the store, or captured now."""
        from ..run import capture
        from ..store import open_store

        if (Path(self.source) / "manifest.json").is_file():
            return open_store(self.source), None
        prompts = self.options.load(self.source, model)
        print(prompts)
        acts = capture(
            model, prompts, site, batch_tokens=self.run.batch_tokens, progress=self.run.progress, command=None
        )
        return acts, prompts
