"""Options that several commands share, and how they become values."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from ..models import Model
    from ..prompts import PromptSet


@dataclass
class ModelOptions:
    """How to load the model."""

    device: str | None = None
    """Where to run: cpu, cuda, cuda:1, mps. By default a GPU if there is one."""
    device_map: str | None = None
    """Spread the model over several devices, as in 'auto'. Not together with --device."""
    model_dtype: Literal["auto", "float32", "float16", "bfloat16", "float64"] = "auto"
    """What the model computes in. 'auto' is the checkpoint's own dtype."""
    attn: str = "sdpa"
    """Attention: sdpa, eager, flash_attention_2."""
    revision: str | None = None
    """Branch, tag or commit of a Hugging Face id."""
    trust_remote_code: bool = False
    """Run code that comes with the model; needs --revision with a full commit hash."""

    def load(self, name: str) -> Model:
        """The model that the options describe."""
        from ..models import load_model

        return load_model(
            name,
            dtype=self.model_dtype,
            device=self.device,
            device_map=self.device_map,
            revision=self.revision,
            attn=self.attn,
            trust_remote_code=self.trust_remote_code,
        )


@dataclass
class PromptOptions:
    """What to read from the prompt file. Its format is found by looking inside, not by its suffix."""

    text: str | None = None
    """Field that holds the text; guessed from common names if not given."""
    id: str | None = None
    """Field that names each prompt."""
    pair: str | None = None
    """Field that ties prompts into pairs."""
    template: str | None = None
    """'chat' puts each text into the tokenizer's chat template as a user message; or a Jinja file to use instead."""
    system: str | None = None
    """System message for --template."""
    bos: Literal["auto", "always", "never"] = "auto"
    """Beginning-of-sequence token: as the tokenizer does it, always, or never."""
    limit: int | None = None
    """Read only the first so many prompts."""
    truncate: Literal["left", "right"] | None = None
    """Cut prompts that exceed the context: keep their end (left) or their start (right)."""
    drop_long: bool = False
    """Leave out prompts that exceed the context."""

    def load(self, path: str, model: Model, *, label: str | None = None, group: str | None = None) -> PromptSet:
        """The prompts that the options describe, fitted to the model's context."""
        from ..prompts import load_prompts

        prompts = load_prompts(
            path,
            model.tokenizer,
            text=self.text,
            label=label,
            group=group,
            pair=self.pair,
            id=self.id,
            bos=self.bos,
            limit=self.limit,
            template=self.template,
            system=self.system,
        )
        if model.n_ctx is None:
            return prompts
        return prompts.fit(model.n_ctx, truncate=self.truncate, drop_long=self.drop_long)


@dataclass
class RunOptions:
    """How to run it."""

    batch_tokens: int | None = None
    """Tokens per batch; chosen for the device if not given."""
    progress: bool | None = None
    """Draw a progress bar; by default on a terminal only."""


ModelArg = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
PromptsArg = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPTS")]
StoreArg = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")]
Shared = tyro.conf.OmitArgPrefixes
# The names head the groups of options in --help.
ModelOpts = Annotated[ModelOptions, Shared, tyro.conf.arg(name="model")]
PromptOpts = Annotated[PromptOptions, Shared, tyro.conf.arg(name="prompt")]
RunOpts = Annotated[RunOptions, Shared, tyro.conf.arg(name="run")]


def model_options() -> Any:
    """A fresh group of model options, as a dataclass default."""
    return field(default_factory=ModelOptions)


def prompt_options() -> Any:
    """A fresh group of prompt options, as a dataclass default."""
    return field(default_factory=PromptOptions)


def run_options() -> Any:
    """A fresh group of run options, as a dataclass default."""
    return field(default_factory=RunOptions)


_TYPED: ContextVar[tuple[str, ...] | None] = ContextVar("typed", default=None)


@contextmanager
def typed(args: Sequence[str]) -> Iterator[None]:
    """Within it these are the words that `command_line` gives back."""
    token = _TYPED.set(tuple(args))
    try:
        yield
    finally:
        _TYPED.reset(token)


def command_line() -> str:
    """The command as the user typed it, for the provenance of results. Paths in it stay as they were typed."""
    args = _TYPED.get()
    return shlex.join(["interp", *(sys.argv[1:] if args is None else args)])
