"""``load_model``: from a Hugging Face id or a local directory to a `Model`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ..errors import ModelError
from .model import Model

_COMMIT = re.compile(r"[0-9a-f]{40}")
DTYPES = ("auto", "float32", "float16", "bfloat16", "float64")


def load_model(
    id_or_path: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    device_map: str | dict[str, Any] | None = None,
    revision: str | None = None,
    attn: str = "sdpa",
    trust_remote_code: bool = False,
) -> Model:
    """Load a causal LM with its tokenizer, if it has one, and give its sites names.

    A directory is read as it is and touches no network. The weights are the raw Hugging Face ones: no folding.

    Args:
        id_or_path: a Hugging Face model id, or a directory with ``config.json`` and safetensors weights.
        dtype: ``auto`` (the checkpoint's own), ``float32``, ``float16``, ``bfloat16`` or ``float64``.
        device: where to put the model; by default a GPU if there is one. Not together with ``device_map``.
        device_map: spread over several devices (Hugging Face's ``"auto"``, or a map).
        revision: branch, tag or commit of a Hugging Face id.
        attn: attention implementation while nothing asks for `pattern`: ``sdpa``, ``eager``, ``flash_attention_2``.
        trust_remote_code: run code that comes with the model. Needs ``revision`` to be a full commit hash.

    Raises:
        ModelError: nothing is there, it is no causal LM, or the options contradict each other.

    Example:
        >>> from interp import load_model, testbeds
        >>> load_model(testbeds.path("induction")).n_layers
        2
    """
    if device is not None and device_map is not None:
        raise ModelError("give either device= or device_map=, not both")
    if trust_remote_code and not (revision and _COMMIT.fullmatch(revision)):
        raise ModelError(f"trust_remote_code needs revision= to be a full 40-digit commit hash, got {revision!r}")
    name = os.fspath(id_or_path)
    local = _local_directory(name)
    if local is not None and revision is not None:
        raise ModelError(f"revision={revision!r} has no meaning for the local directory {name!r}")
    common = {"local_files_only": True} if local is not None else {"revision": revision}
    source = str(local) if local is not None else name
    hf = _load_weights(
        source, dtype=_dtype(dtype), device_map=device_map, attn=attn, remote=trust_remote_code, common=common
    )
    if device_map is None:
        hf = hf.to(_device(device))
    tokenizer = _load_tokenizer(source, local, trust_remote_code, common)
    shown = local.name if local is not None else name
    model = Model.wrap(hf, tokenizer, id=shown, revision=revision)
    _check_causal(model)
    return model


def _local_directory(name: str) -> Path | None:
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(
                f"{name!r} is a directory, but has no config.json; give the directory that holds the checkpoint"
            )
        return path
    if path.is_file():
        raise ModelError(f"{name!r} is a file; give the directory that holds config.json and the weights")
    looks_like_path = name.startswith((".", "/", "~")) or name.endswith("/") or name.count("/") > 1 or "\\" in name
    if looks_like_path:
        raise ModelError(f"there is no directory {name!r}")
    return None


def _dtype(dtype: str | torch.dtype) -> str | torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}; one of: {', '.join(DTYPES)}")
    return dtype if dtype == "auto" else getattr(torch, dtype)


def _device(device: str | torch.device | None) -> torch.device:
    if device is not None:
        try:
            return torch.device(device)
        except RuntimeError as error:
            raise ModelError(f"unknown device {device!r}: {error}") from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@contextmanager
def no_bars() -> Iterator[None]:
    """Inside the block transformers draws no progress bars."""
    from transformers.utils import logging as hf_logging

    bars = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            hf_logging.enable_progress_bar()


def _load_weights(
    source: str, *, dtype: str | torch.dtype, device_map: Any, attn: str, remote: bool, common: dict[str, Any]
) -> Any:
    from transformers import AutoModelForCausalLM

    extra = {} if device_map is None else {"device_map": device_map}
    try:
        with no_bars():
            hf, found = AutoModelForCausalLM.from_pretrained(
                source, dtype=dtype, attn_implementation=attn, trust_remote_code=remote,
                output_loading_info=True, ignore_mismatched_sizes=True, **extra, **common,
            )  # fmt: skip
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"could not load a causal LM from {source!r}: {error}") from error
    # transformers would fill these with random numbers.
    wrong = [f"{name} is missing" for name in sorted(found["missing_keys"])]
    wrong += [f"{name} has another shape" for name, *_ in sorted(found["mismatched_keys"])]
    if wrong:
        what = f"{len(wrong)} weights of {type(hf).__name__}: {', '.join(wrong[:5])}"
        raise ModelError(f"could not load a causal LM from {source!r}: {what}")
    return hf


def read_checkpoint(folder: Path, dtype: torch.dtype) -> Any:
    """The Hugging Face model in a directory, in host memory. Raises `ModelError`."""
    return _load_weights(
        str(folder), dtype=dtype, device_map=None, attn="sdpa", remote=False, common={"local_files_only": True}
    )


def _check_causal(model: Model) -> None:
    """Raise if the last token changes what the model says at earlier ones: everything here relies on that."""
    ids = torch.arange(6)[None].repeat(2, 1) % model.sizes.d_vocab
    ids[1, -1] = 0
    with torch.inference_mode():
        logits = model.hf(input_ids=ids.to(model.device), use_cache=False).logits[:, :-1].float()
    off = float((logits[0] - logits[1]).abs().max() / logits.abs().max().clamp(min=1e-6))
    if off > (1e-4 if model.dtype in (torch.float32, torch.float64) else 3e-2):
        raise ModelError(
            f"{model.id!r} ({model.architecture}) is no causal LM: "
            f"its last token changes the logits before it by {off:.1%}"
        )


def _load_tokenizer(source: str, local: Path | None, remote: bool, common: dict[str, Any]) -> Any:
    """The tokenizer, or ``None`` for a directory that ships none."""
    from transformers import AutoTokenizer

    if local is not None and not any(
        (local / f).exists() for f in ("tokenizer.json", "tokenizer_config.json", "vocab.json")
    ):
        return None
    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=remote, **common)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise ModelError(f"the model {source!r} loaded, but its tokenizer did not: {error}") from error
