"""``run``: parse a command as typed, run it, and keep the hashes of the files that it read beside its results."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .options import typed

# Fields that name no file to read: where a command writes.
_WRITTEN = ("out", "json")


def parse(args: Sequence[str]) -> Callable[[], int]:
    """The command that the words stand for, with its options as fields.

    Raises:
        SystemExit: the words are no command, or ask for help; what is wrong has been printed.
    """
    import tyro

    from .commands import COMMANDS

    return tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="interp", args=list(args), config=(tyro.conf.HelptextFromCommentsOff,)
    )


def run(command: Callable[[], int], args: Sequence[str]) -> int:
    """Run a parsed command; beside the reports that it writes, `inputs.json` says which files it read.

    ``args`` are the words as they were typed, for the provenance of what it writes.
    """
    from ..report.inputs import look_at
    from ..report.result import report_files

    out = getattr(command, "out", None)
    inputs = look_at(named(command), out) if isinstance(out, Path) else None
    with typed(args):
        code = command()
    if inputs is not None and isinstance(out, Path) and out.is_dir() and report_files(out):
        inputs.save(out)
    return code


def named(command: Any) -> list[str]:
    """What a command's fields say that may be the path of something to read; ``FILE@label=x`` names FILE."""
    return [text if os.path.exists(text) else text.partition("@")[0] for text in _texts(command)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, (str, Path)):
        yield str(value)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if field.name not in _WRITTEN:
                yield from _texts(getattr(value, field.name))
