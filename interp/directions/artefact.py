"""Small tensors with a JSON header in one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import ArtefactError
from ..report import write_atomic

VERSION = 1


def save_artefact(
    path: str | os.PathLike[str], kind: str, tensors: Mapping[str, Tensor], fields: Mapping[str, Any]
) -> Path:
    """Write ``tensors`` with ``fields`` (plain JSON) in the file's header."""
    from safetensors.torch import save

    header = {"format": f"interp.{kind}", "version": str(VERSION), "fields": json.dumps(fields, allow_nan=False)}
    return write_atomic(path, save({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, metadata=header))


def load_artefact(
    path: str | os.PathLike[str], kinds: tuple[str, ...]
) -> tuple[str, dict[str, Tensor], dict[str, Any]]:
    """Read what `save_artefact` wrote: its kind, tensors and fields.

    Raises:
        ArtefactError: the file is missing, damaged, or of another kind; it is named.
    """
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    try:
        with safe_open(name, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - the file is no dict
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"cannot read {name!r}: {error}") from error
    kind = header.get("format", "").removeprefix("interp.")
    if kind not in kinds or not header.get("format", "").startswith("interp."):
        raise ArtefactError(f"{name!r} is not a saved {' or '.join(kinds)}: its format is {header.get('format')!r}")
    if header.get("version") != str(VERSION):
        raise ArtefactError(
            f"{name!r} has version {header.get('version')!r}, and this interp reads {VERSION}; upgrade interp"
        )
    try:
        fields = json.loads(header["fields"])
    except (KeyError, json.JSONDecodeError) as error:
        raise ArtefactError(f"the header of {name!r} is damaged: {error}") from error
    return kind, tensors, fields
