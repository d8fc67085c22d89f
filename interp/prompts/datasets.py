"""Rows from objects in memory and from data sets saved to disk by Hugging Face ``datasets``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import PromptError
from .paths import missing_file
from .readers import Table, from_records


def read_directory(path: Path, split: str | None) -> Table:
    """A data set that was saved with ``save_to_disk``.

    Raises:
        PromptError: the folder holds no such data set, or several splits and none was named.
    """
    saved = {"dataset_dict.json", "dataset_info.json", "state.json"}
    if not any((path / name).is_file() for name in saved):
        names = sorted(p.name for p in path.iterdir())[:8]
        raise PromptError(
            f"{path} is a folder but no saved data set; give a file (in it: {', '.join(names) or 'nothing'})"
        )
    try:
        from datasets import load_from_disk  # type: ignore[import-untyped]
    except ImportError:
        raise PromptError(f"{path} is a saved data set; install the package 'datasets' to read it") from None
    try:
        found = load_from_disk(str(path))
    except Exception as error:  # whatever its readers raise: Arrow, JSON, file system, schema
        raise PromptError(f"cannot read the data set {path.name}: {str(error).splitlines()[0]}") from error
    return read_object(found, split=split, name=path.name)


def read_object(given: Any, *, split: str | None = None, name: str = "memory", limit: int | None = None) -> Table:
    """Rows of a ``datasets.Dataset`` (or a dictionary of splits), a pandas frame, or a list of rows.

    Raises:
        PromptError: it is none of these, or it has several splits and none was named.
    """
    if isinstance(given, Mapping) and given and all(hasattr(v, "column_names") for v in given.values()):
        if split is None and len(given) > 1:
            raise PromptError(f"{name} has several splits; choose one with split=: {', '.join(map(str, given))}")
        chosen = next(iter(given)) if split is None else split
        if chosen not in given:
            raise PromptError(f"{name} has no split {chosen!r}; it has: {', '.join(map(str, given))}")
        return read_object(given[chosen], name=f"{name}/{chosen}" if name != "memory" else str(chosen), limit=limit)
    if split is not None:
        raise PromptError(f"split={split!r} was given, but {name} has no splits")
    if hasattr(given, "column_names") and hasattr(given, "__iter__"):
        return from_records(list(islice(given, limit)), name, "dataset")
    if hasattr(given, "to_dict") and hasattr(given, "columns"):
        return from_records(given.to_dict(orient="records"), name, "dataframe")
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        return from_records(given, name, "list")
    kind = type(given).__name__
    raise PromptError(f"cannot read prompts from a {kind}; give a path, a data set, a data frame or a list of rows")


def directory_or_missing(path: Path) -> bool:
    """Whether ``path`` is a folder; raises if there is nothing there."""
    if not path.exists():
        raise missing_file(path, "file")
    return path.is_dir()
