"""``interp capture``, ``interp verify``, ``interp show``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .options import (
    ModelArg,
    ModelOpts,
    PromptOpts,
    PromptsArg,
    RunOpts,
    StoreArg,
    command_line,
    model_options,
    prompt_options,
    run_options,
)


@dataclass
class Capture:
    """Store activations of a prompt file: only the sites and tokens that you ask for, at the price of the forward pass.

    The same command again resumes after Ctrl-C, a crash or a full disk, and finishes at once when nothing is missing.

    Example: interp capture gpt2 prompts.jsonl --sites resid_post.5,resid_post.10 --at last --out acts --dtype float16
    """

    model: ModelArg
    """Hugging Face id, or a directory with a checkpoint."""
    prompts: PromptsArg
    """JSONL, JSON, CSV, Parquet or text file, or a saved Hugging Face dataset."""
    out: Path
    """Directory of the store."""
    sites: str = "resid_post"
    """Comma-separated: 'resid_post' (every layer), 'resid_post.2', 'z.5.h3', 'mlp_out.-1' (the last layer)."""
    at: str = "all"
    """Which tokens: 'all', or marks such as 'last' or 't_inst,t_post'."""
    dtype: Literal["float32", "float16", "bfloat16", "int8"] | None = None
    """What is stored; by default what the model computes in. int8 keeps one scale per row and reports the error."""
    pack: Literal["auto", "yes", "no"] = "auto"
    """Several prompts per row; 'auto' does so where it pays."""
    share_prefix: bool = True
    """Compute equal prompts and shared prefixes once."""
    workers: int | None = None
    """Spread the work over so many processes with Ray (pip install 'interp[ray]'), each with a copy of the model."""
    shard_mb: int | None = None
    """Megabytes per shard. A killed run loses at most one shard."""
    prompt: PromptOpts = prompt_options()
    loading: ModelOpts = model_options()
    running: RunOpts = run_options()

    def interrupted(self) -> str:
        """What is there of a run that was stopped, and how to go on."""
        return "what was committed is safe, and the same command resumes"

    def __call__(self) -> int:
        """Run the command; its exit code."""
        from ..run import capture

        model = self.loading.load(self.model)
        prompts = self.prompt.load(self.prompts, model)
        print(prompts)
        acts = capture(
            model,
            prompts,
            self.sites,
            at=self.at if "," not in self.at else self.at.split(","),
            out=self.out,
            dtype=self.dtype,
            batch_tokens=self.running.batch_tokens,
            share_prefix=self.share_prefix,
            pack=self.pack if self.pack == "auto" else self.pack == "yes",
            shard_bytes=None if self.shard_mb is None else self.shard_mb * 1_000_000,
            workers=self.workers,
            progress=self.running.progress,
            command=command_line(),
        )
        print(acts)
        print(f"stored in {self.out}; check it with: interp verify {self.out}")
        return 0


@dataclass
class Verify:
    """Recompute every checksum of a store and name each bad, missing or foreign file. Exit code 1 if there is any.

    Example: interp verify acts
    """

    store: StoreArg
    """Directory of the store."""
    repair: bool = False
    """Take damaged shards out, so that the capture command writes them again; good shards are not touched."""

    def __call__(self) -> int:
        """Run the command; its exit code."""
        from ..store import repair, size_text, verify

        if self.repair:
            missing = repair(self.store)
            print(f"{self.store}: {len(missing)} shards to write again: run the capture command once more")
        result = verify(self.store)
        for problem in result.problems:
            print(problem)
        checked = f"{result.shards_listed} of {result.shards_planned} shards, {result.rows:,} rows"
        print(f"{self.store}: {checked}, {size_text(result.bytes_checked)} checked, {len(result.problems)} problems")
        if result.result_hash is not None:
            print(f"result {result.result_hash}")
        elif result.ok:
            print("what is there is sound; the rest is missing: the same capture command resumes")
        return 0 if result.ok else 1


@dataclass
class Show:
    """Say what a store holds and where it came from, without reading the activations.

    Example: interp show acts
    """

    store: StoreArg
    """Directory of the store."""

    def __call__(self) -> int:
        """Run the command; its exit code."""
        from ..store import describe, size_text

        store = describe(self.store)
        made = store.provenance
        state = "complete" if store.complete else "being written" if store.being_written else "incomplete"
        lines = {
            "state": f"{state}, {store.shards} of {store.shards_planned} shards",
            "rows": f"{store.rows:,} of {store.rows_planned:,}, from {store.examples:,} examples",
            "at": ", ".join(store.at),
            "sites": ", ".join(f"{site} [{width}]" for site, width in store.sites.items()),
            "values": f"{store.dtype}, {size_text(store.bytes)} on disk",
            "int8 error": ", ".join(f"{site} {error:.1e}" for site, error in (store.int8_error or {}).items()) or None,
            "model": f"{made.model_id} ({made.model}), computed in {made.dtype}",
            "prompts": made.prompts,
            "tokenizer": made.tokenizer,
            "chat template": made.chat_template,
            "BOS": made.bos,
            "interp": made.code,
            "command": made.command,
            "result": store.result_hash,
        }
        for name, value in lines.items():
            if value is not None:
                print(f"{name:14} {value}")
        return 0
